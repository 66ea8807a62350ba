"""Failures of tasks, kept in the lake for as long as they last: who looks after the hours need not read logs.

One small object per task and hour, which the task's next success removes. In the lake, because all hosts share it, and
because it is mostly Postgres that fails.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import msgspec

from stream.errors import LakeError
from stream.lake import Lake, layout

log = logging.getLogger(__name__)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A task that failed and has not succeeded since."""

    task: str
    """Such as `SilverHour`, or `BronzeRest-kraken`."""
    hour: datetime | None
    """None for `Hourly` itself."""
    cause: str
    """The sentence, of the latest attempt."""
    since: datetime
    """The first attempt."""


_failure = msgspec.json.Decoder(Failure)


def known(lake: Lake) -> list[Failure]:
    """All that last, the earliest first. LakeError."""
    found = lake.read_each(lambda one: lake.tail(one.key, 1 << 20), lake.objects(layout.FAILURES))
    failures = [_failure.decode(data) for data in found if data is not None]  # None: just forgotten
    return sorted(failures, key=lambda one: (one.since, one.task))


class Noted:
    """The notes, as a process that runs tasks keeps them.

    That they cannot be kept is logged: it is no reason to fail.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._known: dict[tuple[str, datetime | None], Failure] | None = None

    def note(self, task: str, hour: datetime | None, cause: str, now: datetime) -> None:
        """The task failed; if it did so before, it has since then."""
        with self._trying(task):
            known = self._all()
            before = known.get((task, hour))
            failure = Failure(task=task, hour=hour, cause=cause, since=before.since if before else now)
            self._lake.put(layout.failure_key(task, hour), msgspec.json.encode(failure))
            known[task, hour] = failure

    def forget(self, task: str, hour: datetime | None) -> None:
        """The task succeeded."""
        with self._trying(task):
            if (task, hour) in self._all():
                self._lake.delete(layout.failure_key(task, hour))
                del self._all()[task, hour]

    def _all(self) -> dict[tuple[str, datetime | None], Failure]:
        """Looked up once."""
        if self._known is None:
            self._known = {(one.task, one.hour): one for one in known(self._lake)}
        return self._known

    @contextmanager
    def _trying(self, task: str) -> Iterator[None]:
        try:
            yield
        except LakeError as error:
            log.warning("how %s went could not be noted: %s", task, error)
