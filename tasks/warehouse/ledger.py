"""The warehouse, read: what is published, how complete, and what lacks. Publishing, which writes, is in publish.py."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import msgspec
import psycopg

from stream.errors import WarehouseError
from stream.settings import WarehouseSettings
from tasks.rules.completeness import Completeness, Gap, Total
from tasks.warehouse import embedded, postgres

_Result = TypeVar("_Result")
_Arguments = ParamSpec("_Arguments")
_Reader = TypeVar("_Reader", bound="Ledger")


def address(settings: WarehouseSettings) -> str:
    """The connection string to hand to other programs, without the password; starts the embedded server."""
    dsn = embedded.keep(Path(settings.data_dir)) if settings.dsn == "embedded" else settings.dsn
    return postgres.without_password(dsn)


@contextmanager
def read(settings: WarehouseSettings) -> Iterator[Ledger]:
    """A session that only reads. The embedded server is started, and initialised, when it was not."""
    if settings.dsn == "embedded":
        from tasks.warehouse import publish

        with publish.connect(settings) as warehouse:
            yield warehouse
    else:
        with postgres.session(settings.dsn) as session:
            yield Ledger(session)


def spoken(
    method: Callable[Concatenate[_Reader, _Arguments], _Result],
) -> Callable[Concatenate[_Reader, _Arguments], _Result]:
    """The driver's errors as sentences."""

    @functools.wraps(method)
    def saying(self: _Reader, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        try:
            return method(self, *args, **kwargs)
        except psycopg.Error as error:
            raise WarehouseError(self.place.sentence(error)) from error

    return saying


class Ledger:
    """One session's view of what is published; made by `read`."""

    def __init__(self, session: postgres.Session) -> None:
        self.place = session.place
        self._session = session

    @spoken
    def is_initialised(self) -> bool:
        """Whether `init` was run here."""
        return bool(self._session.query("check_schema")[0]["initialised"])

    @spoken
    def stale_bars(self, rule: str, hours: int) -> list[datetime]:
        """The latest hours, at most so many, whose larger candles were made by another rule than this one."""
        return [row["hour"] for row in self._session.query("find_stale_bars", rule=rule, hours=hours)]

    @spoken
    def ledger(self, since: datetime, until: datetime) -> list[Completeness]:
        """The published entries of the hours `since <= hour < until`, by hour, exchange and symbol."""
        with self._session.transaction():
            return self._read(since, until)

    @spoken
    def unpublished(self, since: datetime, until: datetime) -> list[datetime]:
        """The hours `since <= hour < until`, after the first that has candles, of which nothing is published."""
        first = self.first_hour()
        if first is None:
            return []
        found = self._session.query("find_unpublished", since=max(since, first), until=until)
        return [row["hour"] for row in found]

    @spoken
    def first_hour(self) -> datetime | None:
        """The first published one that has candles; None where none has."""
        hour: datetime | None = self._session.query("find_first")[0]["hour"]
        return hour

    @spoken
    def latest(self, hours: int) -> list[Completeness]:
        """The ledger of the latest `hours` published hours, oldest first."""
        return msgspec.convert(self._session.query("read_latest", hours=hours), list[Completeness])

    @spoken
    def totals(self, hours: int) -> list[Total]:
        """The latest `hours` published hours, all pairs together, oldest first."""
        return msgspec.convert(self._session.query("read_totals", hours=hours), list[Total])

    @spoken
    def missing(self, since: datetime) -> list[Gap]:
        """What is missing in the published hours from `since` on, by exchange and cause."""
        return msgspec.convert(self._session.query("find_missing", since=since), list[Gap])

    @spoken
    def count_candles(self, since: datetime, until: datetime) -> int:
        """How many candles there are with `since <= interval_start < until`."""
        return int(self._session.query("count_candles", since=since, until=until)[0]["candles"])

    @spoken
    def hashes(self, hour: datetime) -> dict[tuple[str, str], tuple[str, str | None]]:
        """(exchange, symbol) → the published content_hash, and `rule:content_hash` of what the larger candles are."""
        found = self._session.query("read_hashes", hour=hour)
        return {(row["exchange"], row["symbol"]): (row["content_hash"], row["bars_hash"]) for row in found}

    def _read(self, since: datetime, until: datetime) -> list[Completeness]:
        return msgspec.convert(self._session.execute("read_ledger", since=since, until=until), list[Completeness])
