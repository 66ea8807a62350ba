"""Gate spot (API v4): candles with a final flag in the stream and over REST, the newest 10,000 minutes only.

Source: gate.com/docs/developers/apiv4, Spot WebSocket v4 and Spot REST (2025), and captures of 2021 and 2025.
NOT CONFIRMED: whether a minute without trades has a candle, here or there; how late the flagged candle comes. It may
be missing, the documents say.
"""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter
from typing import Literal

import msgspec

from stream import elements
from stream.elements import UNREADABLE, check_candle
from stream.errors import MessageError
from stream.pages import Row, learnt, spans, starts
from stream.wire import (
    MINUTE,
    Candle,
    Fetched,
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
    from_seconds,
    seconds,
)

ID = "gate"
WS_URL = "wss://api.gateio.ws"
REST_URL = "https://api.gateio.ws"
FLAGS_FINAL = True
STREAM = StreamRules(
    pairs_per_connection=200,  # there is no limit, but whoever reads too slowly is cut off
    pairs_per_request=1,
    requests_per_second=8,  # no limit is known
    timed='"time":0',  # "gap between request time and server time must not exceed 60 seconds"
    keepalive=Keepalive(text='{"time":0,"channel":"spot.ping"}', every=15),  # silent ones were cut after 30 s
    lifetime=None,
    idle=45,  # two pongs are missing
    stale=1800,  # silence may be normal here; the current candle, which comes with a subscription, ends it
    reconnect=2,
)
_HISTORY = 9990 * MINUTE
"""10,000 are served; the last ten pass by while one asks."""
REST = RestRules(requests_per_second=10, reach=_HISTORY)  # of 20, by the stricter of two sources
TRADES: TradeRules | None = None

_CHANNEL = "spot.candlesticks"
_PATH = "/api/v4/spot/candlesticks"
_ROWS = 1000
_COLUMNS = 8
_NEWEST = 100
"""More than an hour that has just ended needs."""
_AROUND = 10 * MINUTE
"""Asked for on either side, since a minute without a trade may have no row, and one row is wanted there."""
_UNKNOWN = {"INVALID_CURRENCY_PAIR", "INVALID_CURRENCY"}
_BUSY = {"INTERNAL", "SERVER_ERROR", "INTERNAL_SERVER_ERROR", "TOO_BUSY"}


class _Error(msgspec.Struct):
    code: int | None = None
    message: str = ""


class _Message(msgspec.Struct, gc=False):
    channel: str | None = None
    event: str | None = None
    time_ms: int | None = None
    id: int | None = None
    payload: list[str] | None = None
    error: _Error | None = None
    result: msgspec.Raw = msgspec.Raw(b"null")
    type: str | None = None
    msg: str = ""


class _Status(msgspec.Struct):
    status: str


class _Kline(msgspec.Struct, gc=False):
    t: int
    o: float
    h: float
    l: float  # noqa: E741  # the wire's own name
    c: float
    a: float
    n: str
    v: elements.Number = None
    w: bool | None = None


class _Row(msgspec.Struct, array_like=True, gc=False):
    start: int
    quote_volume: elements.Number
    close: float
    high: float
    low: float
    open: float
    volume: float
    is_final: Literal["true", "false"] | bool | None = None


class _Refusal(msgspec.Struct):
    label: str = ""


class _Pair(msgspec.Struct):
    id: str
    base: str
    quote: str
    trade_status: str


_message = msgspec.json.Decoder(_Message)
_status = msgspec.json.Decoder(_Status)
_kline = msgspec.json.Decoder(_Kline, strict=False)
_body = msgspec.json.Decoder(_Refusal | list[msgspec.Raw])
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(_Row, strict=False)
_pairs = msgspec.json.Decoder(list[_Pair])


def native_symbol(symbol: str) -> str:
    """`BTC-USDT` → `BTC_USDT`."""
    return symbol.replace("-", "_")


def stream_url(ws_url: str) -> str:
    """One address for everything."""
    return f"{ws_url}/ws/v4/"


