"""The spool: a local journal in which every line is written before anything else happens to it.

One file is open at a time, for all pairs: `<segment>.open` is being written, `<segment>.jsonl` waits for its upload.
"""

from __future__ import annotations

import errno
import re
import threading
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self

from stream import bronze
from stream.clock import Clock
from stream.disk import Content, Disk, File
from stream.errors import SpoolError, SpoolFull

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_ROOM = 1 << 20
"""Bytes that must fit before recording goes on after a full disk."""
_OPEN, _SEALED = ".open", ".jsonl"


class Numbers:
    """Strictly increasing numbers that a restart does not repeat: milliseconds, or one more than the last.

    They are milliseconds of the real clock, also in a rehearsal, which may be repeated from the same simulated date.
    """

    def __init__(self, clock: Clock, last: int = 0) -> None:
        self._clock = clock
        self._last = last

    def next(self) -> int:
        """The next number."""
        self._last = max(self._last + 1, self._clock.real_milliseconds())
        return self._last


class Spool:
    """The journal of one recorder process. `append` is called by one thread; `sync` and `seal` by any."""

    def __init__(self, disk: Disk, clock: Clock) -> None:
        self.numbers = Numbers(clock)
        """Shared with the connections, whose names must not repeat either."""
        self.inherited = frozenset[int]()
        """The segments that an earlier process left. It may have uploaded them, and more of them than is here now."""
        self.size = 0
        """Bytes in the open segment."""
        self.written = 0
        """Bytes since the start."""
        self._disk = disk
        self._clock = clock
        self._lock = threading.Lock()  # between a write and the end of a segment; never held during an fsync
        self._file: File | None = None
        self._segment = 0
        self._left: list[int] = []  # ended, and still to be sealed

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """Take possession of the disk and mend what an earlier process left; SpoolError when it is taken."""
        try:
            self._disk.take()
            left = self._segments(_OPEN, _SEALED)
        except BlockingIOError as error:
            raise SpoolError(
                f"Another recorder is using the spool {self._disk.place}. "
                "Stop it, or give this one its own [stream] spool_dir and recorder_id."
            ) from error
        except OSError as error:
            raise self._refused("be opened", error) from error
        self.numbers = Numbers(self._clock, max(left, default=0))
        self.inherited = frozenset(left)
        self.recover()

    def close(self) -> None:
        """Seal what is open and let go of the disk."""
        try:
            self.seal()
        finally:
            self._disk.leave()

    def append(self, lines: bytes) -> None:
        """Whole lines, in one write: all of them are in the journal afterwards, or (SpoolError) none."""
        with self._lock:
            try:
                if self._file is None:
                    self._begin()
                assert self._file is not None
                written = self._file.write(lines)
                if written < len(lines):
                    raise OSError(errno.ENOSPC, "No space left on device")  # noqa: TRY301  # as the next write would
            except OSError as error:
                self._take_back()
                raise self._refused("be written", error) from error
            self.size += written
            self.written += written

    def sync(self) -> None:
        """Bring to the disk what was appended before this call."""
        with self._lock:
            if self._file is None:
                return
            file = self._file.twin()  # so that a seal in between cannot close it under our hands
        try:
            file.sync()
            self._disk.sync()
        except OSError as error:
            raise self._refused("be brought to the disk", error) from error
        finally:
            file.close()

    def seal(self) -> None:
        """End the open segment, if there is one; it is ready for its upload. The next append begins another.

        So is any that could not be sealed when it ended.
        """
        with self._lock:
            file, segment, size = self._file, self._segment, self.size
            left, self._left = self._left, []
            self._file, self.size = None, 0
        try:
            if file is not None:
                left.append(segment)
                try:
                    file.sync()
                finally:  # unsure of the disk is all the more a reason to get it into the lake
                    file.close()
                    self._end(segment, size)
                    left.remove(segment)
                    self._disk.sync()
            while left:
                self._recover(left[0])
                del left[0]
                self._disk.sync()
        except OSError as error:
            with self._lock:
                self._left += left
            raise self._refused("be brought to the disk", error) from error

    def sealed(self) -> list[int]:
        """The segments that wait for their upload, oldest first."""
        return self._segments(_SEALED)

    def content(self, segment: int) -> AbstractContextManager[Content]:
        """A context with the bytes of a sealed segment."""
        return self._disk.content(_name(segment, _SEALED))

    def remove(self, segment: int) -> None:
        """Forget a sealed segment: the lake has it."""
        self._disk.remove(_name(segment, _SEALED))

    def check_room(self) -> None:
        """SpoolFull unless there is room for a while."""
        try:
            self._disk.check_room(_ROOM)
        except OSError as error:
            raise self._refused("be written", error) from error

    def recover(self) -> None:
        """Seal what an earlier process left open; a torn last line is kept as a rejected one."""
        try:
            for segment in self._segments(_OPEN):
                self._recover(segment)
                self._disk.sync()
        except OSError as error:
            raise self._refused("be recovered", error) from error

    def _recover(self, segment: int) -> None:
        size = self._disk.size(_name(segment, _OPEN))
        if size:
            self._mend(_name(segment, _OPEN))
        self._end(segment, size)

    def _end(self, segment: int, size: int) -> None:
        """The segment waits for its upload; an empty one for nothing."""
        if size:
            self._disk.rename(_name(segment, _OPEN), _name(segment, _SEALED))
        else:
            self._disk.remove(_name(segment, _OPEN))

    def _take_back(self) -> None:
        """No torn line stays behind; where that cannot be done, nothing is written behind it."""
        if self._file is None:
            return
        try:
            self._file.truncate(self.size)
        except OSError:
            self._file.close()
            self._left.append(self._segment)
            self._file, self.size = None, 0

    def _mend(self, name: str) -> None:
        with self._disk.content(name) as content:
            whole = content.rfind(b"\n") + 1
            torn = content[whole:]
        # The replacement is longer than what it replaces: a crash in the middle leaves a torn line again.
        self._disk.replace_end(name, whole, bronze.encode(self._torn_line(torn)) if torn else b"")

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
        self._segment = self.numbers.next()
        self._file = self._disk.create(_name(self._segment, _OPEN))
        self.size = 0

    def _segments(self, *kinds: str) -> list[int]:
        split = (name.partition(".") for name in self._disk.names())
        return sorted(int(stem) for stem, dot, kind in split if stem.isdigit() and dot + kind in kinds)

    def _refused(self, doing: str, error: OSError) -> SpoolError:
        if error.errno in _FULL:
            return SpoolFull(
                f"The spool {self._disk.place} is full ({error.strerror}): nothing can be recorded. "
                "Make room on its disk; recording resumes by itself."
            )
        return SpoolError(
            f"The spool {self._disk.place} could not {doing}: {error.strerror or error}. "
            "Check that the folder may be written and that its disk is sound ([stream] spool_dir)."
        )


def _name(segment: int, kind: str) -> str:
    return f"{segment:013d}{kind}"
