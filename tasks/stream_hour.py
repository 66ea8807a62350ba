"""One exchange-hour of recorded lines → typed Parquet: candles (bronze), and what the recorder said (sessions)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stream import layout
from stream.lake import Lake, Stored
from tasks import choose, duck, evidence, parquet, sift
from tasks.schemas import BRONZE, SESSIONS

_PAIRS_AT_ONCE = 25
"""Bounds the memory of an hour, whatever the number of pairs: about 90,000 lines of a busy hour."""


def is_current(lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime) -> bool:
    """The Parquet exists and was made from the lines that there are."""
    facts = parquet.facts(lake, layout.bronze_key(exchange, hour, "stream"))
    if facts is None:
        return False
    now = evidence.fingerprints(evidence.recorded(lake, exchange, symbols, hour))
    return all(facts["evidence"].get(symbol) == mark for symbol, mark in now.items())


def make(lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime) -> int:
    """Writes both Parquet objects; returns how many lines were set aside as torn or foreign.

    The bronze object is written last: its footer is what says that the hour was read.
    """
    objects = evidence.recorded(lake, exchange, symbols, hour)
    facts = {"evidence": evidence.fingerprints(objects)}
    sessions: list[pa.Table] = []
    rejected = 0
    with tempfile.TemporaryDirectory(prefix="klines-") as folder, duck.open_memory() as connection:
        path = Path(folder) / "stream.parquet"
        with closing(parquet.writer(str(path), BRONZE, facts)) as bronze:
            for batch in _batches(objects):
                lines, aside = _read(lake, connection, exchange, batch, hour, Path(folder))
                rejected += aside
                is_candle = pc.is_in(lines["event_type"], pa.array(["snapshot", "update"]))
                _write(bronze, lines.filter(is_candle))
                sessions.append(_sessions(lines.filter(pc.invert(is_candle))))
        lake.put(
            layout.sessions_key(exchange, hour, "stream"),
            parquet.encode(pa.concat_tables([SESSIONS.empty_table(), *sessions]), facts),
        )
        lake.put_file(layout.bronze_key(exchange, hour, "stream"), path)
    return rejected


def finished(lake: Lake, exchange: str, hour: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The hour's finished stream candles (schema BRONZE), and its minutes that had trades (symbol, interval_start)."""
    table, _ = parquet.read(lake, layout.sessions_key(exchange, hour, "stream"))
    sessions = parquet.frame(table)
    done = [parquet.frame(BRONZE.empty_table())]
    traded = [choose.traded(done[0])]
    for batch in _row_groups(lake, layout.bronze_key(exchange, hour, "stream")):
        candles = parquet.frame(batch)
        done.append(choose.finished(candles, sessions))
        traded.append(choose.traded(candles))
    return pl.concat(done), pl.concat(traded)


def _row_groups(lake: Lake, key: str) -> Iterator[pa.Table]:
    """Some pairs at a time; a pair is never split, because a row group is one batch of `make`."""
    with lake.local([key]) as (path,), pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group).replace_schema_metadata(None)


def _batches(objects: dict[str, list[Stored]]) -> Iterator[dict[str, list[Stored]]]:
    symbols = sorted(symbol for symbol, found in objects.items() if found)
    for n in range(0, len(symbols), _PAIRS_AT_ONCE):
        yield {symbol: objects[symbol] for symbol in symbols[n : n + _PAIRS_AT_ONCE]}


def _read(
    lake: Lake,
    connection: duckdb.DuckDBPyConnection,
    exchange: str,
    objects: dict[str, list[Stored]],
    hour: datetime,
    folder: Path,
) -> tuple[pa.Table, int]:
    """The valid lines of some pairs, and how many others there were. Only an hour with bad lines is read twice."""
    keys = [one.key for found in objects.values() for one in found]
    symbols = list(objects)
    with lake.local(keys) as paths:
        try:
            lines = duck.read_lines(connection, paths, exchange, symbols, hour)
            if pc.all(lines["valid"]).as_py() is not False:
                return lines, 0
        except duck.UnreadableLines:
            pass
        sifted, aside = sift.sift(lake, exchange, symbols, hour, dict(zip(keys, paths, strict=True)), folder)
        return duck.read_lines(connection, sifted, exchange, symbols, hour), aside


def _write(bronze: pq.ParquetWriter, candles: pa.Table) -> None:
    """One row group a batch: `_row_groups` relies on it."""
    if candles.num_rows:
        bronze.write_table(candles.select(BRONZE.names).cast(BRONZE), row_group_size=candles.num_rows)


def _sessions(lines: pa.Table) -> pa.Table:
    renamed = lines.rename_columns({"ingestion_ts": "recv_ts"})
    columns = [
        renamed[field.name].cast(field.type) if field.name in renamed.column_names else pa.nulls(len(lines), field.type)
        for field in SESSIONS
    ]
    return pa.table(columns, schema=SESSIONS)
