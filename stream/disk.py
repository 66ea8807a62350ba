"""The spool's folder on a disk: the only file that writes, syncs, renames or removes anything there.

Errors are the system's own (OSError); the spool makes sentences of them.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, Self

Content = bytes | mmap.mmap
"""The bytes of a file, without that all of them need be in memory."""


_ATTEMPTS, _INSTANT = 5, 0.02
"""How often, and after how many seconds, a taken folder is tried: who only looks (stream/backlog.py) has it shortly."""


class File(Protocol):
    """A file that is written at its end."""

    def write(self, data: bytes) -> int:
        """Appends; returns how many of the bytes found room."""

    def truncate(self, size: int) -> None:
        """Cuts off what is behind so many bytes."""

    def sync(self) -> None:
        """What was written is on the disk afterwards."""

    def twin(self) -> Self:
        """Another handle of the same file, which is closed on its own."""

    def close(self) -> None:
        """Gives the handle back."""


class Disk(Protocol):
    """One folder of files, which one process uses at a time."""

    place: str
    """What people call it."""

    def take(self) -> None:
        """Make it if need be, and keep others out; BlockingIOError when somebody else has it."""

    def leave(self) -> None:
        """Let others in."""

    def names(self) -> list[str]:
        """The files, sorted."""

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def create(self, name: str) -> File:
        """A new file; FileExistsError when there is one of that name."""

    def content(self, name: str) -> AbstractContextManager[Content]:
        """A context with the bytes of a file."""

    def replace_end(self, name: str, start: int, data: bytes) -> None:
        """What is behind `start` becomes `data`, and all of the file is on the disk afterwards."""

    def replace(self, name: str, data: bytes) -> None:
        """A small file that others read: they see it whole, old or new. A power loss may take it."""

    def rename(self, name: str, new: str) -> None:
        """Give a file another name."""

    def remove(self, name: str) -> None:
        """Remove a file, if there is one."""

    def sync(self) -> None:
        """The names are on the disk afterwards."""

    def check_room(self, size: int) -> None:
        """OSError unless so many bytes can be written; tried with a real file, because quotas do not show."""


class Folder:
    """A folder of this machine."""

    def __init__(self, path: Path) -> None:
        self.place = str(path)
        self._path = path
        self._handle: int | None = None

    def take(self) -> None:
        """By a lock on the folder, which ends with the process."""
        self._path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        for attempt in range(_ATTEMPTS):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if attempt + 1 == _ATTEMPTS:
                    os.close(handle)
                    raise
                time.sleep(_INSTANT)
            else:
                break
        self._handle = handle

    def leave(self) -> None:
        """Gives the lock back."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def names(self) -> list[str]:
        """One listing."""
        return sorted(path.name for path in self._path.iterdir())

    def size(self, name: str) -> int:
        """As the system says."""
        return (self._path / name).stat().st_size

    def create(self, name: str) -> _Handle:
        """Open for appending."""
        return _Handle(os.open(self._path / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644))

    @contextmanager
    def content(self, name: str) -> Iterator[Content]:
        """A map of the file; what is empty cannot be mapped."""
        with (self._path / name).open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                yield b""
                return
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                yield content

    def replace_end(self, name: str, start: int, data: bytes) -> None:
        """In place."""
        with (self._path / name).open("r+b") as file:
            file.seek(start)
            file.write(data)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def replace(self, name: str, data: bytes) -> None:
        """By a new file that takes the old one's name."""
        fresh = self._path / f"{name}.new"
        fresh.write_bytes(data)
        fresh.rename(self._path / name)

    def rename(self, name: str, new: str) -> None:
        """At once, for whoever looks."""
        (self._path / name).rename(self._path / new)

    def remove(self, name: str) -> None:
        """Unlink."""
        (self._path / name).unlink(missing_ok=True)

    def sync(self) -> None:
        """Of the folder itself."""
        if self._handle is not None:
            os.fsync(self._handle)

    def check_room(self, size: int) -> None:
        """Writes a file and removes it."""
        probe = self._path / "probe"
        try:
            probe.write_bytes(bytes(size))
        finally:
            probe.unlink(missing_ok=True)


class _Handle:
    """An open file."""

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, data: bytes) -> int:
        """One call."""
        return os.write(self._number, data)

    def truncate(self, size: int) -> None:
        """One call."""
        os.ftruncate(self._number, size)

    def sync(self) -> None:
        """One call."""
        os.fsync(self._number)

    def twin(self) -> _Handle:
        """A duplicate."""
        return _Handle(os.dup(self._number))

    def close(self) -> None:
        """One call."""
        os.close(self._number)
