"""The power fails: what was not brought to the disk may be gone, torn, or zeroes, and names may be older than contents.

The spool's file operations are recorded while it works; from any prefix of them, disks are made that a power loss could
leave behind. On each the spool is opened again and uploaded: what was synced must be there, and no torn line.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import stream.spool
from stream import bronze
from stream.clock import Clock
from stream.lake.folder import FolderLake
from stream.spool import Spool
from stream.uploader import Uploader
from stream.wire import MINUTE
from tests.faults.outcome import Outcome
from tests.lakes import update

_HOUR = datetime(2025, 11, 12, 9, tzinfo=UTC)
_STATES = 600
"""Disks, at full effort."""
_PER_RUN = 40
"""Disks from one run of the spool."""


@dataclass
class _File:
    """A file's bytes: as they are, and as a power loss would leave the beginning of them."""

    now: bytearray = field(default_factory=bytearray)
    safe: bytes = b""


@dataclass
class _Disk:
    """A folder as the kernel sees it, and as the disk has it; `pending` are changes of names still to come to it."""

    names: dict[str, _File] = field(default_factory=dict)
    safe_names: dict[str, _File] = field(default_factory=dict)
    pending: list[tuple[str, str, _File | None]] = field(default_factory=list)
    promised: int = 0
    """How many of the appended lines were synced."""

    def after_power_loss(self, chance: random.Random) -> dict[str, bytes]:
        """One of the states that the disk may be in: name → content."""
        names = dict(self.safe_names)
        for kind, name, file in self.pending[: chance.randint(0, len(self.pending))]:
            if kind == "add" and file is not None:
                names[name] = file
            else:
                names.pop(name, None)
        return {name: self._content(file, chance) for name, file in names.items()}

    def _content(self, file: _File, chance: random.Random) -> bytes:
        if len(file.now) < len(file.safe):  # it was cut off since: that may have come to the disk or not
            return bytes(chance.choice((file.now, file.safe)))
        fresh = bytes(file.now[len(file.safe) :])
        kept = chance.randint(0, len(fresh))
        kind = chance.choice(("lost", "torn", "zeroes", "hole"))
        tails = {
            "lost": b"",
            "torn": fresh[:kept],
            "zeroes": fresh[:kept] + bytes(len(fresh) - kept),
            "hole": bytes(kept) + fresh[kept:],  # blocks are not written in order
        }
        return file.safe + tails[kind]


