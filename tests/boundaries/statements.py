"""A publish and its exchanges with Postgres, one after another: each goes wrong in turn, in each way that there is.

An exchange is a statement, BEGIN, COMMIT, SAVEPOINT and the like, or a piece of a COPY. After each of them somebody in
another session looks: the hour is wholly old or wholly new, with its ledger; then the publish is repeated.
"""

from __future__ import annotations

import itertools
import select
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pyarrow as pa
import pytest
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from stream.errors import WarehouseError
from stream.settings import WarehouseSettings
from tasks import warehouse
from tests import versions
from tests.boundaries.calls import Dead
from tests.boundaries.turns import Choose, in_turns
from tests.sim.judge import Violation
from tests.sim.store import Call

HOWS = {
    "cut before": "the session is ended before a statement",
    "cut after": "the session is ended after a statement, unanswered",
    "dead before": "the publisher dies before a statement",
    "dead after": "the publisher dies after a statement",
    "53100": "a statement fails: the disk is full",
    "53200": "a statement fails: out of memory for locks",
    "57014": "a statement fails: it takes too long",
    "40P01": "a statement fails: a deadlock",
    "55P03": "a statement fails: a lock is not to be had",
}
_PATIENCE = 900_000
"""Milliseconds that only a hang takes."""
_LOOK = """
SELECT candles.*, ledger.*, one_hour.*, five_minutes.*
FROM
    (SELECT count(*), min(close), max(close)
        FROM silver.fact_ohlcv WHERE interval_start >= {0} AND interval_start < {1}) AS candles,
    (SELECT count(*), min(content_hash), max(content_hash), min(bars_hash), max(bars_hash)
        FROM gold.completeness_hourly WHERE hour = {0}) AS ledger,
    (SELECT count(*), min(close), max(close) FROM gold.ohlcv_1h WHERE interval_start >= {0} AND interval_start < {1})
        AS one_hour,
    (SELECT count(*), min(close), max(close) FROM gold.ohlcv_5m WHERE interval_start >= {0} AND interval_start < {1})
        AS five_minutes
"""
_Step = Callable[[psycopg.Connection[Any], str, Callable[[], Any]], Any]
"""(connection, the exchange's name, the exchange) → what it gives."""


class Version(NamedTuple):
    """What an hour says; without a price, that there is none."""

    price: float | None = None
    content: str | None = None

    @property
    def candles(self) -> tuple[object, ...]:
        """What is seen of them, and of the ledger."""
        pairs = len(versions.PAIRS) if self.price else 0
        return (60 * pairs, self.price, self.price, pairs, self.content, self.content)

    @property
    def bars(self) -> tuple[object, ...]:
        """What is seen of them, and what the ledger says of them."""
        pairs, mark = (len(versions.PAIRS), f"{_RULE}:{self.content}") if self.price else (0, None)
        return (mark, mark, *(pairs, self.price, self.price) * 2)


LINES = 60 * len(versions.PAIRS)
"""Candles of an hour."""
_RULE = "rule"
_NONE, _OLD, _NEW, _OTHER = Version(), Version(100.1, "a"), Version(200.2, "b"), Version(300.3, "c")
_BOTH = (_NEW, _OTHER)


class Job(NamedTuple):
    """What a publisher does to an hour, given its session, and what may be seen of the hour meanwhile."""

    name: str
    before: Callable[[warehouse.Warehouse, datetime], object]
    do: Callable[[warehouse.Warehouse, datetime], object]
    seen: tuple[tuple[Version, Version], ...]
    """Candles and larger candles, one state after another."""
    held: bool = False
    """Somebody reads the hour all the while and does not end."""


def _publish(version: Version, house: warehouse.Warehouse, hour: datetime) -> None:
    assert version.price is not None and version.content is not None
    house.publish(hour, versions.candles(hour, version.price), versions.ledger(version.content, hour))


def _roll_up(house: warehouse.Warehouse, hour: datetime) -> None:
    def roll_up(candles: pa.Table) -> dict[str, pa.Table]:
        (price,) = set(candles["close"].to_pylist())
        return {length: versions.bars(hour, price) for length in ("5m", "1h")}

    house.publish_bars(hour, roll_up, _RULE)


def _nothing(_house: warehouse.Warehouse, _hour: datetime) -> None:
    pass


