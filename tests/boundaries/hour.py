"""The job of an hour: evidence, REST, silver, as `Hourly` does it, over a store in memory."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx

from stream.clock import HOUR as ONE_HOUR
from stream.clock import Clock
from stream.emulator.market import Market
from stream.emulator.venues import VENUES
from stream.lake import Lake
from tasks.hour import evidence
from tasks.tables import parquet
from tests.boundaries.calls import differences
from tests.sim.course import live
from tests.sim.judge import Violation
from tests.sim.machine import configured
from tests.sim.store import Objects, SimStore
from tests.sim.worker import Surroundings, Worker
from tests.sim.world import GRACE, HOUR, SYMBOLS, World

EVIDENCE = ("bronze/stream/", "bronze/rest/")
"""What is never changed: all else is made from it."""
_processes = itertools.count(1)


class Still(Clock):
    """The hour has been over for a while, and all is done in no time: so the same answers give the same bytes."""

    def __init__(self, later: float = 0.0) -> None:
        super().__init__(simulated_start=HOUR + ONE_HOUR + timedelta(seconds=GRACE + 30 + later))

    def now(self) -> datetime:
        """Always the same."""
        assert self.simulated_start is not None
        return self.simulated_start

    def pause(self, seconds: float) -> None:
        """Over at once."""


class _Rest(httpx.BaseTransport):
    """The REST of emulated exchanges, without a network."""

    def __init__(self, world: World) -> None:
        silent = world.faults.get("silent", 0.0)
        self._venues = {
            exchange: VENUES[exchange](
                exchange, Market(exchange, seed=world.seed, silent=silent), SYMBOLS[: world.pairs]
            )
            for exchange in world.exchanges
        }

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One answer."""
        _, exchange, path = request.url.path.split("/", 2)
        now = Still().now()
        answer = self._venues[exchange].get(f"/{path}", dict(request.url.params), now)
        headers = {"Date": format_datetime(now, usegmt=True)}
        return httpx.Response(answer.status, headers=headers, content=answer.text())


class Recorded:
    """An hour of some exchanges as a recorder left it: after a third of it, with minutes that only REST can finish."""

    def __init__(self, exchanges: tuple[str, ...], recorders: int) -> None:
        self.world = World(seed=15, exchanges=exchanges, recorders=recorders, minutes=20, faults={"lost_finals": 0.2})
        self.objects = Objects(_only(live(self.world).objects, ("bronze/stream/",)))
        self._rest = _Rest(self.world)
        self._derived: dict[tuple[tuple[str, bytes], ...], Objects] = {}
        self.done = self.derive(self.objects)
        """The objects after an hour's work that nobody disturbs."""

    def derive(self, objects: Objects) -> Objects:
        """The objects after the work on these, done once."""
        given = tuple(sorted(objects.items()))
        if given not in self._derived:
            self._derived[given] = Objects(objects)
            self.work(SimStore(self._derived[given]))
        return self._derived[given]

    def work(self, lake: Lake, later: float = 0.0) -> None:
        """A process of a worker brings the hour up to date, so many seconds later than others."""
        lake.root = f"process {next(_processes)}"  # what a process remembers of a lake is its own
        found = configured(self.world, Still(later), "worker")
        Worker(Surroundings(found, lake, self._rest, random.Random(1)), [HOUR], publishes=False).run()

    def wrong(self, objects: Objects, seen: Objects) -> Iterator[Violation]:
        """Evidence is as it was `seen`, or more; all else is what it gives; silver says the same of the market."""
        evidence.look_again()
        for key, data in seen.items():
            if objects.get(key) != data:
                yield Violation("lost", f"{key} was changed")
        evident = _only(objects, EVIDENCE)
        same = evident == _only(self.done, EVIDENCE)
        yield from differences(objects, self.done if same else self.derive(evident), "wrong")
        for key in self.done.under("silver/"):
            if key in objects and _said(objects, key) != _said(self.done, key):
                yield Violation("wrong", f"{key} has other candles")


@functools.cache
def recorded(*exchanges: str, recorders: int = 1) -> Recorded:
    """Once in a process."""
    return Recorded(exchanges, recorders)


class Hour:
    """The tasks of an hour that was recorded."""

    def __init__(self, of: Recorded) -> None:
        self.objects = Objects(of.objects)
        self.lines = sum(data.count(b"\n") for data in of.objects.values())
        self._of = of
        self._seen = of.objects

    def do(self, lake: Lake) -> None:
        """One worker."""
        self._of.work(lake)

    def another(self, deed: Callable[[], Any]) -> None:  # noqa: ARG002  # among all that it does is that
        """A second one, which nobody disturbs, does all of it; what it was answered is evidence, too."""
        self._of.work(SimStore(self.objects), later=1.0)
        self._seen = _only(self.objects, EVIDENCE)

    def wrong(self, objects: Objects) -> Iterator[Violation]:
        """As in `Recorded.wrong`."""
        yield from self._of.wrong(objects, self._seen)


def _only(objects: Objects, prefixes: tuple[str, ...]) -> Objects:
    return Objects({key: data for key, data in objects.items() if key.startswith(prefixes)})


def _said(objects: Objects, key: str) -> object:
    """What silver says of a pair-hour, whenever it was received and whatever it was made from."""
    table, facts = parquet.read(SimStore(objects), key)
    counts = {name: fact for name, fact in facts.items() if name not in ("evidence", "content")}
    return table.drop_columns("ingestion_ts"), counts
