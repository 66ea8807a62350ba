"""Candles from trades, and the proof that a minute's trades are all there. Pure, over sets of pairs of one exchange.

Two things prove a minute whole: trades are numbered one by one from a trade before the minute to one after it; or one
connection (or one REST answer) had all of the minute, and among the trades that came over it no number is left out.
"""

from __future__ import annotations

from typing import Literal

import polars as pl

from stream.wire import MINUTE

_KEY = ["symbol", "interval_start"]
_IN_TIME = ["event_ts", "trade_id", "price", "size"]


def candles(trades: pl.DataFrame, heard: pl.DataFrame, *, consecutive_ids: bool) -> pl.DataFrame:
    """One candle per symbol and minute that had a trade, and a flat one where ids prove that it had none.

    `trades`: schema TRADES of schemas.py, any number of times each. `heard`: symbol, conn, interval_start; the
    minutes all of whose trades came over that connection. Columns as schema BRONZE; `is_final` says whether the minute
    is proven whole. Open and close go by time, then by id.
    """
    once = _once(trades)
    runs = _runs(once) if consecutive_ids else once.clear().select("symbol", first="interval_start", last="event_ts")
    within = _within(runs)
    whole = pl.concat([within, _heard_whole(trades, heard, consecutive_ids=consecutive_ids)]).unique()
    traded = _built(once).join(whole.with_columns(is_final=pl.lit(value=True)), on=_KEY, how="left")
    silent = within.join(once, on=_KEY, how="anti")
    return pl.concat([traded, _flat(silent, once)], how="diagonal").with_columns(
        exchange=pl.lit(trades["exchange"].first(), pl.String),
        source=pl.lit(trades["source"].first(), pl.String),
        interval_seconds=pl.lit(60, pl.Int32),
        interval_end=pl.col("interval_start") + MINUTE,
        event_type=pl.lit("built"),
        is_final=pl.col("is_final").fill_null(value=False),
        conn=pl.lit(None, pl.String),
    )


def _once(trades: pl.DataFrame) -> pl.DataFrame:
    """Each trade as it was first received, in the order of time. Rows from before the ids are told by their values."""
    first = trades.sort("symbol", "ingestion_ts", *_IN_TIME, "conn")
    numbered = first.filter(pl.col("trade_id").is_not_null()).unique(["symbol", "trade_id"], keep="first")
    others = first.filter(pl.col("trade_id").is_null()).unique(["symbol", *_IN_TIME], keep="first")
    return pl.concat([numbered, others]).sort("symbol", *_IN_TIME)


def _runs(once: pl.DataFrame) -> pl.DataFrame:
    """symbol, first, last: the minutes of the first and last trade of each run of ids without a gap."""
    return (
        once.filter(pl.col("trade_id").is_not_null())
        .sort("symbol", "trade_id")
        .with_columns(run=(pl.col("trade_id").diff().fill_null(0) != 1).cum_sum().over("symbol"))
        .group_by("symbol", "run")
        .agg(first=pl.col("interval_start").min(), last=pl.col("interval_start").max())
        .drop("run")
    )


def _within(runs: pl.DataFrame) -> pl.DataFrame:
    """symbol, interval_start: the minutes between the first and the last of a run, these two not included."""
    return (
        runs.filter(pl.col("last") > pl.col("first") + MINUTE)
        .select(
            "symbol",
            interval_start=pl.datetime_ranges(pl.col("first") + MINUTE, pl.col("last") - MINUTE, interval="1m"),
        )
        .explode("interval_start")
    )


def _heard_whole(trades: pl.DataFrame, heard: pl.DataFrame, *, consecutive_ids: bool) -> pl.DataFrame:
    """symbol, interval_start: heard minutes in which, and around which, no id is left out on the same connection."""
    if not consecutive_ids:
        return heard.select(_KEY)
    line = ["symbol", "conn"]
    steps = (
        trades.unique([*line, "trade_id"])
        .sort(*line, "trade_id")
        .with_columns(step=pl.col("trade_id").diff().over(line), before=pl.col("interval_start").shift().over(line))
        .filter(pl.col("step") > 1)
        .select(*line, "before", after="interval_start")
    )
    doubtful = heard.join(steps, on=line, nulls_equal=True).filter(
        pl.col("interval_start").is_between(pl.min_horizontal("before", "after"), pl.max_horizontal("before", "after"))
    )
    return heard.join(doubtful, on=[*line, "interval_start"], how="anti", nulls_equal=True).select(_KEY)


def _built(once: pl.DataFrame) -> pl.DataFrame:
    """One row per minute that had trades. Sizes add up as the decimals that the exchange wrote, to its own sum.

    By way of text, in both directions: between float and decimal, polars multiplies, and is then off by a last digit.
    """
    value = pl.col("price") * pl.col("size")
    return once.group_by(_KEY, maintain_order=True).agg(
        open=pl.col("price").first(),
        high=pl.col("price").max(),
        low=pl.col("price").min(),
        close=pl.col("price").last(),
        volume=pl.col("size").cast(pl.String).cast(pl.Decimal(38, 12)).sum().cast(pl.String).cast(pl.Float64),
        vwap=value.sum() / pl.col("size").sum(),
        trade_count=pl.len().cast(pl.Int32),
        ingestion_ts=pl.col("ingestion_ts").max(),
        quote_volume=value.sum(),
        event_ts=pl.col("event_ts").last(),
    )


def _flat(silent: pl.DataFrame, once: pl.DataFrame) -> pl.DataFrame:
    """Proven minutes without trades, at the price of the trade before; received when both neighbours were."""
    around = _beside(_beside(silent, once, "before", "backward"), once, "after", "forward")
    price = pl.col("before_price")
    return around.select(
        *_KEY,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=pl.lit(0.0),
        trade_count=pl.lit(0, pl.Int32),
        ingestion_ts=pl.max_horizontal("before_ingestion_ts", "after_ingestion_ts"),
        quote_volume=pl.lit(0.0),
        is_final=pl.lit(value=True),
    )


def _beside(
    minutes: pl.DataFrame, once: pl.DataFrame, name: str, strategy: Literal["backward", "forward"]
) -> pl.DataFrame:
    """Adds price and reception of the trade next to each minute: `<name>_price`, `<name>_ingestion_ts`."""
    return (
        minutes.sort("interval_start")
        .join_asof(
            once.select("symbol", "event_ts", pl.col("price", "ingestion_ts").name.prefix(f"{name}_")).sort("event_ts"),
            left_on="interval_start",
            right_on="event_ts",
            by="symbol",
            strategy=strategy,
            check_sortedness=False,
        )
        .drop("event_ts")
    )
