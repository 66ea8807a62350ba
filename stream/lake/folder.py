"""A lake in a local folder."""

from __future__ import annotations

import io
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from stream.errors import LakeError
from stream.lake import Stored, in_parallel

_T = TypeVar("_T")
_R = TypeVar("_R")


class FolderLake:
    """Files under `root`; each is written beside its place and then renamed."""

    _names = itertools.count()

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self._root = root

    def put(self, key: str, data: bytes) -> None:
        """Write beside, fsync, rename, fsync the folder: whole or not at all, also after a power loss."""
        with self._errors(f"write {key}"):
            path = self._root / key
            self._write_beside(path, io.BytesIO(data)).replace(path)
            _fsync_folder(path.parent)

    def create(self, key: str, data: bytes) -> bool:
        """As `put`, but the last step is a link, which fails where a file exists."""
        with self._errors(f"write {key}"):
            path = self._root / key
            beside = self._write_beside(path, io.BytesIO(data))
            try:
                os.link(beside, path)
            except FileExistsError:
                return False
            finally:
                beside.unlink()
            _fsync_folder(path.parent)
            return True

    def put_file(self, key: str, path: Path) -> None:
        """As `put`, without holding the whole file in memory."""
        with self._errors(f"write {key}"), path.open("rb") as source:
            target = self._root / key
            self._write_beside(target, source).replace(target)
            _fsync_folder(target.parent)

    def get(self, key: str) -> bytes:
        """Read the file."""
        with self._errors(f"read {key}"):
            return (self._root / key).read_bytes()

    def tail(self, key: str, size: int) -> bytes | None:
        """Read the end of the file."""
        try:
            with (self._root / key).open("rb") as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(0, end - size))
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(f"read {key}", error) from error

    def objects(self, prefix: str) -> list[Stored]:
        """Walk the folder; files that are still being written begin with a dot and do not count."""
        with self._errors(f"list {prefix}"):
            found: list[Stored] = []
            waiting = [self._root / prefix]
            while waiting:
                try:
                    entries = list(os.scandir(waiting.pop()))
                except FileNotFoundError:
                    continue
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        waiting.append(Path(entry.path))
                    else:
                        found.append(Stored(os.path.relpath(entry.path, self._root), entry.stat().st_size))
            return sorted(found)

    def folders(self, prefix: str) -> list[str]:
        """The subfolders."""
        with self._errors(f"list {prefix}"):
            path = self._root / prefix
            return sorted(entry.name for entry in os.scandir(path) if entry.is_dir()) if path.is_dir() else []

    def delete(self, key: str) -> None:
        """Remove the file."""
        with self._errors(f"delete {key}"):
            (self._root / key).unlink(missing_ok=True)

    def each(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """Several at a time: a write waits for the disk."""
        return in_parallel(function, items)

    def read_each(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """In turn: a read waits for nothing, and threads would only stand in each other's way."""
        return [function(item) for item in items]

    @contextmanager
    def local(self, keys: list[str]) -> Iterator[list[Path]]:
        """The files themselves."""
        yield [self._root / key for key in keys]

    def _write_beside(self, path: Path, source: BinaryIO) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.parent / f".{path.name}.{os.getpid()}.{next(self._names)}"
        with beside.open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        return beside

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._refused(doing, error) from error

    def _refused(self, doing: str, error: OSError) -> LakeError:
        return LakeError(
            f"The lake folder {self.root} refused to {doing}: {error.strerror or error}. "
            "Check that the folder exists, may be written, and has room ([lake] root)."
        )


def _fsync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
