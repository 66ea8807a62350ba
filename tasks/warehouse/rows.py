"""Rows on their way into Postgres: their columns, whether they belong there, and their CSV text. Opens nothing."""

from __future__ import annotations

import io
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from stream.errors import WarehouseError
from tasks.rules import schemas

BARS = pa.schema([*(f for f in schemas.SILVER if f.name not in ("source", "ingestion_ts")), ("minutes", pa.int32())])
"""Columns of each gold.ohlcv_*."""


def fit(table: pa.Table, schema: pa.Schema, hour: datetime, pairs: set[tuple[str, str]]) -> pa.Table:
    """The table in the schema's columns and types; WarehouseError when it is not about this hour and these pairs."""
    subject = f"the table for the hour {hour:%Y-%m-%dT%H}"
    try:
        fitted = table.select(schema.names).cast(schema)
    except (KeyError, pa.ArrowException) as error:
        raise WarehouseError(f"The columns of {subject} are not those of the warehouse: {error}") from error
    found = summary(fitted)
    if found["candles"] and not hour <= found["first"] <= found["last"] < hour + timedelta(hours=1):
        raise WarehouseError(f"There are other hours in {subject}: {found}. Nothing was published.")
    strangers = pairs_of(fitted) - pairs
    if strangers:
        raise WarehouseError(f"There are pairs in {subject} that the ledger does not know: {sorted(strangers)}.")
    return fitted


def pairs_of(table: pa.Table) -> set[tuple[str, str]]:
    """(exchange, symbol) of all rows."""
    return {(row["exchange"], row["symbol"]) for row in _pairs(table).to_pylist()}


def summary(table: pa.Table) -> dict[str, Any]:
    """As sql/postgres/summarize_stage.sql."""
    first, last = pc.min_max(table["interval_start"]).as_py().values()
    return {"candles": table.num_rows, "pairs": _pairs(table).num_rows, "first": first, "last": last}


def _pairs(table: pa.Table) -> pa.Table:
    return table.group_by(["exchange", "symbol"]).aggregate([]).select(["exchange", "symbol"])


def csv(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=False))
    return sink.getvalue()
