"""Several who work at once and take turns at every call: each order in which one waits for the other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.recording import PATIENCE
from tests.sim.store import Call

Choose = Callable[[int], int]
"""How many calls there were, all workers' together → who does the next one."""


def in_turns(works: list[Callable[[Call], None]], choose: Choose) -> None:
    """They are done at once, in threads of which one goes at a time; who does the next call is chosen before it.

    When the chosen one has ended already, another one does it. The first error is raised when all have ended.
    """
    turns = [threading.Semaphore(0) for _ in works]
    waits, errors = threading.Semaphore(0), list[BaseException]()
    going = set(range(len(works)))

    def work(number: int) -> None:
        def call(_doing: str, _key: str, deed: Callable[[], Any]) -> Any:
            waits.release()
            assert turns[number].acquire(timeout=PATIENCE)
            return deed()

        try:
            works[number](call)
        except BaseException as error:  # noqa: BLE001  # it is raised below
            errors.append(error)
        going.discard(number)
        waits.release()

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in sorted(going)]
    for thread in threads:  # each up to its first call
        thread.start()
        assert waits.acquire(timeout=PATIENCE)
    calls = 0
    while going:
        chosen = choose(calls)
        turns[chosen if chosen in going else min(going)].release()
        assert waits.acquire(timeout=PATIENCE)
        calls += 1
    for thread in threads:
        thread.join(PATIENCE)
    if errors:
        raise errors[0]


def switched(first: int, second: int) -> Choose:
    """The first worker does so many calls, then the second so many, then the first all others."""
    return lambda calls: int(first <= calls < first + second)


def in_waiting(first: int, second: int) -> Choose:
    """The same of two who may wait for each other: then they take turns call by call."""
    return lambda calls: int(first <= calls < first + second) if calls < first + second else calls % 2
