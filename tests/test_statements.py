"""A part of the interruptions of a publish that `make faults` tries, leaving out no kind; and a pooler between."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator

import psycopg
import pytest

from stream.settings import WarehouseSettings
from tasks import warehouse
from tests.boundaries.pooler import pooler
from tests.boundaries.statements import CHANGED, HOWS, JOBS, Job, Place
from tests.boundaries.turns import in_waiting
from tests.versions import HOUR, NEXT, bars, candles, ledger


@pytest.fixture
def place(warehouse_settings: WarehouseSettings) -> Iterator[Place]:
    """A warehouse, and somebody who looks at it."""
    logging.disable(logging.CRITICAL)
    found = Place(warehouse_settings.dsn)
    yield found
    found.close()
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_a_statement_may_go_wrong_in_any_way(place: Place, job: Job) -> None:
    """At any moment the hour is wholly old or wholly new, and the next publish makes it new."""
    tried = list(zip(range(place.count(job)), itertools.cycle(HOWS), strict=False))
    found = {(nth, how): place.interrupted(job, nth, how) for nth, how in tried[::2]}
    assert not any(found.values()), found


def test_two_publishers_may_take_turns(place: Place) -> None:
    """One of them waits for the other at any exchange, twice; the last one's version stands."""
    each = range(place.count(CHANGED) + 1)
    found = {one: place.both(in_waiting(*one)) for one in list(itertools.product(each, each))[::83]}
    assert not any(found.values()), found


def test_a_pooler_in_transaction_mode_may_be_between(warehouse_settings: WarehouseSettings) -> None:
    """Each transaction is in another session, with other settings: nothing of ours outlives one."""
    with pooler(warehouse_settings.dsn) as dsn, warehouse.connect(WarehouseSettings(dsn=dsn)) as house:
        assert house.init() is None
        assert [house.publish(HOUR, candles(), ledger()) for _ in range(2)] == ["attached", "unchanged"]
        house.publish(HOUR, candles(price=200.2), ledger("b"))
        house.publish_bars(HOUR, lambda _: {"1h": bars(price=200.2)}, "rule")
        assert house.ledger(HOUR, NEXT) == house.latest(1) == ledger("b")
        assert set(house.hashes(HOUR).values()) == {("b", "rule:b")}
        with psycopg.connect(warehouse_settings.dsn) as reader:
            assert reader.execute("SELECT FROM pg_locks WHERE locktype = 'advisory'").fetchall() == []
            assert reader.execute("SELECT count(*), min(close) FROM silver.fact_ohlcv").fetchall() == [(120, 200.2)]


def test_a_publisher_behind_a_pooler_may_die(warehouse_settings: WarehouseSettings) -> None:
    """Its session is not ours any more: what it had in mind is undone, and nobody waits for it."""
    with pooler(warehouse_settings.dsn) as dsn:
        place = Place(warehouse_settings.dsn, dsn)
        found = {nth: place.interrupted(CHANGED, nth, "dead after") for nth in range(0, place.count(CHANGED), 5)}
        assert not any(found.values()), found
        place.close()
