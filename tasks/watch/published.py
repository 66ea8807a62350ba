"""Up to when hours are published, which are not, and what is missing in them."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from stream.clock import HOUR
from stream.exchanges import EXCHANGES
from stream.settings import Settings
from tasks import hours as hour_rules
from tasks import warehouse
from tasks.rules.completeness import Completeness, Gap, Total

_TO_COME = "rest_unavailable"
"""The cause of minutes that REST was not had for: it is asked again."""


class PairHour(msgspec.Struct, frozen=True, kw_only=True):
    """How many of an hour's expected minutes have which verdict."""

    hour: str
    exchange: str
    symbol: str
    expected: int
    stream: int
    rest: int
    empty: int
    missing: int


class Missing(Gap, frozen=True, kw_only=True):
    """Such minutes in the hours that `Hourly` looks at, and what becomes of them."""

    lost_at: datetime | None
    """When the first of them cannot be had any more; None where that is so already."""
    why_then: str
    """What becomes of them until then, or why nothing does."""


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """What Postgres says."""

    warehouse_dsn: str
    until: datetime | None
    """The end of the last published hour."""
    totals: list[Total]
    """The latest published hours, the latest last, ..."""
    hours: list[PairHour]
    """... and each pair of them, where that was asked for."""
    unpublished: list[datetime]
    """Hours that are over, after the first that was ever published, of which nothing is."""
    missing: list[Missing]


def look(settings: Settings, count: int, *, each_pair: bool) -> Published:
    """The latest `count` hours, and what lacks. WarehouseError when Postgres cannot be asked."""
    window = hour_rules.window(settings)
    with warehouse.read(settings.warehouse) as postgres:
        totals = postgres.totals(count)
        latest = postgres.latest(count) if each_pair else []
        unpublished = postgres.unpublished(window[-1] - hour_rules.HORIZON, window[0] + HOUR)
        gaps = postgres.missing(window[-1])
    return Published(
        warehouse_dsn=warehouse.address(settings.warehouse),
        until=totals[-1].hour + HOUR if totals else None,
        totals=totals,
        hours=[_row(one) for one in latest],
        unpublished=unpublished,
        missing=[_missing(one, settings) for one in gaps],
    )


def _missing(gap: Gap, settings: Settings) -> Missing:
    lost_at, why = _deadline(gap, settings) if gap.cause == _TO_COME else (None, "REST was asked: it is final")
    return Missing(**msgspec.structs.asdict(gap), lost_at=lost_at, why_then=why)


def _deadline(gap: Gap, settings: Settings) -> tuple[datetime, str]:
    """When the first of these minutes is lost: the exchange has it no more, or nobody asks for it any more."""
    lookback = settings.hours.lookback_hours
    last_asked = hour_rules.ready_at(gap.first_hour, settings) + lookback * HOUR
    rest = EXCHANGES[gap.exchange].REST if gap.exchange in EXCHANGES else None
    reach = rest.reach if rest is not None else None
    if rest is not None and reach is not None and gap.first_hour + reach < last_asked:
        end = gap.first_hour + reach
        if rest.older == "gone":
            return end, f"asked for at each run; {gap.exchange} has them for {_long(reach)} only"
        return last_asked, f"asked for at each run, as candles until {end:%Y-%m-%d %H:%M}, then only from trades"
    return last_asked, f"asked for at each run, until [hours] lookback_hours = {lookback} have passed"


def _long(duration: timedelta) -> str:
    minutes = round(duration.total_seconds() / 60)
    return f"{minutes:,} minutes"


def _row(one: Completeness) -> PairHour:
    return PairHour(
        hour=f"{one.hour:%Y-%m-%dT%H:%M:%SZ}",
        exchange=one.exchange,
        symbol=one.symbol,
        expected=one.expected,
        stream=one.stream,
        rest=one.rest,
        empty=one.empty,
        missing=one.missing,
    )
