"""The lake: an S3 bucket or a local folder behind one small interface. Nothing else touches either.

Keys are relative, with `/` between parts. An object appears whole or not at all, on both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from stream.settings import LakeSettings

PARALLEL = 16
_T = TypeVar("_T")
_R = TypeVar("_R")


class Stored(NamedTuple):
    """An object: its key and its size in bytes."""

    key: str
    size: int


class Lake(Protocol):
    """What both kinds of lake can do. LakeError where the store refuses; a missing object is a LakeError too."""

    root: str

    def put(self, key: str, data: bytes) -> None:
        """Write a whole object, replacing what was there."""

    def create(self, key: str, data: bytes) -> bool:
        """Write a whole object unless there is one: False, and nothing written, when it exists."""

    def put_file(self, key: str, path: Path) -> None:
        """Write a whole object from a local file."""

    def get(self, key: str) -> bytes:
        """A whole object."""

    def tail(self, key: str, size: int) -> bytes | None:
        """The last `size` bytes of an object (all of a smaller one); None where there is no object."""

    def objects(self, prefix: str) -> list[Stored]:
        """Every object under a prefix that ends with `/`, sorted by key; [] where there is none."""

    def folders(self, prefix: str) -> list[str]:
        """The names directly under a prefix that ends with `/` under which objects lie, sorted."""

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

    def each(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """`function`, which writes here or asks elsewhere, of each item: several at a time, results in their order."""

    def read_each(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """As `each`, for what only reads here: several at a time where a read means waiting."""

    def local(self, keys: list[str]) -> AbstractContextManager[list[Path]]:
        """A context with local paths of these objects, in this order, for as long as it lasts."""


def open_lake(settings: LakeSettings) -> Lake:
    """The lake that `[lake] root` names. Opens nothing yet: the first use does."""
    if settings.root.startswith("s3://"):
        from stream.lake.s3 import S3Lake

        return S3Lake(settings)
    from stream.lake.folder import FolderLake

    return FolderLake(Path(settings.root))


def in_parallel(function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """`function` of each item, several at a time, results in the order of the items; the first error is raised."""
    items = list(items)
    if len(items) < 2:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(PARALLEL, len(items))) as pool:
        return list(pool.map(function, items))
