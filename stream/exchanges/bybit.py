"""Bybit spot (v5): candles with a final flag, a keep-alive in its own words, full history over REST.

Source: bybit-exchange/docs v5 (2026-07): websocket `connect` and `kline`, REST `kline` and `instruments-info`, errors.
That a silent minute has a flat candle follows from "pushed every 1-60 s", but is not confirmed.
"""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter

import msgspec

from stream import elements
from stream.elements import UNREADABLE, check_candle
from stream.errors import MessageError
from stream.pages import Row, learnt, spans
from stream.wire import (
    MINUTE,
    Candle,
    Fetching,
    Instrument,
    Keepalive,
    Pong,
    Record,
    Refusal,
    Refused,
    Request,
    Response,
    RestRules,
    StreamRules,
    Subscribed,
    TradeRules,
    from_milliseconds,
    milliseconds,
)

ID = "bybit"
WS_URL = "wss://stream.bybit.com"
REST_URL = "https://api.bybit.com"
FLAGS_FINAL = True
STREAM = StreamRules(
    pairs_per_connection=500,  # 21,000 characters of topics: 42 a pair, for `"kline.1.",` and a name of up to 31
    pairs_per_request=10,
    requests_per_second=5,  # none is documented; 200 at once were seen to pass
    keepalive=Keepalive(text='{"req_id":"alive","op":"ping"}', every=20),  # who does not ping is not sent anything
    lifetime=None,
    idle=60,  # a pong comes every 20 s
    stale=600,  # a candle every 60 s, but for a pair that nobody trades that is not confirmed
    reconnect=2,  # 500 connections in 5 minutes per address
)
REST = RestRules(requests_per_second=20)  # of 600 in 5 s; who exceeds them is banned for 10 minutes
TRADES: TradeRules | None = None

_TOPIC = "kline.1."
_ROWS = 1000
_COLUMNS = 7
_BUSY = {10000, 10016}
"""Server timeout, server error. (A client library has 10016 as a rate limit: either way it passes.)"""
_TOO_MANY = {10006, 10018}
"""Requests of this account, requests of this address."""
_UNKNOWN = {10001, 10029}
"""A wrong parameter, which may be another one than the symbol; a symbol that is not on the list."""


class _Message(msgspec.Struct, gc=False):
    topic: str | None = None
    type: str | None = None
    ts: int | None = None
    data: list[msgspec.Raw] = []
    op: str | None = None
    success: bool | None = None
    ret_msg: str | None = None
    req_id: str | None = None


class _Kline(msgspec.Struct, gc=False):
    start: int
    interval: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    confirm: bool
    turnover: elements.Number = None


class _Body(msgspec.Struct):
    retCode: int
    retMsg: str = ""
    result: msgspec.Raw = msgspec.Raw(b"")
    time: int | None = None


class _Klines(msgspec.Struct):
    category: str
    symbol: str
    rows: list[msgspec.Raw] = msgspec.field(name="list")


class _Pair(msgspec.Struct):
    symbol: str
    baseCoin: str
    quoteCoin: str
    status: str


class _Pairs(msgspec.Struct):
    pairs: list[_Pair] = msgspec.field(name="list")


class _Row(elements.Ohlcv, array_like=True, gc=False):
    turnover: elements.Number


_message = msgspec.json.Decoder(_Message)
_kline = msgspec.json.Decoder(_Kline, strict=False)
_body = msgspec.json.Decoder(_Body)
_klines = msgspec.json.Decoder(_Klines)
_pairs = msgspec.json.Decoder(_Pairs)
_row = msgspec.json.Decoder(_Row, strict=False)


def native_symbol(symbol: str) -> str:
    """`BTC-USDT` → `BTCUSDT`."""
    return symbol.replace("-", "")


def stream_url(ws_url: str) -> str:
    """The category is in the address alone: under `/linear` the same symbols and messages are another market."""
    return f"{ws_url}/v5/public/spot"


def subscribe(native_symbols: list[str], request_id: int) -> str:
    """`{"req_id":"1","op":"subscribe","args":["kline.1.BTCUSDT"]}`"""
    return _request("subscribe", native_symbols, request_id)