def subscribe(native_symbols: list[str], request_id: int) -> str:
    """`{"time":0,"id":1,"channel":"spot.candlesticks","event":"subscribe","payload":["1m","BTC_USDT"]}`"""
    return _request("subscribe", native_symbols, request_id)


def unsubscribe(native_symbols: list[str], request_id: int) -> str:
    """The same message with the other event."""
    return _request("unsubscribe", native_symbols, request_id)


def _request(event: str, native_symbols: list[str], request_id: int) -> str:
    (native,) = native_symbols
    request = {"time": 0, "id": request_id, "channel": _CHANNEL, "event": event, "payload": ["1m", native]}
    return msgspec.json.encode(request).decode()


def parse_message(text: str | bytes) -> list[Record]:
    """One candle, an answer, or the announcement that the connection will be closed, which has no channel.

    {"time":1784277421,"time_ms":1784277421634,"channel":"spot.candlesticks","event":"update","result":{"t":"1784277360",
    "v":"107148.9454464","c":"62841.7","h":"62858.3","l":"62830.2","o":"62833.9","n":"1m_BTC_USDT","a":"1.704912","w":true}}
    """
    try:
        message = _message.decode(text)
        if message.channel == _CHANNEL and message.event == "update":
            about = elements.About(symbol=lambda kline: kline["n"].partition("_")[2], time=itemgetter("t"))
            return [*elements.each([message.result], lambda raw: _candle(message, raw), about)]
        if message.channel == "spot.system":  # the futures' announcements are wrapped like this
            message = _message.decode(message.result)
        if message.type == "upgrade":
            return [Notice(system="shutdown", detail=message.msg, closing=True)]
        return _answer(message)
    except UNREADABLE as error:
        raise MessageError(f"gate: {error}") from error


def _candle(message: _Message, raw: msgspec.Raw) -> Candle:
    """`v` is the quote volume, `a` the base volume: clients that take the one for the other are wrong by the price."""
    kline = _kline.decode(raw)
    interval, _, native = kline.n.partition("_")
    if interval != "1m":
        raise MessageError(f"gate {native}: the interval was {interval!r}, only 1 minute is recorded")
    return check_candle(
        Candle(
            native_symbol=native,
            event_type="update",
            event_ts=None if message.time_ms is None else from_milliseconds(message.time_ms),
            interval_start=from_seconds(kline.t),
            is_final=kline.w,
            open=kline.o,
            high=kline.h,
            low=kline.l,
            close=kline.c,
            volume=kline.a,
            quote_volume=elements.number(kline.v),
            payload=bytes(raw).decode(),
        )
    )


def _answer(message: _Message) -> list[Record]:
    """Answers repeat the request's `payload`, and the `id` that we gave it; those of 2021 did not, and name nobody.

    An acknowledgement that names nobody is refused, since it is about one pair and would be taken for all. That a
    subscription could not be taken back says nothing about the pair.
    """
    channel, event, error = message.channel, message.event, message.error
    native = message.payload[1] if event == "subscribe" and message.payload and len(message.payload) > 1 else None
    if error is not None:
        return [Refused(native_symbol=native, request_id=message.id, reason=f"error {error.code}: {error.message}")]
    if channel == "spot.pong":
        return [Pong()]
    if channel == _CHANNEL and event in ("subscribe", "unsubscribe") and _succeeded(message):
        if event == "unsubscribe":
            return []
        if native is not None or message.id is not None:
            return [Subscribed(native_symbol=native, request_id=message.id)]
    raise MessageError(f"gate: a message of unknown kind (channel={channel!r}, event={event!r}, id={message.id})")


def _succeeded(message: _Message) -> bool:
    return _status.decode(message.result).status == "success"


def instruments_request() -> Request:
    """`GET /api/v4/spot/currency_pairs`"""
    return Request(path="/api/v4/spot/currency_pairs")


