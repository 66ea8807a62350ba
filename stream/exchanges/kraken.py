"""Kraken spot: no final flag, nothing on the socket for a silent minute, flat rows over REST, and only 720 of them.

Older minutes are rebuilt from the trades, which Kraken calls the official record.
Source: docs.kraken.com, Spot WebSocket v2 `ohlc`, REST `OHLC`, `Trades` and `AssetPairs` (2026-10).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from operator import itemgetter
from typing import Literal

import msgspec

from stream import elements
from stream.elements import UNREADABLE, check_candle, check_trade
from stream.errors import MessageError
from stream.pages import learnt, starts
from stream.wire import (
    EPOCH,
    MINUTE,
    Candle,
    Fetched,
    Fetching,
    Instrument,
    Misfit,
    Notice,
    Odd,
    Record,
    Refusal,
    Refused,
    Request,
    Response,
    RestRules,
    StreamRules,
    Subscribed,
    Trade,
    TradeRules,
    from_seconds,
    seconds,
)

ID = "kraken"
WS_URL = "wss://ws.kraken.com/v2"
REST_URL = "https://api.kraken.com"
FLAGS_FINAL = False
STREAM = StreamRules(
    pairs_per_connection=250,
    pairs_per_request=250,  # many small subscribe messages get the socket closed
    requests_per_second=1,
    lifetime=None,
    idle=15,  # a heartbeat comes every second
    stale=1800,  # silence is normal here; a new snapshot tells whether it was real
    reconnect=5,  # about 150 attempts in 10 minutes per address
)
_HISTORY = 700 * MINUTE  # 720 rows are promised, 707 were seen
REST = RestRules(requests_per_second=1, reach=_HISTORY, older="trades")
TRADES: TradeRules | None = TradeRules(streamed=False, consecutive_ids=False)  # gapless ids are not documented

_COLUMNS, _TRADE_COLUMNS = 8, 7
_TRADES = 1000  # rows of a page
_LEGACY = {"XBT": "BTC", "XDG": "DOGE"}
_LEGACY_OF = {modern: legacy for legacy, modern in _LEGACY.items()}


class _Element(msgspec.Struct, gc=False):
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    interval_begin: datetime
    interval: int
    vwap: elements.Number = None
    trades: elements.Number = None


class _Result(msgspec.Struct):
    channel: str | None = None
    symbol: str | None = None


class _System(msgspec.Struct):
    system: str


class _Message(msgspec.Struct, gc=False):
    channel: str | None = None
    type: str | None = None
    timestamp: datetime | None = None
    data: list[msgspec.Raw] | None = None
    method: str | None = None
    success: bool | None = None
    error: str | None = None
    result: _Result | None = None
    symbol: str | None = None
    req_id: int | None = None


class _Body(msgspec.Struct):
    error: list[str]
    result: dict[str, msgspec.Raw] | None = None


class _Pair(msgspec.Struct):
    wsname: str | None = None
    status: str = "online"


class _Row(msgspec.Struct, array_like=True, gc=False):
    start: int
    open: float
    high: float
    low: float
    close: float
    vwap: elements.Number
    volume: float
    trades: elements.Number


class _TradeRow(msgspec.Struct, array_like=True, gc=False):
    price: float
    size: float
    time: float
    side: Literal["b", "s"]
    kind: str
    more: str
    trade_id: int | None = None


_message = msgspec.json.Decoder(_Message)
_element = msgspec.json.Decoder(_Element, strict=False)
_body = msgspec.json.Decoder(_Body)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(_Row, strict=False)
_trade_row = msgspec.json.Decoder(_TradeRow, strict=False)


def native_symbol(symbol: str) -> str:
    """`BTC-USDT` → `BTC/USDT`, the spelling of websocket v2."""
    return symbol.replace("-", "/")


def rest_symbol(symbol: str) -> str:
    """`BTC-USDT` → `XBTUSDT`: REST still has the old name of two assets."""
    return "".join(_LEGACY_OF.get(part, part) for part in symbol.split("-"))


def stream_url(ws_url: str) -> str:
    """One address for everything."""
    return ws_url


def subscribe(native_symbols: list[str], request_id: int) -> str:
    """All symbols in one message; the snapshot comes with it."""
    return _request("subscribe", native_symbols, request_id, snapshot=True)


def unsubscribe(native_symbols: list[str], request_id: int) -> str:
    """The same message with the other verb."""
    return _request("unsubscribe", native_symbols, request_id)


def _request(method: str, native_symbols: list[str], request_id: int, **more: bool) -> str:
    params = {"channel": "ohlc", "symbol": native_symbols, "interval": 1, **more}
    return msgspec.json.encode({"method": method, "params": params, "req_id": request_id}).decode()


def parse_message(text: str | bytes) -> list[Record]:
    """A v2 message. A snapshot holds many candles, of several minutes; updates normally one.

    {"channel":"ohlc","type":"update","timestamp":"2025-11-10T12:20:41.250000000Z","data":[{"symbol":"BTC/USDT",
    "open":106038.1,"high":106044.3,"low":106038.1,"close":106040.1,"trades":3,"volume":0.08317981,"vwap":106039.6,
    "interval_begin":"2025-11-10T12:20:00.000000000Z","interval":1,"timestamp":"2025-11-10T12:21:00.000000Z"}]}

    The candle's own `timestamp` is deprecated and is the interval's end: `interval_begin` is the key.
    """
    try:
        message = _message.decode(text)
        if message.channel == "ohlc" and message.type in ("snapshot", "update"):
            about = elements.About(symbol=itemgetter("symbol"), time=itemgetter("interval_begin"))
            return [*elements.each(message.data or [], lambda raw: _candle(message, raw), about)]
        if message.channel in ("heartbeat", "pong") or message.method in ("pong", "unsubscribe"):
            return []
        if message.channel == "status":
            states = [msgspec.json.decode(element, type=_System).system for element in message.data or []]
            return [Notice(system=state, detail=f"status channel: {state}") for state in states]
    except UNREADABLE as error:
        raise MessageError(f"kraken: {error}") from error
    if message.success is False or message.error:
        reason = message.error or "no reason given"
        return [Refused(native_symbol=message.symbol, request_id=message.req_id, reason=reason)]
    if message.method == "subscribe" and message.result is not None and message.result.symbol:
        return [Subscribed(native_symbol=message.result.symbol, request_id=message.req_id)]
    raise MessageError(f"kraken: a message of unknown kind (channel={message.channel!r}, method={message.method!r})")


def _candle(message: _Message, raw: msgspec.Raw) -> Candle:
    element = _element.decode(raw)
    if element.interval != 1:
        raise MessageError(f"kraken {element.symbol}: the interval was {element.interval}, only 1 minute is recorded")
    trades = elements.count(element.trades)
    return check_candle(
        Candle(
            native_symbol=element.symbol,
            event_type="snapshot" if message.type == "snapshot" else "update",
            event_ts=message.timestamp,
            interval_start=element.interval_begin,
            is_final=None,
            open=element.open,
            high=element.high,
            low=element.low,
            close=element.close,
            volume=element.volume,
            trade_count=trades,
            vwap=elements.number(element.vwap) if trades else None,
            payload=bytes(raw).decode(),
        )
    )


def instruments_request() -> Request:
    """`GET /0/public/AssetPairs`"""
    return Request(path="/0/public/AssetPairs")


def parse_instruments(body: bytes) -> list[Instrument]:
    """`{"error":[],"result":{"XBTUSDT":{"altname":"XBTUSDT","wsname":"XBT/USDT","status":"online",…}}}`

    The list speaks the old names, the websocket refuses them. Dark pools (`.d`) have no `wsname`.
    """
    try:
        pairs = [msgspec.json.decode(raw, type=_Pair) for raw in _result(body).values()]
    except UNREADABLE as error:
        raise MessageError(f"kraken: the list of pairs could not be read: {error}") from error
    named = [(pair.wsname.split("/", 1), pair.status) for pair in pairs if pair.wsname and "/" in pair.wsname]
    symbols = {"-".join(_LEGACY.get(part, part).upper() for part in parts): status for parts, status in named}
    return [
        Instrument(symbol=symbol, native_symbol=native_symbol(symbol), trading=status == "online")
        for symbol, status in symbols.items()
    ]


def refusal(response: Response) -> Refusal | None:
    """Errors live in bodies with status 200: `{"error":["EGeneral:Too many requests"]}`."""
    reason = f"HTTP {response.status} {response.body[:200].decode(errors='replace')}"
    if response.status == 429:
        return Refusal(kind="wait", reason=reason)
    if response.status >= 500:
        return Refusal(kind="retry", reason=reason)
    if response.status != 200:
        return Refusal(kind="fatal", reason=reason)
    try:
        errors = " ".join(_body.decode(response.body).error)
    except UNREADABLE as error:
        return Refusal(kind="retry", reason=f"not the JSON of an answer ({error}): {reason}")
    if not errors:
        return None
    if "Too many requests" in errors or "Rate limit" in errors or "lockout" in errors:
        return Refusal(kind="wait", reason=errors)
    if "Unknown asset" in errors:
        return Refusal(kind="unknown_pair", reason=errors)
    if errors.startswith("EService"):
        return Refusal(kind="retry", reason=errors)
    return Refusal(kind="fatal", reason=errors)


def fetch_candles(symbol: str, start: datetime, end: datetime) -> Fetching:
    """`GET /0/public/OHLC` for what its 720 rows reach, `GET /0/public/Trades` for older minutes.

    `since` is exclusive, `last` is the newest committed row, and the row behind it the open candle. Row:
    [1762777200,"106038.1","106044.3","106038.1","106040.1","106039.6","0.08317981",3]
    """
    native = native_symbol(symbol)
    query = {"pair": rest_symbol(symbol), "interval": "1", "since": str(seconds(start - 2 * MINUTE))}
    response = yield Request(path="/0/public/OHLC", query=query)
    raws, about = _rows(response.body), elements.About(symbol=lambda _: native, time=itemgetter(0))
    rows = [*elements.each(raws, lambda raw: _rest_candle(native, raw), about), *elements.beyond(raws, _COLUMNS)]
    minutes = sorted(starts(rows))
    reached = minutes[0] if minutes[1:] else end
    open_since = _open_since(response.body) or (minutes[-1] if minutes else end)
    now = min(open_since, response.server_time or response.recv_ts)
    fetched = learnt(rows, start, end, now=now, silence="no_trade_if_alive")
    if reached > start and response.recv_ts - start > _HISTORY:
        return (yield from _fetch_trades(symbol, start, min(reached, end), fetched))
    return fetched


def _fetch_trades(symbol: str, start: datetime, trades_end: datetime, newer: Fetched) -> Fetching:
    """Pages through the trades of `start..trades_end`; what OHLC still had is used from there on.

    Reads on until a trade at or after the end, or an empty page: only then is every trade of the range known.
    The look back for the previous close is one hour; a pair that is quieter than that has none.
    """
    cursor = str(seconds(start - timedelta(hours=1)))
    trades: dict[tuple[int | None, str], Trade] = {}
    odd = list(newer.odd)
    previous_close: float | None = None
    complete = False
    while not complete:
        query = {"pair": rest_symbol(symbol), "since": cursor, "count": str(_TRADES)}
        response = yield Request(path="/0/public/Trades", query=query)
        page, last = _trades(native_symbol(symbol), response.body)
        odd += [one for one in page if not isinstance(one, Trade)]
        read = [one for one in page if isinstance(one, Trade)]
        for trade in read:
            if trade.event_ts < start:
                previous_close = trade.price
            elif trade.event_ts < trades_end:
                trades[(trade.trade_id, trade.payload)] = trade
        complete = not page or bool(read and read[-1].event_ts >= trades_end) or last == cursor
        cursor = last
    if any(isinstance(one, Misfit) and (one.minute is None or one.minute < start) for one in odd):
        previous_close = None  # it may have been that one's
    return Fetched(
        candles=newer.candles,
        trades=list(trades.values()),
        odd=odd,
        covered_start=start,
        covered_end=max(trades_end, newer.covered_end or trades_end),
        silence="no_trade",
        previous_close=previous_close,
    )


def _rows(body: bytes) -> list[msgspec.Raw]:
    try:
        (answer,) = (raw for key, raw in _result(body).items() if key != "last")
        return _list.decode(answer)
    except UNREADABLE as error:
        raise MessageError(f"kraken: the answer was not a list of rows: {error}") from error


def _open_since(body: bytes) -> datetime | None:
    """The minute after the last committed one; None where the answer does not say it."""
    try:
        return from_seconds(msgspec.json.decode(_result(body)["last"], type=int)) + MINUTE
    except (*UNREADABLE, KeyError):
        return None


def _result(body: bytes) -> dict[str, msgspec.Raw]:
    result = _body.decode(body).result
    if result is None:
        raise MessageError(f"kraken: an answer without a result: {body[:200]!r}")
    return result


def parse_row(native: str, raw: msgspec.Raw) -> Candle | Trade:
    """A row of `fetch_candles`'s answers: `[1763164800,…]`, or a trade, `["94987.7",…]`."""
    return _trade(native, raw) if bytes(raw)[:2] == b'["' else _rest_candle(native, raw)


