"""A store in memory, and the doors that processes have to it: a call may be refused, slow, or done but unanswered."""

from __future__ import annotations

import bisect
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from stream.errors import LakeError
from stream.lake import Stored

_T = TypeVar("_T")
_R = TypeVar("_R")

Call = Callable[[str, str, Callable[[], Any]], Any]
"""Doing, key and the deed: does it (or not) and returns what it gives, or raises."""


def at_once(_doing: str, _key: str, deed: Callable[[], Any]) -> Any:
    """No fault and no delay."""
    return deed()


class Objects(dict[str, bytes]):
    """Keys and contents; knows its keys in order."""

    def __init__(self, objects: Mapping[str, bytes] = MappingProxyType({})) -> None:
        super().__init__(objects)
        self._keys = sorted(objects)

    def __setitem__(self, key: str, data: bytes) -> None:
        if key not in self:
            bisect.insort(self._keys, key)
        super().__setitem__(key, data)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        del self._keys[bisect.bisect_left(self._keys, key)]

    def under(self, prefix: str) -> Iterator[str]:
        """The keys that begin so, sorted."""
        for place in range(bisect.bisect_left(self._keys, prefix), len(self._keys)):
            if not self._keys[place].startswith(prefix):
                return
            yield self._keys[place]


class SimStore:
    """`stream.lake.Lake` over `objects`. Stores that share these are doors to one lake."""

    root = "sim"

    def __init__(self, objects: Objects | None = None, call: Call = at_once) -> None:
        self.held = Objects() if objects is None else objects
        self._call = call

    def put(self, key: str, data: bytes) -> None:
        """One call."""
        self._call("put", key, lambda: self.held.__setitem__(key, data))

    def create(self, key: str, data: bytes) -> bool:
        """One call."""

        def deed() -> bool:
            if key in self.held:
                return False
            self.held[key] = data
            return True

        return bool(self._call("create", key, deed))

    def put_file(self, key: str, path: Path) -> None:
        """One call."""
        self.put(key, path.read_bytes())

    def get(self, key: str) -> bytes:
        """One call."""

        def deed() -> bytes:
            if key not in self.held:
                raise LakeError(f"there is no {key}")
            return self.held[key]

        found: bytes = self._call("get", key, deed)
        return found

    def tail(self, key: str, size: int) -> bytes | None:
        """One call."""

        def deed() -> bytes | None:
            return self.held[key][-size:] if key in self.held else None

        found: bytes | None = self._call("tail", key, deed)
        return found

    def objects(self, prefix: str) -> list[Stored]:
        """One call."""

        def deed() -> list[Stored]:
            return [Stored(key, len(self.held[key])) for key in self.held.under(prefix)]

        found: list[Stored] = self._call("list", prefix, deed)
        return found

    def folders(self, prefix: str) -> list[str]:
        """One call."""

        def deed() -> list[str]:
            below = (key.removeprefix(prefix).partition("/") for key in self.held.under(prefix))
            return sorted({name for name, slash, _ in below if slash})

        found: list[str] = self._call("list", prefix, deed)
        return found

    def delete(self, key: str) -> None:
        """One call."""

        def deed() -> None:
            if key in self.held:
                del self.held[key]

        self._call("delete", key, deed)

    def each(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """One after another: no chance but the seed's decides which comes first."""
        return [function(item) for item in items]

    read_each = each

    @contextmanager
    def local(self, keys: list[str]) -> Iterator[list[Path]]:
        """Copies on the real disk, for readers that need files."""
        with tempfile.TemporaryDirectory(prefix="klines-") as folder:
            paths = [Path(folder) / f"{n:06d}-{key.rpartition('/')[2]}" for n, key in enumerate(keys)]
            for path, key in zip(paths, keys, strict=True):
                path.write_bytes(self.get(key))
            yield paths
