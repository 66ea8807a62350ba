"""What all tasks have in common: errors as sentences, failures that are noted, hours and exchanges as parameters."""

from __future__ import annotations

import functools
import traceback
from datetime import UTC, datetime

import luigi

from stream.errors import HourNotReady, HourUnknown, KlinesError, LakeError, SettingsError, WarehouseError
from tasks import hours
from tasks.hour.context import Context
from tasks.watch.failures import Noted


class LakeTarget(luigi.Target):
    """An object of the lake."""

    def __init__(self, key: str) -> None:
        self.key = key

    def exists(self) -> bool:
        """There is such an object; whether it is up to date, the task knows."""
        return Context.load().lake.tail(self.key, 8) is not None

    def __str__(self) -> str:
        return self.key


class KlinesTask(luigi.Task):
    """Turns our errors into sentences: on luigid's page, in the log, and in what `complete` says."""

    def on_failure(self, exception: BaseException) -> str:
        """What luigid's page shows for a failure; it is noted for `klines status` too, until the task succeeds."""
        if not isinstance(exception, HourNotReady | HourUnknown | SettingsError):  # those are about who asked
            task, hour = self.subject
            _noted().note(task, hour, str(exception) or repr(exception), Context.load().settings.clock.now())
        return str(exception) if isinstance(exception, KlinesError) else "".join(traceback.format_exception(exception))

    def on_success(self) -> str | None:
        """What was noted of its failures is over."""
        _noted().forget(*self.subject)
        return None

    @property
    def subject(self) -> tuple[str, datetime | None]:
        """What a failure is about: the task, and the hour where it has one."""
        return str(self.task_family), None

    def complete(self) -> bool:
        """False also when the lake or Postgres cannot be asked: `run` then meets the same and says so."""
        try:
            return self.is_current(Context.load())
        except (LakeError, WarehouseError):
            return False

    def is_current(self, context: Context) -> bool:
        """The output exists and was made from the evidence that exists now."""
        raise NotImplementedError

    def say(self, message: str) -> None:
        """Shows a sentence on luigid's page; without a worker there is no page."""
        show = self.set_status_message
        if callable(show):
            show(message)


class HourParameter(luigi.DateHourParameter):
    """A UTC hour; refuses others with a sentence."""

    def parse(self, s: str) -> datetime:
        """`2026-11-22T07` → datetime without timezone, as Luigi wants it."""
        return hours.parse(s).replace(tzinfo=None)


class HourTask(KlinesTask):
    """A task about one UTC hour."""

    hour = HourParameter(description="UTC hour, such as 2026-11-22T07")

    @property
    def subject(self) -> tuple[str, datetime | None]:
        """With the hour."""
        return str(self.task_family), self.utc

    @property
    def utc(self) -> datetime:
        """The hour as a timezone-aware moment."""
        moment: datetime = self.hour
        return moment.replace(tzinfo=UTC)

    @property
    def priority(self) -> int:  # type: ignore[override]  # Luigi documents the property form
        """The live hour does not wait for a backfill."""
        return hours.urgency(self.utc, Context.load().settings)


class MayBeBackfill(luigi.Task):
    """A task that is told whether its hour is wanted whatever is known about it."""

    backfill = luigi.BoolParameter(
        significant=False, description="publish the hour also where nothing at all is known about it"
    )


class ExchangeHourTask(HourTask):
    """A task about one exchange's pairs in one hour."""

    exchange = luigi.Parameter(description="exchange id, such as binance")

    @property
    def subject(self) -> tuple[str, datetime | None]:
        """With the exchange."""
        return f"{self.task_family}-{self.exchange}", self.utc

    def symbols(self, context: Context) -> tuple[str, ...]:
        """The exchange's configured pairs; SettingsError when there are none."""
        return context.symbols(str(self.exchange))


def _noted() -> Noted:
    return _noted_in(Context.load())


@functools.lru_cache(maxsize=1)
def _noted_in(context: Context) -> Noted:
    return Noted(context.lake)
