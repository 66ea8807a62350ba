"""Which hours are over, and which are looked after."""

from __future__ import annotations

from datetime import datetime, timedelta

from stream.clock import HOUR, hour_of
from stream.errors import HourNotReady
from stream.settings import Settings


def ready_at(hour: datetime, settings: Settings) -> datetime:
    """When the hour can be processed: its end plus the grace."""
    return hour + HOUR + timedelta(seconds=settings.hours.grace_seconds)


def check_over(hour: datetime, settings: Settings) -> None:
    """HourNotReady unless the hour is over, plus the grace."""
    now, ready = settings.clock.now(), ready_at(hour, settings)
    if now < ready:
        raise HourNotReady(
            f"The hour {hour:%Y-%m-%dT%H} is not over yet: it is {now:%Y-%m-%d %H:%M:%S} UTC, and the hour will be "
            f"ready at {ready:%Y-%m-%d %H:%M:%S} UTC ([hours] grace_seconds = {settings.hours.grace_seconds:g})."
        )


def window(settings: Settings, lookback_hours: int | None = None) -> list[datetime]:
    """The hours that are over, latest first, `lookback_hours` of them."""
    count = settings.hours.lookback_hours if lookback_hours is None else lookback_hours
    last = hour_of(settings.clock.now() - timedelta(seconds=settings.hours.grace_seconds)) - HOUR
    return [last - n * HOUR for n in range(max(1, count))]
