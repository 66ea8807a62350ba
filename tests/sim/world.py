"""A world as data: everything that happens in it, in one value. `draw` makes one from a number.

Moments are seconds after the world's start, by the exchanges' clock, which is right.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import msgspec

from stream.exchanges import EXCHANGES
from tests.sim.disk import Illness

HOUR = datetime(2025, 11, 12, 9, tzinfo=UTC)
"""The first hour that is looked at; all of it is recorded, if nothing comes between."""
LEAD = timedelta(minutes=4)
"""How long before that the world starts."""
START = HOUR - LEAD
SYMBOLS = tuple(f"{base}-USDT" for base in ("ETH", "SOL", "XRP", "DOGE", "ADA", "AAA", "BBB", "CCC", "DDD", "EEE"))
"""The pairs of an exchange, the first of which are recorded."""
GRACE = 120
"""Seconds after which the tasks work on an hour."""


class _Incident(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    at: float
    """When, in seconds."""


class Killed(_Incident, frozen=True, kw_only=True, omit_defaults=True):
    """A recorder dies, and is started again `away` seconds later.

    At that moment, or, if `doing` is given, the `nth` time from then on that it does that.
    """

    away: float
    power: bool = False
    """With it the machine: what was not synced may be lost, and the exchanges hear no goodbye."""
    doing: str | None = None
    """An operation of the disk (see `tests.sim.disk.Mount`), or `put` or `done` of the store."""
    nth: int = 1
    who: int = 0


class Stopped(_Incident, frozen=True, kw_only=True, omit_defaults=True):
    """A recorder is stopped in an orderly way, and started again `away` seconds later with other pairs."""

    away: float
    leave_out: int = 0
    """How many pairs of each exchange are not recorded from then on."""
    who: int = 0


class Ill(_Incident, frozen=True, kw_only=True, omit_defaults=True):
    """A recorder's disk is ill."""

    lasting: float
    illness: Illness
    who: int = 0


class Line(_Incident, frozen=True, kw_only=True, omit_defaults=True):
    """Something happens to all connections to an exchange."""

    exchange: str
    kind: Literal["cut", "half-open", "refused", "slammed", "slow"]
    """`slow`: bytes take some seconds longer."""
    lasting: float = 0.0
    """For the last three: how long."""


class Set(_Incident, frozen=True, kw_only=True, omit_defaults=True):
    """A recorder's clock is set `by` seconds forward, or back."""

    by: float
    who: int = 0


class Store(_Incident, frozen=True, kw_only=True, omit_defaults=True):
    """The store fails."""

    lasting: float
    kind: Literal["refused", "unanswered", "slow"]
    """Nothing is done; all is done, but the answer is lost; all takes a minute."""
    workers: bool = True
    """Also for the tasks; else for recorders only."""


Answers = Literal["429", "503", "silent", "empty", "torn", "error", "strangers", "reversed", "holes"]
ANSWERS: tuple[Answers, ...] = get_args(Answers)


class Rest(_Incident, frozen=True, kw_only=True, omit_defaults=True):
    """An exchange's REST answers wrongly."""

    exchange: str
    lasting: float
    kind: Answers


class Run(_Incident, frozen=True, kw_only=True, omit_defaults=True):
    """Somebody runs the tasks of all hours, with a clock that is `ahead` so many seconds."""

    ahead: float = 0.0
    killed: int | None = None
    """At which of its calls of the store it dies."""


Incident = Killed | Stopped | Ill | Line | Set | Store | Rest | Run


