"""Coinbase's wire format and manners (Advanced Trade), from docs.cdp.coinbase.com: `market_trades` and public REST."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from stream.clock import floor
from stream.emulator.bar import EPOCH, MINUTE, UNIT, Bar
from stream.emulator.faults import Emission, Finality
from stream.emulator.market import Market
from stream.emulator.trades import Trade, trades, updates
from stream.emulator.venue import Answer, Manners, Session, encode, since_epoch

_SEQUENCE, _BEAT = '"sequence_num":0', '"heartbeat_counter":0'
"""Where `framed` writes the session's numbers."""
_QUOTES = {"bid": "", "ask": ""}
"""REST trades have these fields too, mostly empty."""
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
_HEARTBEATS = "heartbeats"
_HEARTBEAT = (
    f'{{"channel":"{_HEARTBEATS}","client_id":"","timestamp":"{_TIME}",{_SEQUENCE},'
    f'"events":[{{"current_time":"%Y-%m-%d %H:%M:%S.%f +0000 UTC",{_BEAT}}}]}}'
)
_SNAPSHOT = 20
"""Trades in a snapshot."""
_LOOK_BACK = 60 * MINUTE
"""How far back they are looked for."""
_ROWS = 350
_TRADES = 1000
_REST = "/api/v3/brokerage"
_CURRENCIES = {
    "/v2/currencies": [],
    "/v2/currencies/crypto": [],
    "/v2/exchange-rates": {"currency": "USD", "rates": {}},
}
"""ccxt asks for these before it lists products. There are none here."""
_SECOND, _MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)


