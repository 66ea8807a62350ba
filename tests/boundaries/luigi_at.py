"""`python -m tests.boundaries.luigi_at NTH SIGNAL …`: Luigi as it is, with what follows, until it gets that signal.

It gets it before its NTH step, counted from 0: a write to a lake in a folder, or an exchange with Postgres.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import psycopg
from luigi.cmdline import luigi_run

from stream.lake.folder import FolderLake


def main() -> None:
    """Runs it."""
    nth, number, arguments = int(sys.argv[1]), signal.Signals[sys.argv[2]], sys.argv[3:]
    steps = itertools.count()

    def stepping(method: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*given: Any, **named: Any) -> Any:
            if next(steps) == nth:
                os.kill(os.getpid(), number)
            return method(*given, **named)

        return stepped

    for owner, names in ((FolderLake, ("put", "put_file", "create")), (psycopg.Connection, ("wait",))):
        for name in names:
            setattr(owner, name, stepping(getattr(owner, name)))
    luigi_run(["--module", "tasks", *arguments])


if __name__ == "__main__":
    main()