def _old(house: warehouse.Warehouse, hour: datetime) -> None:
    _publish(_OLD, house, hour)
    _roll_up(house, hour)


def _new(house: warehouse.Warehouse, hour: datetime) -> None:
    _publish(_NEW, house, hour)


def _old_and_new(house: warehouse.Warehouse, hour: datetime) -> None:
    _old(house, hour)
    _new(house, hour)


def _new_and_bars(house: warehouse.Warehouse, hour: datetime) -> None:
    _new(house, hour)
    _roll_up(house, hour)


def _drop(house: warehouse.Warehouse, hour: datetime) -> None:
    house.drop(hour)


_CHANGES = ((_OLD, _OLD), (_NEW, _OLD))
CHANGED = Job("a changed hour", _old, _new, _CHANGES)
LARGER = Job("the larger candles", _old_and_new, _roll_up, ((_NEW, _OLD), (_NEW, _NEW)))
JOBS = (
    Job("a new hour", _nothing, _new, ((_NONE, _NONE), (_NEW, _NONE))),
    CHANGED,
    Job("a changed hour that somebody reads", _old, _new, _CHANGES, held=True),
    LARGER,
    Job("late evidence, with its larger candles", _old, _new_and_bars, (*_CHANGES, (_NEW, _NEW))),
    Job("an hour that is taken back", _old, _drop, ((_OLD, _OLD), (_NONE, _NONE))),
    Job("an hour that is taken back while somebody reads it", _old, _drop, ((_OLD, _OLD), (_NONE, _NONE)), held=True),
)


