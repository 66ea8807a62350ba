"""Which hours are over, which are looked after, and in which order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from stream.clock import HOUR, hour_of
from stream.errors import HourNotReady, SettingsError
from stream.exchanges import EXCHANGES
from stream.settings import Settings

HORIZON = timedelta(days=31)
"""How far back `Hourly` looks for hours that were never published."""
_LATEST, _EXPIRING = 3_000_000_000, 2_000_000_000


def parse(text: str) -> datetime:
    """`2026-11-22T07` → that UTC hour; SettingsError for other words."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC)
    except ValueError as error:
        raise SettingsError(f"The hour was {text!r}; write a UTC hour such as 2026-11-22T07.") from error


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


def urgency(hour: datetime, settings: Settings) -> int:
    """Luigi's priority: the latest hour first, then what REST will soon not have any more, then the later ones."""
    now = settings.clock.now()
    if hour >= window(settings, 1)[0]:
        return _LATEST
    reaches = [EXCHANGES[name].REST.reach for name in settings.pairs if name in EXCHANGES]
    gone = [hour + reach for reach in reaches if reach is not None and hour + HOUR + reach > now]
    if gone:  # else all that can be lost of it is lost
        return _EXPIRING - int(min(gone).timestamp() // 60)
    return int(hour.timestamp() // 3600)