def parse_instruments(body: bytes) -> list[Instrument]:
    """`[{"id":"BTC_USDT","base":"BTC","quote":"USDT","trade_status":"tradable",…}]`"""
    try:
        listed = _pairs.decode(body)
    except UNREADABLE as error:
        raise MessageError(f"gate: the list of pairs could not be read: {error}") from error
    return [
        Instrument(
            symbol=f"{one.base.upper()}-{one.quote.upper()}",
            native_symbol=one.id,
            trading=one.trade_status == "tradable",
        )
        for one in listed
    ]


def refusal(response: Response) -> Refusal | None:
    """Errors have their status, and a label: `{"label":"INVALID_CURRENCY_PAIR","message":"…"}`."""
    reason = f"HTTP {response.status} {response.body[:200].decode(errors='replace')}"
    label, readable = "", True
    try:
        body = _body.decode(response.body)
        label = body.label if isinstance(body, _Refusal) else ""
    except UNREADABLE as error:
        readable, reason = False, f"not the JSON of an answer ({error}): {reason}"
    if response.status == 429 or label == "TOO_MANY_REQUESTS":
        return Refusal(kind="wait", reason=reason)
    if response.status >= 500 or label in _BUSY:
        return Refusal(kind="retry", reason=reason)
    if label in _UNKNOWN:
        return Refusal(kind="unknown_pair", reason=reason)
    if response.status != 200 or label:
        return Refusal(kind="fatal", reason=reason)
    return None if readable else Refusal(kind="retry", reason=reason)


def fetch_candles(symbol: str, start: datetime, end: datetime) -> Fetching:
    """`GET /api/v4/spot/candlesticks`, oldest first, the open candle included; both bounds are inclusive.

    A bound older than 10,000 minutes is refused, and how old a bound is, is not known before the first answer. So the
    newest rows are asked for first, without bounds: they are all that an hour which has just ended needs, and tell the
    time for what is older. `limit` with bounds would be refused: pages are bounded by their ends. Row:
    ["1784277360","107148.9454464","62841.7","62858.3","62830.2","62833.9","1.704912","true"]
    """
    native = native_symbol(symbol)
    response = yield _ask(native, limit=_NEWEST)
    newest = _page(native, response.body)
    now = response.server_time or response.recv_ts
    current = from_seconds(seconds(now) // 60 * 60)
    oldest = current - _HISTORY
    if end <= oldest:
        return Fetched(silence="no_trade_if_alive", beyond_history=True)
    until = min(end + _AROUND, current + MINUTE)
    reached = min(starts(newest), default=until)
    rows = newest if reached < until else []  # else there is a gap between them and what is asked about
    for first, following in spans(max(start - _AROUND, oldest), min(until, reached), _ROWS):
        response = yield _ask(native, **{"from": seconds(first), "to": seconds(following - MINUTE)})
        rows += _page(native, response.body)
    fetched = learnt(rows, start, end, now=now, silence="no_trade_if_alive")
    return msgspec.structs.replace(fetched, beyond_history=start < oldest)


def _ask(native: str, **bounds: int) -> Request:
    query = {"currency_pair": native, "interval": "1m", **{name: str(value) for name, value in bounds.items()}}
    return Request(path=_PATH, query=query)


def _page(native: str, body: bytes) -> list[Row]:
    try:
        raws = _rows.decode(body)
    except UNREADABLE as error:
        raise MessageError(f"gate {native}: the answer was not a list of candles: {error}") from error
    about = elements.About(symbol=lambda _: native, time=itemgetter(0))
    return [*elements.each(raws, lambda raw: parse_row(native, raw), about), *elements.beyond(raws, _COLUMNS)]


def parse_row(native: str, raw: msgspec.Raw) -> Candle:
    """A row of `fetch_candles`'s answers."""
    """Start, quote volume, close, high, low, open, base volume, finished; the last one is younger than the others."""
    row = _row.decode(raw)
    return check_candle(
        Candle(
            native_symbol=native,
            event_type="snapshot",
            event_ts=None,
            interval_start=from_seconds(row.start),
            is_final=None if row.is_final is None else row.is_final in (True, "true"),
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume,
            quote_volume=elements.number(row.quote_volume),
            payload=bytes(raw).decode(),
        )
    )
