"""Faults that have their turn at every point there is, not by chance: rows of the table that `make faults` prints."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import pytest

from tests.boundaries import calls, requests, s3_proxy
from tests.boundaries.hour import Hour, recorded
from tests.boundaries.upload import Upload
from tests.sim.judge import Violation

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
    with s3_proxy.store() as server, pytest.MonkeyPatch.context() as patch:
        requests.hasty(patch)
        proxy = server.proxy("faults")
        for job in JOBS[:2]:
            for nth in range(requests.count(job(), server, proxy)):
                wrong = requests.interrupted(job(), server, proxy, nth, kind)
                if wrong is not None:
                    yield job().lines, wrong


EVERY = (
    *(Every("store, each call", fault, partial(_calls, how)) for how, fault in calls.HOWS.items()),
    *(Every("S3, each request", fault, partial(_requests, kind)) for kind, fault in requests.KINDS.items()),
)
