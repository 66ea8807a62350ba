"""Workers on an hour that others are busy with: two who take turns at every call, and lines that come meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from tests.boundaries.calls import differences
from tests.boundaries.hour import EVIDENCE, Recorded
from tests.boundaries.turns import Choose, in_turns
from tests.sim.judge import Violation
from tests.sim.store import Call, Objects, SimStore


def both(of: Recorded, choose: Choose) -> list[Violation]:
    """What is wrong when two workers did the hour in such turns, the second a second later, and somebody then again."""
    objects = Objects(of.objects)

    def work(later: float) -> Callable[[Call], None]:
        return lambda call: of.work(SimStore(objects, call), later)

    in_turns([work(0.0), work(1.0)], choose)
    of.work(SimStore(objects))
    return list(of.wrong(objects, of.objects))


def late(of: Recorded, nth: int) -> list[Violation] | None:
    """What is wrong when all that the second recorder has comes before that call of a worker, and one works again.

    None: it has fewer calls. `of` has two recorders.
    """
    objects, calls = Objects({key: data for key, data in of.objects.items() if "/r1-" not in key}), itertools.count()

    def call(_doing: str, _key: str, deed: Callable[[], Any]) -> Any:
        if next(calls) == nth:
            for key in of.objects:
                objects[key] = of.objects[key]
        return deed()

    of.work(SimStore(objects, call))
    if next(calls) <= nth:
        return None
    of.work(SimStore(objects))
    evidence = Objects({key: data for key, data in objects.items() if key.startswith(EVIDENCE)})
    wrong = [Violation("lost", key) for key, data in of.objects.items() if objects.get(key) != data]
    return wrong + list(differences(objects, of.derive(evidence), "wrong"))
