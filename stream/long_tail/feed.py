"""Recording the long tail: the only file that uses ccxt.pro. To be imported where it is needed.

ccxt hands out the latest state of its candles when it likes, and reconnects by itself. So it is asked for each pair
once, and overheard from then on: what a message changed in its cache is written when it has handled the message, in one
synchronous path. When our ping's pong has been handled, all that came before it has been written.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import ccxt.pro

from stream.clock import Clock, floor
from stream.errors import SpoolError
from stream.live.intake import Intake
from stream.live.minutes import CLOCK_WAS_SET, Minutes
from stream.long_tail import dialect
from stream.long_tail.tap import Tap, text
from stream.long_tail.trust import Trust
from stream.settings import ExchangeSettings
from stream.wire import MINUTE, milliseconds

log = logging.getLogger(__name__)

PAIRS = 30
"""Of one connection: the fewest that an exchange is known to allow (MEXC); ccxt does not look after that."""
RECONNECT = 5.0
"""Shortest average wait between two failed connects."""
_TAIL = 3
"""Rows at the end of a pair's cache that a message may have changed: the last minutes."""
_MEMORY = 8
"""Candles of a pair that are remembered."""
_AGAIN = 3600.0
"""Seconds after which a pair that was refused is asked for once more."""


class LongTail:
    """One exchange, as all its connections share it: its list of pairs, and whether ccxt reads it truly."""

    def __init__(self, id_: str, addresses: ExchangeSettings, clock: Clock) -> None:
        self.id = id_
        self.clock = clock
        self.trust = Trust(id_)
        self._addresses = addresses
        self._loading = asyncio.Lock()
        self._loaded: Any = None

    def streams(self) -> bool:
        """Whether ccxt streams 1-minute candles of it."""
        if self.id not in ccxt.pro.exchanges:
            return False
        exchange = getattr(ccxt.pro, self.id)()
        return bool(exchange.has["watchOHLCV"]) and "1m" in (exchange.timeframes or {})

    async def open(self) -> Any:
        """A new ccxt object that knows the exchange's pairs. To be closed."""
        exchange = getattr(ccxt.pro, self.id)(dialect.CONFIG)
        dialect.prepare(exchange, self._addresses.rest_url, self._addresses.ws_url, self.clock)
        exchange.timeout_on_exit = self.clock.wall_seconds(exchange.timeout_on_exit)
        try:
            async with self._loading:
                if self._loaded is None:
                    await exchange.load_markets()
                    self._loaded = exchange  # for its lists; it is closed like the others
                else:
                    exchange.set_markets_from_exchange(self._loaded)
        except BaseException:
            await exchange.close()
            raise
        return exchange


