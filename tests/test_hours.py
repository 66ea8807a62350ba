"""In which order hours are worked on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from stream import settings
from stream.clock import HOUR
from tasks import hours
from tests.processes import still

MONDAY = datetime(2026, 11, 23, 8, 5, tzinfo=UTC)


def at(now: datetime, *exchanges: str) -> settings.Settings:
    """Settings with a clock that stands almost still at `now`."""
    text = still(now, {exchange: ["BTC-USDT"] for exchange in exchanges})
    return settings.parse(text, Path("luigi.cfg"))


def order(found: settings.Settings, count: int) -> list[int]:
    """Which of the last hours come first, as hours before the latest."""
    latest = hours.window(found, 1)[0]
    return sorted(range(count), key=lambda n: -hours.urgency(latest - n * HOUR, found))


def test_where_nothing_expires_later_hours_come_first() -> None:
    """The live hour does not wait for a backfill."""
    assert order(at(MONDAY, "binance", "coinbase"), 60) == list(range(60))


def test_what_expires_first_comes_first() -> None:
    """After the latest hour: the oldest of which Kraken still has candles, then the oldest that Gate still has."""
    both = at(MONDAY, "binance", "gate", "kraken")
    # 700 minutes before 8:05 is 20:25: of the hour from 20:00 on there is still a part, of the one before nothing.
    assert order(both, 61) == [0, *range(11, 0, -1), *range(60, 11, -1)]
    # Gate's 9,990 minutes end in the hour 166 hours before the latest. What is older waits until all else is done.
    assert order(both, 180)[:5] == [0, 166, 11, 165, 10]
    assert order(both, 180)[-13:] == list(range(167, 180))


def test_an_hour_that_is_not_over_is_as_urgent_as_the_latest() -> None:
    """Who asks for it is told so at once."""
    found = at(MONDAY, "kraken")
    assert hours.urgency(MONDAY + timedelta(hours=1), found) == hours.urgency(hours.window(found, 1)[0], found)
