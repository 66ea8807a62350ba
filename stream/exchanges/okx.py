"""OKX spot: candles with a final flag, in the stream and over REST; flat rows for silent minutes, in all likelihood.

Source: okx.com/docs-v5, WebSocket `Candlesticks channel`, REST `Get candlesticks`, `Get candlesticks history` and
`Get instruments` (2026-07). That silent minutes have rows is documented for the current one only.
"""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter

import msgspec

from stream import elements
from stream.elements import UNREADABLE, check_candle
from stream.errors import MessageError
from stream.pages import Row, learnt, spans, starts
from stream.wire import (
    MINUTE,
    Candle,
    Fetching,
    Instrument,
    Keepalive,
    Notice,
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

ID = "okx"
WS_URL = "wss://ws.okx.com:8443"
REST_URL = "https://www.okx.com"
FLAGS_FINAL = True
STREAM = StreamRules(
    pairs_per_connection=100,  # each may be taken back and asked for anew, alone, twice an hour: 400 requests
    pairs_per_request=100,  # 5 of the 64 KB that a request may have
    requests_per_second=1,
    requests_per_hour=480,
    keepalive=Keepalive(text="ping", every=20),  # it hangs up after 30 s in which it had nothing to push
    lifetime=None,
    idle=45,  # two pongs are missing
    stale=1800,  # silence may be normal here; the current candle, which comes with a subscription, ends it
    reconnect=2,  # 3 connections a second are allowed
)
REST = RestRules(requests_per_second=4)  # 40 % of the 20 in 2 s for history-candles; candles may have twice as many
TRADES: TradeRules | None = None

_CHANNEL = "candle1m"
_COLUMNS = 9
_RECENT = "/api/v5/market/candles"
_RECENT_ROWS = 300
_REACH = 1400 * MINUTE
"""The newest 1,440 rows are promised."""
_OLDER = "/api/v5/market/history-candles"
_OLDER_ROWS = 100
"""300 by the newest documents, 100 by older ones. A page that was cut would look like minutes without trades."""


class _Arg(msgspec.Struct, gc=False):
    channel: str
    instId: str


class _Message(msgspec.Struct, gc=False):
    arg: _Arg | None = None
    data: list[msgspec.Raw] | None = None
    event: str | None = None
    id: str | None = None
    code: str | None = None
    msg: str = ""


class _Status(msgspec.Struct):
    code: str
    msg: str = ""


class _Rows(msgspec.Struct):
    data: list[msgspec.Raw]


class _Instrument(msgspec.Struct):
    instId: str
    state: str


class _Instruments(msgspec.Struct):
    data: list[_Instrument]


class _Row(elements.Ohlcv, array_like=True, gc=False):
    volume_ccy: elements.Number
    quote_volume: elements.Number
    is_final: bool


_message = msgspec.json.Decoder(_Message)
_status = msgspec.json.Decoder(_Status)
_rows = msgspec.json.Decoder(_Rows)
_row = msgspec.json.Decoder(_Row, strict=False)


def native_symbol(symbol: str) -> str:
    """`BTC-USDT` is spelled so here as well."""
    return symbol


def stream_url(ws_url: str) -> str:
    """Of the three paths, only this one has candles."""
    return f"{ws_url}/ws/v5/business"


def subscribe(native_symbols: list[str], request_id: int) -> str:
    """`{"id":"1","op":"subscribe","args":[{"channel":"candle1m","instId":"BTC-USDT"}]}`"""
    return _request("subscribe", native_symbols, request_id)


def unsubscribe(native_symbols: list[str], request_id: int) -> str:
    """The same message with the other verb."""
    return _request("unsubscribe", native_symbols, request_id)


def _request(verb: str, native_symbols: list[str], request_id: int) -> str:
    args = [{"channel": _CHANNEL, "instId": native} for native in native_symbols]
    return msgspec.json.encode({"id": str(request_id), "op": verb, "args": args}).decode()


def parse_message(text: str | bytes) -> list[Record]:
    """A push of one pair's candles, or an event; the answer to the text `ping` is no JSON.

    {"arg":{"channel":"candle1m","instId":"BTC-USDT"},"data":[["1762777200000","106021.5","106034.9","106005.2",
    "106019.8","4.81720533","510723.18240467","510723.18240467","1"]]}

    A row: start, open, high, low, close, base volume, quote volume twice, and "1" when the candle is finished.
    """
    if text in (b"pong", "pong"):
        return [Pong()]
    try:
        message = _message.decode(text)
        arg = message.arg
        if arg is not None and arg.channel != _CHANNEL:
            raise MessageError(f"okx {arg.instId}: the channel was {arg.channel!r}, only {_CHANNEL} is recorded")
        if arg is not None and message.data:
            return [*_candles(arg.instId, message.data, streamed=True)]
    except UNREADABLE as error:
        raise MessageError(f"okx: {error}") from error
    request_id = int(message.id) if message.id and message.id.isdecimal() else None
    if message.event == "subscribe" and arg is not None:
        return [Subscribed(native_symbol=arg.instId, request_id=request_id)]
    if message.event == "unsubscribe" and arg is not None:
        return []
    if message.event == "error":
        reason = f"code {message.code}: {message.msg}"
        return [Refused(native_symbol=_unknown(message.msg), request_id=request_id, reason=reason)]
    if message.event == "notice" and message.code == "64008":
        return [Notice(system="shutdown", detail=message.msg, closing=True)]
    raise MessageError(f"okx: a message of unknown kind (event={message.event!r}, code={message.code!r})")


def _unknown(reason: str) -> str | None:
    """`channel:candle1m,instId:FOO-BAR doesn't exist` → `FOO-BAR`. Errors have no other mention of the pair."""
    named, found, _ = reason.partition("instId:")[2].partition(" doesn't exist")
    return named if found else None


def _candles(native: str, raws: list[msgspec.Raw], *, streamed: bool) -> list[Row]:
    about = elements.About(symbol=lambda _: native, time=itemgetter(0))
    found = elements.each(raws, lambda raw: _candle(native, raw, streamed=streamed), about)
    return [*found, *elements.beyond(raws, _COLUMNS)]


def _candle(native: str, raw: msgspec.Raw, *, streamed: bool) -> Candle:
    """The row is the same in the stream and over REST; neither says when it was made."""
    row = _row.decode(raw)
    return check_candle(
        Candle(
            native_symbol=native,
            event_type="update" if streamed else "snapshot",
            event_ts=None,
            interval_start=from_milliseconds(row.start),
            is_final=row.is_final,
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume,
            quote_volume=elements.number(row.quote_volume),
            payload=bytes(raw).decode(),
        )
    )


def parse_row(native: str, raw: msgspec.Raw) -> Candle:
    """A row of `fetch_candles`'s answers."""
    return _candle(native, raw, streamed=False)


def instruments_request() -> Request:
    """`GET /api/v5/public/instruments?instType=SPOT`"""
    return Request(path="/api/v5/public/instruments", query={"instType": "SPOT"})


def parse_instruments(body: bytes) -> list[Instrument]:
    """`{"code":"0","msg":"","data":[{"instId":"BTC-USDT","baseCcy":"BTC","quoteCcy":"USDT","state":"live",…}]}`

    `baseCcy` and `quoteCcy` are empty while a listing is only announced; the id is always there, and says the same.
    """
    try:
        listed = msgspec.json.decode(body, type=_Instruments).data
    except UNREADABLE as error:
        raise MessageError(f"okx: the list of instruments could not be read: {error}") from error
    return [
        Instrument(symbol=one.instId, native_symbol=native_symbol(one.instId), trading=one.state == "live")
        for one in listed
    ]


def refusal(response: Response) -> Refusal | None:
    """Errors live in bodies with status 200 too: `{"code":"51001","msg":"Instrument ID doesn't exist.","data":[]}`."""
    reason = f"HTTP {response.status} {response.body[:200].decode(errors='replace')}"
    try:
        code = _status.decode(response.body).code
    except UNREADABLE as error:
        code, reason = "", f"not the JSON of an answer ({error}): {reason}"
    if response.status == 429 or code == "50011":
        return Refusal(kind="wait", reason=reason)
    if response.status >= 500 or code in ("50001", "50013", "50026"):
        return Refusal(kind="retry", reason=reason)
    if code == "51001":
        return Refusal(kind="unknown_pair", reason=reason)
    if response.status != 200:
        return Refusal(kind="fatal", reason=reason)
    if not code:
        return Refusal(kind="retry", reason=reason)
    return None if code == "0" else Refusal(kind="fatal", reason=reason)


def fetch_candles(symbol: str, start: datetime, end: datetime) -> Fetching:
    """`GET /api/v5/market/candles` for what its 1,440 rows reach, `…/history-candles` for older minutes.

    Newest first. One minute more is asked for on each side: the row before gives the previous close, the row after
    proves that nothing is missing before it.
    """
    native = native_symbol(symbol)
    rows: list[Row] = []
    for first, following in spans(start - MINUTE, end + MINUTE, _RECENT_ROWS):
        response = yield _page(native, _RECENT, first, following, _RECENT_ROWS)
        page = _parse_rows(native, response.body)
        reached = min(starts(page), default=following)
        if reached > first and response.recv_ts - first > _REACH:
            for older, younger in spans(first, reached, _OLDER_ROWS):
                response = yield _page(native, _OLDER, older, younger, _OLDER_ROWS)
                page += _parse_rows(native, response.body)
        rows += page
    return learnt(rows, start, end, silence="no_trade_if_alive")


def _page(native: str, path: str, first: datetime, following: datetime, limit: int) -> Request:
    """`before` means newer than, `after` older than. A millisecond off the minute, both may or may not include it."""
    before, after = (str(milliseconds(moment) - 1) for moment in (first, following))
    query = {"instId": native, "bar": "1m", "before": before, "after": after, "limit": str(limit)}
    return Request(path=path, query=query)


def _parse_rows(native: str, body: bytes) -> list[Row]:
    try:
        raws = _rows.decode(body).data
    except UNREADABLE as error:
        raise MessageError(f"okx {native}: the answer was not a list of candles: {error}") from error
    return _candles(native, raws, streamed=False)
