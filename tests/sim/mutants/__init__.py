"""Rules of the product, each to be taken out in turn: the fixed worlds must notice every one.

A mutant that lives means a missing world, or a rule that nobody needs. `python -m tests.sim mutants` tries them all.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

from tests.sim.mutants import recording, working
from tests.sim.mutants.mutant import Mutant

MUTANTS = (*recording.MUTANTS, *working.MUTANTS)


def faults_of(number: int, server: str) -> list[str]:
    """What its world notices when the rule is taken out. `server`: a Postgres. In a process of its own."""
    mutant = MUTANTS[number]
    _install(mutant)
    from tests.sim.explore import tried
    from tests.sim.fixed import WORLDS

    return list(tried(WORLDS[mutant.world], server).values())


def _install(mutant: Mutant) -> None:
    """From now on the module is loaded with the change."""
    assert not [name for name in sys.modules if name.partition(".")[0] in ("stream", "tasks")], (
        "it is too late for that"
    )
    sys.meta_path.insert(0, _Finder(mutant))


class _Finder(MetaPathFinder):
    """Finds one module."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As usual, but for that one's loader."""
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None and spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._mutant)
        return spec


class _Loader(SourceFileLoader):
    """Compiles another text than there is."""

    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """Of the text with the change."""
        text = self.get_source(fullname) or ""
        count = text.count(self._mutant.old)
        assert count == 1, f"{fullname} has {self._mutant.old!r} {count} times"
        return compile(text.replace(self._mutant.old, self._mutant.new), self.path, "exec")
