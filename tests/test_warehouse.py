"""The warehouse against a real Postgres: what readers see while hours are published, and what goes wrong how."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import msgspec
import psycopg
import pyarrow as pa
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Identifier

import sql
from stream.errors import WarehouseError
from stream.settings import WarehouseSettings
from tasks import warehouse
from tasks.rules import schemas
from tasks.rules.completeness import Completeness
from tasks.warehouse import postgres, rows
from tests.recording import PATIENCE, calls
from tests.versions import HOUR, MINUTE, NEXT, PAIRS, bars, candles, ledger


def query(settings: WarehouseSettings, text: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a query in a session of its own."""
    with psycopg.connect(settings.dsn) as connection:
        return connection.execute(text.encode(), values).fetchall()


def until(check: Callable[[], object]) -> None:
    """Wait until `check()` is true."""
    hang = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < hang
        time.sleep(0.001)


def nothing() -> list[Completeness]:
    """A ledger of the hour that says that all of it is missing."""
    minutes = tuple(HOUR + MINUTE * number for number in range(60))
    gone = {"stream": 0, "missing": 60, "missing_minutes": minutes, "causes": ("not_recording",) * 60}
    return [msgspec.structs.replace(one, **gone) for one in ledger()]


@contextmanager
def idle_reader(settings: WarehouseSettings) -> Iterator[Callable[[], tuple[Any, ...]]]:
    """A dashboard that has read the hour and keeps its transaction open; call it to read again."""
    with psycopg.connect(settings.dsn) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")

        def read() -> tuple[Any, ...]:
            found = connection.execute("SELECT count(*), min(close), max(close) FROM silver.fact_ohlcv").fetchone()
            assert found is not None
            return found

        read()
        yield read


def after_each(house: warehouse.Warehouse, look: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever file of sql/ the session runs, with success or not: it stands while `look` gets the file's name."""
    execute = house._session.execute

    def execute_and_look(name: str, /, **values: Any) -> list[dict[str, Any]]:
        try:
            return execute(name, **values)
        finally:
            look(name)

    monkeypatch.setattr(house._session, "execute", execute_and_look)


@pytest.fixture
def warehouse_settings(warehouse_settings: WarehouseSettings) -> WarehouseSettings:
    """The same, and a statement that hangs ends as an error."""
    dsn = make_conninfo(warehouse_settings.dsn, options=f"-c statement_timeout={PATIENCE}s")
    return msgspec.structs.replace(warehouse_settings, dsn=dsn)


@pytest.fixture
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads, but Postgres' autovacuum may be at the partition: a swap is tried until that is over."""
    monkeypatch.setattr("tasks.warehouse.publish._SWAP_ATTEMPTS", 10**9)


@pytest.fixture
def house(warehouse_settings: WarehouseSettings) -> Iterator[warehouse.Warehouse]:
    """A session with an initialised, empty warehouse."""
    with warehouse.connect(warehouse_settings) as session:
        yield session


def test_init_can_be_repeated(house: warehouse.Warehouse, warehouse_settings: WarehouseSettings) -> None:
    """A second init changes nothing, not even of what is published, and several may run at once."""
    house.publish(HOUR, candles(), ledger())

    def init(_: int) -> str | None:
        with warehouse.connect(warehouse_settings) as other:
            return other.init()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(init, range(4))) == [None] * 4
    assert house.publish(HOUR, candles(), ledger()) == "unchanged"


def test_the_schema_is_the_contract(warehouse_settings: WarehouseSettings) -> None:
    """Column names and their order are those that the Parquet files have, and every column is explained."""
    found = query(
        warehouse_settings,
        "SELECT column_name::text FROM information_schema.columns "
        "WHERE table_schema = 'silver' AND table_name = 'fact_ohlcv' ORDER BY ordinal_position",
    )
    assert [name for (name,) in found] == schemas.SILVER.names
    assert not query(
        warehouse_settings,
        "SELECT attrelid::regclass, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE relnamespace IN ('silver'::regnamespace, 'gold'::regnamespace) AND relkind IN ('r', 'p') "
        "AND attnum > 0 AND col_description(attrelid, attnum) IS NULL",
    )


