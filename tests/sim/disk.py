"""A disk in memory: what the system shows of it, and what is left when the power fails.

It keeps, for each file and for the list of names, what a sync has brought to it; all else may be lost, torn, zeroed, or
come in another order. It fills up and breaks when it is told to.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

Illness = Literal["full", "quota", "fsync", "rename", "broken"]
"""No room for bytes; no room for another file; a sync fails; a rename fails; all of them, and half of a write."""


class Gone(OSError):
    """The process that asks is dead, though its coroutines are still being taken down."""


@dataclass
class Blob:
    """A file's bytes, and how many of them no power loss takes."""

    now: bytearray = field(default_factory=bytearray)
    safe: int = 0

    def sync(self) -> None:
        """All of it is safe."""
        self.safe = len(self.now)

    def cut(self, size: int) -> None:
        """What is behind is gone, or is not: a power loss decides."""
        del self.now[size:]
        self.safe = min(self.safe, size)


@dataclass
class SimDisk:
    """It outlives the processes that mount it, one after another."""

    place: str = "/spool"
    illnesses: list[Illness] = field(default_factory=list)
    """What it suffers from just now."""
    room: int | None = None
    """How many bytes it holds; None: always enough."""
    failures: int = 0
    """How often it failed."""
    files: dict[str, Blob] = field(default_factory=dict)
    _safe: dict[str, Blob] = field(default_factory=dict)
    _unsafe: list[tuple[str, Blob | None]] = field(default_factory=list)
    """Changes of names since the last sync of them, in their order; None: the name is gone."""
    holder: Mount | None = None

    def fails(self, *illnesses: Illness) -> bool:
        """Whether it has one of these."""
        fails = not {"broken", *illnesses}.isdisjoint(self.illnesses)
        self.failures += fails
        return fails

    def fits(self, size: int) -> bool:
        """Whether there is room for so many bytes."""
        fits = self.room is None or sum(len(blob.now) for blob in self.files.values()) + size <= self.room
        self.failures += not fits
        return fits

    def name(self, name: str, blob: Blob | None) -> None:
        """The name stands for that from now on, None: for nothing."""
        if blob is None:
            self.files.pop(name, None)
        else:
            self.files[name] = blob
        self._unsafe.append((name, blob))

    def sync_names(self) -> None:
        """All names are safe."""
        self._safe, self._unsafe = dict(self.files), []

    def lines(self) -> set[bytes]:
        """All that is in its files."""
        return {line for blob in self.files.values() for line in bytes(blob.now).splitlines()}

    def may_lose(self) -> set[bytes]:
        """The lines that a power loss at this moment is free to take."""
        return self.lines() - {
            line for blob in self._safe.values() for line in bytes(blob.now[: blob.safe]).splitlines()
        }

    def copy_after_power_loss(self, chance: random.Random) -> SimDisk:
        """The disk in one of the states that a power loss may leave it in."""
        left = dict(self._safe)
        for name, blob in self._unsafe[: chance.randint(0, len(self._unsafe))]:
            if blob is None:
                left.pop(name, None)
            else:
                left[name] = blob
        files = {name: Blob(now := bytearray(_survived(blob, chance)), len(now)) for name, blob in left.items()}
        return SimDisk(self.place, room=self.room, files=files, _safe=dict(files))

    def lose_power(self, chance: random.Random) -> None:
        """The same with this one; whoever had mounted it is dead."""
        after = self.copy_after_power_loss(chance)
        self.files, self._safe, self._unsafe, self.holder = after.files, after._safe, [], None


def _survived(blob: Blob, chance: random.Random) -> bytes:
    fresh = bytes(blob.now[blob.safe :])
    kept = chance.randint(0, len(fresh))
    tails = {
        "lost": b"",
        "torn": fresh[:kept],
        "zeroes": fresh[:kept] + bytes(len(fresh) - kept),
        "hole": bytes(kept) + fresh[kept:],  # blocks are not written in order
        "whole": fresh,
    }
    return bytes(blob.now[: blob.safe]) + tails[chance.choice(tuple(tails))]


