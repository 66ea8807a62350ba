"""Binance spot: candles with a final flag, flat rows for silent minutes, full history over REST.

Source: binance-spot-api-docs, web-socket-streams.md and rest-api.md (2026-07).
"""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter

import msgspec

from stream import elements
from stream.elements import ABSENT, UNREADABLE, check_candle
from stream.errors import MessageError
from stream.pages import Row, learnt, starts
from stream.wire import (
    MINUTE,
    Candle,
    Fetching,
    Instrument,
    Notice,
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

ID = "binance"
WS_URL = "wss://stream.binance.com:9443"
REST_URL = "https://api.binance.com"
FLAGS_FINAL = True
STREAM = StreamRules(
    pairs_per_connection=1024,
    pairs_per_request=200,
    requests_per_second=4,  # of 5 that a client may send, pongs included
    lifetime=24 * 3600,
    idle=60,  # the server pings every 20 s
    stale=180,  # a silent minute still closes with a flat candle
    reconnect=2,  # at most 300 attempts in 5 minutes
)
REST = RestRules(requests_per_second=20)  # weight 2 of 6,000 a minute: 40 % of the budget
TRADES: TradeRules | None = None

_ROWS = 1000
_COLUMNS = 12


class _Kline(msgspec.Struct, gc=False):
    t: int
    T: int
    i: str
    o: float
    h: float
    l: float  # noqa: E741  # the wire's own name
    c: float
    v: float
    x: bool
    n: elements.Number = None
    q: elements.Number = None


class _Message(msgspec.Struct, gc=False):
    e: str | None = None
    E: int | None = None
    s: str | None = None
    k: msgspec.Raw = ABSENT
    stream: str | None = None
    data: msgspec.Raw = ABSENT
    id: int | str | None = None
    code: int | None = None
    msg: str | None = None
    error: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT


class _Symbol(msgspec.Struct):
    symbol: str
    status: str
    baseAsset: str
    quoteAsset: str


class _Instruments(msgspec.Struct):
    symbols: list[_Symbol]


class _Row(elements.Ohlcv, array_like=True, gc=False):
    end: int
    quote_volume: elements.Number
    trade_count: elements.Number


_message = msgspec.json.Decoder(_Message, strict=False)
_kline = msgspec.json.Decoder(_Kline, strict=False)
_rows = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(_Row, strict=False)


def native_symbol(symbol: str) -> str:
    """`BTC-USDT` → `BTCUSDT`."""
    return symbol.replace("-", "")


def stream_url(ws_url: str) -> str:
    """Combined streams; what to send is subscribed by message, so that each subscription is acknowledged."""
    return f"{ws_url}/stream"


def subscribe(native_symbols: list[str], request_id: int) -> str:
    """`{"method":"SUBSCRIBE","params":["btcusdt@kline_1m"],"id":1}`"""
    return _request("SUBSCRIBE", native_symbols, request_id)


def unsubscribe(native_symbols: list[str], request_id: int) -> str:
    """`{"method":"UNSUBSCRIBE","params":["btcusdt@kline_1m"],"id":2}`"""
    return _request("UNSUBSCRIBE", native_symbols, request_id)


def _request(method: str, native_symbols: list[str], request_id: int) -> str:
    streams = [f"{native.lower()}@kline_1m" for native in native_symbols]
    return msgspec.json.encode({"method": method, "params": streams, "id": request_id}).decode()


def parse_message(text: str | bytes) -> list[Record]:
    """A combined-stream message, or a bare one (`/ws/…`).

    {"stream":"nknusdt@kline_1m","data":{"e":"kline","E":1633998523963,"s":"NKNUSDT","k":{"t":1633998480000,
    "T":1633998539999,"s":"NKNUSDT","i":"1m","f":19862761,"L":19862790,"o":"0.35270000","c":"0.35280000",
    "h":"0.35280000","l":"0.35220000","v":"25877.00000000","n":30,"x":false,"q":"9116.04600000",
    "V":"58.00000000","Q":"20.46240000","B":"0"}}}
    """
    try:
        message = _message.decode(text)
        if message.data:
            message = _message.decode(message.data)
        if message.k and message.e == "kline" and message.s is not None:
            native, sent = message.s, message.E
            about = elements.About(symbol=lambda _: native, time=itemgetter("t"))
            return [*elements.each([message.k], lambda raw: _candle(native, sent, raw), about)]
    except UNREADABLE as error:
        raise MessageError(f"binance: {error}") from error
    if message.e == "serverShutdown":
        return [Notice(system="shutdown", detail="the server announced that it closes", closing=True)]
    request_id = message.id if isinstance(message.id, int) else None
    if message.code is not None or message.error:
        reason = message.msg or bytes(message.error).decode() or "no reason given"
        return [Refused(native_symbol=None, request_id=request_id, reason=f"code {message.code}: {reason}")]
    if request_id is not None and message.result:
        return [Subscribed(native_symbol=None, request_id=request_id)]
    raise MessageError(f"binance: a message of unknown kind (e={message.e!r}, stream={message.stream!r})")


def _candle(native: str, event_ms: int | None, element: msgspec.Raw) -> Candle:
    kline = _kline.decode(element)
    if kline.i != "1m":
        raise MessageError(f"binance {native}: the interval was {kline.i!r}, only 1m is recorded")
    return check_candle(
        Candle(
            native_symbol=native,
            event_type="update",
            event_ts=None if event_ms is None else from_milliseconds(event_ms),
            interval_start=from_milliseconds(kline.t),
            is_final=kline.x,
            open=kline.o,
            high=kline.h,
            low=kline.l,
            close=kline.c,
            volume=kline.v,
            quote_volume=elements.number(kline.q),
            trade_count=elements.count(kline.n),
            payload=bytes(element).decode(),
        )
    )


def instruments_request() -> Request:
    """`GET /api/v3/exchangeInfo`, weight 20."""
    return Request(path="/api/v3/exchangeInfo")


def parse_instruments(body: bytes) -> list[Instrument]:
    """`{"symbols":[{"symbol":"ETHBTC","status":"TRADING","baseAsset":"ETH","quoteAsset":"BTC",…}],…}`"""
    try:
        listed = msgspec.json.decode(body, type=_Instruments).symbols
    except UNREADABLE as error:
        raise MessageError(f"binance: the instruments list could not be read: {error}") from error
    return [
        Instrument(
            symbol=f"{one.baseAsset.upper()}-{one.quoteAsset.upper()}",
            native_symbol=one.symbol,
            trading=one.status == "TRADING",
        )
        for one in listed
    ]


def refusal(response: Response) -> Refusal | None:
    """429 and 418 ask to wait; 4xx bodies carry `{"code":-1121,"msg":"Invalid symbol."}`."""
    if response.status == 200:
        return None
    reason = f"HTTP {response.status} {response.body[:200].decode(errors='replace')}"
    if response.status in (418, 429):
        return Refusal(kind="wait", reason=reason)
    if response.status >= 500 or response.status == 403:  # 403: the firewall, it passes
        return Refusal(kind="retry", reason=reason)
    if b"-1121" in response.body:
        return Refusal(kind="unknown_pair", reason=reason)
    return Refusal(kind="fatal", reason=reason)


def fetch_candles(symbol: str, start: datetime, end: datetime) -> Fetching:
    """`GET /api/v3/klines`: both bounds are open times and inclusive, oldest first, at most 1,000 rows.

    One minute more is asked for on each side: the row before gives the previous close, the row after proves that
    the last one asked for is closed. Row:
    [1634943780000,"60685.22","60729.84","60670.90","60719.27","21.63",1634943839999,"1313200.01",617,"12.28","745719.41","0"]
    """
    native = native_symbol(symbol)
    rows: list[Row] = []
    first, now = start - MINUTE, start
    while first <= end:
        response = yield Request(
            path="/api/v3/klines",
            query={
                "symbol": native,
                "interval": "1m",
                "startTime": str(milliseconds(first)),
                "endTime": str(milliseconds(end)),
                "limit": str(_ROWS),
            },
        )
        page = _decode_rows(response.body)
        found = _rest_candles(native, page)
        rows += found
        now = response.server_time or response.recv_ts
        if len(page) < _ROWS:
            break
        first = max(starts(found), default=first + (_ROWS - 1) * MINUTE) + MINUTE
    return learnt(rows, start, end, now=now, silence="no_data")


def _decode_rows(body: bytes) -> list[msgspec.Raw]:
    try:
        return _rows.decode(body)
    except UNREADABLE as error:
        raise MessageError(f"binance: the answer was not a list of candles: {error}") from error


def _rest_candles(native: str, raws: list[msgspec.Raw]) -> list[Row]:
    about = elements.About(symbol=lambda _: native, time=itemgetter(0))
    found = elements.each(raws, lambda raw: parse_row(native, raw), about)
    return [*found, *elements.beyond(raws, _COLUMNS)]


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
            quote_volume=elements.number(row.quote_volume),
            trade_count=elements.count(row.trade_count),
            payload=bytes(raw).decode(),
        )
    )
