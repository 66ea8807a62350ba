"""Coinbase (Advanced Trade): the stream has trades in the place of 1-minute candles, and numbers its messages.

REST has candles, without a row for a silent minute, and without count, quote volume or vwap. Its trades, which are
numbered one by one, have all that: they show that nobody traded, and what was traded. Products in USDC are other names
of the books in USD: they are not listed here.
Source: docs.cdp.coinbase.com, Advanced Trade WebSocket `market_trades` and `heartbeats`, REST public products, candles
and market trades (2026-10).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta
from operator import itemgetter

import msgspec

from stream import elements
from stream.elements import UNREADABLE, check_candle, check_trade
from stream.errors import MessageError, RestError
from stream.pages import Row, learnt, spans
from stream.wire import (
    EPOCH,
    MINUTE,
    Candle,
    Fetched,
    Fetching,
    Instrument,
    Misfit,
    Novelty,
    Odd,
    Record,
    Refusal,
    Refused,
    Request,
    Response,
    RestRules,
    Sequence,
    StreamRules,
    Subscribed,
    Trade,
    TradeRules,
    from_seconds,
    seconds,
)

ID = "coinbase"
WS_URL = "wss://advanced-trade-ws.coinbase.com"
REST_URL = "https://api.coinbase.com"
FLAGS_FINAL = False
STREAM = StreamRules(
    pairs_per_connection=100,  # no limit is documented; a lost message puts all pairs of its connection in doubt
    pairs_per_request=50,  # a refusal may not say which pair it is about: then each of them is asked for alone
    requests_per_second=4,  # of 8 that an address may send without a key
    greeting='{"type":"subscribe","channel":"heartbeats"}',  # without them a channel of quiet pairs is closed
    first_request=5,
    lifetime=None,
    idle=15,  # a heartbeat comes every second
    stale=1800,  # silence is normal here; a new snapshot tells whether it was real
    reconnect=2,  # 8 connections a second, by the stricter of two documents
)
REST = RestRules(
    requests_per_second=5,  # of 10
    together=10 * MINUTE,  # the trades of the minutes between cost requests too
)
TRADES: TradeRules | None = TradeRules(streamed=True, consecutive_ids=True)

_PRODUCTS = "/api/v3/brokerage/market/products"
_ROWS = 350
_WINDOW = 300
"""Minutes of a request for candles: with either meaning of `end`, and of the limit, all rows fit into the answer."""
_MARGIN = 30 * MINUTE
"""How far outside of a range candles are asked for: its neighbours may be silent."""
_TRADES = 1000
_PAGES = 60
"""How many pages of trades a question may take for what candles lack: twelve seconds. For a silence, any number."""


class _Message(msgspec.Struct, gc=False):
    channel: str | None = None
    type: str | None = None
    message: str | None = None
    sequence_num: int | None = None
    events: msgspec.Raw = msgspec.Raw(b"")


class _TradesEvent(msgspec.Struct, gc=False):
    trades: list[msgspec.Raw]


class _SubscriptionsEvent(msgspec.Struct):
    subscriptions: dict[str, list[str]]


class _Trade(msgspec.Struct, gc=False):
    trade_id: int
    product_id: str
    price: float
    size: float
    side: str
    time: str


class _Row(msgspec.Struct, gc=False):
    start: int
    low: float
    high: float
    open: float
    close: float
    volume: float


class _Rows(msgspec.Struct):
    candles: list[msgspec.Raw]


class _Product(msgspec.Struct):
    product_id: str
    status: str
    trading_disabled: bool
    alias: str = ""


class _Products(msgspec.Struct):
    products: list[_Product]


_message = msgspec.json.Decoder(_Message)
_trades_events = msgspec.json.Decoder(list[_TradesEvent])
_subscriptions_events = msgspec.json.Decoder(list[_SubscriptionsEvent])
_trade = msgspec.json.Decoder(_Trade, strict=False)
_page = msgspec.json.Decoder(_TradesEvent)
_rows = msgspec.json.Decoder(_Rows)
_row = msgspec.json.Decoder(_Row, strict=False)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ABOUT = elements.About(symbol=itemgetter("product_id"), time=itemgetter("time"))
"""Trades."""


def native_symbol(symbol: str) -> str:
    """`BTC-USD`, here too."""
    return symbol


def stream_url(ws_url: str) -> str:
    """One address for everything."""
    return ws_url


def subscribe(native_symbols: list[str], request_id: int) -> str:  # noqa: ARG001  # part of the protocol
    """`{"type":"subscribe","product_ids":["BTC-USD"],"channel":"market_trades"}`: requests have no ids here."""
    return _request("subscribe", native_symbols)


def unsubscribe(native_symbols: list[str], request_id: int) -> str:  # noqa: ARG001  # part of the protocol
    """The same message with the other verb."""
    return _request("unsubscribe", native_symbols)


def _request(verb: str, native_symbols: list[str]) -> str:
    request = {"type": verb, "product_ids": native_symbols, "channel": "market_trades"}
    return msgspec.json.encode(request).decode()


def parse_message(text: str | bytes) -> list[Record]:
    """The message's number, then what it says. A snapshot's trades are past ones; ids tell which are known already.

    {"channel":"market_trades","client_id":"","timestamp":"2018-04-04T16:45:08.500000000Z","sequence_num":5,"events":[
    {"type":"update","trades":[{"trade_id":"41198802","product_id":"BTC-USD","price":"6900","size":"1.25900000",
    "side":"BUY","time":"2018-04-04T16:45:08.321000Z"}]}]}

    Trades are put in order: inside an event they come newest first by some accounts, oldest first by others. An
    acknowledgement names all that the connection is subscribed to, of every channel.
    """
    try:
        message = _message.decode(text)
        number = message.sequence_num
        records: list[Record] = [] if number is None else [Sequence(number=number)]
        if message.channel == "market_trades":
            events = _trades_events.decode(message.events)
            found = elements.each([raw for event in events for raw in event.trades], _traded, _ABOUT)
            return records + _ordered(found) + [one for one in found if isinstance(one, Misfit)]
        if message.channel == "subscriptions":
            acknowledged = [one.subscriptions for one in _subscriptions_events.decode(message.events)]
            natives = [native for one in acknowledged for native in one.get("market_trades", [])]
            return records + [Subscribed(native_symbol=native, request_id=None) for native in natives]
        if message.channel == "heartbeats":
            return records
    except UNREADABLE as error:
        raise MessageError(f"coinbase: {error}") from error
    if message.type == "error":
        reason = message.message or "no reason given"
        return [Refused(native_symbol=_named(reason), request_id=None, reason=reason)]
    raise MessageError(f"coinbase: a message of unknown kind (channel={message.channel!r}, type={message.type!r})")


def _traded(raw: msgspec.Raw) -> Trade:
    """A trade of the stream or of REST, alike. `time` has up to nine digits of a second; what is too fine is cut off.

    `side` is the resting order's on Coinbase's feeds, so the taker's is the other one. NOT CONFIRMED for this API;
    nothing that is built from the trades depends on it.
    """
    trade = _trade.decode(raw)
    moment = datetime.fromisoformat(trade.time)  # rounded, a trade might get into the next minute
    if moment.utcoffset() != timedelta(0) or trade.side not in ("BUY", "SELL"):
        raise MessageError(f"coinbase {trade.product_id}: {bytes(raw)[:300]!r} is no trade with a side and a UTC time")
    return check_trade(
        Trade(
            native_symbol=trade.product_id,
            event_ts=moment,
            trade_id=trade.trade_id,
            price=trade.price,
            size=trade.size,
            side="sell" if trade.side == "BUY" else "buy",
            payload=bytes(raw).decode(),
        )
    )


def _ordered(found: Iterable[Trade | Misfit]) -> list[Trade]:
    trades = [one for one in found if isinstance(one, Trade)]
    return sorted(trades, key=lambda trade: (trade.event_ts, trade.trade_id or 0))


def _named(reason: str) -> str | None:
    """The product that an error is about, if it names exactly one. The texts of errors are NOT CONFIRMED."""
    words = {word.strip("'\"`.,:;!()[]") for word in reason.split()}
    products = [word for word in words if word.count("-") == 1 and word.isupper() and word.replace("-", "").isalnum()]
    return products[0] if len(products) == 1 else None


def instruments_request() -> Request:
    """`GET /api/v3/brokerage/market/products?product_type=SPOT`: all of them in one answer."""
    return Request(path=_PRODUCTS, query={"product_type": "SPOT"})


def parse_instruments(body: bytes) -> list[Instrument]:
    """`{"products":[{"product_id":"BTC-USD","status":"online","trading_disabled":false,"alias":"",…},…],…}`

    `BTC-USDC` has the alias `BTC-USD`: it is the same book, and its trades may come back under that name. One book
    under two names would count twice, so the other name is left out where the one it stands for is listed.
    """
    try:
        products = msgspec.json.decode(body, type=_Products).products
    except UNREADABLE as error:
        raise MessageError(f"coinbase: the list of products could not be read: {error}") from error
    listed = {one.product_id for one in products}
    return [
        Instrument(
            symbol=one.product_id,
            native_symbol=one.product_id,
            trading=one.status == "online" and not one.trading_disabled,
        )
        for one in products
        if one.alias not in listed
    ]


def refusal(response: Response) -> Refusal | None:
    """`{"error":"…","code":5,"message":"…","details":[]}`, or `{"errors":[{"id":"rate_limit_exceeded",…}]}`.

    Which status and text an unknown product gets is NOT CONFIRMED: 404, or any refusal that says so.
    """
    body = response.body.lower()
    reason = f"HTTP {response.status} {response.body[:200].decode(errors='replace')}"
    if response.status == 200:
        try:
            _object.decode(response.body)
        except UNREADABLE as error:
            return Refusal(kind="retry", reason=f"not the JSON of an answer ({error}): {reason}")
        return None
    if response.status == 429 or b"rate_limit_exceeded" in body:
        return Refusal(kind="wait", reason=reason)
    if response.status >= 500 or response.status == 403:  # 403: the firewall, it passes
        return Refusal(kind="retry", reason=reason)
    if response.status == 404 or (b"product" in body and (b"not found" in body or b"invalid product" in body)):
        return Refusal(kind="unknown_pair", reason=reason)
    return Refusal(kind="fatal", reason=reason)


def fetch_candles(symbol: str, start: datetime, end: datetime) -> Fetching:
    """`GET …/products/BTC-USD/candles`: newest first, no row for a silent minute. Then the trades.

    From the traded minute before the range to the one after it: they prove silence, and have what rows lack.

    `start` and `end` are always said: without them the answer may be minutes old. A row is final when the exchange's
    clock says that its minute is over; that the newest one is not there means nothing. Row:
    {"start":"1522860300","low":"6888.01","high":"6900","open":"6899.99","close":"6888.07","volume":"5.2590022"}
    """
    native = native_symbol(symbol)
    rows: list[Row] = []
    clock: list[datetime] = []
    for first, last in spans(start - _MARGIN, end + _MARGIN, _WINDOW):
        query = {
            "start": str(seconds(first)),
            "end": str(seconds(last)),
            "granularity": "ONE_MINUTE",
            "limit": str(_ROWS),
        }
        response = yield Request(path=f"{_PRODUCTS}/{native}/candles", query=query)
        clock.append(response.server_time or response.recv_ts)
        rows += _rest_candles(native, response.body)
    fetched = learnt(rows, start, end, now=min(clock), silence="no_trade_if_alive")
    around = _traded_around(rows, start, end, min(clock))
    silent = any(after - before > MINUTE for before, after in itertools.pairwise(around))
    if len(around) < 3 and not silent:
        return fetched  # ids prove what lies between a trade and another
    try:
        deals = yield from _fetch_trades(native, around[0], around[-1] + MINUTE, None if silent else _PAGES)
    except (RestError, MessageError) as error:
        if silent:
            raise
        said = [Novelty(what=str(error))] if isinstance(error, MessageError) else []
        return msgspec.structs.replace(fetched, odd=[*fetched.odd, *said])  # what its candles lack stays null
    return msgspec.structs.replace(fetched, trades=deals.trades, odd=[*fetched.odd, *deals.odd])


def _traded_around(rows: list[Row], start: datetime, end: datetime, now: datetime) -> list[datetime]:
    """The finished traded minutes of `start..end`, the one before and the one after."""
    over = [row for row in rows if isinstance(row, Candle) and row.interval_start + MINUTE <= now]
    traded = sorted({row.interval_start for row in over})
    before, after = [one for one in traded if one < start][-1:], [one for one in traded if one >= end][:1]
    return [*before, *(one for one in traded if start <= one < end), *after]


def _fetch_trades(native: str, start: datetime, end: datetime, pages: int | None) -> Fetching:
    """`GET …/products/BTC-USD/ticker`: the trades of `start..end`, both on a minute with trades.

    Newest first, so it is read backwards until nothing new comes, or so many pages were read: how many trades a page
    holds at most, and whether its bounds are inclusive, is NOT CONFIRMED. Where it ends too early, the minute at which
    it broke off is left out, since half of its trades would make a wrong candle.
    """
    known: dict[int | None, Trade] = {}
    odd: list[Odd] = []
    oldest = end
    for _ in itertools.count() if pages is None else range(pages):
        until = from_seconds(seconds(oldest) + 1)
        response = yield Request(
            path=f"{_PRODUCTS}/{native}/ticker",
            query={"limit": str(_TRADES), "start": str(seconds(start)), "end": str(seconds(until))},
        )
        found = _rest_trades(native, response.body)
        odd += [one for one in found if isinstance(one, Misfit) and one not in odd]
        page = [one for one in found if isinstance(one, Trade) and start <= one.event_ts <= until]
        new = [trade for trade in page if trade.trade_id not in known]
        if not new:
            break
        known.update((trade.trade_id, trade) for trade in new)
        oldest = min(trade.event_ts for trade in known.values())
    whole = start if oldest < start + MINUTE else oldest - (oldest - EPOCH) % MINUTE + MINUTE
    return Fetched(trades=_ordered(one for one in known.values() if whole <= one.event_ts < end), odd=odd)


def parse_row(native: str, raw: msgspec.Raw) -> Candle | Trade:
    """A row of `fetch_candles`'s answers: `{"start":"1763164800",…}`, or a trade."""
    return _rest_candle(native, raw) if b'"start"' in bytes(raw) else _rest_trade(native, raw)


def _rest_candles(native: str, body: bytes) -> list[Candle | Misfit]:
    try:
        raws = _rows.decode(body).candles
    except UNREADABLE as error:
        raise MessageError(f"coinbase {native}: the answer was not a list of candles: {error}") from error
    about = elements.About(symbol=lambda _: native, time=itemgetter("start"))
    return elements.each(raws, lambda raw: _rest_candle(native, raw), about)


def _rest_candle(native: str, raw: msgspec.Raw) -> Candle:
    row = _row.decode(raw)
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
            payload=bytes(raw).decode(),
        )
    )


def _rest_trades(native: str, body: bytes) -> list[Trade | Misfit]:
    try:
        raws = _page.decode(body).trades
    except UNREADABLE as error:
        raise MessageError(f"coinbase {native}: a page of trades could not be read: {error}") from error
    return elements.each(raws, lambda raw: _rest_trade(native, raw), _ABOUT)


def _rest_trade(native: str, raw: msgspec.Raw) -> Trade:
    trade = _traded(raw)
    if trade.native_symbol != native:
        raise MessageError(f"coinbase: a trade of {trade.native_symbol} in an answer about {native}")
    return trade
