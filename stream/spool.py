"""The spool: a local journal in which every line is written before anything else happens to it. Owns its folder.

One file is open at a time, for all pairs: `<segment>.open` is being written, `<segment>.jsonl` waits for its upload.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from stream import bronze
from stream.clock import Clock
from stream.errors import SpoolError, SpoolFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ROOM = 1 << 20
"""Bytes that must fit before recording goes on after a full disk."""


class Numbers:
    """Strictly increasing numbers that a restart does not repeat: milliseconds, or one more than the last.

    They are milliseconds of the real clock, also in a rehearsal, which may be repeated from the same simulated date.
    """

    def __init__(self, last: int = 0) -> None:
        self._last = last

    def next(self) -> int:
        """The next number."""
        self._last = max(self._last + 1, time.time_ns() // 1_000_000)
        return self._last


class Spool:
    """The journal of one recorder process. `append` is called by one thread; `sync` and `seal` by any."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder = folder
        self.numbers = Numbers()
        """Shared with the connections, whose names must not repeat either."""
        self.size = 0
        """Bytes in the open segment."""
        self._clock = clock
        self._lock = threading.Lock()  # between a write and the end of a segment; never held during an fsync
        self._file: int | None = None
        self._path = folder
        self._handle: int | None = None

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Take possession of the folder and mend what an earlier process left; SpoolError when it is taken."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise self._refused("be opened", error) from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise SpoolError(
                f"Another recorder is using the spool {self.folder}. "
                "Stop it, or give this one its own [stream] spool_dir and recorder_id."
            ) from error
        self._handle = handle
        left = [int(path.stem) for path in self.folder.iterdir() if path.stem.isdigit()]
        self.numbers = Numbers(max(left, default=0))
        self.recover()

    def close(self) -> None:
        """Seal what is open and let go of the folder."""
        try:
            self.seal()
        finally:
            if self._handle is not None:
                os.close(self._handle)
                self._handle = None

    def append(self, lines: bytes) -> None:
        """Whole lines, in one write: all of them are in the journal afterwards, or (SpoolError) none."""
        with self._lock:
            try:
                if self._file is None:
                    self._begin()
                assert self._file is not None
                written = os.write(self._file, lines)
                if written < len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301  # as the next write would
            except OSError as error:
                if self._file is not None:
                    os.ftruncate(self._file, self.size)  # no torn line stays behind
                raise self._refused("be written", error) from error
            self.size += written

    def sync(self) -> None:
        """Bring to the disk what was appended before this call."""
        with self._lock:
            if self._file is None:
                return
            file = os.dup(self._file)  # so that a seal in between cannot close it under our hands
        try:
            os.fsync(file)
            self._sync_folder()
        except OSError as error:
            raise self._refused("be brought to the disk", error) from error
        finally:
            os.close(file)

    def seal(self) -> None:
        """End the open segment, if there is one; it is ready for its upload. The next append begins another."""
        with self._lock:
            file, path, size = self._file, self._path, self.size
            self._file, self.size = None, 0
        if file is None:
            return
        try:
            try:
                os.fsync(file)
            finally:  # unsure of the disk is all the more a reason to get it into the lake
                os.close(file)
                if size:
                    path.rename(path.with_suffix(".jsonl"))
                else:
                    path.unlink()
                self._sync_folder()
        except OSError as error:
            raise self._refused("be brought to the disk", error) from error

    def sealed(self) -> list[Path]:
        """The segments that wait for their upload, oldest first."""
        return sorted(path for path in self.folder.glob("*.jsonl") if path.stem.isdigit())

    def remove(self, segment: Path) -> None:
        """Forget a sealed segment: the lake has it."""
        segment.unlink(missing_ok=True)

    def check_room(self) -> None:
        """SpoolFull unless there is room for a while; tried with a real file, because quotas do not show."""
        probe = self.folder / "probe"
        try:
            try:
                probe.write_bytes(bytes(_ROOM))
            finally:
                probe.unlink(missing_ok=True)
        except OSError as error:
            raise self._refused("be written", error) from error

    def recover(self) -> None:
        """Seal what an earlier process left open; a torn last line is kept as a rejected one."""
        for path in sorted(self.folder.glob("*.open")):
            try:
                if path.stat().st_size:
                    self._mend(path)
                    path.rename(path.with_suffix(".jsonl"))
                else:
                    path.unlink()
                self._sync_folder()
            except OSError as error:
                raise self._refused("be recovered", error) from error

    def _mend(self, path: Path) -> None:
        with path.open("r+b") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                whole = content.rfind(b"\n") + 1
                torn = content[whole:]
            if torn:
                # The replacement is longer than what it replaces: a crash in the middle leaves a torn line again.
                file.seek(whole)
                file.write(bronze.encode(self._torn_line(torn)))
                file.truncate()
                file.flush()
            os.fsync(file.fileno())

    def _torn_line(self, torn: bytes) -> bronze.RejectedLine:
        exchange = re.match(rb'\{"exchange":"(\w+)"', torn)
        return bronze.RejectedLine(
            exchange=exchange[1].decode() if exchange else "unknown",
            recv_ts=self._clock.now(),
            conn=None,
            reason="torn: the recorder was killed while it wrote this line",
            message=torn.decode(errors="backslashreplace"),
        )

    def _begin(self) -> None:
        self._path = self.folder / f"{self.numbers.next():013d}.open"
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        self.size = 0

    def _sync_folder(self) -> None:
        if self._handle is not None:
            os.fsync(self._handle)

    def _refused(self, doing: str, error: OSError) -> SpoolError:
        if error.errno in _FULL:
            return SpoolFull(
                f"The spool {self.folder} is full ({error.strerror}): nothing can be recorded. "
                "Make room on its disk; recording resumes by itself."
            )
        return SpoolError(
            f"The spool {self.folder} could not {doing}: {error.strerror or error}. "
            "Check that the folder may be written and that its disk is sound ([stream] spool_dir)."
        )
