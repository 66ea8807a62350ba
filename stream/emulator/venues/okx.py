"""OKX's wire format and manners, from okx.com/docs-v5: 1m candles of spot pairs, in the stream and over REST."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import urlsplit

from stream.clock import floor
from stream.emulator.bar import EPOCH, MINUTE, Bar
from stream.emulator.faults import Emission, Finality
from stream.emulator.market import Market
from stream.emulator.trades import updates
from stream.emulator.venue import Answer, Manners, Session, encode, since_epoch

_PATH = "/ws/v5/"
_BUSINESS = f"{_PATH}business"
_CHANNEL = "candle1m"
_MILLISECOND = timedelta(milliseconds=1)
_CLOSING = 60.001
_NEWEST = 1440
"""Rows that `candles` reaches, the open one included."""


class Okx:
    """A `Venue`."""

    finality: Finality = "flag"
    manners = Manners(idle=timedelta(seconds=30))

    def __init__(self, exchange: str, market: Market, symbols: tuple[str, ...]) -> None:
        self.exchange = exchange
        self.market = market
        self.symbols = symbols

    def serves(self, target: str) -> bool:
        """The public, the private and the business path; only the last one has candles."""
        return urlsplit(target).path in (_BUSINESS, f"{_PATH}public", f"{_PATH}private")

    def welcome(self, session: Session) -> list[str]:  # noqa: ARG002  # part of the protocol
        """Nothing is said."""
        return []

    def reply(self, session: Session, text: str, now: datetime) -> list[str]:
        """`pong`; or an acknowledgement or error per channel, the acknowledgement with the current candle behind it."""
        if text == "ping":
            return ["pong"]
        try:
            request = json.loads(text)
            verb, number = request["op"], request.get("id")
            args = [(str(arg["channel"]), str(arg["instId"])) for arg in request["args"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            return [_event(session, None, event="error", code="60012", msg=f"Invalid request: {text}")]
        if verb not in ("subscribe", "unsubscribe"):
            return [_event(session, number, event="error", code="60019", msg=f"Invalid op: {verb}")]
        return [line for channel, native in args for line in self._change(session, verb, channel, native, number, now)]

    def _change(
        self, session: Session, verb: str, channel: str, native: str, number: object, now: datetime
    ) -> list[str]:
        if urlsplit(session.target).path != _BUSINESS or channel != _CHANNEL or native not in self.symbols:
            reason = f"Wrong URL or channel:{channel},instId:{native} doesn't exist. "
            reason += "Please use the correct URL, channel and parameters referring to API document."
            return [_event(session, number, event="error", code="60018", msg=reason)]
        done = _event(session, number, event=verb, arg={"channel": channel, "instId": native})
        if verb == "unsubscribe":
            session.channels.pop(native, None)
            return [done]
        session.channels[native] = None
        current = self.market.at(native, now)
        return [done, _pushed(native, current, closed=False)] if current else [done]

    def channel(self, symbol: str) -> str:
        """There are no other channels."""
        return symbol

    def planned(self, bar: Bar) -> list[Emission]:
        """A push every two seconds while there were trades, and the confirmed one just after the end, trades or not."""
        states = updates(bar) or ((2.0, bar),)
        pushes = [Emission(offset, offset, "push", state) for offset, state in states]
        return [*pushes, Emission(_CLOSING, _CLOSING, "push", bar, closing=True)]

    def message(self, symbol: str, emission: Emission) -> str:
        """A push of one row."""
        assert emission.bar is not None
        return _pushed(symbol, emission.bar, closed=emission.closing)

    def framed(self, session: Session, symbol: str, message: str) -> str:  # noqa: ARG002  # part of the protocol
        """As it is."""
        return message

    def get(self, path: str, query: dict[str, str], now: datetime) -> Answer:
        """`candles`, `history-candles`, `instruments` and `time`; everything else is 404."""
        handlers: dict[str, Callable[[dict[str, str], datetime], Answer]] = {
            "/api/v5/market/candles": self._candles,
            "/api/v5/market/history-candles": self._history,
            "/api/v5/public/instruments": self._instruments,
            "/api/v5/public/time": self._time,
        }
        if path not in handlers:
            return _failed("404", f"There is no {path}.", 404)
        return handlers[path](query, now)

    def refused(self) -> Answer:
        """429, without a word about how long."""
        return Answer({"msg": "Too Many Requests", "code": "50011"}, 429)

    def _candles(self, query: dict[str, str], now: datetime) -> Answer:
        """At most 300 rows, of the newest 1,440."""
        return self._rows(query, floor(now, MINUTE) - (_NEWEST - 1) * MINUTE, 300, now)

    def _history(self, query: dict[str, str], now: datetime) -> Answer:
        """300 rows by the newest documents, 100 by older ones: whoever can do with 100 can do with 300."""
        return self._rows(query, EPOCH, 100, now)

    def _rows(self, query: dict[str, str], oldest: datetime, most: int, now: datetime) -> Answer:
        """`before` < row < `after`, at most `limit`, the newest first; `before` alone gives the newest of all."""
        symbol = query.get("instId", "")
        if symbol not in self.symbols:
            return _failed("51001", "Instrument ID doesn't exist.")
        if query.get("bar", "1m") != "1m":
            return _failed("51000", "Parameter bar error", 400)
        try:
            limit = min(int(query.get("limit", "100")), most)
            newer_than = EPOCH + int(query.get("before", "-1")) * _MILLISECOND
            older_than = EPOCH + int(query["after"]) * _MILLISECOND if "after" in query else now + MINUTE
        except (ValueError, OverflowError):
            return _failed("51000", "Parameter after error", 400)
        listed, delisted = self.market.span(symbol)
        last = min(floor(older_than - _MILLISECOND, MINUTE), floor(now, MINUTE), delisted - MINUTE)
        first = max(floor(newer_than, MINUTE) + MINUTE, last - (limit - 1) * MINUTE, oldest, listed)
        bars = self.market.bars(symbol, first, last, now)
        return _found([_row(bar, closed=bar.start + MINUTE <= now) for bar in reversed(bars)])

    def _instruments(self, query: dict[str, str], now: datetime) -> Answer:  # noqa: ARG002  # every handler is told
        if query.get("instType") != "SPOT":
            return _failed("51000", "Parameter instType error", 400)
        return _found([self._listed(symbol) for symbol in self.symbols])

    def _listed(self, symbol: str) -> dict[str, object]:
        base, quote = symbol.split("-")
        names = {"instType": "SPOT", "instId": symbol, "baseCcy": base, "quoteCcy": quote, "state": "live"}
        sizes = {"tickSz": "0.000001", "lotSz": "0.00000001", "minSz": "0.00000001", "maxLmtSz": "9999999999"}
        empty = ("alias", "ctMult", "ctType", "ctVal", "ctValCcy", "expTime", "optType", "settleCcy", "uly")
        listed = {"listTime": str(since_epoch(self.market.span(symbol)[0], _MILLISECOND)), "category": "1"}
        return {**names, **sizes, **listed, **dict.fromkeys(empty, "")}

    def _time(self, query: dict[str, str], now: datetime) -> Answer:  # noqa: ARG002  # every handler is told
        return _found([{"ts": str(since_epoch(now, _MILLISECOND))}])


def _event(session: Session, number: object, **words: object) -> str:
    named = {} if number is None else {"id": number}
    return encode({**named, **words, "connId": f"{session.number:08x}"})


def _pushed(native: str, bar: Bar, *, closed: bool) -> str:
    return encode({"arg": {"channel": _CHANNEL, "instId": native}, "data": [_row(bar, closed=closed)]})


def _row(bar: Bar, *, closed: bool) -> list[str]:
    """The volume in base currency, and the one in quote currency twice: the second is that of derivatives."""
    values = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.quote_volume, bar.quote_volume)
    return [str(since_epoch(bar.start, _MILLISECOND)), *map(_number, values), "1" if closed else "0"]


def _number(value: Decimal) -> str:
    """No zeros behind the last digit."""
    return f"{value:.8f}".rstrip("0").rstrip(".")


def _found(data: list[object]) -> Answer:
    return Answer({"code": "0", "msg": "", "data": data})


def _failed(code: str, reason: str, status: int = 200) -> Answer:
    return Answer({"code": code, "msg": reason, "data": []}, status)