def _rest_candle(native: str, raw: msgspec.Raw) -> Candle:
    row = _row.decode(raw)
    trades = elements.count(row.trades)
    return check_candle(
        Candle(
            native_symbol=native,
            event_type="snapshot",
            event_ts=None,
            interval_start=from_seconds(row.start),
            is_final=None,
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume,
            trade_count=trades,
            vwap=elements.number(row.vwap) if trades else None,  # "0.0" in a flat row is a placeholder, not a price
            payload=bytes(raw).decode(),
        )
    )


def _trades(native: str, body: bytes) -> tuple[list[Trade | Odd], str]:
    """The trades of a page, oldest first, and the `since` of the next. Rows before the ids have six columns."""
    try:
        last = msgspec.json.decode(_result(body)["last"], type=str)
    except (*UNREADABLE, KeyError) as error:
        raise MessageError(f"kraken {native}: a page of trades could not be read: {error!r}") from error
    raws = _rows(body)
    about = elements.About(symbol=lambda _: native, time=itemgetter(2))
    return [*elements.each(raws, lambda raw: _trade(native, raw), about), *elements.beyond(raws, _TRADE_COLUMNS)], last


def _trade(native: str, raw: msgspec.Raw) -> Trade:
    row = _trade_row.decode(raw)
    return check_trade(
        Trade(
            native_symbol=native,
            event_ts=EPOCH + timedelta(microseconds=int(row.time * 1_000_000)),
            trade_id=row.trade_id,
            price=row.price,
            size=row.size,
            side="buy" if row.side == "b" else "sell",
            payload=bytes(raw).decode(),
        )
    )
