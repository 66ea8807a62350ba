"""The recorder: spool, uploader and one feed per connection's worth of pairs, from start to an orderly stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from stream.backoff import delays
from stream.clock import HOUR, floor, hour_of
from stream.connection import Connection
from stream.errors import SettingsError, SpoolError
from stream.exchanges import EXCHANGES
from stream.feed import Feed
from stream.lake import Lake, open_lake
from stream.roster import call_roll
from stream.settings import Settings
from stream.spool import Spool
from stream.uploader import Uploader
from stream.wire import Exchange

log = logging.getLogger(__name__)

_SETTLE = timedelta(seconds=15)
"""Segments end this long after a round time, when the minute's `alive` lines are in."""
_LARGEST = 256 << 20
"""A segment of this many bytes ends at once: uploads read one segment at a time."""
_FAREWELL = 20.0
"""Wall seconds that the last upload may take."""


class Recorder:
    """Records what the settings name. `run` is its whole life."""

    def __init__(self, settings: Settings, lake: Lake | None = None) -> None:
        stream, clock = settings.stream, settings.clock
        self._settings = settings
        self._clock = clock
        self._tally: Counter[str] = Counter()
        self._spool = Spool(Path(stream.spool_dir), clock)
        self._uploader = Uploader(
            spool=self._spool,
            lake=lake or open_lake(settings.lake),
            recorder=stream.recorder_id,
            compression=settings.lake.compression,
            clock=clock,
        )

    async def run(self, stop: asyncio.Event) -> bool:
        """Record until `stop`; True when all of it is in the lake, False when some waits for the next start."""
        if not any(self._settings.pairs.values()):
            raise SettingsError(
                f"{self._settings.path}: [pairs] names no pair, so that there is nothing to record. "
                'Add a line such as: binance = ["BTC-USDT"]'
            )
        with self._spool:
            self._uploader.start()
            feeds = await self._feeds()
            while (trouble := await self._until_trouble(feeds, stop)) is not None:
                log.error("recording has stopped: %s", trouble)
                with contextlib.suppress(SpoolError):
                    self._seal()  # what is uploaded makes room
                if not await self._wait_for_room(stop):
                    break
                log.info("recording resumes: the spool has room again")
            log.info("stopping: what was recorded is uploaded")
            self._seal()
            uploaded = await asyncio.to_thread(self._uploader.finish, _FAREWELL)
        if not uploaded:
            log.warning(
                "the lake did not take everything; the rest stays in the spool and is uploaded by the next start"
            )
        return uploaded

    async def _feeds(self) -> list[Feed]:
        rolls = await asyncio.gather(
            *(
                call_roll(EXCHANGES[name], symbols, self._settings.exchanges[name].rest_url, self._clock)
                for name, symbols in self._settings.pairs.items()
            )
        )
        feeds = []
        for name, roll in zip(self._settings.pairs, rolls, strict=True):
            pairs, step = list(roll.items()), EXCHANGES[name].STREAM.pairs_per_connection
            feeds += [
                self._feed(EXCHANGES[name], dict(pairs[first : first + step]), first // step + 1)
                for first in range(0, len(pairs), step)
            ]
        if not feeds:
            raise SettingsError(
                f"{self._settings.path}: none of the pairs in [pairs] is listed by its exchange, so that there is "
                "nothing to record. The messages above name the nearest ones."
            )
        log.info("recording %d pairs over %d connections", sum(map(len, rolls)), len(feeds))
        return feeds

    def _feed(self, exchange: Exchange, symbols: dict[str, str], number: int) -> Feed:
        url = exchange.stream_url(self._settings.exchanges[exchange.ID].ws_url)

        def dial() -> Connection:
            return Connection(
                exchange=exchange,
                url=url,
                symbols=symbols,
                name=f"{self._settings.stream.recorder_id}/{self._spool.numbers.next()}",
                clock=self._clock,
                write=self._spool.append,
                tally=self._tally,
            )

        name = f"{exchange.ID} connection {number} ({len(symbols)} pairs, {url})"
        return Feed(name=name, dial=dial, reconnect=exchange.STREAM.reconnect, clock=self._clock)

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
        for wait in delays(2, 60):
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
        due = self._clock.now()
        while True:
            due = next_seal(max(due, self._clock.now()), self._settings.stream.flush_seconds)
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
        self._uploader.wake()


def next_seal(after: datetime, flush_seconds: float) -> datetime:
    """When the segment that is open at `after` ends: at multiples of `flush_seconds` and at each hour, a bit later."""
    settled, step = after - _SETTLE, timedelta(seconds=flush_seconds)
    return min(floor(settled, step) + step, hour_of(settled) + HOUR) + _SETTLE
