"""A feed: some pairs of one exchange, kept recorded by one connection after another, with an overlap where possible."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Iterator
from typing import Protocol

from stream.backoff import delays
from stream.clock import Clock
from stream.errors import SpoolError
from stream.live.intake import Intake

log = logging.getLogger(__name__)

_STEADY = 60.0
"""Seconds of the clock that a connection must deliver for, before its end counts as an accident and not a failure."""
_PATIENCE = 30.0
"""Seconds of the clock that a replacement has for its acknowledgements, and at least a few of the wall."""
_LEAST = 5.0
_CAP = 60.0


class Line(Protocol):
    """What a feed keeps alive: a connection, of whatever make."""

    intake: Intake
    ready: asyncio.Event
    """Every pair is acknowledged or refused."""
    replace: asyncio.Event
    """It is time for a replacement: the exchange will close this connection, or said so."""
    opened: bool

    async def run(self) -> str:
        """Live until the end, whose reason is returned. SpoolError when a line could not be written."""

    async def close(self, reason: str) -> None:
        """End it in an orderly way; `run` returns the reason."""


class Feed:
    """`dial` makes a new connection object for the same pairs; `reconnect` is the exchange's shortest average wait."""

    def __init__(
        self, *, name: str, dial: Callable[[], Line], reconnect: float, clock: Clock, chance: random.Random
    ) -> None:
        self.name = name
        self._dial = dial
        self._reconnect = reconnect
        self._clock = clock
        self._chance = chance
        self._waits = self._fresh_waits()
        self._down = False

    async def run(self) -> None:
        """Until it is cancelled. SpoolError when there is no room for what is received."""
        while True:
            try:
                reason = await self._keep_one()
            except SpoolError:
                raise
            except Exception as error:
                log.exception("%s: this is a bug; the other connections go on", self.name)
                reason = repr(error)
            if not self._down:
                log.warning("%s: not connected, trying again: %s", self.name, reason)
            self._down = True
            await self._clock.sleep(next(self._waits))

    async def _keep_one(self) -> str:
        """One connection and its replacements, until one ends by itself; returns why."""
        current = self._dial()
        running = asyncio.create_task(current.run())
        try:
            while True:
                expired = asyncio.create_task(current.replace.wait())
                try:
                    done, _ = await asyncio.wait(
                        {running, expired},
                        timeout=self._clock.wall_seconds(_STEADY),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    expired.cancel()
                if running.done():
                    return running.result()
                if not done and current.intake.candles:
                    self._steady()
                if current.replace.is_set():
                    current, running = await self._relieve(current, running)
        finally:
            await _end(running)

    async def _relieve(self, current: Line, running: asyncio.Task[str]) -> tuple[Line, asyncio.Task[str]]:
        """Open the replacement; when all its pairs are acknowledged, close the old one. Both record meanwhile."""
        successor = self._dial()
        starting = asyncio.create_task(successor.run())
        ready = asyncio.create_task(successor.ready.wait())
        try:
            patience = max(self._clock.wall_seconds(_PATIENCE), _LEAST)
            await asyncio.wait({starting, ready}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() or not successor.opened:
                await _end(starting)
                await asyncio.wait({running}, timeout=self._clock.wall_seconds(next(self._waits)))
                return current, running
            await current.close("replaced by a newer connection")
            await running
            return successor, starting
        except BaseException:
            await _end(starting)
            raise
        finally:
            ready.cancel()

    def _steady(self) -> None:
        self._waits = self._fresh_waits()
        if self._down:
            log.info("%s: connected again", self.name)
            self._down = False

    def _fresh_waits(self) -> Iterator[float]:
        """The first accident is followed by a quick attempt; from then on the exchange's pace counts."""
        first = itertools.islice(delays(0.5, 0.5, self._chance), 1)
        return itertools.chain(first, delays(self._reconnect, _CAP, self._chance))


async def _end(task: asyncio.Task[str]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and isinstance(task.exception(), SpoolError):
        raise SpoolError(str(task.exception()))
