"""A part of the interruptions that `make faults` tries, in an order that leaves out no kind; and that they notice."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from stream.lake import Lake
from tests.boundaries import luigi_hour, requests, turns, workers
from tests.boundaries.calls import HOWS, Job, count, interrupted
from tests.boundaries.hour import Hour, Recorded, recorded
from tests.boundaries.s3_proxy import store
from tests.boundaries.upload import Upload
from tests.sim.judge import Violation
from tests.sim.store import Objects

JOBS: dict[str, Callable[[], Job]] = {"upload": Upload, "hour": lambda: Hour(recorded("kraken"))}


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    """What goes wrong is meant to."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("job", JOBS)
def test_a_call_may_go_wrong_in_any_way(job: str) -> None:
    """Refused, unanswered, second of two, or the last thing that a process did: done again, it is as if undisturbed."""
    tried = [(nth, how) for nth in range(count(JOBS[job]())) for how in HOWS]
    assert {one: wrong for one in tried[::7] if (wrong := interrupted(JOBS[job](), *one))} == {}


def test_a_request_to_s3_may_go_wrong_in_any_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same with the S3 client and its retries, one way and one request after another."""
    requests.hasty(monkeypatch)
    with store() as server:
        proxy, hour = server.proxy("test"), JOBS["hour"]
        tried = list(zip(range(requests.count(hour(), server, proxy)), itertools.cycle(requests.KINDS), strict=False))
        found = {one: requests.interrupted(hour(), server, proxy, *one) for one in tried[::7]}
    assert not any(found.values()), found


def test_two_workers_may_take_turns() -> None:
    """One of them waits for the other at any call, twice."""
    of = recorded("kraken")
    each = range(count(Hour(of)) + 1)
    found = {one: workers.both(of, turns.switched(*one)) for one in list(itertools.product(each, each))[::41]}
    assert not any(found.values()), found


def test_lines_may_come_while_a_worker_is_at_their_hour() -> None:
    """Before any call: what it does is of what it saw; the next run takes them in."""
    of = recorded("kraken", recorders=2)
    found = {nth: workers.late(of, nth) for nth in range(0, count(Hour(recorded("kraken"))), 4)}
    assert not any(found.values()), found


@pytest.mark.parametrize(("tried", "nth"), [(luigi_hour.killed, 21), (luigi_hour.without_luigid, 12)])
def test_luigi_may_be_killed(
    server: str, tried: Callable[[Recorded, str, int], list[Violation] | None], nth: int
) -> None:
    """The worker, at Postgres; or luigid, which forgets who was at what."""
    assert tried(recorded("coinbase", "kraken"), server, nth) == []


class Careless:
    """Says that it is done before it is, overwrites what others wrote, and does not look again."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.lines = 0

    def do(self, lake: Lake) -> None:
        """Two writes, the wrong one first."""
        if lake.tail("done", 1) is None:
            lake.put("done", b"1")
            lake.put("data", b"1")

    def another(self, deed: Callable[[], Any]) -> None:  # noqa: ARG002
        """With other data."""
        self.objects["data"] = b"2"

    def wrong(self, objects: Objects) -> Iterator[Violation]:
        """Without the data, or with others than were first."""
        if objects.get("data") != b"1":
            yield Violation("lost", "data")


def test_a_careless_job_is_noticed() -> None:
    """Where it stops after the first write."""
    found = {(nth, how) for nth in range(count(Careless())) for how in HOWS if interrupted(Careless(), nth, how)}
    assert found == {(1, "unanswered"), (1, "dead after"), (2, "refused"), (2, "dead before")}