class Place:
    """An initialised warehouse, in which each case has its own hour. `dsn` leads to it; publishers go by `way`."""

    def __init__(self, dsn: str, way: str = "") -> None:
        self.settings = WarehouseSettings(dsn=way or dsn, lock_timeout_seconds=0.01)
        self._hours = (versions.HOUR + timedelta(hours=n) for n in itertools.count())
        self._connect(dsn)

    def _connect(self, dsn: str) -> None:
        self._dsn = dsn
        self._admin = psycopg.connect(dsn, autocommit=True)
        self._reader = psycopg.connect(dsn, autocommit=True)
        self._reader.execute("SET lock_timeout = '10ms'")

    def _mend(self) -> None:
        """Whatever went wrong is over."""

    def close(self) -> None:
        """Of no use any more."""
        self._admin.close()
        self._reader.close()

    def count(self, job: Job) -> int:
        """How many exchanges it takes."""
        steps = itertools.count()

        def step(_connection: psycopg.Connection[Any], _name: str, exchange: Callable[[], Any]) -> Any:
            next(steps)
            return exchange()

        self._try(job, next(self._hours), step)
        return next(steps)

    def interrupted(self, job: Job, nth: int, how: str) -> list[Violation]:
        """What is wrong when that exchange, counted from 0, goes wrong, at any moment of it and in the end."""
        hour, steps, wrong = next(self._hours), itertools.count(), list[Violation]()
        seen: list[tuple[Any, ...]] = []

        def step(connection: psycopg.Connection[Any], name: str, exchange: Callable[[], Any]) -> Any:
            try:
                return self._go_wrong(connection, name, exchange, how) if next(steps) == nth else exchange()
            finally:
                seen.extend(self._look(hour))

        with suppress(WarehouseError, psycopg.Error, Dead):
            self._try(job, hour, step)
        self._mend()
        with warehouse.connect(self.settings) as house:
            job.do(house, hour)
        (last,) = self._look(hour)
        whole = [candles.candles + bars.bars for candles, bars in job.seen]
        wrong += [Violation("wrong", f"{job.name}, {how} {nth}: {one}") for one in seen if one not in whole]
        if last != whole[-1]:
            wrong.append(Violation("missing", f"{job.name}, {how} {nth}: in the end there is {last}"))
        return wrong

    def both(self, choose: Choose) -> list[Violation]:
        """What is wrong, at any moment and in the end, when two publish an hour that changed, each what it knows of it.

        They take turns at every exchange. One that waits for the other asks again and again.
        """
        hour, calls, seen = next(self._hours), dict[int, Call](), list[tuple[Any, ...]]()
        with warehouse.connect(self.settings) as house:
            _old(house, hour)

        def step(_connection: psycopg.Connection[Any], name: str, exchange: Callable[[], Any]) -> Any:
            found = calls[threading.get_ident()]("exchange", name, exchange)
            seen.extend(self._look(hour))
            return found

        def publisher(version: Version) -> Callable[[Call], None]:
            def work(call: Call) -> None:
                calls[threading.get_ident()] = call
                with warehouse.connect(self.settings) as house:
                    _publish(version, house, hour)

            return work

        with self._stepped(step), pytest.MonkeyPatch.context() as patch:
            patch.setattr("tasks.warehouse.postgres._SAID_EVERY", 0.001)
            in_turns([publisher(_NEW), publisher(_OTHER)], choose)
        bars = _OLD.bars
        wrong = [Violation("wrong", str(one)) for one in seen if one not in [v.candles + bars for v in (_OLD, *_BOTH)]]
        (last,) = self._look(hour)
        if last not in [version.candles + bars for version in _BOTH]:
            wrong.append(Violation("missing", f"in the end there is {last}"))
        return wrong

    def _try(self, job: Job, hour: datetime, step: _Step) -> None:
        with warehouse.connect(self.settings) as house:
            job.before(house, hour)
        with self._held(hour if job.held else None), warehouse.connect(self.settings) as house, self._stepped(step):
            job.do(house, hour)

    @contextmanager
    def _held(self, hour: datetime | None) -> Iterator[None]:
        with psycopg.connect(self._dsn) as reading:
            if hour is not None:
                reading.execute("SELECT count(*) FROM silver.fact_ohlcv WHERE interval_start >= %s", (hour,))
            yield

    @contextmanager
    def _stepped(self, step: _Step) -> Iterator[None]:
        """All exchanges but our own go through it."""
        wait = psycopg.Connection.wait

        def stepping(connection: psycopg.Connection[Any], exchange: Any, *args: Any, **kwargs: Any) -> Any:
            name = getattr(exchange, "__name__", "")
            # The commit at a session's end is none: nothing is open then, and nothing is sent.
            if name == "_commit_gen" or connection in (self._admin, self._reader):
                return wait(connection, exchange, *args, **kwargs)
            return step(connection, name, lambda: wait(connection, exchange, *args, **kwargs))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(psycopg.Connection, "wait", stepping)
            patch.setattr("tasks.warehouse.publish._SWAP_WAIT", (0.0, 0.0))
            yield

    def _look(self, hour: datetime) -> Iterator[tuple[Any, ...]]:
        """What somebody else sees; nothing, where he would have to wait."""
        bounds = (f"'{moment.isoformat()}'" for moment in (hour, hour + timedelta(hours=1)))
        with suppress(psycopg.errors.LockNotAvailable):
            found = self._reader.execute(_LOOK.format(*bounds).encode()).fetchone()
            assert found is not None
            yield found

    def _go_wrong(self, connection: psycopg.Connection[Any], name: str, exchange: Callable[[], Any], how: str) -> Any:
        if how in ("cut after", "dead after"):
            exchange()
        if how in ("dead before", "dead after"):
            connection.pgconn.finish()
            raise Dead
        if how in ("cut before", "cut after"):
            self._admin.execute("SELECT pg_terminate_backend(%s, %s)", (connection.info.backend_pid, _PATIENCE))
            if how == "cut before":
                return exchange()
            connection.pgconn.exec_(b"")  # the client's library notices
            raise psycopg.OperationalError("the session has ended")
        return _fail(connection, name, how)


def _fail(connection: psycopg.Connection[Any], name: str, code: str) -> Any:
    """The server says no, in the place of what was asked of it."""
    if connection.pgconn.transaction_status == TransactionStatus.ACTIVE:  # a COPY
        connection.pgconn.put_copy_end(b"the disk is full")
        result = _result(connection.pgconn)
        while _result(connection.pgconn):
            pass
    else:
        text = f"DO $$ BEGIN RAISE EXCEPTION 'this is how it is' USING ERRCODE = '{code}'; END $$"
        result = connection.pgconn.exec_(text.encode())
    assert result is not None
    if name == "_exit_gen":  # a COMMIT that fails ends the transaction
        connection.pgconn.exec_(b"ROLLBACK")
    raise psycopg.errors.error_from_result(result)


def _result(connection: PGconn) -> PGresult | None:
    """Waits for it here: the library's own wait lets no other thread go on, and a pooler may be one."""
    connection.flush()
    while connection.is_busy():
        select.select([connection.socket], [], [])
        connection.consume_input()
    return connection.get_result()
