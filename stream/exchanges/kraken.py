"""Kraken spot: no final flag, nothing on the socket for a silent minute, flat rows over REST, and only 720 of them.

Older minutes are rebuilt from the trades, which Kraken calls the official record.
Source: docs.kraken.com, Spot WebSocket v2 `ohlc`, REST `OHLC`, `Trades` and `AssetPairs` (2026-10).
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from stream.errors import MessageError
from stream.pages import learnt
from stream.wire import (
    EPOCH,
    MINUTE,
    Candle,
    Fetched,
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
    Trade,
    TradeRules,
    check_candle,
    check_trade,
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
_HISTORY = 700 * MINUTE
"""720 rows are promised, 707 were seen."""
REST = RestRules(requests_per_second=1, reach=_HISTORY, older="trades")
TRADES: TradeRules | None = TradeRules(streamed=False, consecutive_ids=False)  # gapless ids are not documented

_TRADES = 1000
"""Rows of a page of trades."""
_LEGACY = {"XBT": "BTC", "XDG": "DOGE"}
_LEGACY_OF = {modern: legacy for legacy, modern in _LEGACY.items()}


class _Element(msgspec.Struct, gc=False):
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float
    trades: int
    interval_begin: datetime
    interval: int


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


_Row = tuple[int, float, float, float, float, float, float, int]

_message = msgspec.json.Decoder(_Message)
_element = msgspec.json.Decoder(_Element)
_system = msgspec.json.Decoder(_System)
_body = msgspec.json.Decoder(_Body)
_list = msgspec.json.Decoder(list[msgspec.Raw])
_row = msgspec.json.Decoder(_Row, strict=False)


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
            return [_candle(message, element) for element in message.data or []]
        if message.channel in ("heartbeat", "pong") or message.method in ("pong", "unsubscribe"):
            return []
        if message.channel == "status":
            states = [_system.decode(element).system for element in message.data or []]
            return [Notice(system=state, detail=f"status channel: {state}") for state in states]
    except (msgspec.DecodeError, OverflowError, ValueError) as error:
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
            trade_count=element.trades,
            vwap=element.vwap if element.trades else None,
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
    except msgspec.DecodeError as error:
        raise MessageError(f"kraken: the list of pairs could not be read: {error}") from error
    listed = []
    for pair in pairs:
        if pair.wsname and "/" in pair.wsname:
            base, quote = (_LEGACY.get(part, part).upper() for part in pair.wsname.split("/", 1))
            symbol = f"{base}-{quote}"
            listed.append(
                Instrument(symbol=symbol, native_symbol=native_symbol(symbol), trading=pair.status == "online")
            )
    return listed


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
    except msgspec.DecodeError as error:
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

    `since` is exclusive, `last` counts only committed rows, and the last row is always the open candle. Row:
    [1762777200,"106038.1","106044.3","106038.1","106040.1","106039.6","0.08317981",3]
    """
    native = native_symbol(symbol)
    since = start - 2 * MINUTE
    response = yield Request(
        path="/0/public/OHLC",
        query={"pair": rest_symbol(symbol), "interval": "1", "since": str(seconds(since))},
    )
    rows = sorted((_rest_candle(native, raw) for raw in _rows(response.body)), key=lambda one: one.interval_start)
    reached = rows[0].interval_start if rows[1:] else end
    if reached > start and response.recv_ts - start > _HISTORY:
        return (yield from _fetch_trades(symbol, start, min(reached, end), rows[:-1], end))
    open_since = rows[-1].interval_start if rows else end
    return learnt(rows, start, end, now=open_since, silence="no_trade_if_alive")


def _fetch_trades(symbol: str, start: datetime, trades_end: datetime, rows: list[Candle], end: datetime) -> Fetching:
    """Pages through the trades of `start..trades_end`; rows that OHLC still had are used from there on.

    Reads on until a trade at or after the end, or an empty page: only then is every trade of the range known.
    The look back for the previous close is one hour; a pair that is quieter than that has none.
    """
    native = native_symbol(symbol)
    cursor = str(seconds(start - timedelta(hours=1)))
    trades: dict[tuple[int | None, str], Trade] = {}
    previous_close: float | None = None
    complete = False
    while not complete:
        response = yield Request(
            path="/0/public/Trades",
            query={"pair": rest_symbol(symbol), "since": cursor, "count": str(_TRADES)},
        )
        page, last = _trades(native, response.body)
        for trade in page:
            if trade.event_ts < start:
                previous_close = trade.price
            elif trade.event_ts < trades_end:
                trades[(trade.trade_id, trade.payload)] = trade
        complete = not page or page[-1].event_ts >= trades_end or last == cursor
        cursor = last
    return Fetched(
        candles=[candle for candle in rows if trades_end <= candle.interval_start < end],
        trades=list(trades.values()),
        covered_start=start,
        covered_end=max(trades_end, min(end, rows[-1].interval_start + MINUTE)) if rows else trades_end,
        silence="no_trade",
        previous_close=previous_close,
    )


def _rows(body: bytes) -> list[msgspec.Raw]:
    try:
        answers = [raw for key, raw in _result(body).items() if key != "last"]
        if len(answers) != 1:
            raise MessageError(f"kraken: {len(answers)} pairs in an answer about one")
        return _list.decode(answers[0])
    except msgspec.DecodeError as error:
        raise MessageError(f"kraken: the answer was not a list of rows: {error}") from error


def _result(body: bytes) -> dict[str, msgspec.Raw]:
    result = _body.decode(body).result
    if result is None:
        raise MessageError(f"kraken: an answer without a result: {body[:200]!r}")
    return result


def _rest_candle(native: str, raw: msgspec.Raw) -> Candle:
    try:
        row = _row.decode(raw)
    except msgspec.DecodeError as error:
        raise MessageError(f"kraken {native}: {bytes(raw)[:100]!r} was not a candle row: {error}") from error
    return check_candle(
        Candle(
            native_symbol=native,
            event_type="snapshot",
            event_ts=None,
            interval_start=from_seconds(row[0]),
            is_final=None,
            open=row[1],
            high=row[2],
            low=row[3],
            close=row[4],
            volume=row[6],
            trade_count=row[7],
            vwap=row[5] if row[7] else None,  # "0.0" in a flat row is a placeholder, not a price
            payload=bytes(raw).decode(),
        )
    )


def _trades(native: str, body: bytes) -> tuple[list[Trade], str]:
    """The trades of a page, oldest first, and the `since` of the next. Rows before the ids have six columns."""
    result = _result(body)
    try:
        last = msgspec.json.decode(result["last"], type=str)
        page = []
        for raw in _rows(body):
            row = msgspec.json.decode(raw)
            trade = Trade(
                native_symbol=native,
                event_ts=EPOCH + timedelta(microseconds=int(float(row[2]) * 1_000_000)),
                trade_id=int(row[6]) if len(row) > 6 else None,
                price=float(row[0]),
                size=float(row[1]),
                side="buy" if row[3] == "b" else "sell",
                payload=bytes(raw).decode(),
            )
            page.append(check_trade(trade))
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise MessageError(f"kraken {native}: a page of trades could not be read: {error!r}") from error
    return page, last
