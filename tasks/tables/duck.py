"""DuckDB: the only file that opens it. Statements are in sql/duckdb/."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

import sql

BARS = {"5m": 300, "15m": 900, "30m": 1800, "1h": 3600}
"""Length of each published bar in seconds."""


class UnreadableLines(Exception):
    """Some line is torn or has a value of the wrong type; DuckDB does not say reliably which."""


@contextmanager
def open_memory() -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory, in UTC, with room for a batch of pairs, not for an hour of all of them."""
    with duckdb.connect(config={"memory_limit": "300MB"}) as connection:
        connection.execute(sql.load("duckdb/begin_session"))
        yield connection


@contextmanager
def _reading() -> Iterator[duckdb.DuckDBPyConnection]:
    """As `open_memory`, but shared: for who only reads files. Rows come in the order in which they are read."""
    with _reader(os.getpid()).cursor() as connection:
        connection.execute(sql.load("duckdb/begin_session"))
        yield connection


@functools.cache
def _reader(_process: int) -> duckdb.DuckDBPyConnection:
    """One a process: opening takes longer than most reads, and what is open does not survive a fork.

    Two batches may be read at once (`stream_hour`), each in its caller's own thread: room for two, and no thread more.
    """
    return duckdb.connect(config={"memory_limit": "600MB", "threads": 1})


def read_lines(files: list[Path], exchange: str, symbols: list[str], hour: datetime) -> pa.Table:
    """The lines of these JSONL files, in their order: columns of sql/duckdb/read_lines.sql, `valid` last."""
    values = {"files": [str(file) for file in files], "exchange": exchange, "symbols": symbols, "hour": hour}
    try:
        with _reading() as connection:
            return connection.execute(sql.load("duckdb/read_lines"), values).to_arrow_table()
    except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
        raise UnreadableLines(str(error)) from error


def read_answers(files: list[Path]) -> pa.Table:
    """The REST lines of these JSONL files: columns of sql/duckdb/read_answers.sql, sorted."""
    values = {"files": [str(file) for file in files]}
    with _reading() as connection:
        return connection.execute(sql.load("duckdb/read_answers"), values).to_arrow_table()


def bars_rule() -> str:
    """A digest of how `bars` makes bars: another one, and the published ones are to be made anew."""
    text = sql.load("duckdb/roll_up_bars")
    statement = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return hashlib.blake2b(f"{BARS}\n{statement}".encode(), digest_size=6).hexdigest()


def bars(connection: duckdb.DuckDBPyConnection, candles: pa.Table) -> dict[str, pa.Table]:
    """Bar name → bars of silver 1-minute candles; columns as in gold.ohlcv_*."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS silver")
    connection.register("candles", candles)
    connection.execute("CREATE OR REPLACE TABLE silver.fact_ohlcv AS FROM candles")
    connection.execute(sql.load("duckdb/roll_up_bars"))
    return {
        name: connection.execute("FROM roll_up_bars($seconds)", {"seconds": seconds}).to_arrow_table()
        for name, seconds in BARS.items()
    }
