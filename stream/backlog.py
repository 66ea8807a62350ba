"""A spool from outside: what waits in it, whether a recorder has it, and its last word. Changes nothing.

Nobody needs the recorder for it, so that it can be told when none runs.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import msgspec

from stream.clock import Clock
from stream.errors import SpoolError
from stream.health import WORD, Health

_word = msgspec.json.Decoder(Health)


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a spool, and so not in the lake."""

    bytes: int
    age: timedelta
    """How old the oldest line is, by the clock of the settings; 0 where there is none."""
    free: int
    """Bytes that the disk still has room for."""


def measure(folder: Path, clock: Clock) -> Backlog:
    """What lies there, recorder or not. SpoolError when it cannot be looked at; one that is not there is empty."""
    sizes: dict[int, int] = {}
    with _looking(folder):
        for path in folder.iterdir() if folder.exists() else ():
            if path.stem.isdigit() and path.suffix in (".open", ".jsonl"):
                with contextlib.suppress(FileNotFoundError):  # it was sealed, or uploaded, just now
                    sizes[int(path.stem)] = path.stat().st_size
        free = shutil.disk_usage(next(one for one in (folder, *folder.absolute().parents) if one.exists())).free
    oldest = min((number for number, size in sizes.items() if size), default=None)
    passed = 0.0 if oldest is None else (clock.real_milliseconds() - oldest) / 1000 / clock.wall_seconds(1)
    return Backlog(bytes=sum(sizes.values()), age=timedelta(seconds=max(0.0, passed)), free=free)


def last_word(folder: Path) -> Health | None:
    """What the folder's recorder said last; None where none ever did. SpoolError as for `measure`."""
    with _looking(folder):
        try:
            return _word.decode((folder / WORD).read_bytes())
        except (FileNotFoundError, msgspec.MsgspecError):  # or it was of another version
            return None


def is_taken(folder: Path) -> bool:
    """Whether a recorder has the folder now. SpoolError as for `measure`."""
    with _looking(folder):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(handle)
    return False


@contextlib.contextmanager
def _looking(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SpoolError(
            f"The spool {folder} cannot be looked at: {error.strerror or error}. "
            "Ask as the user that records ([stream] spool_dir)."
        ) from error
