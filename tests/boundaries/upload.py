"""The job of an upload: what a recorder left in its spool goes into a store in memory."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from typing import Any

from stream.lake import Lake
from stream.spool import Spool
from stream.uploader import Uploader
from tests.boundaries.calls import differences
from tests.boundaries.hour import Still, recorded
from tests.sim.disk import Blob, Mount, SimDisk
from tests.sim.judge import Violation
from tests.sim.store import Objects, SimStore

_SEGMENTS = 4


@functools.cache
def _lines() -> list[bytes]:
    """Those of an hour, in as many parts as there are segments, the pairs mixed."""
    lines = [
        line for data in recorded("coinbase", "kraken").objects.values() for line in data.splitlines(keepends=True)
    ]
    return [b"".join(lines[n::_SEGMENTS]) for n in range(_SEGMENTS)]


@functools.cache
def _uploaded() -> Objects:
    """What is in the store after an upload that nobody disturbs."""
    job = Upload()
    job.do(SimStore(job.objects))
    return job.objects


class Upload:
    """A few segments of a spool, the last of which was still open when its recorder was killed."""

    def __init__(self) -> None:
        self.objects = Objects()
        self.lines = sum(lines.count(b"\n") for lines in _lines())
        self._disk = SimDisk()
        for number, lines in enumerate(_lines(), 1):
            kind = "open" if number == _SEGMENTS else "jsonl"
            self._disk.name(f"{number:013d}.{kind}", Blob(bytearray(lines), len(lines)))
        self._disk.sync_names()

    def do(self, lake: Lake) -> None:
        """A recorder starts and uploads what it finds."""
        mount, clock = Mount(self._disk), Still()
        try:
            with Spool(mount, clock) as spool:
                uploader = Uploader(
                    spool=spool,
                    lake=lake,
                    recorder="r0",
                    compression="none",
                    clock=clock,
                    chance=random.Random(1),
                )
                while uploader.step() is not None:
                    pass
        finally:
            mount.dead = True  # also when it ended without a goodbye

    def another(self, deed: Callable[[], Any]) -> None:
        """An earlier process's request arrives only now."""
        deed()

    def wrong(self, objects: Objects) -> Iterator[Violation]:
        """All is in the store, under the names that it always has, and nothing is left in the spool."""
        yield from differences(objects, _uploaded(), "lost")
        yield from (Violation("lost", f"{name} is still in the spool") for name in self._disk.files)
