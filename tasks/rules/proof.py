"""What `alive` lines and REST answers prove about minutes. Pure, over sets of pairs of one exchange and hour.

Frames of lines and answers have schema SESSIONS of tasks/rules/schemas.py.
"""

from __future__ import annotations

import polars as pl

from stream.wire import MINUTE

_KEY = ["symbol", "interval_start"]
_LINE = [*_KEY, "conn"]


def lived(claims: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """symbol, interval_start, conn: of these claims, those that the `alive` lines bear out.

    A claim says that the connection was alive from `begin` to the minute's end, and has to be said at `until` or later.
    A line about the minute with a later `since` than `begin` takes back what earlier ones said of it.
    """
    alive = sessions.filter(pl.col("event_type") == "alive")
    lives = alive.group_by("symbol", "conn", "since").agg(
        alive_minute=pl.col("interval_start").max(), alive_ts=pl.col("recv_ts").max()
    )
    taken_back = claims.join(alive.select(*_LINE, "since"), on=_LINE).filter(pl.col("since") > pl.col("begin"))
    return (
        claims.join(lives, on=["symbol", "conn"])
        .filter(
            (pl.col("since") <= pl.col("begin"))
            & (pl.col("alive_minute") >= pl.col("interval_start"))
            & (pl.col("alive_ts") >= pl.col("until"))
        )
        .join(taken_back, on=_LINE, how="anti")
        .select(_LINE)
        .unique()
    )


def heard(minutes: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """symbol, interval_start, conn: of these minutes, those during all of which a connection was alive."""
    lines = sessions.filter(pl.col("event_type") == "alive").select("symbol", "conn").unique()
    start = pl.col("interval_start")
    return lived(minutes.select(_KEY).join(lines, on="symbol").with_columns(begin=start, until=start), sessions)


def rejected(lines: pl.DataFrame) -> pl.DataFrame:
    """symbol, interval_start: the minutes about which something came that could not be read."""
    return lines.filter((pl.col("status") == "rejected") & pl.col("interval_start").is_not_null()).select(_KEY).unique()


def covered(minutes: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """The minutes that REST had rows on both sides of, with what silence there means, and when that was said.

    Not those about which something in the same answer could not be read.
    """
    unread = answers.filter(pl.col("status") == "rejected").select(*_KEY, "recv_ts")
    return (
        minutes.select(_KEY)
        .join(answers, on="symbol", suffix="_answer")
        .filter(
            (pl.col("covered_start") <= pl.col("interval_start"))
            & (pl.col("interval_start") + MINUTE <= pl.col("covered_end"))
        )
        .select(*_KEY, "silence", "recv_ts")
        .join(unread, on=[*_KEY, "recv_ts"], how="anti")
    )


def read_whole(minutes: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """symbol, interval_start: of these minutes, those that a REST answer read trade by trade."""
    return covered(minutes, answers).filter(pl.col("silence") == "no_trade").select(_KEY).unique()
