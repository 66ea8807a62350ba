"""Parquet in the lake: the same table always becomes the same bytes, and says in its footer what it was made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from stream.errors import LakeError
from stream.lake import Lake

_KEY = b"klines"
_TAIL = 64 * 1024


def encode(table: pa.Table, facts: dict[str, Any]) -> bytes:
    """The table as a Parquet file, with `facts` (JSON) in its footer."""
    sink = pa.BufferOutputStream()
    # An hour of a pair is so small that zstd's set-up, column by column, costs more time than it saves bytes.
    with writer(sink, table.schema, facts, compression="snappy") as out:
        out.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def writer(sink: object, schema: pa.Schema, facts: dict[str, Any], *, compression: str = "zstd") -> pq.ParquetWriter:
    """A Parquet writer with our settings: for files that are written in parts."""
    footer = {_KEY: json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()}
    words = [field.name for field in schema if pa.types.is_string(field.type)]
    # A dictionary of prices is longer than the prices.
    return pq.ParquetWriter(sink, schema.with_metadata(footer), compression=compression, use_dictionary=words)


def facts(lake: Lake, key: str) -> dict[str, Any] | None:
    """What the footer of an object says it was made from; None where there is no object.

    Reads the end of the object only. LakeError when what is there is not a Parquet file of ours.
    """
    for size in (_TAIL, 16 * _TAIL, 1024 * _TAIL):
        tail = lake.tail(key, size)
        if tail is None:
            return None
        try:
            metadata = pq.read_metadata(pa.BufferReader(tail)).metadata or {}
        except pa.ArrowInvalid as error:
            if len(tail) == size:
                continue
            raise LakeError(
                f"{lake.root}/{key} is not a readable Parquet file ({error}). Remove it: the next run makes it anew."
            ) from error
        found: dict[str, Any] = json.loads(metadata.get(_KEY, b"{}"))
        return found
    raise LakeError(f"{lake.root}/{key}: the Parquet footer is longer than {1024 * _TAIL} bytes; remove the object.")


def facts_of_all(lake: Lake, keys: Sequence[str]) -> dict[str, Any] | None:
    """What the first object's footer says; None unless all of them are there. LakeError when one is damaged."""
    found = lake.read_each(lambda key: facts(lake, key), keys)
    return found[0] if all(one is not None for one in found) else None


def read(lake: Lake, key: str) -> tuple[pa.Table, dict[str, Any]]:
    """The whole table and the facts in its footer."""
    try:
        table = pq.ParquetFile(pa.BufferReader(lake.get(key))).read()
    except pa.ArrowInvalid as error:
        raise LakeError(
            f"{lake.root}/{key} is not a readable Parquet file ({error}). Remove it: the next run makes it anew."
        ) from error
    return table.replace_schema_metadata(None), json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))


def frame(table: pa.Table) -> pl.DataFrame:
    """Arrow → Polars."""
    found = pl.from_arrow(table)
    assert isinstance(found, pl.DataFrame)
    return found
