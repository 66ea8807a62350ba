"""When a connection has to prove that it lived through a minute: a while after its end, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from stream.clock import Clock, floor
from stream.wire import MINUTE

GRACE = timedelta(seconds=5)
"""How long after a minute's end its liveness is proven: updates are late by less."""
CLOCK_WAS_SET = "our clock was set, which makes the minutes doubtful"
_FIRST = 1.0
"""Seconds between two looks for the exchange's clock."""
_LOOK = 60.0
"""Seconds after which the exchange's clock is looked at again: what is known of it gets better."""
_JUMP = 5.0
"""Wall seconds by which our clock may be corrected without that the minutes become doubtful."""


class Minutes:
    """The exchange's minutes from now on, as they end. `there`: `now` here → what time it is there, at least."""

    def __init__(self, clock: Clock, there: Callable[[datetime], datetime | None]) -> None:
        self._clock = clock
        self._there = there
        self._loop = asyncio.get_running_loop()
        self._began, self._began_wall = clock.now(), self._loop.time()
        self._over = self._begun(self._began)

    async def next(self) -> tuple[datetime, datetime] | None:
        """Waits until at least one more is over: from when to when they are. None when our clock was set."""
        clock = self._clock
        while True:
            await clock.sleep(self._wait())
            now = clock.now()
            wall = clock.wall_seconds((now - self._began).total_seconds())
            if abs(wall - (self._loop.time() - self._began_wall)) > _JUMP:
                return None
            before, ended = self._over, self._begun(now - GRACE)
            if before is None:
                self._over = self._begun(now)
            elif ended is not None and ended > before:
                self._over = ended
                return before, ended

    def _wait(self) -> float:
        there = self._there(self._clock.now())
        if there is None or self._over is None:
            return _FIRST
        return min((self._over + MINUTE + GRACE - there).total_seconds(), _LOOK)

    def _begun(self, now: datetime) -> datetime | None:
        """The beginning of the minute that it is there."""
        there = self._there(now)
        return None if there is None else floor(there, MINUTE)
