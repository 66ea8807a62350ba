"""Rows of evidence for tests: a test states only what it is about, the rest is filled in."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa

from tasks.rules.choose import Evidence, seen
from tasks.rules.schemas import BRONZE, SESSIONS

HOUR = datetime(2025, 11, 10, 13, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SYMBOL = "BTC-USDT"


def at(minute: int, second: float = 0.0) -> datetime:
    """A moment of the hour."""
    return HOUR + timedelta(minutes=minute, seconds=second)


def candle(minute: int, **given: Any) -> dict[str, Any]:
    """A candle as bronze has it; by default an update without a flag, received 30 s into its minute."""
    start = at(minute)
    row: dict[str, Any] = {
        "exchange": "kraken",
        "symbol": SYMBOL,
        "interval_seconds": 60,
        "interval_start": start,
        "interval_end": start + MINUTE,
        "open": 100.0,
        "high": 102.0,
        "low": 99.0,
        "close": 101.0,
        "volume": 2.0,
        "vwap": 100.5,
        "trade_count": 4,
        "source": "stream",
        "ingestion_ts": at(minute, 30),
        "quote_volume": None,
        "event_type": "update",
        "event_ts": at(minute, 30),
        "is_final": None,
        "conn": "rec/1",
    }
    return row | given


def rest(minute: int, **given: Any) -> dict[str, Any]:
    """A REST row that was read after the hour."""
    given = {"ingestion_ts": at(65), "event_ts": None, "conn": None, "event_type": "snapshot"} | given
    return candle(minute, source="rest", **given)


def alive(minute: int, **given: Any) -> dict[str, Any]:
    """An `alive` line of connection rec/1, live since before the hour."""
    row: dict[str, Any] = dict.fromkeys(SESSIONS.names)
    row |= {"exchange": "kraken", "symbol": SYMBOL, "event_type": "alive", "recv_ts": at(minute, 65)}
    return row | {"interval_start": at(minute), "since": at(-1), "conn": "rec/1"} | given


def answered(first: int = 0, end: int = 60, **given: Any) -> dict[str, Any]:
    """A REST answer that covers minutes `first` to before `end`."""
    row: dict[str, Any] = dict.fromkeys(SESSIONS.names)
    row |= {"exchange": "kraken", "symbol": SYMBOL, "event_type": "status", "status": "answered", "recv_ts": at(65)}
    span = {"asked_start": at(first), "asked_end": at(end), "covered_start": at(first), "covered_end": at(end)}
    return row | span | {"silence": "no_trade_if_alive", "beyond_history": False} | given


def bronze(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Rows → a frame of schema BRONZE."""
    return _frame(rows, BRONZE)


def sessions(rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Rows → a frame of schema SESSIONS."""
    return _frame(rows, SESSIONS)


def evidence(
    stream: Iterable[dict[str, Any]] = (),
    lines: Iterable[dict[str, Any]] = (),
    rest_rows: Iterable[dict[str, Any]] = (),
    answers: Iterable[dict[str, Any]] = (),
) -> Evidence:
    """All of it, with `finished` and `seen` applied to the stream as the pipeline does."""
    from tasks.rules.choose import finished

    candles, heard = bronze(stream), sessions(lines)
    return Evidence(
        stream=finished(candles, heard),
        seen=seen(candles),
        sessions=heard,
        rest=bronze(rest_rows),
        answers=sessions(answers),
    )


def _frame(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> pl.DataFrame:
    found = pl.from_arrow(pa.Table.from_pylist(list(rows), schema=schema))
    assert isinstance(found, pl.DataFrame)
    return found
