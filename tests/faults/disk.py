"""The spool's disk fills up, or breaks: recording stops loudly, damages nothing, and resumes when there is room."""

from __future__ import annotations

import errno
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.faults import world
from tests.faults.crash import replace_in_os
from tests.faults.outcome import Outcome
from tests.faults.world import World

_SPEED = 90
_INCIDENTS = 12
"""Of each kind, at full effort."""
_WELL, _ILL = 0.45, 0.25
"""Wall seconds that the disk is well and ill, by turns."""


class _Weather:
    """When the disk is ill. The first time is after a moment, so that there is something to damage."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def is_ill(self) -> bool:
        return (time.monotonic() - self._began) % (_WELL + _ILL) > _WELL


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def _full_at_write(chance: random.Random) -> None:
    """What a full disk does: a part of the bytes still fits."""
    weather = _Weather()

    def write(file: int, data: bytes) -> int:
        if not weather.is_ill:
            return os.write(file, data)
        if chance.random() < 0.5:
            return os.write(file, data[: chance.randrange(len(data))])
        raise _error(errno.ENOSPC)

    replace_in_os(write=write)
    _probe_fails(weather)


def _quota_at_a_new_segment(_: random.Random) -> None:
    weather = _Weather()

    def opened(path: Any, flags: int, *mode: int) -> int:
        if weather.is_ill and flags & os.O_CREAT:
            raise _error(errno.EDQUOT)
        return os.open(path, flags, *mode)

    replace_in_os(open=opened)
    _probe_fails(weather)


def _broken_at_fsync(_: random.Random) -> None:
    weather = _Weather()

    def fsync(file: int) -> None:
        if weather.is_ill:
            raise _error(errno.EIO)
        os.fsync(file)

    replace_in_os(fsync=fsync)
    _probe_fails(weather)


def _full_at_rename(_: random.Random) -> None:
    weather, rename = _Weather(), Path.rename

    def renamed(path: Path, target: Path) -> Path:
        if weather.is_ill and path.suffix == ".open":
            raise _error(errno.ENOSPC)
        return rename(path, target)

    setattr(Path, "rename", renamed)  # noqa: B010
    _probe_fails(weather)


def _probe_fails(weather: _Weather) -> None:
    write_bytes = Path.write_bytes

    def written(path: Path, data: bytes) -> int:
        if weather.is_ill and path.name == "probe":
            raise _error(errno.ENOSPC)
        return write_bytes(path, data)

    setattr(Path, "write_bytes", written)  # noqa: B010


_KINDS: dict[str, Callable[[random.Random], None]] = {
    "disk full at a write": _full_at_write,
    "quota exceeded at a new segment": _quota_at_a_new_segment,
    "disk broken at an fsync": _broken_at_fsync,
    "disk full at the end of a segment": _full_at_rename,
}


def run(seed: int, effort: float, folder: Path) -> Iterator[Outcome]:
    """One outcome per kind; `tried` counts what the recorder's log calls a stop."""
    incidents = max(2, math.ceil(_INCIDENTS * effort))
    with world.emulated(folder, seed, speed=_SPEED) as whole:
        found = [
            _filled(whole.inside(f"disk-{number}", flush=20), seed, name, prepare, incidents)
            for number, (name, prepare) in enumerate(_KINDS.items())
        ]
        yield from world.settled(whole, found)


def _filled(
    here: World, seed: int, name: str, prepare: Callable[[random.Random], None], incidents: int
) -> tuple[World, Outcome]:
    outcome = Outcome("recorder", name)
    here.write()
    pid = world.start_recorder(here, lambda: prepare(random.Random(f"{seed}/{name}")))
    world.wait_until(lambda: _said(here, "recording has stopped") > incidents, 90, f"{name}: {here.log}")
    world.kill(pid)  # it may be ill just now: what is in the spool must do
    outcome.tried, resumed = _said(here, "recording has stopped"), _said(here, "recording resumes: ")
    if outcome.tried - resumed not in (0, 1):
        outcome.wrong, outcome.note = 1, f"{outcome.tried} stops, {resumed} resumed"
    world.drain(here)
    return here, outcome


def _said(here: World, words: str) -> int:
    return here.log.read_text().count(words) if here.log.exists() else 0