Strikes = Callable[[str], bool]
"""Whether the process dies at this point. Before an operation it is named `write`, `sync`, `rename` ..., after it
`written`, `synced`, `renamed`; in the middle of a write, `torn`."""


class Mount:
    """`stream.disk.Disk` for one process, until it is dead. `noted` gets what was written whole."""

    def __init__(
        self, disk: SimDisk, *, noted: Callable[[bytes], None] = lambda _: None, strikes: Strikes = lambda _: False
    ) -> None:
        self.place = disk.place
        self.disk = disk
        self.dead = False
        self._noted = noted
        self._strikes = strikes

    def take(self) -> None:
        """One at a time, of those that live."""
        self.check("take")
        if self.disk.holder is not None and not self.disk.holder.dead:
            raise BlockingIOError(errno.EWOULDBLOCK, "taken")
        self.disk.holder = self

    def leave(self) -> None:
        """The next one may have it."""
        if self.disk.holder is self:
            self.disk.holder = None

    def names(self) -> list[str]:
        """As the system shows them."""
        self.check("names")
        return sorted(self.disk.files)

    def size(self, name: str) -> int:
        """As the system shows it."""
        self.check("size")
        return len(self._blob(name).now)

    def create(self, name: str) -> SimFile:
        """An empty file."""
        self.check("create")
        if self.disk.fails("quota"):
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        if name in self.disk.files:
            raise FileExistsError(errno.EEXIST, name)
        blob = Blob()
        self.disk.name(name, blob)
        return SimFile(self, blob)

    @contextmanager
    def content(self, name: str) -> Iterator[bytes]:
        """As the system shows it."""
        self.check("content")
        yield bytes(self._blob(name).now)

    def replace_end(self, name: str, start: int, data: bytes) -> None:
        """Two steps: the bytes, and the sync."""
        self.check("replace_end")
        if self.disk.fails("full"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        blob = self._blob(name)
        blob.cut(start)
        blob.now += data
        self._sync(blob)

    def replace(self, name: str, data: bytes) -> None:
        """Nothing that a world needs."""

    def rename(self, name: str, new: str) -> None:
        """A new name and the end of an old one; file systems keep the two together, or in this order."""
        self.check("rename")
        if self.disk.fails("rename"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.disk.name(new, self._blob(name))
        self.disk.name(name, None)
        self.check("renamed")

    def remove(self, name: str) -> None:
        """The name is gone."""
        self.check("remove")
        if name in self.disk.files:
            self.disk.name(name, None)

    def sync(self) -> None:
        """Of the names."""
        self.check("sync names")
        if self.disk.fails("fsync"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self.disk.sync_names()

    def check_room(self, size: int) -> None:
        """There is none while it is ill."""
        self.check("check_room")
        if self.disk.illnesses or not self.disk.fits(size):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def check(self, doing: str) -> None:
        """At each point: dies there, or has died already, or goes on."""
        if self.dead or self._strikes(doing):
            self.dead = True
            raise Gone(errno.EIO, f"{doing}: the process is dead")

    def _blob(self, name: str) -> Blob:
        try:
            return self.disk.files[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, name) from None

    def _sync(self, blob: Blob) -> None:
        self.check("sync")
        if self.disk.fails("fsync"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        blob.sync()
        self.check("synced")


class SimFile:
    """`stream.disk.File`."""

    def __init__(self, mount: Mount, blob: Blob) -> None:
        self._mount = mount
        self._blob = blob

    def write(self, data: bytes) -> int:
        """A full disk takes a part."""
        self._mount.check("write")
        self._blob.now += data[: len(data) // 2]
        self._mount.check("torn")
        if self._mount.disk.fails("full") or not self._mount.disk.fits(len(data) - len(data) // 2):
            return len(data) // 2
        self._blob.now += data[len(data) // 2 :]
        self._mount._noted(data)
        self._mount.check("written")
        return len(data)

    def truncate(self, size: int) -> None:
        """At once."""
        self._mount.check("truncate")
        if self._mount.disk.fails():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._blob.cut(size)

    def sync(self) -> None:
        """The bytes are safe."""
        self._mount._sync(self._blob)

    def twin(self) -> SimFile:
        """The same file."""
        return self

    def close(self) -> None:
        """Nothing is bound to it."""
