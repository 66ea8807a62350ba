"""When a connection has to prove that it lived through a minute: a while after its end, once."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from stream.clock import Clock, floor
from stream.wire import MINUTE

GRACE = timedelta(seconds=5)
"""How long after a minute's end its liveness is proven: updates are late by less."""
CLOCK_WAS_SET = "our clock was set, which makes the minutes doubtful"
_JUMP = 5.0
"""Wall seconds by which our clock may be corrected without that the minutes become doubtful."""


class Minutes:
    """The minutes from now on, as they end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._began, self._began_wall = clock.now(), self._loop.time()
        self.over = floor(self._began, MINUTE)
        """Until here they have ended."""

    async def next(self) -> bool:
        """Waits until at least one more is over (see `over`); False when our clock was set."""
        clock, before = self._clock, self.over
        while self.over == before:
            await clock.sleep((before + MINUTE + GRACE - clock.now()).total_seconds())
            now = clock.now()
            wall = clock.wall_seconds((now - self._began).total_seconds())
            if abs(wall - (self._loop.time() - self._began_wall)) > _JUMP:
                return False
            self.over = max(floor(now - GRACE, MINUTE), before)
        return True