class Coinbase:
    """A `Venue`."""

    finality: Finality = "numbered"
    manners = Manners(
        heartbeat=_HEARTBEAT,
        heartbeat_channel=_HEARTBEATS,
        first_request=timedelta(seconds=5),
        idle=timedelta(seconds=75),
    )

    def __init__(self, exchange: str, market: Market, symbols: tuple[str, ...]) -> None:
        self.exchange = exchange
        self.market = market
        self.symbols = symbols
        self._beats: Counter[int] = Counter()

    def serves(self, target: str) -> bool:  # noqa: ARG002  # part of the protocol
        """Every path."""
        return True

    def welcome(self, session: Session) -> list[str]:  # noqa: ARG002  # part of the protocol
        """Nothing is said."""
        return []

    def reply(self, session: Session, text: str, now: datetime) -> list[str]:
        """An acknowledgement that names all subscriptions, and a snapshot per product; errors are not numbered."""
        try:
            request = json.loads(text)
            verb, channel = request["type"], request["channel"]
            products = [str(one) for one in request.get("product_ids", [])]
        except (ValueError, KeyError, TypeError, AttributeError):
            return [_error("failed to parse the request")]
        if verb not in ("subscribe", "unsubscribe"):
            return [_error(f"unknown type {verb}")]
        if channel not in ("market_trades", _HEARTBEATS):
            return [_error(f"unknown channel {channel}")]
        unknown = [product for product in products if product not in self.symbols]
        if unknown:
            return [_error(f"Failed to subscribe: {unknown[0]} is not a valid product")]
        wanted = products if channel == "market_trades" else [_HEARTBEATS]
        said = []
        if verb == "subscribe":
            session.channels.update(dict.fromkeys(wanted))
            said = [self._snapshot(product, now) for product in wanted if product != _HEARTBEATS]
        else:
            for one in wanted:
                session.channels.pop(one, None)
        return [self.framed(session, "", message) for message in (_acknowledged(session, now), *said)]

    def _snapshot(self, symbol: str, now: datetime) -> str:
        """The latest trades of those that were pushed by now."""
        minute = floor(now, MINUTE)
        found: list[Trade] = []
        until = minute - _LOOK_BACK
        while len(found) < _SNAPSHOT and minute > until:
            bar = self.market.bar(symbol, minute)
            pushed = [one for one in self.planned(bar) if minute + timedelta(seconds=one.sent) < now] if bar else []
            found = [deal for one in pushed for deal in one.trades] + found
            minute -= MINUTE
        return _pushed("snapshot", symbol, found[-_SNAPSHOT:], now)

    def channel(self, symbol: str) -> str:
        """`BTC-USD`, here too."""
        return symbol

    def planned(self, bar: Bar) -> list[Emission]:
        """All trades, as the candle grows by them: the exchange collects for 250 ms, here it is two seconds."""
        deals, planned, done = trades(bar), [], 0
        for offset, state in updates(bar):
            upto = state.trade_count
            fresh = tuple(deals[done:upto])
            planned.append(Emission(offset, offset, "push", closing=upto == bar.trade_count, trades=fresh))
            done = upto
        return planned

    def message(self, symbol: str, emission: Emission) -> str:
        """One event with the trades of the push."""
        minute = floor(emission.trades[0].moment, MINUTE)
        return _pushed("update", symbol, emission.trades, minute + timedelta(seconds=emission.stamped))

    def framed(self, session: Session, symbol: str, message: str) -> str:  # noqa: ARG002  # part of the protocol
        """With the session's next number; heartbeats are counted besides."""
        if _BEAT in message:
            message = message.replace(_BEAT, f'"heartbeat_counter":{self._beats[session.number]}')
            self._beats[session.number] += 1
        numbered = message.replace(_SEQUENCE, f'"sequence_num":{session.messages}', 1)
        session.messages += 1
        return numbered

    def get(self, path: str, query: dict[str, str], now: datetime) -> Answer:
        """Products, a product's `candles` and `ticker`, `time`, and empty lists of currencies."""
        if path == f"{_REST}/time":
            times = {"epochSeconds": since_epoch(now, _SECOND), "epochMillis": since_epoch(now, _MILLISECOND)}
            return Answer({"iso": f"{now:%Y-%m-%dT%H:%M:%SZ}", **{name: str(value) for name, value in times.items()}})
        if path == f"{_REST}/market/products":
            spot = query.get("product_type", "SPOT") == "SPOT"
            products = [self._product(symbol, now) for symbol in self.symbols if spot]
            return Answer({"products": products, "num_products": len(products), "pagination": None})
        if path in _CURRENCIES:
            return Answer({"data": _CURRENCIES[path]})
        symbol, _, what = path.removeprefix(f"{_REST}/market/products/").partition("/")
        handlers: dict[str, Callable[[str, dict[str, str], datetime], object]] = {
            "candles": self._candles,
            "ticker": self._ticker,
        }
        if what not in handlers or symbol not in self.symbols:
            return _unwell(404, 5, "NOT_FOUND", f"product {symbol} not found")
        try:
            return Answer(handlers[what](symbol, query, now))
        except (KeyError, ValueError, OverflowError) as error:
            return _unwell(400, 3, "INVALID_ARGUMENT", f"argument is invalid: {error}")

    def refused(self) -> Answer:
        """429, without a word about how long."""
        return Answer({"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}, 429)

    def _candles(self, symbol: str, query: dict[str, str], now: datetime) -> object:
        """Both bounds are inclusive; newest first; no row for a minute without trades; the open one as it stands."""
        if query["granularity"] != "ONE_MINUTE":
            raise ValueError("granularity")
        first, last = floor(_moment(query["start"]) + MINUTE - _SECOND, MINUTE), _moment(query["end"])
        if (last - first) // MINUTE + 1 > _ROWS:
            raise ValueError(f"number of candles requested should be less than {_ROWS}")
        bars = self.market.bars(symbol, first, last, now)
        return {"candles": [_row(bar) for bar in reversed(bars) if bar.trade_count]}

    def _ticker(self, symbol: str, query: dict[str, str], now: datetime) -> object:
        """The newest trades between the bounds, which are inclusive; newest first."""
        limit = min(int(query["limit"]), _TRADES)
        listed, delisted = self.market.span(symbol)
        first = max(_moment(query["start"]), listed) if "start" in query else listed
        last = min(_moment(query["end"]) if "end" in query else now, now, delisted)
        minute = floor(last, MINUTE)
        found: list[Trade] = []
        while minute + MINUTE > first and len(found) < limit:
            bar = self.market.bar(symbol, minute)
            found += [one for one in reversed(trades(bar)) if first <= one.moment <= last] if bar else []
            minute -= MINUTE
        return {"trades": [_deal(symbol, one) | _QUOTES for one in found[:limit]], "best_bid": "", "best_ask": ""}

    def _product(self, symbol: str, now: datetime) -> dict[str, object]:
        bar = self.market.at(symbol, now)
        price = bar.close if bar else Decimal(1)
        tick = Decimal(1).scaleb(int(price.as_tuple().exponent))
        base, quote = symbol.split("-")
        sizes = {"base_increment": UNIT, "quote_increment": tick, "price_increment": tick}
        sizes |= {"base_min_size": UNIT, "base_max_size": Decimal(3400)}
        sizes |= {"quote_min_size": Decimal(1), "quote_max_size": Decimal(150_000_000)}
        modes = (
            "is_disabled",
            "cancel_only",
            "limit_only",
            "post_only",
            "trading_disabled",
            "auction_mode",
            "view_only",
        )
        return {
            "product_id": symbol,
            "display_name": symbol,
            "product_type": "SPOT",
            "status": "online",
            "price": f"{price:f}",
            **{name: f"{size:f}" for name, size in sizes.items()},
            **dict.fromkeys(modes, False),
            "base_currency_id": base,
            "quote_currency_id": quote,
            "base_display_symbol": base,
            "quote_display_symbol": quote,
            "alias": "",
            "alias_to": [],
            "product_venue": "CBE",
        }


def _acknowledged(session: Session, now: datetime) -> str:
    products = [channel for channel in session.channels if channel != _HEARTBEATS]
    subscriptions = {"market_trades": products} if products else {}
    if _HEARTBEATS in session.channels:
        subscriptions[_HEARTBEATS] = [_HEARTBEATS]
    return _said("subscriptions", now, {"subscriptions": subscriptions})


def _pushed(kind: str, symbol: str, deals: Sequence[Trade], moment: datetime) -> str:
    return _said("market_trades", moment, {"type": kind, "trades": [_deal(symbol, one) for one in reversed(deals)]})


def _said(channel: str, moment: datetime, event: dict[str, object]) -> str:
    head = f'{{"channel":"{channel}","client_id":"","timestamp":"{moment:{_TIME}}",{_SEQUENCE},'
    return f'{head}"events":[{encode(event)}]}}'


def _deal(symbol: str, deal: Trade) -> dict[str, object]:
    return {
        "product_id": symbol,
        "trade_id": str(deal.trade_id),
        "price": f"{deal.price:f}",
        "size": f"{deal.size:.8f}",
        "time": f"{deal.moment:{_TIME}}",
        "side": "BUY" if deal.trade_id % 2 else "SELL",
    }


def _row(bar: Bar) -> dict[str, str]:
    values = {"low": bar.low, "high": bar.high, "open": bar.open, "close": bar.close, "volume": bar.volume}
    return {"start": str(since_epoch(bar.start, _SECOND)), **{name: f"{value:f}" for name, value in values.items()}}


def _error(reason: str) -> str:
    return encode({"type": "error", "message": reason})


def _unwell(status: int, code: int, error: str, message: str) -> Answer:
    return Answer({"error": error, "code": code, "message": message, "details": []}, status)


def _moment(text: str) -> datetime:
    return EPOCH + timedelta(seconds=int(text))
