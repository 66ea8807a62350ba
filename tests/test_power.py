"""The power fails: what was not brought to the disk may be gone, torn, or zeroes, and names may be older than contents.

On each disk that a power loss may leave behind, the spool is opened again and uploaded: what was promised must be
there, and nothing that was never written. Always the same losses.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from stream import bronze
from stream.clock import Clock
from stream.errors import SpoolError
from stream.spool import Spool
from stream.uploader import Uploader
from stream.wire import MINUTE
from tests.lakes import update
from tests.sim.disk import Mount, SimDisk
from tests.sim.store import Objects, SimStore

HOUR = datetime(2025, 11, 12, 9, tzinfo=UTC)
LIVES = 25
MOMENTS = 40
"""At which the power is lost, in one life of the spool."""


def line(number: int) -> bytes:
    """A line that differs from all others."""
    start = HOUR + (number % 60) * MINUTE
    return bronze.encode(update("binance", "ETH-USDT", start, 1 + number / 1000, volume=float(number + 1)))


def upload(spool: Spool, lake: SimStore, *segments: int) -> None:
    """These segments."""
    uploader = Uploader(
        spool=spool, lake=lake, recorder="test", compression="none", clock=Clock(), chance=random.Random(1)
    )
    for segment in segments:
        uploader.upload(segment)


def recorded(lake: SimStore) -> list[bytes]:
    """All lines in the lake but the rejected ones."""
    return [line for key, data in lake.held.items() if "/stream/" in key for line in data.splitlines(keepends=True)]


def lives(chance: random.Random) -> Iterator[tuple[list[bytes], int, SimStore, SimDisk]]:
    """A spool at work: appends, syncs, seals and uploads. At some moments: all lines so far, how many of them are
    promised, the lake, and the disk."""
    disk, lake, promised = SimDisk(), SimStore(), 0
    lines: list[bytes] = []
    with Spool(Mount(disk), Clock()) as spool:
        for _ in range(MOMENTS):
            for _ in range(chance.randint(1, 5)):
                fresh = [line(len(lines) + n) for n in range(chance.randint(1, 4))]
                spool.append(b"".join(fresh))
                lines += fresh
            kind = chance.random()
            if kind < 0.65:
                (spool.sync if kind < 0.5 else spool.seal)()
                promised = len(lines)
            if kind >= 0.5 and chance.random() < 0.7:
                upload(spool, lake, *spool.sealed()[:1])
            yield list(lines), promised, SimStore(Objects(lake.held)), disk


@pytest.mark.parametrize("again", [False, True], ids=["once", "again while recovering"])
@pytest.mark.parametrize("seed", range(LIVES))
def test_what_was_promised_survives_and_nothing_else_appears(seed: int, again: bool) -> None:
    """However often the power is lost."""
    chance = random.Random(f"{seed}/{again}")
    for lines, promised, lake, disk in lives(chance):
        left = disk.copy_after_power_loss(chance)
        if again:
            left = recovered_half(left, chance)
        with Spool(Mount(left), Clock()) as spool:
            upload(spool, lake, *spool.sealed())
        assert set(lines[:promised]) <= set(recorded(lake))
        assert set(recorded(lake)) <= set(lines)


def recovered_half(disk: SimDisk, chance: random.Random) -> SimDisk:
    """The disk after another power loss, at some step of recovering."""
    steps = iter(range(chance.randint(1, 14)))
    with contextlib.suppress(SpoolError):
        Spool(Mount(disk, strikes=lambda _: next(steps, None) is None), Clock()).open()
    return disk.copy_after_power_loss(chance)