class World(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who lives in it and what happens."""

    seed: int
    """Decides what is not said here: the market, the network's delays, the order of what is due at one moment."""
    exchanges: tuple[str, ...]
    pairs: int = 1
    """Of each exchange."""
    recorders: int = 1
    hours: int = 1
    faults: dict[str, float] = {}
    """Of the emulator: see `stream.emulator.faults.Faults`."""
    ahead: tuple[float, ...] = ()
    """Seconds that each recorder's clock is ahead from the beginning; 0 where nothing is said."""
    drift: float = 0.0
    """Seconds that the recorders' clocks gain in a second."""
    flush: float = 600.0
    """Seconds between two segments."""
    room: int | None = None
    """Bytes that a recorder's disk holds."""
    without_rest: tuple[str, ...] = ()
    """Exchanges whose REST never answers: what their stream did not finish stays missing."""
    publishes: bool = False
    """Into a real Postgres."""
    hourly: bool = False
    """Somebody runs the tasks after each hour."""
    minutes: int | None = None
    """How long is recorded; all of it, when not given."""
    incidents: tuple[Incident, ...] = ()

    @property
    def recorded(self) -> float:
        """Until when the recorders live."""
        return self.end if self.minutes is None else 60.0 * self.minutes

    @property
    def end(self) -> float:
        """When all faults are over and the last hour has been looked at: then everything is mended and judged."""
        last = (LEAD + self.hours * timedelta(hours=1)).total_seconds() + GRACE + 30
        over = (one.at + getattr(one, "lasting", 0.0) + getattr(one, "away", 0.0) for one in self.incidents)
        return max(last, *over, 0.0) + 60


_json = msgspec.json.Decoder(World)


def written(world: World) -> str:
    """The world in one line."""
    return msgspec.json.encode(world).decode()


def read(line: str) -> World:
    """What `written` wrote."""
    return _json.decode(line)


_FAULTS = {
    "disconnects": 0.03,
    "lost_finals": 0.06,
    "late_finals": 0.06,
    "duplicates": 0.1,
    "reordering": 0.06,
    "contradictions": 0.06,
    "stalls": 0.04,
    "silent": 0.15,
    "garbage": 0.04,
    "misfits": 0.06,
    "rate_limits": 0.2,
}
_DOING = ("write", "written", "sync", "synced", "rename", "renamed", "remove", "create", "put", "done")


def draw(seed: int, only: tuple[str, ...] = ()) -> World:
    """The world of that number: of three exchanges, or of these."""
    chance = random.Random(f"world/{seed}")
    exchanges = only or tuple(sorted(chance.sample(sorted(EXCHANGES), 3)))
    recorders = 2 if chance.random() < 0.15 else 1
    faults = {name: most * chance.random() for name, most in _FAULTS.items() if chance.random() < 0.5}
    if "contradictions" in faults:
        faults.pop("reordering", None)  # of two finals that overtook each other, OKX's time of neither is known
    world = World(
        seed=seed,
        exchanges=exchanges,
        pairs=chance.choice((1, 1, 1, 2)),
        recorders=recorders,
        faults={name: round(share, 4) for name, share in faults.items()},
        ahead=tuple(_offset(chance) for _ in range(recorders)),
        drift=chance.choice((0.0, 0.0, 2e-5, -2e-5, 5e-4)),
        flush=chance.choice((120.0, 600.0, 900.0)),
        without_rest=tuple(one for one in exchanges if chance.random() < 0.1),
    )
    incidents: list[Incident] = []
    for _ in range(chance.randint(1, 7)):
        incidents.append(_incident(chance, world, _moment(chance, world, incidents)))
    return msgspec.structs.replace(world, incidents=tuple(sorted(incidents, key=lambda one: one.at)))


def _moment(chance: random.Random, world: World, before: list[Incident]) -> float:
    """Any; or about a minute's end, where most is decided; or soon after something else, which makes it worse."""
    kind, end = chance.random(), LEAD.total_seconds() + 3600 * world.hours + 60
    if kind < 0.3 and before:
        return round(chance.choice(before).at + chance.uniform(0, 90), 2)
    if kind < 0.7:
        return round(60 * chance.randint(1, int(end // 60)) + chance.uniform(-15, 8), 2)
    return round(chance.uniform(5, end), 1)


def _offset(chance: random.Random) -> float:
    """Most clocks are right; some are off by seconds, minutes, or hours, which is often a wrong time zone."""
    kind = chance.random()
    if kind < 0.6:
        return 0.0
    if kind < 0.75:
        return round(chance.uniform(-20, 20), 1)
    if kind < 0.9:
        return round(chance.uniform(-900, 900), 1)
    return round(chance.choice((-1, 1)) * 3600 * chance.choice((1, 2, 5)) + chance.uniform(-30, 30), 1)


def _incident(chance: random.Random, world: World, at: float) -> Incident:
    who, exchange = chance.randrange(world.recorders), chance.choice(world.exchanges)
    lasting = round(chance.choice((1, 1, 14)) * chance.uniform(3, 90), 1)
    kind = chance.choices(
        ("killed", "stopped", "ill", "line", "set", "store", "rest", "run"), (8, 1, 2, 4, 1, 3, 3, 4)
    )[0]
    match kind:
        case "killed":
            doing, nth = (chance.choice(_DOING), chance.choice((1, 1, 2, 5))) if chance.random() < 0.6 else (None, 1)
            return Killed(at=at, away=lasting, power=chance.random() < 0.4, doing=doing, nth=nth, who=who)
        case "stopped":
            return Stopped(at=at, away=lasting, leave_out=chance.randint(0, 1), who=who)
        case "ill":
            illness = chance.choice(("full", "quota", "fsync", "rename", "broken"))
            return Ill(at=at, lasting=lasting, illness=illness, who=who)  # type: ignore[arg-type]
        case "line":
            line = chance.choice(("cut", "half-open", "refused", "slammed", "slow"))
            return Line(at=at, exchange=exchange, kind=line, lasting=lasting)  # type: ignore[arg-type]
        case "set":
            return Set(at=at, by=_offset(chance) or 7.0, who=who)
        case "store":
            failing = chance.choice(("refused", "unanswered", "slow"))
            return Store(at=at, lasting=lasting, kind=failing, workers=chance.random() < 0.5)  # type: ignore[arg-type]
        case "rest":
            answer = chance.choice(("429", "503", "silent", "empty", "torn", "error", "strangers", "reversed"))
            begin, long = round(chance.uniform(0, world.end), 1), round(chance.uniform(30, 1800), 1)
            return Rest(at=begin, exchange=exchange, lasting=long, kind=answer)  # type: ignore[arg-type]
        case _:
            dies = chance.randint(1, 60) if chance.random() < 0.4 else None
            late = round(chance.uniform(LEAD.total_seconds() + 600, world.end), 1)
            return Run(at=late, ahead=_offset(chance), killed=dies)
