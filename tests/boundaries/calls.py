"""A job and its calls of the store: each of them goes wrong in turn, in each way that there is."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Literal, Protocol

from stream.errors import LakeError
from stream.lake import Lake
from tests.sim.judge import Kind, Violation
from tests.sim.store import Objects, SimStore

How = Literal["refused", "unanswered", "after another", "dead before", "dead after"]
HOWS: dict[How, str] = {
    "refused": "a call is refused",
    "unanswered": "a call is done, but not answered",
    "after another": "a call comes after somebody else did all of the same",
    "dead before": "the process ends before a call",
    "dead after": "the process ends after a call",
}


class Dead(BaseException):
    """The process ended at a call: nothing that it has in mind happens any more."""


class Job(Protocol):
    """Something to do with a store. One that was interrupted is not used again."""

    objects: Objects
    """What the store holds."""
    lines: int
    """How many recorded lines are at stake."""

    def do(self, lake: Lake) -> None:
        """A process does it, from its start; an error or Dead may end it."""

    def another(self, deed: Callable[[], Any]) -> None:
        """Somebody else does the same, a bit later, but before the deed arrives."""

    def wrong(self, objects: Objects) -> Iterator[Violation]:
        """What is not as if nobody had been disturbed, if the store holds these in the end."""


def count(job: Job) -> int:
    """How many calls it makes."""
    calls = itertools.count()

    def call(_doing: str, _key: str, deed: Callable[[], Any]) -> Any:
        next(calls)
        return deed()

    job.do(SimStore(job.objects, call))
    return next(calls)


def interrupted(job: Job, nth: int, how: How) -> list[Violation]:
    """What is wrong when that call, counted from 0, goes wrong, and the job is then done again."""
    numbers = itertools.count()

    def call(_doing: str, _key: str, deed: Callable[[], Any]) -> Any:
        return _disturbed(deed, how, job.another) if next(numbers) == nth else deed()

    with suppress(LakeError, Dead):
        job.do(SimStore(job.objects, call))
    assert next(numbers) > nth, f"there is no call {nth}"
    return again(job, SimStore(job.objects)) or list(job.wrong(job.objects))


def again(job: Job, lake: Lake) -> list[Violation]:
    """It is done once more, which cannot fail."""
    try:
        job.do(lake)
    except LakeError as error:
        return [Violation("missing", f"it cannot be done any more: {error}")]
    return []


def _disturbed(deed: Callable[[], Any], how: How, another: Callable[[Callable[[], Any]], None]) -> Any:
    if how == "refused":
        raise LakeError("the store does not answer")
    if how == "dead before":
        raise Dead
    if how == "after another":
        another(deed)
    done = deed()
    if how == "unanswered":
        raise LakeError("the store does not answer")
    if how == "dead after":
        raise Dead
    return done


def differences(found: Objects, expected: Objects, kind: Kind) -> Iterator[Violation]:
    """Objects that are not there, should not be there, or are others."""
    for key in sorted(found.keys() | expected.keys()):
        if found.get(key) != expected.get(key):
            yield Violation(kind, f"{key} is not what it is when nobody is disturbed")