def unsubscribe(native_symbols: list[str], request_id: int) -> str:
    """`{"req_id":"2","op":"unsubscribe","args":["kline.1.BTCUSDT"]}`"""
    return _request("unsubscribe", native_symbols, request_id)


def _request(operation: str, native_symbols: list[str], request_id: int) -> str:
    topics = [f"{_TOPIC}{native}" for native in native_symbols]
    return msgspec.json.encode({"req_id": str(request_id), "op": operation, "args": topics}).decode()


def parse_message(text: str | bytes) -> list[Record]:
    """Candles, or an answer. At the end of a minute the closing candle and the next may share a message.

    {"topic":"kline.1.BTCUSDT","data":[{"start":1672324800000,"end":1672324859999,"interval":"1","open":"16649.5",
    "close":"16677","high":"16677","low":"16608","volume":"2.081","turnover":"34666.4005","confirm":false,
    "timestamp":1672324838882}],"ts":1672324838882,"type":"snapshot"}
    """
    try:
        message = _message.decode(text)
        if message.topic is not None:
            return _candles(message, message.topic)
    except UNREADABLE as error:
        raise MessageError(f"bybit: {error}") from error
    return [_answer(message)] if message.op != "unsubscribe" or message.success is not True else []


def _answer(message: _Message) -> Record:
    """Acknowledgements and refusals are about a whole request, and know it by the `req_id` that we gave it.

    One bad topic refuses the whole request; that none of its other topics is subscribed then is not confirmed. If one
    is, asking for it again, alone, is answered with `already subscribed`: it has what was asked for, and is no refusal.
    """
    op, success, said = message.op, message.success, message.ret_msg or "no reason given"
    number = int(message.req_id) if message.req_id and message.req_id.isdecimal() else None
    if op == "pong" or (op == "ping" and success):  # spot answers with its own word, other categories with `pong`
        return Pong()
    if op == "subscribe" and success and number is not None:
        return Subscribed(native_symbol=None, request_id=number)
    if success is False and op != "ping":
        _, already, native = said.partition(f"already subscribed,topic:{_TOPIC}")
        if already:
            return Subscribed(native_symbol=native, request_id=number)
        return Refused(native_symbol=None, request_id=number, reason=said)
    raise MessageError(f"bybit: a message of unknown kind (op={op!r}, success={success!r}, ret_msg={said!r})")


def _candles(message: _Message, topic: str) -> list[Record]:
    """On the wire all are of type `snapshot`: whole candles. In our words they are updates, no former minutes."""
    kind, sent, count = message.type, message.ts, len(message.data)
    if not topic.startswith(_TOPIC) or kind != "snapshot" or sent is None or not count:
        raise MessageError(f"bybit: no 1-minute candle (topic={topic!r}, type={kind!r}, ts={sent}, {count} elements)")
    native, event_ts = topic.removeprefix(_TOPIC), from_milliseconds(sent)
    about = elements.About(symbol=lambda _: native, time=itemgetter("start"))
    return [*elements.each(message.data, lambda raw: _candle(native, event_ts, raw), about)]


def _candle(native: str, event_ts: datetime, element: msgspec.Raw) -> Candle:
    kline = _kline.decode(element)
    if kline.interval != "1":
        raise MessageError(f"bybit {native}: the interval was {kline.interval!r}, only 1 minute is recorded")
    return check_candle(
        Candle(
            native_symbol=native,
            event_type="update",
            event_ts=event_ts,
            interval_start=from_milliseconds(kline.start),
            is_final=kline.confirm,
            open=kline.open,
            high=kline.high,
            low=kline.low,
            close=kline.close,
            volume=kline.volume,
            quote_volume=elements.number(kline.turnover),
            payload=bytes(element).decode(),
        )
    )


def instruments_request() -> Request:
    """`GET /v5/market/instruments-info`; spot comes whole, without pages."""
    return Request(path="/v5/market/instruments-info", query={"category": "spot"})