def test_without_init_the_remedy_is_named(server: str, warehouse_settings: WarehouseSettings) -> None:
    """An external database is never initialised behind its owner's back."""
    with psycopg.connect(warehouse_settings.dsn, autocommit=True) as admin:
        admin.execute("DROP SCHEMA silver, gold CASCADE")
    with warehouse.connect(warehouse_settings) as house:
        assert not house.is_initialised()
        with pytest.raises(WarehouseError, match="run klines warehouse init"):
            house.ledger(HOUR, NEXT)
        with pytest.raises(WarehouseError, match="run klines warehouse init"):
            house.publish(HOUR, candles(), ledger())


def test_the_reader_role_reads_and_nothing_else(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings
) -> None:
    """klines_reader reads silver and gold, later partitions included; it writes nothing and sees no other schema."""
    with psycopg.connect(warehouse_settings.dsn, autocommit=True) as admin:
        admin.execute("CREATE SCHEMA private CREATE TABLE secrets (word text)")
    house.publish(HOUR, candles(), ledger())
    with psycopg.connect(warehouse_settings.dsn, autocommit=True) as reader:
        reader.execute("SET ROLE klines_reader")
        for table in ("fact_ohlcv", "fact_ohlcv_20261122_07"):
            count = SQL("SELECT count(*) FROM {}").format(Identifier("silver", table))
            assert reader.execute(count).fetchone() == (120,)
        assert reader.execute("SELECT count(*) FROM gold.completeness_hourly").fetchone() == (2,)
        for denied in (
            "DELETE FROM silver.fact_ohlcv",
            "DELETE FROM silver.fact_ohlcv_20261122_07",
            "UPDATE gold.completeness_hourly SET missing = 0",
            "CREATE TABLE silver.mine ()",
            "SELECT * FROM private.secrets",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(denied.encode())


def test_init_without_the_right_to_make_roles(
    warehouse_settings: WarehouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where roles may not be made the warehouse is made all the same, and a sentence says what is lacking."""
    login, load = Identifier(f"klines_owner_{os.getpid()}"), sql.load
    # Roles belong to the whole server, so one that is certainly missing stands in for klines_reader.
    monkeypatch.setattr(sql, "load", lambda name: load(name).replace("klines_reader", f"klines_no_{os.getpid()}"))
    with psycopg.connect(warehouse_settings.dsn, autocommit=True) as admin:
        admin.execute("DROP SCHEMA silver, gold CASCADE")
        admin.execute(SQL("CREATE ROLE {} LOGIN").format(login))
        database = Identifier(str(conninfo_to_dict(warehouse_settings.dsn)["dbname"]))
        admin.execute(SQL("GRANT CREATE ON DATABASE {} TO {}").format(database, login))
        try:
            dsn = make_conninfo(warehouse_settings.dsn, user=f"klines_owner_{os.getpid()}")
            with warehouse.connect(WarehouseSettings(dsn=dsn)) as house:
                sentence = house.init()
                assert sentence is not None
                assert "CREATEROLE" in sentence
                assert house.publish(HOUR, candles(), ledger()) == "attached"
        finally:
            admin.execute(SQL("DROP OWNED BY {}").format(login))
            admin.execute(SQL("DROP ROLE {}").format(login))


@pytest.mark.usefixtures("undisturbed")
def test_publish_new_same_and_changed(house: warehouse.Warehouse, warehouse_settings: WarehouseSettings) -> None:
    """New hours are attached, the same again is untouched, changed ones are swapped, each with its ledger."""
    published_at = "SELECT max(published_at) FROM gold.completeness_hourly"
    assert house.publish(HOUR, candles(), ledger()) == "attached"
    before = query(warehouse_settings, published_at)
    assert house.publish(HOUR, candles(), ledger()) == "unchanged"
    assert query(warehouse_settings, published_at) == before
    assert house.publish(HOUR, candles(price=200.2), ledger("b")) == "swapped"
    assert query(warehouse_settings, published_at) > before
    assert query(warehouse_settings, "SELECT DISTINCT close FROM silver.fact_ohlcv") == [(200.2,)]
    assert house.publish(NEXT, candles(NEXT), ledger(hour=NEXT)) == "attached"
    assert house.ledger(HOUR, NEXT) == ledger("b")
    assert house.ledger(HOUR, NEXT + MINUTE) == ledger("b") + ledger(hour=NEXT)
    assert house.hashes(HOUR) == dict.fromkeys(PAIRS, ("b", None))


def test_what_is_read_is_what_was_published(house: warehouse.Warehouse, warehouse_settings: WarehouseSettings) -> None:
    """Every value arrives exactly, doubles to the last bit and nulls as nulls."""
    table = candles(price=0.1 + 0.2)
    house.publish(HOUR, table, ledger())
    with psycopg.connect(warehouse_settings.dsn, row_factory=psycopg.rows.dict_row) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        found = connection.execute("SELECT * FROM silver.fact_ohlcv ORDER BY exchange, symbol, interval_start")
        assert found.fetchall() == table.to_pylist()


def test_an_hour_without_candles(house: warehouse.Warehouse, warehouse_settings: WarehouseSettings) -> None:
    """An hour about which nothing is known is published as such, with each minute's cause."""
    entry = nothing()[0]
    assert house.publish(HOUR, candles().slice(0, 0), [entry]) == "attached"
    assert house.publish(HOUR, candles().slice(0, 0), [entry]) == "unchanged"
    assert house.ledger(HOUR, NEXT) == [entry]
    assert entry.completion_rate == 0
    assert query(warehouse_settings, "SELECT completion_rate FROM gold.completeness_hourly") == [(0,)]


@pytest.mark.usefixtures("undisturbed")
def test_a_pair_that_is_gone(house: warehouse.Warehouse, warehouse_settings: WarehouseSettings) -> None:
    """A pair that the new ledger does not have leaves nothing behind, and the others' bars stay."""
    house.publish(HOUR, candles(), ledger())
    house.publish_bars(HOUR, lambda _: {"1h": bars()}, "rule")
    assert house.publish(HOUR, candles(pairs=PAIRS[:1]), ledger(pairs=PAIRS[:1])) == "swapped"
    assert list(house.hashes(HOUR)) == PAIRS[:1]
    assert query(warehouse_settings, "SELECT exchange, symbol FROM gold.ohlcv_1h") == PAIRS[:1]


def test_bars_belong_to_the_content_that_they_were_made_from(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings
) -> None:
    """They are made from what is published, replace their predecessors, and are known to be old when that changes."""
    house.publish(HOUR, candles(price=0.1 + 0.2), ledger())
    assert house.hashes(HOUR) == dict.fromkeys(PAIRS, ("a", None))
    for price in (1.5, 2.5):

        def roll_up(given: pa.Table, price: float = price) -> dict[str, pa.Table]:
            assert given == candles(price=0.1 + 0.2)
            return {"1h": bars(price=price), "5m": bars()}

        house.publish_bars(HOUR, roll_up, "rule")
        assert query(warehouse_settings, "SELECT close FROM gold.ohlcv_1h") == [(price,)] * 2
    assert house.hashes(HOUR) == dict.fromkeys(PAIRS, ("a", "rule:a"))
    house.publish(HOUR, candles(price=3.5), ledger("b"))
    assert house.hashes(HOUR) == dict.fromkeys(PAIRS, ("b", "rule:a"))


def test_bars_of_another_rule_are_found_the_latest_first(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings
) -> None:
    """Hours whose bars are of no rule, from before there was one, too; not those that wait for their first bars."""
    hours = [HOUR + timedelta(hours=n) for n in range(4)]
    for hour in hours:
        house.publish(hour, candles(hour), ledger(hour=hour))
    for hour in hours[:3]:
        house.publish_bars(hour, lambda _: {}, "old")
    with psycopg.connect(warehouse_settings.dsn) as connection:
        connection.execute("UPDATE gold.completeness_hourly SET bars_hash = content_hash WHERE hour = %s", [hours[0]])
    assert house.stale_bars("old", 10) == hours[:1]
    assert house.stale_bars("new", 10) == [hours[2], hours[1], hours[0]]
    assert house.stale_bars("new", 2) == [hours[2], hours[1]]


def test_hours_that_nobody_published_are_found(house: warehouse.Warehouse) -> None:
    """Of a span, and after the first that has candles: what was never looked at has no past."""
    house.publish(HOUR, candles().slice(0, 0), nothing())
    hours = [HOUR + timedelta(hours=n) for n in range(8)]
    assert house.unpublished(hours[0], hours[7]) == []
    for n in (2, 5):
        house.publish(hours[n], candles(hours[n]), ledger(hour=hours[n]))
    assert house.unpublished(hours[0], hours[7]) == [hours[3], hours[4], hours[6]]
    assert house.unpublished(hours[4], hours[6]) == [hours[4]]


@pytest.mark.usefixtures("undisturbed")
def test_an_hour_is_taken_back(house: warehouse.Warehouse, warehouse_settings: WarehouseSettings) -> None:
    """Its candles, bars and ledger, and what a killed publish left; its neighbours stay, and it can come again."""
    stage = "fact_ohlcv_20261122_07_stage"
    for hour in (HOUR, NEXT):
        house.publish(hour, candles(hour), ledger(hour=hour))
        house.publish_bars(hour, lambda table: {"1h": bars(table["interval_start"][0].as_py())}, "rule")
    house._session.execute("create_stage", stage=Identifier("silver", stage), start=HOUR, end=NEXT)
    assert [house.drop(HOUR) for _ in range(2)] == [True, False]
    assert house.ledger(HOUR, NEXT + MINUTE) == ledger(hour=NEXT)
    assert query(warehouse_settings, "SELECT min(interval_start) FROM silver.fact_ohlcv") == [(NEXT,)]
    assert query(warehouse_settings, "SELECT min(interval_start) FROM gold.ohlcv_1h") == [(NEXT,)]
    assert query(warehouse_settings, "SELECT to_regclass(%s)", f"silver.{stage}") == [(None,)]
    assert house.publish(HOUR, candles(), ledger()) == "attached"


def test_an_hour_that_somebody_reads_is_taken_back(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings
) -> None:
    """He sees what he saw, everybody else sees nothing; what is left is an empty partition, for the next publish."""
    house.publish(HOUR, candles(), ledger())
    with idle_reader(warehouse_settings) as read:
        assert [house.drop(HOUR) for _ in range(2)] == [True, False]
        assert read() == (120, 100.1, 100.1)
        assert query(warehouse_settings, "SELECT count(*) FROM silver.fact_ohlcv") == [(0,)]
        assert house.ledger(HOUR, NEXT) == []
        assert house.publish(HOUR, candles(price=200.2), ledger("b")) == "replaced"
    assert query(warehouse_settings, "SELECT DISTINCT close FROM silver.fact_ohlcv") == [(200.2,)]


def test_the_first_hour_is_one_that_has_candles(house: warehouse.Warehouse) -> None:
    """One of which all is missing makes nothing known about those that come after it."""
    assert house.first_hour() is None
    house.publish(HOUR, candles().slice(0, 0), nothing())
    assert house.first_hour() is None
    house.publish(NEXT, candles(NEXT), ledger(hour=NEXT))
    assert house.first_hour() == NEXT


def test_a_reader_sees_whole_versions_only(house: warehouse.Warehouse, warehouse_settings: WarehouseSettings) -> None:
    """While an hour is swapped many times, every read finds all candles of one version, and never an earlier one again.

    Only before the first there is nothing.
    """
    versions = [(120, float(number), float(number)) for number in range(1, 41)]
    seen: list[list[tuple[Any, ...]]] = [[(0, None, None)], [(0, None, None)]]
    stop, results = threading.Event(), []

    def read(found: list[tuple[Any, ...]]) -> None:
        with psycopg.connect(warehouse_settings.dsn, autocommit=True) as reader:
            while not stop.is_set():
                (row,) = reader.execute("SELECT count(*), min(close), max(close) FROM silver.fact_ohlcv").fetchall()
                if row != found[-1]:
                    found.append(row)

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read, found) for found in seen]

        def is_seen(version: tuple[Any, ...]) -> bool:
            return any(version in found for found in seen) or any(reader.done() for reader in readers)

        try:
            for version in versions:
                results.append(house.publish(HOUR, candles(price=version[1]), ledger(str(version[1]))))
                until(partial(is_seen, version))
        finally:
            stop.set()
        for reader in readers:
            reader.result()
    assert results[0] == "attached"
    assert set(results[1:]) <= {"swapped", "replaced"}
    assert all(found[1:] == [version for version in versions if version in found] for found in seen)


