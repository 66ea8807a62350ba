"""The one place that reads the clock; in a rehearsal it runs faster, from another date.

Everything else is handed a `Clock`, or the time itself.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Clock:
    """UTC time; simulated when `simulated_start` is set: `simulated_start + (now - wall_start) * speed`.

    Durations given to `sleep` and `pause` are seconds of this clock, so that a one-second rate limit is kept in
    simulated time too.
    """

    simulated_start: datetime | None = None
    wall_start: datetime | None = None
    speed: float = 1.0

    def now(self) -> datetime:
        """The current time, timezone-aware UTC."""
        wall = datetime.now(UTC)
        if self.simulated_start is None or self.wall_start is None:
            return wall
        return self.simulated_start + (wall - self.wall_start) * self.speed

    def real_milliseconds(self) -> int:
        """Since the epoch, on the wall: a rehearsal that is repeated has the same simulated times again."""
        return time.time_ns() // 1_000_000

    def wall_seconds(self, seconds: float) -> float:
        """How long `seconds` of this clock take on the wall."""
        return seconds / self.speed

    async def sleep(self, seconds: float) -> None:
        """Let other coroutines run for `seconds` of this clock."""
        await asyncio.sleep(self.wall_seconds(seconds))

    def pause(self, seconds: float) -> None:
        """Block the calling thread for `seconds` of this clock."""
        time.sleep(self.wall_seconds(seconds))


def floor(moment: datetime, step: timedelta) -> datetime:
    """The last whole multiple of `step` (counted from the epoch) that is not after `moment`."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return moment - (moment - epoch) % step


def hour_of(moment: datetime) -> datetime:
    """The UTC hour that `moment` lies in."""
    return floor(moment, HOUR)


def lasted(since: datetime, now: datetime) -> timedelta:
    """For how long, in whole seconds, for people; never less than nothing, since clocks are set."""
    return max(timedelta(), timedelta(seconds=round((now - since).total_seconds())))


def http_date(text: str | None) -> datetime | None:
    """The moment in a `Date` header; None where there is none, or nothing that can be read."""
    try:
        found = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
