"""What a connection's messages mean: messages in, bronze lines out, and what is known of each of its pairs.

No socket and no clock here: the moment of reception is an argument.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from stream.bronze import NOT_SUBSCRIBED
from stream.clock import floor, lasted
from stream.errors import MessageError
from stream.health import Trouble
from stream.live.exchange_clock import ExchangeClock
from stream.live.lines import Lines
from stream.wire import (
    MINUTE,
    Candle,
    Misfit,
    Notice,
    Novelty,
    Pong,
    Record,
    Refused,
    Sequence,
    Subscribed,
    Trade,
    TradeRules,
)

log = logging.getLogger(__name__)

_LONG = 1 << 16
"""Characters of a rejected message that are searched for the pairs it may be about."""
_FAR = timedelta(days=1)
"""Farther from now, a minute is none that something was sent about."""


class Dialect(Protocol):
    """What an intake must know of an exchange."""

    ID: str
    TRADES: TradeRules | None

    def parse_message(self, text: str | bytes, /) -> list[Record]:
        """A message → its records; MessageError for what is not understood."""


class Intake:
    """One connection's state. `symbols` maps native to canonical spelling: the pairs that it carries."""

    def __init__(
        self, *, exchange: Dialect, symbols: Mapping[str, str], name: str, tally: Counter[str] | None = None
    ) -> None:
        self.exchange = exchange
        self.symbols = dict(symbols)
        self.name = name
        self.lines = Lines(exchange.ID, self.symbols, name)
        """How what is known is written down."""
        self.since: dict[str, datetime] = {}
        """Native symbol → from when on nothing that the exchange sent about it was missed."""
        self.heard: dict[str, datetime] = {}
        """Native symbol → when its last candle or trade came."""
        self.ailing: Trouble | None = None
        """What the exchange says of itself, while it is not well."""
        self.refused: set[str] = set()
        self.alone: list[str] = []
        """Pairs to be asked for one by one: the exchange refused a request about several and did not say which."""
        self.pongs = 0
        self.candles = 0
        """Candles, or trades, that were taken."""
        self.tally = Counter() if tally is None else tally
        self.clock = ExchangeClock(exchange.ID)
        self.closing = False
        """The exchange asks for a replacement connection."""
        self._complained = False
        self._requests: dict[int, list[str]] = {}
        self._asked: dict[str, datetime] = {}
        self._last_trade: dict[str, Trade] = {}
        self._sequence: int | None = None
        self._claimed: datetime | None = None

    def ask(self, natives: list[str], now: datetime) -> int:
        """The number of a request that subscribes to these pairs; whatever was known of them begins anew."""
        request_id = len(self._requests) + 1
        self._requests[request_id] = natives
        for native in natives:
            self._asked[native] = now
            self.since.pop(native, None)
            self.refused.discard(native)
            self._last_trade.pop(native, None)
        return request_id

    def take_back(self) -> int:
        """The number of a request that ends subscriptions."""
        self._requests[request_id := len(self._requests) + 1] = []
        return request_id

    def settled(self) -> bool:
        """Every pair is acknowledged or refused."""
        return len(self.since) + len(self.refused) >= len(self.symbols)

    def quiet(self, now: datetime, *, stale: timedelta, patience: timedelta) -> list[str]:
        """Pairs that sent nothing for `stale`, or that the exchange did not acknowledge within `patience`."""
        return [
            native
            for native, asked in self._asked.items()
            if now - max(asked, self.heard.get(native, asked)) > stale
            or (native not in self.since and native not in self.refused and now - asked > patience)
        ]

    def take(self, message: bytes, now: datetime) -> bytes:
        """One message → its lines. Never raises: what cannot be understood is kept as a rejected line."""
        try:
            records = self.exchange.parse_message(message)
        except MessageError as error:
            return self._reject_broken(message, now, str(error))
        except Exception as error:  # noqa: BLE001  # a message that breaks a parser must not stop the other pairs
            return self._reject_broken(message, now, f"{type(error).__name__}: {error}")
        if len(records) == 1 and not isinstance(records[0], Misfit):
            return self._line(records[0], message, now)
        lines = b"".join([self._line(record, message, now) for record in records])
        odd = [record for record in records if isinstance(record, Misfit)]
        return lines + self.reject(message, now, odd[0].reason) if odd else lines

    def alive(self, after: datetime, until: datetime, now: datetime) -> bytes:
        """The `alive` lines of the minutes that ended after `after` and not after `until`, by the exchange's clock."""
        lag, self._claimed = self.clock.lag or timedelta(), until
        return b"".join(
            self._alive(native, minute, since, now)
            for minute in _minutes(after, until)
            for native, since in self.since.items()
            if since - lag < minute + MINUTE
        )

    def reject(self, message: bytes, now: datetime, reason: str) -> bytes:
        """The line that keeps a message which is not understood."""
        if not self._complained:
            self._complained = True
            log.warning("%s: a message was not understood and is kept in bronze/rejected: %s", self.name, reason[:300])
        self.tally["rejected"] += 1
        return self.lines.rejected(message, now, reason)

    def _line(self, record: Record, message: bytes, now: datetime) -> bytes:
        if isinstance(record, Candle | Trade):
            if record.native_symbol not in self.symbols:
                reason = f"{NOT_SUBSCRIBED}: {record.native_symbol!r} was not subscribed on this connection"
                return self.reject(message, now, reason)
            self.heard[record.native_symbol] = now
            self.clock.saw(record, now)
            self.candles += 1
            self.tally["candles"] += 1
            line = self.lines.record(record, now)
            return line if isinstance(record, Candle) else self._missed_trades(record, now) + line
        return self._word(record, now)

    def _word(self, record: Record, now: datetime) -> bytes:
        """What is neither a candle nor a trade."""
        if isinstance(record, Sequence):
            return self._counted(record.number, now)
        if isinstance(record, Misfit):
            return self._misfit(record, now)
        if isinstance(record, Subscribed | Refused):
            return self._answered(record, now)
        if isinstance(record, Notice):
            return self._noticed(record, now)
        if isinstance(record, Pong):
            self.pongs += 1
        elif isinstance(record, Novelty):
            self.tally[record.what] += 1
            if self.tally[record.what] == 1:
                log.warning("%s: new in what the exchange sends: %s", self.name, record.what)
        return b""

    def _noticed(self, record: Notice, now: datetime) -> bytes:
        if record.system != "online" and self.ailing is None:
            self.ailing = Trouble(reason=f"{record.system}: {record.detail}", since=now)
            log.warning("%s: the exchange says %s", self.name, self.ailing.reason)
        elif record.system == "online" and self.ailing is not None:
            log.info("%s: the exchange is online again, after %s", self.name, lasted(self.ailing.since, now))
            self.ailing = None
        self.closing = self.closing or record.closing
        return self.lines.status("exchange", f"{record.system}: {record.detail}", now)

    def _counted(self, number: int, now: datetime) -> bytes:
        """Messages that the exchange numbered and that did not come may have been about any pair."""
        before, self._sequence = self._sequence, number
        if before is None or number == before + 1:
            return b""
        log.warning("%s: message %d came behind message %d: what is between was lost", self.name, number, before)
        self.since.update(dict.fromkeys(self.since, now))
        return self.lines.status("lost", f"message {number} came behind message {before}", now, list(self.since))

    def _missed_trades(self, trade: Trade, now: datetime) -> bytes:
        """Where ids left out say that trades were lost, the pair begins anew, and what was said of it is taken back.

        The minutes since the trade before have their `alive` lines already; a second one with a later `since` says
        that they were not heard to their end. The hour that they belong to may be over: it is told as well.
        """
        native, rules, number = trade.native_symbol, self.exchange.TRADES, trade.trade_id
        before = self._last_trade.get(native)
        if number is None or rules is None or not rules.consecutive_ids:
            return b""
        if before is None or before.trade_id is None or number > before.trade_id:
            self._last_trade[native] = trade
        if native not in self.since or before is None or before.trade_id is None or number <= before.trade_id + 1:
            return b""
        self.since[native] = now
        detail = f"the trades {before.trade_id + 1} to {number - 1} did not come"
        first = floor(before.event_ts, MINUTE)
        doubtful = _minutes(first, self._claimed or first)
        taken_back = [self._alive(native, minute, now, now) for minute in doubtful]
        return b"".join(taken_back) + self.lines.status("lost", detail, now, [native])

    def _alive(self, native: str, minute: datetime, since: datetime, now: datetime) -> bytes:
        """Readers compare `since` with moments of both clocks: it is the later one."""
        return self.lines.alive(native, minute, since - min(self.clock.lag or timedelta(), timedelta()), now)

    def _answered(self, record: Subscribed | Refused, now: datetime) -> bytes:
        natives = self._requests.get(record.request_id or 0, [])
        if record.native_symbol is not None:
            natives = [record.native_symbol] if record.native_symbol in self.symbols else []
        elif record.request_id is None:
            natives = [native for native in self._asked if native not in self.since and native not in self.refused]
        if isinstance(record, Subscribed):
            new = [native for native in natives if native not in self.since]
            self.since.update(dict.fromkeys(new, now))
            return self.lines.status("subscribed", "the exchange acknowledged the subscription", now, new)
        if len(natives) > 1:
            log.warning(
                "%s: a request about %d pairs was refused, each is asked for alone: %s",
                self.name,
                len(natives),
                record.reason,
            )
            self.alone += natives
            return b""
        self.refused.update(natives)
        names = ", ".join(self.symbols[native] for native in natives) or "a request"
        log.warning("%s: the exchange refused %s: %s", self.name, names, record.reason)
        return self.lines.status("refused", record.reason, now, natives)

    def _misfit(self, record: Misfit, now: datetime) -> bytes:
        """It may have been the last word about its minute: no other is, and what was claimed is taken back."""
        native, minute = record.native_symbol, record.minute
        named = [native] if native in self.symbols else self._named(record.payload.encode())
        natives = [one for one in named if one is not None] or list(self.symbols)
        self._doubt(natives, now)
        back = b""
        if minute is not None and self._claimed is not None and minute < self._claimed:
            back = b"".join(self._alive(one, minute, now, now) for one in natives if one in self.since)
        return back + self._unread(record.reason, now, natives, minute)

    def _reject_broken(self, message: bytes, now: datetime, reason: str) -> bytes:
        """A message as a whole: it is about the pairs that it names; where it breaks off, about any."""
        broken = self._breaks_off(message)
        natives = list(self.symbols) if broken else self._named(message)
        self._doubt(natives, now)
        lines = b"" if broken else self._unread(reason, now, natives, None)
        return lines + self.reject(message, now, reason)

    def _doubt(self, natives: Iterable[str], now: datetime) -> None:
        """It may have been the last update of a candle: nobody may take the one before for the last."""
        self.since.update(dict.fromkeys([native for native in natives if native in self.since], now))

    def _unread(self, reason: str, now: datetime, natives: Iterable[str], minute: datetime | None) -> bytes:
        """Says so, of that minute; where it is not known, of the one that it is at the exchange."""
        there = self.clock.there(now) or now
        if minute is None or abs(there - minute) > _FAR:  # no line may go to an hour that it cannot be about
            minute = floor(there, MINUTE)
        return self.lines.status("rejected", reason, now, natives, minute)

    def _breaks_off(self, message: bytes) -> bool:
        """It is no JSON; or too long to be looked through."""
        try:
            msgspec.json.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return True
        return len(message) > _LONG

    def _named(self, message: bytes) -> list[str]:
        text = message.upper()
        return [native for native in self.symbols if native.upper().encode() in text]


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += MINUTE
