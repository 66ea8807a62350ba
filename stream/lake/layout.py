"""Where things lie in the lake: every key is made here, and nowhere else."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Literal

Source = Literal["stream", "rest"]


def _hour_path(hour: datetime) -> str:
    return f"year={hour:%Y}/month={hour:%m}/day={hour:%d}/hour={hour:%H}"


def hour_in(key: str) -> datetime | None:
    """The hour that a key is about; None where it names none."""
    found = re.search(r"year=(\d{4})/month=(\d\d)/day=(\d\d)/hour=(\d\d)/", key)
    return datetime(*map(int, found.groups()), tzinfo=UTC) if found else None  # type: ignore[arg-type,misc]


def stream_prefix(exchange: str, symbol: str, hour: datetime) -> str:
    """The folder of one pair-hour's recorded lines."""
    return f"bronze/stream/exchange={exchange}/symbol={symbol}/interval_minutes=1/{_hour_path(hour)}/"


def stream_key(exchange: str, symbol: str, hour: datetime, recorder: str, segment: int, suffix: str) -> str:
    """One recorder's segment of a pair-hour; the same segment always has the same key."""
    return f"{stream_prefix(exchange, symbol, hour)}{recorder}-{segment:013d}{suffix}"


def rest_prefix(exchange: str, symbol: str, hour: datetime) -> str:
    """The folder of one pair-hour's REST answers."""
    return f"bronze/rest/exchange={exchange}/symbol={symbol}/interval_minutes=1/{_hour_path(hour)}/"


def rest_key(exchange: str, symbol: str, hour: datetime, number: int) -> str:
    """The `number`-th REST answer about a pair-hour, counted from 1."""
    return f"{rest_prefix(exchange, symbol, hour)}{number:04d}.jsonl"


def rejected_key(exchange: str, hour: datetime, name: str) -> str:
    """Messages and lines that were not accepted, by the hour in which they came."""
    return f"bronze/rejected/exchange={exchange}/{_hour_path(hour)}/{name}"


def bronze_key(exchange: str, hour: datetime, source: Source) -> str:
    """All candles that were received about an exchange-hour, typed, sorted by symbol."""
    return f"bronze/bronze_ohlcv_native/exchange={exchange}/{_hour_path(hour)}/{source}.parquet"


def trades_key(exchange: str, hour: datetime, source: Source) -> str:
    """The trades that were received about an exchange-hour, typed, sorted by symbol; where there were any."""
    return f"bronze/bronze_trades/exchange={exchange}/{_hour_path(hour)}/{source}.parquet"


def sessions_key(exchange: str, hour: datetime, source: Source) -> str:
    """The `alive` and `status` lines of an exchange-hour, typed, sorted by symbol."""
    return f"bronze/bronze_sessions/exchange={exchange}/{_hour_path(hour)}/{source}.parquet"


FAILURES = "failures/"
"""The folder of what is noted about failing tasks."""


def failure_key(task: str, hour: datetime | None) -> str:
    """What is noted about a task that failed, of an hour where it has one."""
    return f"{FAILURES}task={task}/" + (f"{_hour_path(hour)}/" if hour else "") + "failure.json"


def silver_prefix(exchange: str = "", symbol: str = "") -> str:
    """The folder of all silver, of one exchange, or of one pair."""
    prefix = "silver/fact_ohlcv/"
    if exchange:
        prefix += f"exchange={exchange}/"
    if symbol:
        prefix += f"symbol={symbol}/"
    return prefix


def silver_key(exchange: str, symbol: str, hour: datetime) -> str:
    """One pair-hour's chosen candles."""
    return f"{silver_prefix(exchange, symbol)}{_hour_path(hour)}/part.parquet"
