"""Choose, fill, judge: evidence about an hour in, one verdict per expected minute out. Pure, over sets of pairs.

The rules are those of docs/design.md, "When a candle counts as finished". Frames have the columns of schemas.py; all
frames are about one exchange and one hour.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from stream.clock import HOUR
from stream.wire import MINUTE
from tasks.rules import proof

_KEY = ["symbol", "interval_start"]
_LINE = [*_KEY, "conn"]
_VALUES = ["close", "open", "high", "low", "volume", "quote_volume", "vwap"]
_FLAT = (pl.col("volume") == 0) & (pl.col("trade_count").fill_null(0) == 0)
"""Nobody traded."""


class Evidence(NamedTuple):
    """What is known about an hour. `stream` may be narrowed to what `finished` returned, plus `seen`."""

    stream: pl.DataFrame
    """Finished stream candles (schema BRONZE), any number per minute."""
    seen: pl.DataFrame
    """symbol, interval_start, traded: minutes about which the stream said anything, finished or not, and whether any of
    it shows a trade."""
    sessions: pl.DataFrame
    """`alive` and `status` lines of the stream (schema SESSIONS)."""
    rest: pl.DataFrame
    """REST candles (schema BRONZE), any number per minute."""
    answers: pl.DataFrame
    """The REST `answered` and `rejected` lines (schema SESSIONS)."""


class Judged(NamedTuple):
    """The outcome for an hour."""

    candles: pl.DataFrame
    """Schema SILVER, at most one row per symbol and minute, sorted by both."""
    verdicts: pl.DataFrame
    """symbol, interval_start, verdict, cause: one row per symbol and minute, sorted; cause only where missing."""


def finished(candles: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """The stream candles that count as finished: flagged (by the exchange, or built and proven), or a life's last.

    Without a flag, the update must be the connection's last about that minute, the connection must have proved
    afterwards that it was alive since before it, and nobody may have seen more trades in that minute.
    """
    flagged = candles.filter(pl.col("is_final").fill_null(value=False))
    # Who flags some of a minute's candles and not others has a flag: the last unflagged one is not the last word.
    flags = candles.filter(pl.col("is_final").is_not_null())
    updates = candles.filter(pl.col("is_final").is_null() & (pl.col("event_type") == "update")).join(
        flags, on=_KEY, how="anti"
    )
    if updates.is_empty():
        return flagged
    last = (
        updates.sort(*_LINE, "event_ts", "ingestion_ts", "trade_count", "volume", *_VALUES, nulls_last=False)
        .with_columns(heard=pl.col("ingestion_ts").max().over(_LINE))
        .unique(_LINE, keep="last", maintain_order=True)
    )
    lived = proof.lived(last.select(*_LINE, begin="ingestion_ts", until="heard"), sessions)
    most = candles.group_by(_KEY).agg(most=pl.col("trade_count").max())
    undisputed = (
        last.join(lived, on=_LINE, how="semi")
        .join(most, on=_KEY, how="left")
        .filter(pl.col("trade_count").fill_null(0) >= pl.col("most").fill_null(0))
    )
    return pl.concat([flagged, undisputed.select(candles.columns)])


def seen(candles: pl.DataFrame) -> pl.DataFrame:
    """symbol, interval_start, traded: the minutes that these candles, finished or not, are about; any shows a trade."""
    return candles.group_by(_KEY).agg(traded=(~_FLAT).any())


def unfinished(
    symbols: Sequence[str], hour: datetime, stream: pl.DataFrame, together: timedelta = HOUR
) -> pl.DataFrame:
    """symbol, first, last: from where to where the stream left minutes without a finished candle.

    Those of a pair that are no farther apart than `together` are one stretch.
    """
    return (
        expected(symbols, hour)
        .join(stream, on=_KEY, how="anti")
        .sort(_KEY)
        .with_columns(apart=(pl.col("interval_start").diff().over("symbol") > together).fill_null(value=False))
        .with_columns(stretch=pl.col("apart").cum_sum().over("symbol"))
        .group_by("symbol", "stretch")
        .agg(first=pl.col("interval_start").min(), last=pl.col("interval_start").max())
        .sort("symbol", "first")
        .select("symbol", "first", "last")
    )


def judge(
    exchange: str, symbols: Sequence[str], hour: datetime, evidence: Evidence, *, keep_empty: bool = True
) -> Judged:
    """One verdict per symbol and minute, and the candles behind them; flat ones for empty minutes if `keep_empty`."""
    # A flat candle that the stream sent is the exchange's; one that was built stands for a minute without trades.
    built_flat = _FLAT & (pl.col("event_type") == "built")
    stream = _best(evidence.stream).with_columns(
        verdict=pl.when(built_flat).then(pl.lit("empty")).otherwise(pl.lit("stream"))
    )
    late_enough = evidence.rest.filter(pl.col("ingestion_ts") >= hour + HOUR)
    rest = (
        _best(late_enough)
        .join(stream, on=_KEY, how="anti")
        .with_columns(verdict=pl.when(_FLAT).then(pl.lit("empty")).otherwise(pl.lit("rest")))
    )
    found = pl.concat([stream, rest])
    minutes = expected(symbols, hour).join(found, on=_KEY, how="left").sort(_KEY)
    filled = _fill_silence(minutes, hour, evidence)
    verdicts = _explain(filled.with_columns(verdict=pl.col("verdict").fill_null("missing")), evidence)
    kept = verdicts.filter(pl.col("verdict") != "missing")
    if not keep_empty:
        kept = kept.filter(pl.col("verdict") != "empty")
    return Judged(_silver(exchange, kept), verdicts.select(*_KEY, "verdict", "cause"))


def _best(candidates: pl.DataFrame) -> pl.DataFrame:
    """One candle per minute, whatever the order of the rows: most trades, then latest, then by name and value."""
    values = ["conn", *_VALUES]
    latest_first = ["trade_count", "event_ts", "ingestion_ts"]
    return (
        candidates.with_columns(recorder=pl.col("conn").str.split("/").list.first())
        .sort(
            *_KEY,
            *latest_first,
            "recorder",
            *values,
            descending=[False, False, True, True, True, False, *(False for _ in values)],
            nulls_last=True,
        )
        .unique(_KEY, keep="first", maintain_order=True)
        .drop("recorder")
    )


def expected(symbols: Sequence[str], hour: datetime) -> pl.DataFrame:
    """symbol, interval_start: every minute that the hour should have."""
    starts = pl.DataFrame({"interval_start": [hour + n * MINUTE for n in range(60)]}).cast(pl.Datetime("us", "UTC"))
    return pl.DataFrame({"symbol": sorted(symbols)}, schema={"symbol": pl.String}).join(starts, how="cross")


def _silent(minutes: pl.DataFrame, evidence: Evidence) -> pl.DataFrame:
    """symbol, interval_start, answered_ts: the minutes that are proven to be without trades, and the last answer to it.

    REST had rows on both sides, and nothing shows a trade.
    """
    open_minutes = minutes.filter(pl.col("verdict").is_null())
    covered = proof.covered(open_minutes, evidence.answers)
    if_alive = covered.filter(pl.col("silence") == "no_trade_if_alive")
    return (
        pl.concat(
            [
                covered.filter(pl.col("silence") == "no_trade"),
                if_alive.join(proof.heard(open_minutes, evidence.sessions), on=_KEY, how="semi"),
            ]
        )
        .join(evidence.seen.filter("traded"), on=_KEY, how="anti")
        .join(proof.rejected(evidence.sessions), on=_KEY, how="anti")
        .group_by(_KEY)
        .agg(answered_ts=pl.col("recv_ts").max())
    )


def _rejected(evidence: Evidence) -> pl.DataFrame:
    return pl.concat([proof.rejected(evidence.sessions), proof.rejected(evidence.answers)]).unique()


def _fill_silence(minutes: pl.DataFrame, hour: datetime, evidence: Evidence) -> pl.DataFrame:
    """Flat candles at the previous close for proven silence. A price is not carried across a minute that is missing."""
    before = (
        evidence.answers.filter(pl.col("previous_close").is_not_null() & (pl.col("asked_start") == hour))
        .sort("recv_ts", "previous_close")
        .unique("symbol", keep="last")
        .select("symbol", before="previous_close")
    )
    marked = (
        minutes.join(_silent(minutes, evidence), on=_KEY, how="left")
        .join(before, on="symbol", how="left")
        .sort(_KEY)
        .with_columns(unknown=pl.col("verdict").is_null() & pl.col("answered_ts").is_null())
        .with_columns(stretch=pl.col("unknown").cum_sum().over("symbol"))
        .with_columns(carried=pl.col("close").forward_fill().over("symbol", "stretch"))
        .with_columns(price=pl.when(pl.col("stretch") == 0).then(pl.coalesce("carried", "before")).otherwise("carried"))
    )
    here = pl.col("answered_ts").is_not_null() & pl.col("price").is_not_null()
    return marked.with_columns(
        *(pl.when(here).then("price").otherwise(name).alias(name) for name in ("open", "high", "low", "close")),
        *(pl.when(here).then(0.0).otherwise(name).alias(name) for name in ("volume", "quote_volume")),
        trade_count=pl.when(here).then(0).otherwise("trade_count"),
        ingestion_ts=pl.when(here).then("answered_ts").otherwise("ingestion_ts"),
        verdict=pl.when(here).then(pl.lit("empty")).otherwise("verdict"),
    ).select(minutes.columns)


def _explain(minutes: pl.DataFrame, evidence: Evidence) -> pl.DataFrame:
    """Adds `cause` to the missing minutes, from what the recorder and REST left behind."""
    missing = minutes.filter(pl.col("verdict") == "missing").select(_KEY)
    asked = (
        missing.join(evidence.answers, on="symbol", suffix="_answer")
        .filter((pl.col("asked_start") <= pl.col("interval_start")) & (pl.col("interval_start") < pl.col("asked_end")))
        .group_by(_KEY)
        .agg(beyond=pl.col("beyond_history").fill_null(value=False).any())
    )
    ours = pl.concat([evidence.sessions.select("symbol"), evidence.seen.select("symbol")])
    present = ours.unique().with_columns(present=pl.lit(value=True))
    rejected = _rejected(evidence).with_columns(rejected=pl.lit(value=True))
    listened = proof.heard(missing, evidence.sessions).select(_KEY).unique().with_columns(heard=pl.lit(value=True))
    states = (
        evidence.sessions.filter(pl.col("status") == "exchange")
        .sort("recv_ts", "detail")
        .select("symbol", "recv_ts", open=pl.col("detail").str.starts_with("online"))
    )
    causes = (
        missing.with_columns(end=pl.col("interval_start") + MINUTE)
        .sort("end")
        .join_asof(states, left_on="end", right_on="recv_ts", by="symbol", check_sortedness=False)
        .join(asked, on=_KEY, how="left")
        .join(present, on="symbol", how="left")
        .join(listened, on=_KEY, how="left")
        .join(rejected, on=_KEY, how="left")
        .select(
            *_KEY,
            cause=pl.when(pl.col("beyond").is_null())
            .then(pl.lit("rest_unavailable"))
            .when(pl.col("rejected"))
            .then(pl.lit("rejected"))
            .when(pl.col("beyond"))
            .then(pl.lit("beyond_rest_history"))
            .when(~pl.col("open"))
            .then(pl.lit("exchange_status"))
            .when(pl.col("present").is_null())
            .then(pl.lit("not_recording"))
            .when(pl.col("heard").is_null())
            .then(pl.lit("disconnected"))
            .otherwise(pl.lit("unknown")),
        )
    )
    return minutes.join(causes, on=_KEY, how="left").sort(_KEY)


def _silver(exchange: str, kept: pl.DataFrame) -> pl.DataFrame:
    """Schema SILVER. Quote volume and vwap are the exchange's, else one from the other; no trade, no vwap."""
    mean = pl.when(pl.col("volume") > 0).then(pl.col("quote_volume") / pl.col("volume"))
    return kept.select(
        pl.lit(exchange).alias("exchange"),
        "symbol",
        pl.col("symbol").str.split("-").list.last().alias("quote_asset"),
        pl.lit(60, pl.Int32).alias("interval_seconds"),
        "interval_start",
        (pl.col("interval_start") + MINUTE).alias("interval_end"),
        "open",
        "high",
        "low",
        "close",
        "volume",
        pl.when(_FLAT)
        .then(0.0)
        .otherwise(pl.coalesce("quote_volume", pl.col("vwap") * pl.col("volume")))
        .alias("quote_volume"),
        pl.col("trade_count").cast(pl.Int32),
        pl.when(~_FLAT).then(pl.coalesce("vwap", mean)).alias("vwap"),
        pl.col("verdict").alias("source"),
        "ingestion_ts",
    ).sort(_KEY)
