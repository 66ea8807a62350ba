"""Candles from trades: what the exchange would have built, had it built them."""

from __future__ import annotations

import polars as pl


def candles(trades: pl.DataFrame) -> pl.DataFrame:
    """One candle per exchange, symbol and minute that had a trade; columns of tasks/schemas.py, BRONZE.

    `trades` has exchange, symbol, source, interval_start, event_ts, trade_id, price, size, ingestion_ts. A trade that
    was read twice (same id, time, price and size) counts once. Open and close go by time, then by id.
    """
    once = trades.unique(["symbol", "interval_start", "event_ts", "trade_id", "price", "size"], keep="any").sort(
        "symbol", "interval_start", "event_ts", "trade_id", "price", "size"
    )
    value = pl.col("price") * pl.col("size")
    return once.group_by("exchange", "symbol", "source", "interval_start", maintain_order=True).agg(
        interval_seconds=pl.lit(60, pl.Int32),
        interval_end=pl.col("interval_start").first().dt.offset_by("1m"),
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        volume=pl.col("size").sum(),
        vwap=value.sum() / pl.col("size").sum(),
        trade_count=pl.len().cast(pl.Int32),
        ingestion_ts=pl.col("ingestion_ts").max(),
        quote_volume=value.sum(),
        event_type=pl.lit("snapshot"),
        event_ts=pl.col("event_ts").last(),
        is_final=pl.lit(None, pl.Boolean),
        conn=pl.lit(None, pl.String),
    )