def parse_instruments(body: bytes) -> list[Instrument]:
    """`{"retCode":0,"result":{"list":[{"symbol":"BTCUSDT","baseCoin":"BTC","quoteCoin":"USDT","status":"Trading",…}]}}`

    What is not traded any more is not listed.
    """
    try:
        listed = _pairs.decode(_body.decode(body).result).pairs
    except UNREADABLE as error:
        raise MessageError(f"bybit: the list of instruments could not be read: {error}") from error
    return [
        Instrument(
            symbol=f"{one.baseCoin.upper()}-{one.quoteCoin.upper()}",
            native_symbol=one.symbol,
            trading=one.status == "Trading",
        )
        for one in listed
    ]


def refusal(response: Response) -> Refusal | None:
    """Errors live in bodies with status 200: `{"retCode":10001,"retMsg":"Not supported symbols","result":{},…}`.

    403 is "access too frequent", or what whole countries get. Waiting is right for the one; for the other it costs
    little, and the reason says which it was.
    """
    reason = f"HTTP {response.status} {response.body[:200].decode(errors='replace')}"
    if response.status in (403, 429):
        return Refusal(kind="wait", reason=reason)
    if response.status >= 500:
        return Refusal(kind="retry", reason=reason)
    if response.status != 200:
        return Refusal(kind="fatal", reason=reason)
    try:
        body = _body.decode(response.body)
    except UNREADABLE as error:
        return Refusal(kind="retry", reason=f"not the JSON of an answer ({error}): {reason}")
    said = f"retCode {body.retCode}: {body.retMsg}"
    if body.retCode == 0:
        return None
    if body.retCode in _TOO_MANY:
        return Refusal(kind="wait", reason=said)
    if body.retCode in _BUSY:
        return Refusal(kind="retry", reason=said)
    if body.retCode in _UNKNOWN and "symbol" in body.retMsg.lower():
        return Refusal(kind="unknown_pair", reason=said)
    return Refusal(kind="fatal", reason=said)


def fetch_candles(symbol: str, start: datetime, end: datetime) -> Fetching:
    """`GET /v5/market/kline`, without `category` the perpetual's: newest first, the open candle included.

    Of a window with more than 1,000 minutes the oldest are left out, so that each request has a window of its own.
    Its `end` is the last millisecond of its last minute: so it does not matter whether that bound is inclusive. One
    minute more is asked for on each side: the row before gives the previous close, the row after proves that the last
    one asked for is closed. Row:
    ["1672324800000","16649.5","16677","16608","16677","2.081","34666.4005"]
    """
    native = native_symbol(symbol)
    rows: list[Row] = []
    now = start
    for first, following in spans(start - MINUTE, end + MINUTE, _ROWS):
        response = yield Request(
            path="/v5/market/kline",
            query={
                "category": "spot",
                "symbol": native,
                "interval": "1",
                "start": str(milliseconds(first)),
                "end": str(milliseconds(following) - 1),
                "limit": str(_ROWS),
            },
        )
        told, page = _page(native, response.body)
        rows += page
        now = told or response.server_time or response.recv_ts
        if now < following:  # only the last page has an open candle, and a clock that says so
            break
    return learnt(rows, start, end, now=now, silence="no_trade_if_alive")


def _page(native: str, body: bytes) -> tuple[datetime | None, list[Row]]:
    """The exchange's clock, if it is told, and the rows; another market's rows are none."""
    try:
        answer = _body.decode(body)
        result = _klines.decode(answer.result)
        told = None if answer.time is None else from_milliseconds(answer.time)
    except UNREADABLE as error:
        raise MessageError(f"bybit {native}: the answer was not a list of candles: {error}") from error
    if (result.category, result.symbol) != ("spot", native):
        raise MessageError(f"bybit {native}: the answer is about {result.category} {result.symbol}, not about spot")
    about = elements.About(symbol=lambda _: native, time=itemgetter(0))
    found = elements.each(result.rows, lambda raw: parse_row(native, raw), about)
    return told, [*found, *elements.beyond(result.rows, _COLUMNS)]


def parse_row(native: str, raw: msgspec.Raw) -> Candle:
    """A row of `fetch_candles`'s answers."""
    row = _row.decode(raw)
    return check_candle(
        Candle(
            native_symbol=native,
            event_type="snapshot",
            event_ts=None,
            interval_start=from_milliseconds(row.start),
            is_final=None,
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume,
            quote_volume=elements.number(row.turnover),
            payload=bytes(raw).decode(),
        )
    )
