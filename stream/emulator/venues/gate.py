"""Gate's wire format and manners, from the documents of its API v4: 1m candles of spot pairs, pushed and over REST."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from stream.clock import floor
from stream.emulator.bar import EPOCH, MINUTE, Bar
from stream.emulator.faults import Emission, Finality
from stream.emulator.market import Market
from stream.emulator.trades import updates
from stream.emulator.venue import Answer, Manners, Session, encode, since_epoch

_CHANNEL = "spot.candlesticks"
_SECOND, _MILLISECOND = timedelta(seconds=1), timedelta(milliseconds=1)
_CLOSING = 60.001
"""How late the closed candle really comes is not known."""
_POINTS = 1000
"""Rows of an answer."""
_HISTORY = 10_000
"""Rows of a pair."""


class Gate:
    """A `Venue`."""

    finality: Finality = "flag"
    manners = Manners(idle=timedelta(seconds=30))

    def __init__(self, exchange: str, market: Market, symbols: tuple[str, ...]) -> None:
        self.exchange = exchange
        self.market = market
        self.symbols = symbols
        self._native = {symbol.replace("-", "_"): symbol for symbol in symbols}

    def serves(self, target: str) -> bool:
        """Spot only."""
        return urlsplit(target).path == "/ws/v4/"

    def welcome(self, session: Session) -> list[str]:  # noqa: ARG002  # part of the protocol
        """Nothing is said."""
        return []

    def reply(self, session: Session, text: str, now: datetime) -> list[str]:
        """One answer to a request, which is about one pair; behind an acknowledgement comes the current candle.

        That the time of a request must be right is documented, and seen to be looked at in signed requests only.
        """
        try:
            request = json.loads(text)
            time, channel, event = request["time"], request["channel"], request.get("event", "")
            payload, number = request.get("payload", []), request.get("id")
        except (ValueError, KeyError, TypeError, AttributeError):
            return [_failed(1, "request body is not valid JSON", now)]
        if not (isinstance(time, int) and isinstance(payload, list) and isinstance(number, int | None)):
            return [_failed(1, "request payload does not follow json schema", now)]
        if channel == "spot.ping":
            return [encode({**_times(now), "channel": "spot.pong", "event": "", "error": None, "result": None})]
        named = {} if number is None else {"id": number}
        words = {**named, **_connection(session), "channel": channel, "event": event, "payload": payload}
        if channel != _CHANNEL or event not in ("subscribe", "unsubscribe"):
            return [_failed(2, f"unknown channel or event: {channel} {event}", now, words)]
        if len(payload) != 2 or payload[0] != "1m":
            return [_failed(2, f"invalid argument: {payload}", now, words)]
        if payload[1] not in self._native:
            return [_failed(2, f"unknown currency pair: {payload[1]}", now, words)]
        done = encode({**_times(now), **words, "result": {"status": "success"}})
        symbol = self._native[payload[1]]
        if event == "unsubscribe":
            session.channels.pop(self.channel(symbol), None)
            return [done]
        session.channels[self.channel(symbol)] = None
        current = self.market.at(symbol, now)
        return [done, self._pushed(symbol, current, now, closed=False)] if current else [done]

    def channel(self, symbol: str) -> str:
        """`BTC-USDT` → `1m_BTC_USDT`, the `n` of its candles."""
        return f"1m_{symbol.replace('-', '_')}"

    def planned(self, bar: Bar) -> list[Emission]:
        """A push every two seconds while there were trades, and the flagged one; nothing for a silent minute.

        Whether a silent minute has a candle is not confirmed. Nothing asks more of those who listen: flags do not tell
        them everything then, and a pair's silence is no fault. Over REST there is a flat row, for nothing else could
        prove the silence of a minute in which nobody listened.
        """
        pushes = [Emission(offset, offset, "push", state) for offset, state in updates(bar)]
        return [*pushes, Emission(_CLOSING, _CLOSING, "push", bar, closing=True)] if pushes else []

    def message(self, symbol: str, emission: Emission) -> str:
        """The candle as it stands."""
        assert emission.bar is not None
        moment = emission.bar.start + timedelta(seconds=emission.stamped)
        return self._pushed(symbol, emission.bar, moment, closed=emission.closing)

    def _pushed(self, symbol: str, bar: Bar, moment: datetime, *, closed: bool) -> str:
        """`v` is in quote currency, `a` in base currency."""
        candle = {
            "t": str(since_epoch(bar.start, _SECOND)),
            "v": f"{bar.quote_volume:f}",
            "c": f"{bar.close:f}",
            "h": f"{bar.high:f}",
            "l": f"{bar.low:f}",
            "o": f"{bar.open:f}",
            "n": self.channel(symbol),
            "a": f"{bar.volume:f}",
            "w": closed,
        }
        return encode({**_times(moment), "channel": _CHANNEL, "event": "update", "result": candle})

    def framed(self, session: Session, symbol: str, message: str) -> str:  # noqa: ARG002  # part of the protocol
        """As it is."""
        return message

    def get(self, path: str, query: dict[str, str], now: datetime) -> Answer:
        """`candlesticks`, `currency_pairs`, `currencies` and `time`; nobody lends anything here."""
        if path == "/api/v4/spot/candlesticks":
            return self._candlesticks(query, now)
        if path == "/api/v4/spot/currency_pairs":
            return Answer([_listed(symbol) for symbol in self.symbols])
        if path == "/api/v4/spot/currencies":
            names = dict.fromkeys(name for symbol in self.symbols for name in symbol.split("-"))
            return Answer([_currency(name) for name in names])
        if path == "/api/v4/margin/currency_pairs":
            return Answer([])
        if path == "/api/v4/spot/time":
            return Answer({"server_time": since_epoch(now, _MILLISECOND)})
        return _unwell("NOT_FOUND", f"There is no {path}", 404)

    def refused(self) -> Answer:
        """429, without a word about how long."""
        return _unwell("TOO_MANY_REQUESTS", "Request Rate limit Exceeded (1000)", 429)

    def _candlesticks(self, query: dict[str, str], now: datetime) -> Answer:
        """The newest `limit` rows, or those from `from` to `to`, both included; oldest first, the open one too."""
        symbol = self._native.get(query.get("currency_pair", ""))
        if symbol is None:
            return _unwell("INVALID_CURRENCY_PAIR", f"Invalid currency pair {query.get('currency_pair', '')}")
        bounded = "from" in query or "to" in query
        if query.get("interval") != "1m" or (bounded and "limit" in query):
            return _unwell("INVALID_PARAM_VALUE", "Invalid request parameter `interval` or `limit`")
        current = floor(now, MINUTE)
        try:
            limit = int(query.get("limit", "100"))
            to = _moment(query["to"]) if "to" in query else current
            start = _moment(query["from"]) if "from" in query else floor(to, MINUTE) - (limit - 1) * MINUTE
        except (ValueError, OverflowError):
            return _unwell("INVALID_PARAM_VALUE", "Invalid request parameter: a number was expected")
        if limit > _POINTS or limit < 1 or (to - start) // MINUTE >= _POINTS:
            told = f"Candlestick range too broad. Maximum {_POINTS} data points are allowed per request"
            return _unwell("INVALID_PARAM_VALUE", told)
        if (current - start) // MINUTE >= _HISTORY:
            told = f"Candlestick too long ago. Maximum {_HISTORY} points ago are allowed"
            return _unwell("INVALID_PARAM_VALUE", told)
        first = floor(start + MINUTE - _MILLISECOND, MINUTE)
        bars = self.market.bars(symbol, first, floor(to, MINUTE), now)
        return Answer([_row(bar, closed=bar.start < current) for bar in bars])


def _times(now: datetime) -> dict[str, object]:
    return {"time": since_epoch(now, _SECOND), "time_ms": since_epoch(now, _MILLISECOND)}


def _connection(session: Session) -> dict[str, object]:
    return {"conn_id": f"emulated-{session.number}", "trace_id": f"{session.number:032x}"}


def _failed(code: int, reason: str, now: datetime, words: dict[str, object] | None = None) -> str:
    """What could not be read is answered without its words."""
    said = words or {"channel": "", "event": ""}
    result = {"status": "fail"} if words else None
    return encode({**_times(now), **said, "error": {"code": code, "message": reason}, "result": result})


def _unwell(label: str, reason: str, status: int = 400) -> Answer:
    return Answer({"label": label, "message": reason}, status)


def _row(bar: Bar, *, closed: bool) -> list[str]:
    values = (bar.quote_volume, bar.close, bar.high, bar.low, bar.open, bar.volume)
    return [str(since_epoch(bar.start, _SECOND)), *(f"{value:f}" for value in values), "true" if closed else "false"]


def _currency(name: str) -> dict[str, object]:
    state = {"withdraw_disabled": False, "withdraw_delayed": False, "deposit_disabled": False}
    chains = [{"name": name, "addr": "", **state}]
    return {"currency": name, "name": name, "delisted": False, **state, "trade_disabled": False, "chains": chains}


def _listed(symbol: str) -> dict[str, object]:
    base, quote = symbol.split("-")
    sizes = {"min_quote_amount": "1", "amount_precision": 8, "precision": 8}
    times = {"trade_status": "tradable", "sell_start": 0, "buy_start": 0}
    return {"id": f"{base}_{quote}", "base": base, "quote": quote, "fee": "0.2", **sizes, **times}


def _moment(text: str) -> datetime:
    return EPOCH + timedelta(seconds=int(text))
