"""The recorder is killed: at random moments, and at named points of its work; then it is started again.

Everything that its spool had acknowledged must be in the lake when all is over, and silver must be the truth.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import stream.disk
from stream import bronze
from stream.lake.folder import FolderLake
from stream.spool import Spool
from tests.faults import world
from tests.faults.outcome import Outcome
from tests.faults.world import World, die

_SPEED = 90
"""Simulated seconds per second: a minute is over, and a segment sealed and uploaded, in less than one."""
_PATIENCE = 4.0
"""Wall seconds that a recorder is given to reach its point."""
_KILLS = 30
"""Of each kind, at full effort."""


def _after(owner: Any, name: str, hit: int) -> None:
    """Dies when that method has returned for the `hit`-th time."""
    method, hits = getattr(owner, name), iter(range(1, hit + 1))

    def dying(*args: Any, **kwargs: Any) -> Any:
        result = method(*args, **kwargs)
        if next(hits, hit) == hit:
            die()
        return result

    setattr(owner, name, dying)


def _before(owner: Any, name: str, hit: int) -> None:
    """Dies when that method is called for the `hit`-th time."""
    method, hits = getattr(owner, name), iter(range(1, hit + 1))

    def dying(*args: Any, **kwargs: Any) -> Any:
        if next(hits, hit) == hit:
            die()
        return method(*args, **kwargs)

    setattr(owner, name, dying)


def _written_not_acknowledged(chance: random.Random) -> None:
    write, left = os.write, [chance.randrange(1, 120)]

    def dying(file: int, data: bytes) -> int:
        written = write(file, data)
        left[0] -= data.startswith(b'{"exchange"')
        if not left[0]:
            die()
        return written

    replace_in_os(write=dying)


def _torn(chance: random.Random) -> None:
    write, left = os.write, [chance.randrange(1, 120)]

    def dying(file: int, data: bytes) -> int:
        left[0] -= 1
        if not left[0]:
            write(file, data[: chance.randrange(1, len(data))])
            die()
        return write(file, data)

    replace_in_os(write=dying)


def _at_fsync(chance: random.Random, *, before: bool) -> None:
    hits = chance.randrange(1, 12)
    left = [hits]

    def dying(file: int) -> None:
        left[0] -= 1
        if before and not left[0]:
            die()
        os.fsync(file)
        if not left[0]:
            die()

    replace_in_os(fsync=dying)


def _while_recovering(chance: random.Random) -> None:
    """A torn line is left behind first, as by a kill, so that there is something to mend."""
    recover, point = Spool.recover, chance.choice(("write", "fsync", "rename"))

    def dying(spool: Spool) -> None:
        for path in Path(spool._disk.place).glob("*.open"):
            with path.open("ab") as file:
                file.write(b'{"exchange":"kraken","sym')
        if point == "rename":
            _before(Path, "rename", 1)
        elif point == "fsync":
            replace_in_os(fsync=lambda _file: die())
        else:
            _before(bronze, "encode", 1)
        recover(spool)

    setattr(Spool, "recover", dying)  # noqa: B010


def replace_in_os(**others: Any) -> None:
    """The disk works with these functions in the places of os's own."""
    setattr(stream.disk, "os", _Os(**others))  # noqa: B010


class _Os:
    """The module os, with other functions in places."""

    def __init__(self, **others: Any) -> None:
        vars(self).update(others)

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


_POINTS: dict[str, Callable[[random.Random], None]] = {
    "killed after the write, before it is acknowledged": _written_not_acknowledged,
    "killed in the middle of a write": _torn,
    "killed before an fsync": lambda chance: _at_fsync(chance, before=True),
    "killed after an fsync": lambda chance: _at_fsync(chance, before=False),
    "killed after a segment was sealed": lambda chance: _after(Spool, "seal", chance.randrange(1, 4)),
    "killed before or between the objects of an upload": lambda chance: _before(
        FolderLake, "put", chance.randrange(1, 12)
    ),
    "killed within the upload of an object": lambda chance: _before(Path, "replace", chance.randrange(1, 12)),
    "killed after an upload, before its segment is removed": lambda chance: _before(
        Spool, "remove", chance.randrange(1, 4)
    ),
    "killed while it recovers from a kill": _while_recovering,
}


def run(seed: int, effort: float, folder: Path) -> Iterator[Outcome]:
    """One outcome per point, and one for random moments."""
    kills = max(2, math.ceil(_KILLS * effort))
    with world.emulated(folder, seed, speed=_SPEED) as whole:
        worlds: list[tuple[World, Outcome]] = []
        for number, (name, prepare) in enumerate(_POINTS.items()):
            worlds.append(_at_point(whole.inside(f"point-{number}"), seed, name, prepare, kills))
        worlds.append(_at_random(whole.inside("random"), seed, 2 * kills))
        yield from world.settled(whole, worlds)


def _at_point(
    here: World, seed: int, name: str, prepare: Callable[[random.Random], None], kills: int
) -> tuple[World, Outcome]:
    chance, outcome = random.Random(f"{seed}/{name}"), Outcome("recorder", name)
    here.write()
    for _ in range(3 * kills):
        if outcome.tried == kills:
            break
        pid = world.start_recorder(here, lambda: prepare(chance))
        chance.random()  # the child's numbers are its own: the next one must not begin with the same
        status = world.ended(pid, _PATIENCE)
        if status is None:
            world.kill(pid)
        elif os.WIFSIGNALED(status):
            outcome.tried += 1
        else:
            raise AssertionError(f"{name}: the recorder ended by itself: {world.tail(here.log)}")
    world.drain(here)
    return here, outcome


def _at_random(here: World, seed: int, kills: int) -> tuple[World, Outcome]:
    chance, outcome = random.Random(f"{seed}/random"), Outcome("recorder", "killed at a random moment")
    here.write()
    for _ in range(kills):
        pid = world.start_recorder(here)
        if world.ended(pid, chance.uniform(0, 1.2)) is not None:
            raise AssertionError(f"the recorder ended by itself: {world.tail(here.log)}")
        world.kill(pid)
        outcome.tried += 1
    world.drain(here)
    return here, outcome