def test_an_idle_reader_is_not_disturbed(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a reader that holds on, rows are replaced instead; it keeps its view, and new readers get through.

    The publish steps back from its lock each time: at any of its steps, whoever comes can read.
    """
    house.publish(HOUR, candles(), ledger())
    hasty = msgspec.structs.replace(warehouse_settings, lock_timeout_seconds=0.01)
    seen: list[tuple[str, list[tuple[Any, ...]]]] = []

    def newcomer(step: str) -> None:
        seen.append((step, query(warehouse_settings, "SELECT count(*), min(close) FROM silver.fact_ohlcv")))

    with idle_reader(warehouse_settings) as read, warehouse.connect(hasty) as publisher:
        after_each(publisher, newcomer, monkeypatch)
        assert publisher.publish(HOUR, candles(price=200.2), ledger("b")) == "replaced"
        assert read() == (120, 100.1, 100.1)
    steps = [step for step, _ in seen]
    assert steps[-5:] == [*["detach_partition"] * 3, "replace_rows", "write_ledger"]
    assert [rows for _, rows in seen] == [[(120, 100.1)]] * len(steps)
    assert query(warehouse_settings, "SELECT count(*), min(close) FROM silver.fact_ohlcv") == [(120, 200.2)]
    assert house.ledger(HOUR, NEXT) == ledger("b")
    assert query(warehouse_settings, "SELECT to_regclass('silver.fact_ohlcv_20261122_07_stage')") == [(None,)]


@pytest.mark.usefixtures("undisturbed")
def test_a_reader_waits_no_longer_than_the_lock_timeout(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes while a publish waits for a reader waits for the publish; and that waits as long as the setting says.

    How it ends when that time is over is shown above. Here it is long, so that the queue can be looked at.
    """
    house.publish(HOUR, candles(), ledger())
    patient = msgspec.structs.replace(warehouse_settings, lock_timeout_seconds=PATIENCE)
    limits: list[tuple[str, str]] = []
    with warehouse.connect(patient) as publisher, ThreadPoolExecutor(2) as threads:
        session, pid = publisher._session.connection, publisher._session.connection.info.backend_pid

        def note_limit(step: str) -> None:
            if session.info.transaction_status is not TransactionStatus.INERROR:
                (row,) = session.execute("SELECT setting FROM pg_settings WHERE name = 'lock_timeout'").fetchall()
                limits.append((step, row["setting"]))

        after_each(publisher, note_limit, monkeypatch)
        with idle_reader(warehouse_settings):
            publishing = threads.submit(publisher.publish, HOUR, candles(price=200.2), ledger("b"))
            until(lambda: query(warehouse_settings, "SELECT WHERE cardinality(pg_blocking_pids(%s)) = 1", pid))
            reading = threads.submit(query, warehouse_settings, "SELECT count(*), min(close) FROM silver.fact_ohlcv")
            waiting = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
            until(lambda: query(warehouse_settings, waiting, pid))
        assert publishing.result(PATIENCE) == "swapped"
        assert reading.result(PATIENCE) in ([(120, 100.1)], [(120, 200.2)])  # the swap may have needed another attempt
    assert [step for step, limit in limits if limit == str(PATIENCE * 1000)] == [
        "detach_partition",
        "attach_stage",
        "write_ledger",
    ]


def test_a_publish_that_holds_the_lock_waits_for_nobody(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings
) -> None:
    """A reader of the partition alone would make all readers of the table wait: rows are replaced at once."""
    house.publish(HOUR, candles(), ledger())
    patient = msgspec.structs.replace(warehouse_settings, lock_timeout_seconds=2 * PATIENCE)
    with psycopg.connect(warehouse_settings.dsn) as reader, warehouse.connect(patient) as publisher:
        reader.execute("SELECT count(*) FROM silver.fact_ohlcv_20261122_07")
        assert publisher.publish(HOUR, candles(price=200.2), ledger("b")) == "replaced"


def test_a_new_hour_waits_for_no_reader(house: warehouse.Warehouse, warehouse_settings: WarehouseSettings) -> None:
    """Beside a reader that holds on, a new hour is attached at once, and even that reader sees it whole."""
    house.publish(HOUR, candles(), ledger())
    patient = msgspec.structs.replace(warehouse_settings, lock_timeout_seconds=2 * PATIENCE)  # nobody lets go
    with idle_reader(warehouse_settings) as read, warehouse.connect(patient) as publisher:
        assert publisher.publish(NEXT, candles(NEXT), ledger(hour=NEXT)) == "attached"
        assert read() in {(120, 100.1, 100.1), (240, 100.1, 100.1)}


@pytest.mark.usefixtures("undisturbed")
def test_attaching_scans_nothing(house: warehouse.Warehouse) -> None:
    """Postgres takes the stage's CHECK for proof of the bounds, for new and for changed hours."""
    said: list[str] = []
    house._session.connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
    house._session.connection.execute("SET client_min_messages = debug1")
    for content in ("a", "b"):
        house.publish(HOUR, candles(), ledger(content))
    proven = 'partition constraint for table "fact_ohlcv_20261122_07" is implied by existing constraints'
    assert said.count(proven) == 2


@pytest.mark.usefixtures("undisturbed")
def test_an_old_snapshot_finds_a_swapped_hour(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings
) -> None:
    """A snapshot that is older than a swap, but had not read the hour yet, sees the new hour and not an empty one."""
    house.publish(HOUR, candles(), ledger())
    with psycopg.connect(warehouse_settings.dsn) as reader:
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT now() FROM pg_class")
        assert house.publish(HOUR, candles(price=200.2), ledger("b")) == "swapped"
        assert reader.execute("SELECT count(*), min(close) FROM silver.fact_ohlcv").fetchone() == (120, 200.2)


def test_what_a_killed_publish_left_is_cleared(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings
) -> None:
    """A stage table of an earlier run is in nobody's way."""
    for price, content in ((100.1, "a"), (200.2, "b")):
        with psycopg.connect(warehouse_settings.dsn, autocommit=True) as killed:
            killed.execute("CREATE TABLE silver.fact_ohlcv_20261122_07_stage (half text)")
        house.publish(HOUR, candles(price=price), ledger(content))
        assert query(warehouse_settings, "SELECT count(*), min(close) FROM silver.fact_ohlcv") == [(120, price)]


def test_two_publishers_of_one_hour(warehouse_settings: WarehouseSettings) -> None:
    """Of publishers of the same content at the same time exactly one does the work."""
    together = threading.Barrier(4)

    def publish(_: int) -> str:
        with warehouse.connect(warehouse_settings) as house:
            together.wait(PATIENCE)
            return house.publish(HOUR, candles(), ledger())

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(publish, range(4))) == ["attached", "unchanged", "unchanged", "unchanged"]


