"""All that `klines status` knows. Each part is told for itself: that Postgres is down hides nothing of the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import msgspec

from stream.errors import KlinesError
from stream.lake import open_lake
from stream.settings import Settings
from tasks.rules.completeness import Total
from tasks.watch import failures, problems, published, recorder
from tasks.watch.failures import Failure
from tasks.watch.published import Missing, PairHour
from tasks.watch.recorder import Recorder

_T = TypeVar("_T")


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Times are of the clock of the settings, UTC."""

    now: datetime
    lake: str
    warehouse_dsn: str
    """Without the password; empty when Postgres cannot be reached."""
    problems: list[str]
    """What needs a person, each with its remedy."""
    recorder: Recorder | None
    """Of this machine; None when its spool cannot be looked at."""
    published_until: datetime | None
    unpublished: list[datetime]
    missing: list[Missing]
    failing: list[Failure]
    totals: list[Total]
    """The latest published hours, all pairs together, the latest last, ..."""
    hours: list[PairHour]
    """... and each pair of them, where that was asked for."""


def read(settings: Settings, count: int, *, each_pair: bool) -> Page:
    """The page, with the latest `count` published hours."""
    now, errors = settings.clock.now(), list[str]()

    def ask(what: Callable[[], _T]) -> _T | None:
        try:
            return what()
        except KlinesError as error:
            errors.append(str(error))
            return None

    seen = ask(lambda: recorder.look(settings))
    found = ask(lambda: published.look(settings, count, each_pair=each_pair))
    failing = ask(lambda: failures.known(open_lake(settings.lake))) or []
    of_recorder = problems.of_recorder(seen, now) if seen else ()
    of_hours = problems.of_hours(found, failing, now) if found else ()
    return Page(
        now=now,
        lake=settings.lake.root,
        warehouse_dsn=found.warehouse_dsn if found else "",
        problems=[*of_recorder, *errors, *problems.of_tasks(failing, now), *of_hours],
        recorder=seen,
        published_until=found.until if found else None,
        unpublished=found.unpublished if found else [],
        missing=found.missing if found else [],
        failing=failing,
        totals=found.totals if found else [],
        hours=found.hours if found else [],
    )
