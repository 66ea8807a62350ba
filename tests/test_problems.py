"""What the one on call is told: a sentence for each thing that needs a person, with its remedy, and none else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from stream.health import Trouble
from tasks.watch import problems
from tasks.watch.failures import Failure
from tasks.watch.published import Missing, Published
from tasks.watch.recorder import Connection, Recorder, Silent

NOW = datetime(2026, 11, 22, 8, 40, tzinfo=UTC)
AGO = NOW - timedelta(minutes=45)
HOUR = datetime(2026, 11, 22, 7, tzinfo=UTC)
UP = Connection(name="kraken connection 1", exchange="kraken", pairs=50, up=True, since=AGO, reason="")
DOWN = msgspec.structs.replace(UP, up=False, reason="it could not be opened: no route to host")
WELL = Recorder(
    spool="/spool",
    name="vm",
    state="recording",
    started=AGO,
    said=NOW,
    last_heard=NOW,
    connections=[UP],
    silent_pairs=[],
    refused_pairs=["kraken FOO-USD"],
    unlisted_pairs=["kraken BAR-USD"],
    ailing={"kraken": Trouble(reason="maintenance: status channel: maintenance", since=AGO)},
    stopped=None,
    uploads=None,
    last_upload=AGO,
    backlog_bytes=0,
    backlog_age_seconds=0.0,
    disk_free_bytes=10**10,
    disk_lasts_seconds=1e6,
)
PUBLISHED = Published(
    warehouse_dsn="dsn", until=HOUR + timedelta(hours=1), totals=[], hours=[], unpublished=[], missing=[]
)
BROKEN = Trouble(reason="The store is out of order.", since=AGO)
JUST_NOW = Trouble(reason="The store is out of order.", since=NOW - timedelta(minutes=5))


def of_recorder(**given: Any) -> list[str]:
    """The sentences about a recorder that is well but for what is given."""
    return list(problems.of_recorder(msgspec.structs.replace(WELL, **given), NOW))


def of_hours(failing: list[Failure] | None = None, **given: Any) -> list[str]:
    """The sentences about hours that are well but for what is given."""
    known = failing or []
    seen = msgspec.structs.replace(PUBLISHED, **given)
    return [*problems.of_tasks(known, NOW), *problems.of_hours(seen, known, NOW)]


def missing(lost_at: datetime | None) -> Missing:
    """An hour of Gate without REST."""
    return Missing(
        exchange="gate",
        cause="rest_unavailable",
        minutes=60,
        pairs=1,
        first_hour=HOUR,
        last_hour=HOUR,
        lost_at=lost_at,
        why_then="asked for at each run; gate has them for 9,990 minutes only",
    )


def failed(task: str, hour: datetime | None, since: datetime = AGO, cause: str = "Postgres is down.") -> Failure:
    """It did."""
    return Failure(task=task, hour=hour, cause=cause, since=since)


def text(*lines: str) -> str:
    """A sentence that is longer than a line."""
    return " ".join(lines)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"state": "dead", "said": AGO, "backlog_bytes": 2_500_000},
            text(
                "Nothing is recorded: the recorder vm ended without a word (killed, or the machine went",
                "down) at 2026-11-22 07:55, 45 min ago. Start it: klines record. 2.5 MB wait in /spool; the",
                "next start brings them",
            ),
        ),
        (
            {"state": "stopped", "said": NOW - timedelta(hours=9)},
            "the recorder vm was stopped at 2026-11-21 23:40, 9.0 h ago. Start it: klines record.",
        ),
        (
            {"state": "hanging", "said": AGO, "disk_free_bytes": 0},
            text(
                "The recorder vm runs, but has said nothing since 2026-11-22 07:55, for 45 min: it hangs, or",
                "its disk is full (0 B free). Make room, else restart it.",
            ),
        ),
        ({"stopped": BROKEN}, "Nothing is recorded since 2026-11-22 07:55, for 45 min: The store is out of order."),
        (
            {"uploads": BROKEN, "backlog_bytes": 31_000_000, "disk_lasts_seconds": 4.2 * 86400},
            text(
                "Nothing is uploaded since 2026-11-22 07:55, for 45 min: The store is out of order. 31.0 MB",
                "wait, and the disk is full in about 4 days.",
            ),
        ),
        ({"uploads": JUST_NOW, "disk_lasts_seconds": 3600.0}, "and the disk is full in about 60 min."),
        (
            {"connections": [UP, DOWN, DOWN]},
            text(
                "kraken: 2 of 3 connections (100 pairs) are down since 2026-11-22 07:55, for 45 min: it",
                "could not be opened: no route to host. They are tried again and again; look at the network,",
                "at the exchange's status page, and at [exchange_kraken].",
            ),
        ),
        (
            {"silent_pairs": [Silent(exchange="okx", symbol=f"P{n}-USD", last_heard=AGO) for n in range(7)]},
            text(
                "okx: nothing comes of P0-USD (since 2026-11-22 07:55), P1-USD (since 2026-11-22 07:55),",
                "P2-USD (since 2026-11-22 07:55), P3-USD (since 2026-11-22 07:55), P4-USD (since 2026-11-22",
                "07:55) and 2 more for longer than is normal. It is asked for again and again; see whether",
                "the exchange still trades it",
            ),
        ),
    ],
)
def test_one_sentence_about_the_recorder(given: dict[str, Any], says: str) -> None:
    """With the thing, since when, and what to do."""
    (sentence,) = of_recorder(**given)
    assert says in sentence


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"state": "none", "started": None, "said": None, "connections": []},
        {"state": "starting", "said": None},
        {"state": "stopped", "said": AGO},
        {"uploads": JUST_NOW},
        {"connections": [msgspec.structs.replace(DOWN, since=NOW - timedelta(seconds=90))]},
    ],
)
def test_what_passes_by_itself_wakes_nobody(given: dict[str, Any]) -> None:
    """A replacement, a store that is away for minutes, a recorder that somebody stopped just now, or never started."""
    assert of_recorder(**given) == []


@pytest.mark.parametrize(
    ("failing", "given", "says"),
    [
        (
            [failed("SilverHour", HOUR - n * timedelta(hours=1)) for n in range(3)],
            {"unpublished": [HOUR - n * timedelta(hours=1) for n in range(3)]},
            text(
                "SilverHour fails for 3 hours, 2026-11-22T05 to 2026-11-22T07 since 2026-11-22 07:55:",
                "Postgres is down. Then run it again: luigi --module tasks SilverHour --hour 2026-11-22T07",
            ),
        ),
        (
            [failed("Hourly", None)],
            {},
            "Hourly fails since 2026-11-22 07:55: Postgres is down. Then run it again: luigi --module tasks Hourly",
        ),
        (
            [],
            {"unpublished": [HOUR - timedelta(hours=1), HOUR]},
            "Nobody has published 2 hours, 2026-11-22T06 to 2026-11-22T07: is klines hourly running? By hand: luigi",
        ),
        (
            [],
            {"missing": [missing(NOW + timedelta(hours=2))]},
            text(
                "gate: 60 minutes of 1 pairs, in hours from 2026-11-22T07 on, are lost at 2026-11-22 10:40",
                "and after that (asked for at each run; gate has them for 9,990 minutes only). Make its REST",
                "answer before that",
            ),
        ),
    ],
)
def test_one_sentence_about_hours(failing: list[Failure], given: dict[str, Any], says: str) -> None:
    """The same outage makes every hour fail alike: that is one sentence."""
    (sentence,) = of_hours(failing, **given)
    assert says in sentence


def test_hours_that_are_being_worked_on_wake_nobody() -> None:
    """The next attempt is soon; and what is lost, or will not be for long, is no reason to get up."""
    now = NOW.replace(minute=20)
    late = msgspec.structs.replace(PUBLISHED, unpublished=[HOUR])
    failing = [failed("SilverHour", HOUR, now - timedelta(minutes=9))]
    assert [*problems.of_tasks(failing, now), *problems.of_hours(late, failing, now)] == []
    assert list(problems.of_hours(late, [], now)) == []
    assert of_hours(missing=[missing(None), missing(NOW + timedelta(hours=4))]) == []


@pytest.mark.parametrize(
    ("seconds", "says"), [(-5, "0 s"), (42, "42 s"), (420, "7 min"), (12_600, "3.5 h"), (12 * 86_400, "12 days")]
)
def test_a_span_is_short(seconds: float, says: str) -> None:
    """One number and its unit."""
    assert problems.span(timedelta(seconds=seconds)) == says


@pytest.mark.parametrize(
    ("count", "says"),
    [(0, "0 B"), (12_300, "12 kB"), (3_400_000, "3.4 MB"), (1_200_000_000, "1.2 GB"), (5e13, "50000.0 GB")],
)
def test_a_size_is_short(count: int, says: str) -> None:
    """As disks are sold."""
    assert problems.size(count) == says