def test_a_wait_for_another_publisher_is_said(
    warehouse_settings: WarehouseSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """For whom, from when on; and it ends, with the way out."""
    monkeypatch.setattr(postgres, "_PATIENCE", 2)
    monkeypatch.setattr(postgres, "_SAID_EVERY", 0.01)
    with psycopg.connect(warehouse_settings.dsn) as other, warehouse.connect(warehouse_settings) as house:
        other.execute("SELECT pg_advisory_lock(%s, %s)", (postgres._LOCKS, int(HOUR.timestamp()) // 3600))
        holder = f"the hour 2026-11-22T07 in Postgres .* hands of another session: process {other.info.backend_pid} of"
        with pytest.raises(WarehouseError, match=rf"{holder} .*idle in transaction since.*pg_terminate_backend"):
            house.publish(HOUR, candles(), ledger())
        assert [bool(re.search(holder, line.getMessage())) for line in caplog.records] == [True, True]
        other.rollback()
        other.execute("SELECT pg_advisory_unlock_all()")
        assert house.publish(HOUR, candles(), ledger()) == "attached"


def test_publishers_of_many_hours(warehouse_settings: WarehouseSettings) -> None:
    """Publishers of different hours, new and changed, do not get into each other's way."""

    def publish(number: int) -> str:
        hour = HOUR + timedelta(hours=number % 8)
        with warehouse.connect(warehouse_settings) as house:
            return house.publish(hour, candles(hour), ledger(str(number), hour))

    with ThreadPoolExecutor(4) as threads:
        assert len(list(threads.map(publish, range(24)))) == 24
    assert query(warehouse_settings, "SELECT count(*) FROM silver.fact_ohlcv") == [(8 * 120,)]


def test_rows_that_did_not_arrive(house: warehouse.Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Postgres has other rows than were sent, nothing is published."""
    house.publish(HOUR, candles(), ledger())
    whole = rows.csv
    monkeypatch.setattr(rows, "csv", lambda table: whole(table).partition(b"\n")[2])
    with pytest.raises(WarehouseError, match=r"'candles': 120.*'candles': 119.*was not published"):
        house.publish(HOUR, candles(price=200.2), ledger("b"))
    assert house.ledger(HOUR, NEXT) == ledger()


@pytest.mark.parametrize(
    ("table", "entries", "sentence"),
    [
        (candles(NEXT), ledger(), "other hours"),
        (pa.concat_tables([candles(), candles()]), ledger(), "duplicate key"),
        (candles(), ledger(pairs=PAIRS[:1]), "does not know.*kraken"),
        (candles().drop_columns("vwap"), ledger(), "columns"),
        (candles().set_column(6, "open", pa.array(["dear"] * 120)), ledger(), "columns"),
        (candles(), ledger() * 2, "one entry per pair"),
        (candles(), ledger(hour=NEXT), "one entry per pair, of that hour"),
        (candles().set_column(14, "source", pa.array(["dream"] * 120)), ledger(), "refused.*source_check"),
    ],
)
def test_wrong_tables_are_refused(
    house: warehouse.Warehouse, table: pa.Table, entries: list[Completeness], sentence: str
) -> None:
    """What cannot be the hour's candles is refused with a sentence, and the next publish works."""
    with pytest.raises(WarehouseError, match=sentence):
        house.publish(HOUR, table, entries)
    assert house.ledger(HOUR, NEXT) == []
    assert house.publish(HOUR, candles(), ledger()) == "attached"


def test_the_servers_time_zone_does_not_matter(warehouse_settings: WarehouseSettings) -> None:
    """Bounds are UTC hours, whatever time zone and date style the database prefers."""
    with psycopg.connect(warehouse_settings.dsn, autocommit=True) as admin:
        name = Identifier(str(conninfo_to_dict(warehouse_settings.dsn)["dbname"]))
        admin.execute(SQL("ALTER DATABASE {} SET timezone = 'Asia/Kolkata'").format(name))
        admin.execute(SQL("ALTER DATABASE {} SET datestyle = 'German, DMY'").format(name))
    with warehouse.connect(warehouse_settings) as house:
        house.publish(HOUR, candles(), ledger())
        assert house.ledger(HOUR, NEXT) == ledger()
    with psycopg.connect(warehouse_settings.dsn) as connection:
        connection.execute("SET TIME ZONE 'UTC'; SET DateStyle = 'ISO'")
        bounds = connection.execute(
            "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE relname = 'fact_ohlcv_20261122_07'"
        ).fetchall()
    assert bounds == [("FOR VALUES FROM ('2026-11-22 07:00:00+00') TO ('2026-11-22 08:00:00+00')",)]


def test_an_hour_of_300_pairs_is_fast(house: warehouse.Warehouse) -> None:
    """18,000 candles travel as one: no statement and next to no work of ours is done for each, or for each pair."""

    def publish(count: int, hour: datetime) -> int:
        pairs = [("binance", f"A{number}-USDT") for number in range(count)]
        table, entries = candles(hour, pairs=pairs), ledger(hour=hour, pairs=pairs)
        return calls(lambda: house.publish(hour, table, entries))

    publish(1, HOUR)  # what is done once a session
    few, many = publish(30, NEXT), publish(300, NEXT + timedelta(hours=1))
    assert many - few < 10 * 270


def test_old_servers_are_refused() -> None:
    """13 is too old, and the sentence says which is needed."""
    postgres.check_version(140000)
    with pytest.raises(WarehouseError, match=r"PostgreSQL 13.*needs 14 or newer"):
        postgres.check_version(130021)


@pytest.mark.parametrize(
    ("dsn", "sentence"),
    [
        ("postgresql://klines:hush@127.0.0.1:1/klines", "127.0.0.1:1 cannot be reached"),
        ("host=127.0.0.1 port=1 password=hush", "127.0.0.1:1 cannot be reached"),
        ("postgresql://klines:hu@hush@127.0.0.1:1/klines", "not a connection string"),
        ("postgresql://klines:hush/hush@127.0.0.1/klines", "not a connection string"),
        ("hush", "not a connection string"),
    ],
)
def test_the_password_is_never_shown(dsn: str, sentence: str) -> None:
    """A server that is down and a string that is none are told apart, without a word of the password."""
    with pytest.raises(WarehouseError, match=sentence) as caught, warehouse.connect(WarehouseSettings(dsn=dsn)):
        pass
    assert "hush" not in str(caught.value)


def test_a_session_that_ends(
    house: warehouse.Warehouse, warehouse_settings: WarehouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the server ends the session in the middle, a sentence says so."""
    pid = house._session.connection.info.backend_pid

    def interrupt(step: str) -> None:
        if step == "create_stage":
            assert query(warehouse_settings, "SELECT pg_terminate_backend(%s, %s)", pid, PATIENCE * 1000) == [(True,)]

    after_each(house, interrupt, monkeypatch)
    with pytest.raises(WarehouseError, match=r"broke off.*Run it again"):
        house.publish(HOUR, candles(), ledger())
