"""What a connection's messages mean: messages in, bronze lines out, and what is known of each of its pairs.

No socket and no clock here: the moment of reception is an argument.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Literal, Protocol

import msgspec

from stream import bronze
from stream.clock import floor, lasted
from stream.errors import MessageError
from stream.health import Trouble
from stream.live.exchange_clock import ExchangeClock
from stream.wire import MINUTE, Candle, Notice, Pong, Record, Refused, Sequence, Subscribed, Trade, TradeRules

log = logging.getLogger(__name__)

_LONG = 1 << 16
"""Characters of a rejected message that are searched for the pairs it may be about."""


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
        if len(records) == 1:
            return self._line(records[0], message, now)
        return b"".join([self._line(record, message, now) for record in records])

    def alive(self, after: datetime, until: datetime, now: datetime) -> bytes:
        """The `alive` lines of the minutes that ended after `after` and not after `until`, by the exchange's clock."""
        lag, self._claimed = self.clock.lag or timedelta(), until
        return b"".join(
            self._alive(native, minute, since, now)
            for minute in _minutes(after, until)
            for native, since in self.since.items()
            if since - lag < minute + MINUTE
        )

    def status(
        self,
        status: Literal["connected", "subscribed", "refused", "stale", "lost", "disconnected", "exchange"],
        detail: str,
        now: datetime,
        natives: Iterable[str] | None = None,
    ) -> bytes:
        """A status line for each of these pairs, or for all."""
        return b"".join(
            bronze.encode(
                bronze.StatusLine(
                    exchange=self.exchange.ID,
                    symbol=self.symbols[native],
                    native_symbol=native,
                    recv_ts=now,
                    conn=self.name,
                    status=status,
                    detail=detail,
                )
            )
            for native in (self.symbols if natives is None else natives)
        )

    def reject(self, message: bytes, now: datetime, reason: str) -> bytes:
        """The line that keeps a message which is not understood."""
        if not self._complained:
            self._complained = True
            log.warning("%s: a message was not understood and is kept in bronze/rejected: %s", self.name, reason[:300])
        self.tally["rejected"] += 1
        return bronze.encode(
            bronze.RejectedLine(
                exchange=self.exchange.ID,
                recv_ts=now,
                conn=self.name,
                reason=reason,
                message=message.decode(errors="backslashreplace"),
            )
        )

    def _line(self, record: Record, message: bytes, now: datetime) -> bytes:
        if isinstance(record, Candle | Trade):
            symbol = self.symbols.get(record.native_symbol)
            if symbol is None:
                reason = f"wrong symbol: {record.native_symbol!r} was not subscribed on this connection"
                return self.reject(message, now, reason)
            self.heard[record.native_symbol] = now
            self.clock.saw(record, now)
            self.candles += 1
            self.tally["candles"] += 1
            if isinstance(record, Candle):
                return bronze.encode(bronze.candle_line(self.exchange.ID, symbol, record, now, self.name))
            line = bronze.encode(bronze.trade_line(self.exchange.ID, symbol, record, now, self.name))
            return self._missed_trades(record, now) + line
        if isinstance(record, Sequence):
            return self._counted(record.number, now)
        if isinstance(record, Pong):
            self.pongs += 1
            return b""
        if isinstance(record, Notice):
            if record.system != "online" and self.ailing is None:
                self.ailing = Trouble(reason=f"{record.system}: {record.detail}", since=now)
                log.warning("%s: the exchange says %s", self.name, self.ailing.reason)
            elif record.system == "online" and self.ailing is not None:
                log.info("%s: the exchange is online again, after %s", self.name, lasted(self.ailing.since, now))
                self.ailing = None
            self.closing = self.closing or record.closing
            return self.status("exchange", f"{record.system}: {record.detail}", now)
        return self._answered(record, now)

    def _counted(self, number: int, now: datetime) -> bytes:
        """Messages that the exchange numbered and that did not come may have been about any pair."""
        before, self._sequence = self._sequence, number
        if before is None or number == before + 1:
            return b""
        log.warning("%s: message %d came behind message %d: what is between was lost", self.name, number, before)
        self.since.update(dict.fromkeys(self.since, now))
        return self.status("lost", f"message {number} came behind message {before}", now, list(self.since))

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
        return b"".join(taken_back) + self.status("lost", detail, now, [native])

    def _alive(self, native: str, minute: datetime, since: datetime, now: datetime) -> bytes:
        return bronze.encode(
            bronze.AliveLine(
                exchange=self.exchange.ID,
                symbol=self.symbols[native],
                native_symbol=native,
                recv_ts=now,
                interval_start=minute,
                interval_end=minute + MINUTE,
                # Readers compare it with moments of both clocks: it is the later one.
                since=since - min(self.clock.lag or timedelta(), timedelta()),
                conn=self.name,
            )
        )

    def _answered(self, record: Subscribed | Refused, now: datetime) -> bytes:
        natives = self._requests.get(record.request_id or 0, [])
        if record.native_symbol is not None:
            natives = [record.native_symbol] if record.native_symbol in self.symbols else []
        elif record.request_id is None:
            natives = [native for native in self._asked if native not in self.since and native not in self.refused]
        if isinstance(record, Subscribed):
            new = [native for native in natives if native not in self.since]
            self.since.update(dict.fromkeys(new, now))
            return self.status("subscribed", "the exchange acknowledged the subscription", now, new)
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
        return self.status("refused", record.reason, now, natives)

    def _reject_broken(self, message: bytes, now: datetime, reason: str) -> bytes:
        """It may have been the last update of a candle: nobody may take the one before for the last."""
        for native in self._concerned(message):
            if native in self.since:
                self.since[native] = now
        return self.reject(message, now, reason)

    def _concerned(self, message: bytes) -> Iterable[str]:
        """The pairs that a broken message may be about: those it names; all, where it breaks off."""
        try:
            msgspec.json.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.symbols
        if len(message) > _LONG:
            return self.symbols
        text = message.upper()
        return [native for native in self.symbols if native.upper().encode() in text]


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    while start < end:
        yield start
        start += MINUTE
