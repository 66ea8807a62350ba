"""The recorder: spool, uploader and one feed per connection's worth of pairs, from start to an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from stream.background import Background, Step
from stream.backoff import delays
from stream.clock import HOUR, floor, hour_of, lasted
from stream.disk import Disk, Folder
from stream.errors import SettingsError, SpoolError
from stream.exchanges import EXCHANGES
from stream.health import Trouble
from stream.lake import Lake, open_lake
from stream.live.connection import Connection
from stream.live.feed import Feed
from stream.roster import Ask, ask_rest, call_roll
from stream.settings import Settings
from stream.spool import Spool
from stream.uploader import Uploader
from stream.vitals import Vitals
from stream.wire import Exchange

log = logging.getLogger(__name__)

_SETTLE = timedelta(seconds=15)
"""Segments end this long after a round time, when the minute's `alive` lines are in."""
_EARLY = timedelta(seconds=1)
"""More than a sleep is ever too short by."""
_LARGEST = 256 << 20
"""A segment of this many bytes ends at once: uploads read one segment at a time."""
_FAREWELL = 20.0
"""Wall seconds that the last upload may take."""


class Recorder:
    """Records what the settings name. `run` is its whole life.

    `disk` and `lake` are those of the settings when not given. `ask` tells which pairs an exchange lists, `background`
    uploads, `chance` scatters what many recorders would otherwise do at the same moment.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        disk: Disk | None = None,
        lake: Lake | None = None,
        ask: Ask = ask_rest,
        background: Callable[[Step], Background] = Background,
        chance: random.Random | None = None,
    ) -> None:
        stream, clock = settings.stream, settings.clock
        self._settings = settings
        self._clock = clock
        self._ask = ask
        self._chance = chance or random.Random()  # noqa: S311  # nothing to keep secret
        self._tally: Counter[str] = Counter()
        disk = disk or Folder(Path(stream.spool_dir))
        self._spool = Spool(disk, clock)
        uploader = Uploader(
            spool=self._spool,
            lake=lake or open_lake(settings.lake),
            recorder=stream.recorder_id,
            compression=settings.lake.compression,
            clock=clock,
            chance=self._chance,
        )
        self._uploads = background(uploader.step)
        self._vitals = Vitals(
            recorder=stream.recorder_id,
            disk=disk,
            clock=clock,
            uploader=uploader,
            written=lambda: self._spool.written,
        )

    async def run(self, stop: asyncio.Event) -> bool:
        """Record until `stop`; True when all of it is in the lake, False when some waits for the next start."""
        if not self._settings.pairs:
            raise SettingsError(
                f"{self._settings.path}: [pairs] names no pair, so that there is nothing to record. "
                'Add a line such as: binance = ["BTC-USDT"]'
            )
        with self._spool:
            async with self._vitals:
                uploaded = await self._record(stop)
        if not uploaded:
            log.warning(
                "the lake did not take everything; the rest stays in the spool and is uploaded by the next start"
            )
        return uploaded

    async def _record(self, stop: asyncio.Event) -> bool:
        self._uploads.start()
        self._vitals.feeds = feeds = await self._feeds()
        while (trouble := await self._until_trouble(feeds, stop)) is not None:
            self._vitals.stopped = Trouble(reason=str(trouble), since=self._clock.now())
            log.error("recording has stopped: %s", trouble)
            with contextlib.suppress(SpoolError):
                self._seal()  # what is uploaded makes room
            if not await self._wait_for_room(stop):
                break
            log.info(
                "recording resumes after %s: there is room again", lasted(self._vitals.stopped.since, self._clock.now())
            )
            self._vitals.stopped = None
        log.info("stopping: what was recorded is uploaded")
        self._seal()
        await self._uploads.finish(_FAREWELL)
        return not self._spool.sealed()

    async def _feeds(self) -> list[Feed]:
        settings = self._settings
        rolls = await asyncio.gather(
            *(
                call_roll(name, symbols, settings.exchanges[name].rest_url, self._clock, self._ask)
                for name, symbols in settings.pairs.items()
            )
        )
        feeds, pairs = [], 0
        for name, roll in zip(settings.pairs, rolls, strict=True):
            found = self._native(EXCHANGES[name], roll) if name in EXCHANGES else self._long_tail(name, roll)
            feeds += found
            pairs += len(roll) if found else 0
        if not feeds:
            raise SettingsError(
                f"{settings.path}: none of the pairs in [pairs] can be recorded. The messages above say why."
            )
        log.info("recording %d pairs over %d connections", pairs, len(feeds))
        return feeds

    def _native(self, exchange: Exchange, roll: dict[str, str]) -> list[Feed]:
        """The feeds of an exchange that has a module. `roll`: native → canonical, as in `_long_tail`."""
        url, rules = exchange.stream_url(self._settings.exchanges[exchange.ID].ws_url), exchange.STREAM

        def dial(symbols: Mapping[str, str]) -> Connection:
            return Connection(
                exchange=exchange,
                url=url,
                symbols=symbols,
                name=self._name(),
                clock=self._clock,
                write=self._spool.append,
                chance=self._chance,
                tally=self._tally,
            )

        return [
            Feed(
                name=f"{exchange.ID} connection {number} ({len(symbols)} pairs, {url})",
                exchange=exchange.ID,
                symbols=symbols,
                dial=dial,
                reconnect=rules.reconnect,
                clock=self._clock,
                chance=self._chance,
            )
            for number, symbols in _parts(roll, rules.pairs_per_connection)
        ]

    def _long_tail(self, name: str, roll: dict[str, str]) -> list[Feed]:
        """The feeds of an exchange that ccxt reads."""
        from stream.long_tail import (
            feed as ccxt_feed,  # who has no exchange of the long tail need not load ccxt, nor have it
        )

        tail = ccxt_feed.LongTail(name, self._settings.exchanges[name], self._clock)
        if not tail.streams():
            log.warning(
                "%s: ccxt streams no 1-minute candles of it: nothing is recorded, its minutes come from REST", name
            )
            return []

        def dial(symbols: Mapping[str, str]) -> ccxt_feed.CcxtConnection:
            return ccxt_feed.CcxtConnection(
                tail=tail, symbols=symbols, name=self._name(), write=self._spool.append, tally=self._tally
            )

        return [
            Feed(
                name=f"{name} connection {number} ({len(symbols)} pairs, through ccxt)",
                exchange=name,
                symbols=symbols,
                dial=dial,
                reconnect=ccxt_feed.RECONNECT,
                clock=self._clock,
                chance=self._chance,
            )
            for number, symbols in _parts(roll, ccxt_feed.PAIRS)
        ]

    def _name(self) -> str:
        """Of a new connection."""
        return f"{self._settings.stream.recorder_id}/{self._spool.numbers.next()}"

    async def _until_trouble(self, feeds: list[Feed], stop: asyncio.Event) -> SpoolError | None:
        """Record until `stop` (None) or until the spool refuses; every connection is closed in an orderly way."""
        works: list[Coroutine[Any, Any, Any]] = [stop.wait(), self._sync_often(), self._seal_on_time()]
        tasks = [asyncio.create_task(work) for work in (*works, *(feed.run() for feed in feeds))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        troubles = [end for end in ends if isinstance(end, Exception)]
        for trouble in troubles:
            if not isinstance(trouble, SpoolError):
                raise trouble
        return next((trouble for trouble in troubles if isinstance(trouble, SpoolError)), None)

    async def _wait_for_room(self, stop: asyncio.Event) -> bool:
        """True when there is room again, False when it is time to stop."""
        for wait in delays(2, 60, self._chance):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._clock.wall_seconds(wait)):
                    await stop.wait()
            if stop.is_set():
                return False
            with contextlib.suppress(SpoolError):
                self._spool.check_room()
                return True
        raise AssertionError("delays never end")

    async def _sync_often(self) -> None:
        """Wall seconds, also in a rehearsal: it is about real power."""
        while True:
            await asyncio.sleep(self._settings.stream.fsync_seconds)
            await asyncio.to_thread(self._spool.sync)
            if self._spool.size > _LARGEST:
                await asyncio.to_thread(self._seal)

    async def _seal_on_time(self) -> None:
        while True:
            # By the clock as it is, which may have been set back; who wakes a bit too early has sealed for that time.
            due = next_seal(self._clock.now() + _EARLY, self._settings.stream.flush_seconds)
            await self._clock.sleep((due - self._clock.now()).total_seconds())
            await asyncio.to_thread(self._seal)
            if hour_of(due) == due - _SETTLE:
                log.info(
                    "until %s: %d candles recorded, %d messages rejected; %d segments wait for the lake",
                    f"{due:%H:%M}",
                    self._tally["candles"],
                    self._tally["rejected"],
                    len(self._spool.sealed()),
                )
                self._tally.clear()

    def _seal(self) -> None:
        self._spool.seal()
        self._uploads.wake()


def _parts(roll: dict[str, str], size: int) -> Iterator[tuple[int, dict[str, str]]]:
    """The pairs in parts of at most so many, numbered from 1."""
    pairs = list(roll.items())
    for number, first in enumerate(range(0, len(pairs), size), 1):
        yield number, dict(pairs[first : first + size])


def next_seal(after: datetime, flush_seconds: float) -> datetime:
    """When the segment that is open at `after` ends: at multiples of `flush_seconds` and at each hour, a bit later."""
    settled, step = after - _SETTLE, timedelta(seconds=flush_seconds)
    return min(floor(settled, step) + step, hour_of(settled) + HOUR) + _SETTLE