class _Watched:
    """The module os for the spool: does everything, and keeps a disk's view of it."""

    def __init__(self, disk: _Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._open: dict[int, _File] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        handle = os.open(path, flags, mode)
        if flags & os.O_CREAT:
            file = _File()
            self._disk.names[path.name] = file
            self._disk.pending.append(("add", path.name, file))
            self._open[handle] = file
        return handle

    def dup(self, handle: int) -> int:
        twin = os.dup(handle)
        self._open[twin] = self._open[handle]
        return twin

    def close(self, handle: int) -> None:
        self._open.pop(handle, None)
        os.close(handle)

    def write(self, handle: int, data: bytes) -> int:
        written = os.write(handle, data)
        self._open[handle].now += data[:written]
        return written

    def ftruncate(self, handle: int, size: int) -> None:
        os.ftruncate(handle, size)
        del self._open[handle].now[size:]

    def fsync(self, handle: int) -> None:
        os.fsync(handle)
        if handle in self._open:
            self._open[handle].safe = bytes(self._open[handle].now)
        else:  # the folder
            self._disk.safe_names = dict(self._disk.names)
            self._disk.pending.clear()

    def renamed(self, old: str, new: str) -> None:
        """A rename is a new name and the end of an old one; journals keep the two together or in this order."""
        file = self._disk.names.pop(old)
        self._disk.names[new] = file
        self._disk.pending += [("add", new, file), ("drop", old, None)]

    def unlinked(self, name: str) -> None:
        self._disk.names.pop(name, None)
        self._disk.pending.append(("drop", name, None))


def run(seed: int, effort: float, folder: Path) -> Iterator[Outcome]:
    """One outcome: lines here are lines that a completed sync or seal had promised."""
    chance = random.Random(f"{seed}/power")
    outcome = Outcome("recorder", "power lost, unsynced writes gone, torn, zeroed or out of order", 0, 0, 0, wrong=0)
    torn = Outcome("recorder", "power lost again while recovering from that", 0, 0, 0, wrong=0)
    while outcome.tried < max(1, round(_STATES * effort)):
        with tempfile.TemporaryDirectory(dir=folder) as here:
            for lines, promised, lake, disk in _lives(chance, Path(here)):
                _recover(outcome, chance, lines[:promised], lines, lake, disk, torn)
    yield outcome
    yield torn


_State = tuple[list[bytes], int, dict[str, bytes], dict[str, bytes]]
"""All lines so far, how many of them were promised, the lake, and the disk."""


def _lives(chance: random.Random, here: Path) -> Iterator[_State]:
    """A spool at work: appends, syncs, seals and uploads; at some moments, what a power loss would leave."""
    disk = _Disk()
    real, rename, unlink = os, Path.rename, Path.unlink
    watched = _Watched(disk, here / "spool")

    def renaming(path: Path, target: Path) -> Path:
        moved = rename(path, target)
        if path.parent == here / "spool":
            watched.renamed(path.name, target.name)
        return moved

    def unlinking(path: Path, missing_ok: bool = False) -> None:  # as pathlib has it
        unlink(path, missing_ok)
        if path.parent == here / "spool":
            watched.unlinked(path.name)

    lines: list[bytes] = []
    _install(watched, renaming, unlinking)
    try:
        with Spool(here / "spool", Clock()) as spool:
            lake = FolderLake(here / "lake")
            uploader = _uploader(spool, lake)
            for _ in range(_PER_RUN):
                _work(chance, spool, uploader, lines, disk)
                _install(real, rename, unlink)
                yield list(lines), disk.promised, _objects(lake), disk.after_power_loss(chance)
                _install(watched, renaming, unlinking)
    finally:
        _install(real, rename, unlink)


def _install(module: Any, rename: Any, unlink: Any) -> None:
    for owner, name, value in (
        (stream.spool, "os", module),
        (Path, "rename", rename),
        (Path, "unlink", unlink),
    ):
        setattr(owner, name, value)


def _work(chance: random.Random, spool: Spool, uploader: Uploader, lines: list[bytes], disk: _Disk) -> None:
    for _ in range(chance.randint(1, 5)):
        fresh = [_line(len(lines) + n) for n in range(chance.randint(1, 4))]
        spool.append(b"".join(fresh))
        lines += fresh
    kind = chance.random()
    if kind < 0.5:
        spool.sync()
        disk.promised = len(lines)
    elif kind < 0.65:
        spool.seal()
        disk.promised = len(lines)
        if chance.random() < 0.7 and spool.sealed():
            uploader.upload(spool.sealed()[0])


def _line(number: int) -> bytes:
    start = _HOUR + (number % 60) * MINUTE
    return bronze.encode(update("binance", "ETH-USDT", start, 1 + number / 1000, volume=float(number + 1)))


def _recover(
    outcome: Outcome,
    chance: random.Random,
    promised: list[bytes],
    lines: list[bytes],
    had: dict[str, bytes],
    disk: dict[str, bytes],
    again: Outcome,
) -> None:
    """Opens the spool on what is left, uploads, and counts promised lines that are gone and lines never written."""
    with tempfile.TemporaryDirectory() as place:
        folder, lake = Path(place) / "spool", FolderLake(Path(place) / "lake")
        folder.mkdir()
        for key, data in had.items():
            lake.put(key, data)
        for name, content in disk.items():
            (folder / name).write_bytes(content)
        counted = again if chance.random() < 0.4 and _tear_again(chance, folder) else outcome
        counted.tried += 1
        with Spool(folder, Clock()) as spool:
            for segment in spool.sealed():
                _uploader(spool, lake).upload(segment)
        objects = _objects(lake)
        recorded = [
            line for key, data in objects.items() if "/stream/" in key for line in data.splitlines(keepends=True)
        ]
        counted.acknowledged = (counted.acknowledged or 0) + len(promised)
        counted.lost = (counted.lost or 0) + len(set(promised) - set(recorded))
        strangers = set(recorded) - set(lines)
        counted.wrong = (counted.wrong or 0) + len(strangers)
        counted.note = counted.note or "; ".join(repr(line[:80]) for line in list(strangers)[:2])


def _tear_again(chance: random.Random, folder: Path) -> bool:
    """Recovers, and takes a part of what recovering wrote away again; False when it had written nothing."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    spool = Spool(folder, Clock())
    spool.open()
    spool.close()
    struck = False
    for name, content in before.items():
        mended = folder / name.replace(".open", ".jsonl")
        if name.endswith(".open") and mended.exists() and (after := mended.read_bytes()) != content:
            whole = content.rfind(b"\n") + 1
            (folder / name).write_bytes(after[: chance.randint(whole, len(after))])
            mended.unlink()
            struck = True
    return struck


def _uploader(spool: Spool, lake: FolderLake) -> Uploader:
    return Uploader(spool=spool, lake=lake, recorder="faults", compression="none", clock=Clock())


def _objects(lake: FolderLake) -> dict[str, bytes]:
    return {one.key: lake.get(one.key) for one in lake.objects("")}
