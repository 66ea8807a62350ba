"""Faults that strike by chance, each many times in worlds of its own: rows of the table that `make faults` prints."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from msgspec.structs import replace

from tests.sim.course import live
from tests.sim.fixed import LONG, at
from tests.sim.judge import judge
from tests.sim.world import ANSWERS, Ill, Incident, Killed, Line, Rest, Run, Set, Store, World

_USUAL = World(seed=0, exchanges=("binance", "coinbase", "kraken"), flush=120.0)
"""One exchange flags its final candles, the candles of one are built from trades, and one does neither."""


class Row(NamedTuple):
    """A fault: where, what, how it is counted, and what happens in a world of it."""

    boundary: str
    fault: str
    struck: tuple[str, ...]
    """Names in `Remains.struck`."""
    incidents: Callable[[random.Random], Iterator[Incident]]
    faults: Mapping[str, float] = MappingProxyType({})
    world: World = _USUAL

    def tried(self, seed: int) -> Counter[str]:
        """In the world of that number: `tried`, `acknowledged`, and kinds of what must not be."""
        chance = random.Random(f"{seed}/{self.fault}")
        incidents = tuple(sorted(self.incidents(chance), key=lambda one: one.at))
        left = live(replace(self.world, seed=seed, faults=dict(self.faults), incidents=incidents))
        left.struck["set"] = sum(isinstance(one, Set) for one in incidents)
        counts = Counter[str](fault.kind for fault in judge(left))
        counts["tried"] = sum(left.struck[name] for name in self.struck)
        counts["acknowledged"] = sum(lines.count(b"\n") for machine in left.machines for _, lines in machine.ledger)
        return counts


def _killed(doing: str | None = None, *, power: bool = False) -> Callable[[random.Random], Iterator[Incident]]:
    def incidents(chance: random.Random) -> Iterator[Incident]:
        moment = at(1)
        while moment < at(58):
            away = chance.choice((5.0, 30.0, LONG))
            yield Killed(
                at=moment + chance.uniform(0, 60), away=away, doing=doing, nth=chance.choice((1, 2, 5)), power=power
            )
            moment += 90 + away

    return incidents


def _killed_again(chance: random.Random) -> Iterator[Incident]:
    for minute in range(2, 56, 4):
        yield Killed(at=at(minute, chance.uniform(0, 50)), away=5, doing="torn")
        yield Killed(at=at(minute + 1, 40), away=5, doing=None)
        yield Killed(
            at=at(minute + 1, 41), away=5, doing=chance.choice(("replace_end", "sync", "synced", "rename", "renamed"))
        )


def _ill(chance: random.Random) -> Iterator[Incident]:
    for minute in range(2, 56, 4):
        kind = chance.choice(("full", "quota", "fsync", "rename", "broken"))
        yield Ill(at=at(minute, chance.uniform(0, 60)), lasting=chance.choice((0.05, 5.0, 60.0)), illness=kind)  # type: ignore[arg-type]


def _line(kind: str) -> Callable[[random.Random], Iterator[Incident]]:
    def incidents(chance: random.Random) -> Iterator[Incident]:
        for minute in range(1, 57, 4):
            for exchange in _USUAL.exchanges:
                moment = at(minute, chance.uniform(0, 120))
                yield Line(at=moment, exchange=exchange, kind=kind, lasting=chance.choice((5.0, 60.0)))  # type: ignore[arg-type]

    return incidents


def _clock(chance: random.Random) -> Iterator[Incident]:
    for minute in range(3, 57, 9):
        yield Set(at=at(minute, chance.uniform(0, 60)), by=chance.choice((-3600.0, -90.0, -4.0, 4.0, 90.0, 3600.0)))


def _store(kind: str) -> Callable[[random.Random], Iterator[Incident]]:
    def incidents(chance: random.Random) -> Iterator[Incident]:
        for minute in range(2, 70, 6):
            yield Store(at=at(minute, chance.uniform(0, 60)), lasting=chance.choice((10.0, 200.0)), kind=kind)  # type: ignore[arg-type]
        yield from (Run(at=at(minute)) for minute in range(62, 75, 2))

    return incidents


def _away(chance: random.Random) -> Iterator[Incident]:
    yield Store(at=at(3, chance.uniform(0, 60)), lasting=48 * 3600, kind="refused")
    for hour in range(1, 49, 6):
        yield Killed(at=at(60 * hour, chance.uniform(0, 3600)), away=5)


def _filling(chance: random.Random) -> Iterator[Incident]:
    yield Store(at=at(3, chance.uniform(0, 60)), lasting=3 * 3600, kind="refused")


def _rest(kind: str) -> Callable[[random.Random], Iterator[Incident]]:
    def incidents(chance: random.Random) -> Iterator[Incident]:
        yield Killed(at=at(5), away=1800)
        for exchange in _USUAL.exchanges:
            yield Rest(at=at(60), exchange=exchange, lasting=600, kind=kind)  # type: ignore[arg-type]
        yield from (Run(at=at(62, chance.uniform(0, 60))) for _ in range(3))

    return incidents


def _workers(chance: random.Random) -> Iterator[Incident]:
    yield Killed(at=at(5), away=600)
    for minute in range(62, 76):
        yield Run(at=at(minute, chance.uniform(0, 60)), killed=chance.randint(1, 60))


def _nothing(_: random.Random) -> Iterator[Incident]:
    yield from ()


_DOING = {
    "write": "killed before a write",
    "torn": "killed in the middle of a write",
    "written": "killed after the write, before it is acknowledged",
    "sync": "killed before an fsync",
    "synced": "killed after an fsync",
    "renamed": "killed after a segment was sealed",
    "put": "killed before or between the objects of an upload",
    "done": "killed after an object was uploaded",
    "remove": "killed after an upload, before its segment is removed",
}
_MESSAGES = {
    "disconnects": "line cut in mid-minute, by the exchange",
    "lost_finals": "last message of a minute never sent",
    "late_finals": "last message, or late trades, after the minute",
    "duplicates": "messages sent twice, finals too",
    "reordering": "messages overtake each other",
    "contradictions": "two finals that contradict each other",
    "stalls": "subscription that goes quiet on a living line",
    "garbage": "messages that are none",
    "misfits": "messages about a candle or a trade that cannot be one",
}
_LINES = {
    "cut": "line cut at any moment",
    "refused": "connections refused",
    "slammed": "server accepts and closes",
    "half-open": "half-open line: no data, no close",
    "slow": "bytes that take up to 25 s",
}
ROWS = (
    Row("recorder", "killed at a random moment", ("killed",), _killed()),
    *(Row("recorder", fault, ("killed",), _killed(doing)) for doing, fault in _DOING.items()),
    Row("recorder", "killed while it recovers from a kill", ("killed",), _killed_again),
    Row("recorder", "power lost: unsynced writes gone, torn, zeroed or out of order", ("killed",), _killed(power=True)),
    Row("recorder", "power lost at an fsync", ("killed",), _killed("sync", power=True)),
    Row("recorder", "disk full, over quota, or broken", ("disk",), _ill),
    Row("recorder", "clock set by up to an hour, both ways", ("set",), _clock),
    *(Row("exchange", fault, ("line",), _line(kind)) for kind, fault in _LINES.items()),
    *(Row("exchange", fault, (kind,), _nothing, {kind: 0.15}) for kind, fault in _MESSAGES.items()),
    *(Row("store", f"calls {kind}", ("store",), _store(kind)) for kind in ("refused", "unanswered", "slow")),
    Row("store", "away for two days", ("store",), _away, world=World(seed=0, exchanges=("kraken",), hours=49)),
    Row("store", "away until the disk is full", ("disk",), _filling, world=replace(_USUAL, hours=4, room=4 << 20)),
    *(Row("REST", f"answers: {kind}", ("rest",), _rest(kind)) for kind in ANSWERS),
    Row("tasks", "worker killed at a call of the store", ("worker",), _workers),
)
