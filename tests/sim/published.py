"""The warehouse of a world that publishes: a database of its own, and how it differs from silver."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row
from psycopg.sql import SQL, Identifier

from stream.clock import HOUR
from stream.lake import Lake
from stream.settings import WarehouseSettings
from tasks import warehouse
from tasks.hour import silver_hour
from tasks.tables import duck

_numbers = itertools.count(1)
_HOUR_OF = (
    "SELECT * FROM {} WHERE interval_start >= %s AND interval_start < %s ORDER BY exchange, symbol, interval_start"
)


@contextmanager
def database(server: str) -> Iterator[str]:
    """The connection string of a new, initialised warehouse on that server, for as long as the block lasts."""
    name = f"klines_world_{os.getpid()}_{next(_numbers)}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        dsn = make_conninfo(server, dbname=name)
        with warehouse.connect(WarehouseSettings(dsn=dsn)) as fresh:
            fresh.init()
        yield dsn
        admin.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def differences(dsn: str, lake: Lake, pairs: Iterable[tuple[str, str]], hour: datetime) -> Iterator[str]:
    """In what Postgres is not what silver is: candles, ledger, and the bars that they make up."""
    candles, ledger = silver_hour.read(lake, hour, list(pairs))
    with warehouse.connect(WarehouseSettings(dsn=dsn)) as postgres:
        if set(postgres.ledger(hour, hour + HOUR)) != set(ledger):
            yield "the ledger"
    with duck.open_memory() as memory, psycopg.connect(dsn, row_factory=dict_row) as connection:
        expected = {"silver.fact_ohlcv": candles}
        expected |= {f"gold.ohlcv_{name}": bars for name, bars in duck.bars(memory, candles).items()}
        for table, rows in expected.items():
            statement = SQL(_HOUR_OF).format(Identifier(*table.split(".")))
            found = connection.execute(statement, (hour, hour + HOUR)).fetchall()
            if _sorted(found) != _sorted(rows.to_pylist()):
                yield table


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["exchange"], row["symbol"], row["interval_start"]))