class CcxtConnection:
    """A connection for some pairs (`symbols`: ccxt's spelling → canonical). `write` puts lines into the spool.

    ccxt may open several websockets for them; they live and die as one.
    """

    def __init__(
        self,
        *,
        tail: LongTail,
        symbols: Mapping[str, str],
        name: str,
        write: Callable[[bytes], None],
        tally: Counter[str] | None = None,
    ) -> None:
        self.intake = Intake(exchange=dialect.Dialect(tail.id), symbols=symbols, name=name, tally=tally)
        self.ready = asyncio.Event()
        self.replace = asyncio.Event()
        """Neither is ever set: when the exchange will cut the line is not known. REST fills what that costs."""
        self.opened: datetime | None = None
        self._tail = tail
        self._clock = tail.clock
        self._write = write
        self._exchange: Any = None
        self._over: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._seen: dict[str, dict[Any, tuple[Any, ...]]] = {native: {} for native in symbols}
        self._doubtful: dict[tuple[str, int], float] = {}
        """Pair and minute → the volume that it had before a candle with less came, until as much comes again."""
        self._first = milliseconds(floor(self._clock.now(), MINUTE))
        """Candles before this one are history."""

    async def run(self) -> str:
        """Live until the end, whose reason is returned. SpoolError when a line could not be written."""
        reason, tap = "the recorder stopped", None
        try:
            try:
                self._exchange = await self._tail.open()
            except Exception as error:  # noqa: BLE001  # whatever ccxt makes of an answer, it is tried again
                reason = f"it could not be opened: {text(error)}"
            else:
                tap = Tap(self._exchange, self)
                reason = await self._live(tap)
        except SpoolError:
            reason = "the spool could not be written"
            raise
        finally:
            if tap is not None:
                await tap.close()
            if self.opened is not None:
                with contextlib.suppress(SpoolError):
                    self._write(self.intake.lines.status("disconnected", reason, self._clock.now()))
        return reason

    async def close(self, reason: str) -> None:
        """End it in an orderly way; `run` returns the reason."""
        self.ended(reason)

    async def _live(self, tap: Tap) -> str:
        asking = [asyncio.create_task(self._subscribe(native)) for native in self.intake.symbols]
        proving = asyncio.create_task(self._prove(tap))
        try:
            await asyncio.wait({self._over, proving}, return_when=asyncio.FIRST_COMPLETED)
            return self._over.result() if self._over.done() else proving.result()
        finally:
            for task in (*asking, proving):
                task.cancel()
            await asyncio.gather(*asking, proving, return_exceptions=True)

    async def _subscribe(self, native: str) -> None:
        """Once: from then on ccxt keeps its candles of the pair up to date. After a refusal, again, but not soon."""
        while True:
            try:
                await self._exchange.watch_ohlcv(native, "1m")
                return
            except ccxt.NetworkError as error:
                self.ended(f"{self.intake.symbols[native]} could not be asked for: {text(error)}")
                return
            except Exception as error:  # noqa: BLE001  # a pair that ccxt stumbles over must not stop the others
                log.warning("%s: %s was refused: %s", self.intake.name, self.intake.symbols[native], text(error))
                self.intake.refused.add(native)
                self._put(self.intake.lines.status("refused", text(error), self._clock.now(), [native]))
            await self._clock.sleep(_AGAIN)

    def connected(self) -> None:
        """One of ccxt's websockets is open."""
        if self.opened is None:
            self.opened = self._clock.now()
            self._put(self.intake.lines.status("connected", "through ccxt", self._clock.now()))

    def ended(self, reason: str) -> None:
        """One of ccxt's websockets is no more, or it is time to stop."""
        if not self._over.done():
            self._over.set_result(reason)

    def broken(self, message: bytes, reason: str) -> None:
        """It may have been the last update of any candle: nobody may take the one before for the last."""
        now = self._clock.now()
        self.intake.since.update(dict.fromkeys(self.intake.since, now))
        self._put(self.intake.reject(message, now, reason))

    def heard(self) -> None:
        """The hot path: writes the rows that a message changed."""
        now, cache = self._clock.now(), self._exchange.ohlcvs
        found = [
            self._line(native, tuple(row), now)
            for native, seen in self._seen.items()
            for row in dialect.cached(cache, native)[-_TAIL:]
            if seen.get(row[0]) != tuple(row)
        ]
        self._put(b"".join(found))

    def _line(self, native: str, row: tuple[Any, ...], now: datetime) -> bytes:
        intake, seen, lines = self.intake, self._seen[native], b""
        before, seen[row[0]] = seen.get(row[0]), row
        if len(seen) > _MEMORY:
            del seen[next(iter(seen))]
        if not dialect.is_row(row):
            return intake.take(dialect.said(native, "update", row), now)
        if native not in intake.since:
            intake.since[native] = now
            intake.refused.discard(native)
            lines = intake.lines.status("subscribed", "its first candle came", now, [native])
        kind: dialect.Kind = "snapshot" if row[0] < self._first else "update"
        lines += intake.take(dialect.said(native, kind, row), now)
        if before is not None and dialect.went_back(before, row):
            self._doubtful.setdefault((native, row[0]), before[5])
        elif row[5] >= self._doubtful.get((native, row[0]), row[5]):
            self._doubtful.pop((native, row[0]), None)
        return lines

    def _put(self, lines: bytes) -> None:
        """Called where ccxt receives, so that it must not raise."""
        try:
            if lines:
                self._write(lines)
        except SpoolError as error:
            if not self._over.done():
                self._over.set_exception(error)
                self._over.exception()  # seen: whoever stops now need not wait for the result

    async def _prove(self, tap: Tap) -> str:
        """After each minute, a ping, as a native connection does. Until ccxt is trusted, the lines are held back."""
        minutes, trust, complained = Minutes(self._clock, self.intake.clock.there), self._tail.trust, False
        held: datetime | None = None  # since when lines are held back
        while (ended := await minutes.next()) is not None:
            since, over = ended
            answered, now = await tap.answered(f"{self.intake.name} {over:%H:%M}"), self._clock.now()
            self._settle(milliseconds(over), now)
            if not answered and not complained:
                complained = True
                log.warning("%s: a ping was not answered: nothing is proven", self.intake.name)
            if answered and not trust.given:
                await trust.examine(self._exchange, self._finished(over))
            if answered and trust.given:
                self._put(self.intake.alive(since if held is None else held, over, now))
                held = None
            elif held is None:
                held = since
            self.intake.clock.complain(self.intake.tally, self._clock)
        return CLOCK_WAS_SET

    def _settle(self, until: int, now: datetime) -> None:
        """Where a minute's last candle has less volume than one before, nobody knows which was sent last."""
        doubtful = {native: volume for (native, start), volume in self._doubtful.items() if start < until}
        self._doubtful = {key: volume for key, volume in self._doubtful.items() if key[1] >= until}
        self.intake.since.update(dict.fromkeys(doubtful, now))
        for native, volume in doubtful.items():
            self._put(
                self.intake.lines.status("lost", f"a minute's volume had been {volume}, then was less", now, [native])
            )

    def _finished(self, until: datetime) -> dict[str, list[tuple[Any, ...]]]:
        """The candles that were heard from start to end, and ended a while ago: REST should have them by now."""
        last = milliseconds(until - 2 * MINUTE)
        return {
            native: sorted(
                row
                for row in self._seen[native].values()
                if dialect.is_row(row) and milliseconds(since) <= row[0] <= last
            )
            for native, since in self.intake.since.items()
        }
