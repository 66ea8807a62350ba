"""The column names and types of the Parquet files, in the order that users see them."""

from __future__ import annotations

import pyarrow as pa

TIME = pa.timestamp("us", tz="UTC")

BRONZE = pa.schema(
    [
        ("exchange", pa.string()),
        ("symbol", pa.string()),
        ("interval_seconds", pa.int32()),
        ("interval_start", TIME),
        ("interval_end", TIME),
        ("open", pa.float64()),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("close", pa.float64()),
        ("volume", pa.float64()),
        ("vwap", pa.float64()),
        ("trade_count", pa.int32()),
        ("source", pa.string()),
        ("ingestion_ts", TIME),
        # What choosing needs beyond the published columns:
        ("quote_volume", pa.float64()),
        ("event_type", pa.string()),
        ("event_ts", TIME),
        ("is_final", pa.bool_()),
        ("conn", pa.string()),
    ]
)

TRADES = pa.schema(
    [
        ("exchange", pa.string()),
        ("symbol", pa.string()),
        ("trade_id", pa.int64()),
        ("price", pa.float64()),
        ("size", pa.float64()),
        ("side", pa.string()),
        ("event_ts", TIME),
        ("interval_start", TIME),
        ("source", pa.string()),
        ("ingestion_ts", TIME),
        ("conn", pa.string()),
    ]
)

SESSIONS = pa.schema(
    [
        ("exchange", pa.string()),
        ("symbol", pa.string()),
        ("event_type", pa.string()),
        ("recv_ts", TIME),
        ("interval_start", TIME),
        ("since", TIME),
        ("conn", pa.string()),
        ("status", pa.string()),
        ("detail", pa.string()),
        ("asked_start", TIME),
        ("asked_end", TIME),
        ("covered_start", TIME),
        ("covered_end", TIME),
        ("previous_close", pa.float64()),
        ("silence", pa.string()),
        ("beyond_history", pa.bool_()),
    ]
)

SILVER = pa.schema(
    [
        ("exchange", pa.string()),
        ("symbol", pa.string()),
        ("quote_asset", pa.string()),
        ("interval_seconds", pa.int32()),
        ("interval_start", TIME),
        ("interval_end", TIME),
        ("open", pa.float64()),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("close", pa.float64()),
        ("volume", pa.float64()),
        ("quote_volume", pa.float64()),
        ("trade_count", pa.int32()),
        ("vwap", pa.float64()),
        ("source", pa.string()),
        ("ingestion_ts", TIME),
    ]
)
