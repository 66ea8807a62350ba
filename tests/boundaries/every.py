"""Faults that have their turn at every point there is, not by chance: rows of the table that `make faults` prints."""

from __future__ import annotations

import itertools
import logging
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from tasks.warehouse import embedded
from tests.boundaries import calls, luigi_hour, requests, s3_proxy, server, statements, turns, workers
from tests.boundaries.hour import Hour, Recorded, recorded
from tests.boundaries.pooler import pooler
from tests.boundaries.upload import Upload
from tests.sim.judge import Violation
from tests.sim.published import database

JOBS: tuple[Callable[[], calls.Job], ...] = (
    Upload,
    lambda: Hour(recorded("kraken")),
    lambda: Hour(recorded("coinbase")),
)
Tried = tuple[int, list[Violation]]
"""How many recorded lines were at stake, and what was wrong afterwards."""


class Every(NamedTuple):
    """A fault that has its turn at every point there is: where, what, and how that is tried."""

    boundary: str
    fault: str
    jobs: Callable[[], Iterator[Tried]]

    def tried(self, seed: int) -> Counter[str]:  # noqa: ARG002  # nothing is left to chance
        """As of a `Row`."""
        counts: Counter[str] = Counter()
        logging.disable(logging.CRITICAL)
        for lines, wrong in self.jobs():
            counts.update(fault.kind for fault in wrong)
            counts["tried"] += 1
            counts["acknowledged"] += lines
        return counts


def _calls(how: calls.How) -> Iterator[Tried]:
    for job in JOBS:
        for nth in range(calls.count(job())):
            yield job().lines, calls.interrupted(job(), nth, how)


def _requests(kind: str) -> Iterator[Tried]:
    with s3_proxy.store() as store, pytest.MonkeyPatch.context() as patch:
        requests.hasty(patch)
        proxy = store.proxy("faults")
        for job in JOBS[:2]:  # the requests of the other hour are the same
            for nth in range(requests.count(job(), store, proxy)):
                wrong = requests.interrupted(job(), store, proxy, nth, kind)
                if wrong is not None:
                    yield job().lines, wrong


_CHANGES = (statements.CHANGED, statements.LARGER)
"""Where each case takes long: what publishing a change consists of."""


def _statements(how: str) -> Iterator[Tried]:
    with _warehouse() as dsn:
        yield from _published(statements.Place(dsn), statements.JOBS, how)


def _pooled(how: str) -> Iterator[Tried]:
    with _warehouse() as dsn, pooler(dsn) as way:
        yield from _published(statements.Place(dsn, way), _CHANGES, how)


def _ill(how: str) -> Iterator[Tried]:
    with tempfile.TemporaryDirectory(prefix="klines-faults-") as folder:
        yield from _published(server.Server(Path(folder)), _CHANGES, how)


def _published(place: statements.Place, jobs: Sequence[statements.Job], how: str) -> Iterator[Tried]:
    for job in jobs:
        for nth in range(place.count(job)):
            yield statements.LINES, place.interrupted(job, nth, how)
    place.close()


def _turns() -> Iterator[Tried]:
    of = recorded("kraken")
    each = range(calls.count(Hour(of)) + 1)
    for first, second in itertools.product(each, each):
        yield Hour(of).lines, workers.both(of, turns.switched(first, second))


def _turns_by_chance() -> Iterator[Tried]:
    for seed in range(100):
        of, chance = recorded("coinbase" if seed % 2 else "kraken"), random.Random(seed)
        yield Hour(of).lines, workers.both(of, lambda _, chance=chance: chance.randrange(2))  # type: ignore[misc]


def _late() -> Iterator[Tried]:
    for exchange in ("kraken", "coinbase"):
        of = recorded(exchange, recorders=2)
        for nth in itertools.count():
            wrong = workers.late(of, nth)
            if wrong is None:
                break
            yield Hour(of).lines, wrong


def _publishers() -> Iterator[Tried]:
    with _warehouse() as dsn:
        place = statements.Place(dsn)
        each = range(0, place.count(statements.CHANGED) + 1, 2)
        for first, second in itertools.product(each, each):
            yield statements.LINES, place.both(turns.in_waiting(first, second))
        place.close()


def _luigi(tried: Callable[[Recorded, str, int], list[Violation] | None], every: int) -> Iterator[Tried]:
    of = recorded("coinbase", "kraken")
    with _server() as server:
        for nth in itertools.count(0, every):
            wrong = tried(of, server, nth)
            if wrong is None:
                break
            yield Hour(of).lines, wrong


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="klines-faults-") as name, embedded.server(Path(name)) as own:
        yield own


@contextmanager
def _warehouse() -> Iterator[str]:
    with _server() as own, database(own) as dsn:
        yield dsn


EVERY = (
    *(Every("store, each call", fault, partial(_calls, how)) for how, fault in calls.HOWS.items()),
    *(Every("S3, each request", fault, partial(_requests, kind)) for kind, fault in requests.KINDS.items()),
    *(Every("Postgres, each statement", fault, partial(_statements, how)) for how, fault in statements.HOWS.items()),
    *(
        Every("Postgres, behind a pooler", fault, partial(_pooled, how))
        for how, fault in statements.HOWS.items()
        if "cut" not in how  # a client does not know which session it has
    ),
    *(Every("Postgres, each statement", fault, partial(_ill, how)) for how, fault in server.HOWS.items()),
    Every("workers", "two on one hour, in each order in which one waits twice for the other", _turns),
    Every("workers", "two on one hour, by turns as chance has it", _turns_by_chance),
    Every("workers", "a recorder's lines come late, before each call of a worker", _late),
    Every("workers", "two publish an hour, in the orders in which one waits twice for the other", _publishers),
    Every("workers", "Luigi's worker is killed before a step", partial(_luigi, luigi_hour.killed, 3)),
    Every(
        "workers",
        "luigid is killed and started again at a worker's step",
        partial(_luigi, luigi_hour.without_luigid, 12),
    ),
)
