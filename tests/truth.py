"""Silver held against the emulator's market, candle by candle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from stream import layout
from stream.emulator.bar import MINUTE, Bar
from stream.emulator.market import Market
from stream.emulator.trades import updates
from stream.lake import Lake
from tasks import parquet

_EXACT = ("open", "high", "low", "close", "volume")


@dataclass
class Silver:
    """What was found; all counts but `minutes` and `verdicts` should be zero."""

    minutes: int = 0
    duplicates: int = 0
    unfinished: int = 0
    wrong: int = 0
    missing: int = 0
    notes: list[str] = field(default_factory=list)
    """A sentence for each candle that is counted."""
    verdicts: Counter[str] = field(default_factory=Counter)
    """Minutes by `exchange verdict`."""


def compare(
    lake: Lake, pairs: Iterable[tuple[str, str]], hours: Iterable[datetime], *, seed: int, silent: float = 0.0
) -> Silver:
    """All candles of these hours in the lake's silver. `seed` and `silent` are those of the emulator."""
    found, hours = Silver(), list(hours)
    for exchange, symbol in pairs:
        market = Market(exchange, seed=seed, silent=silent)
        for hour in hours:
            table, facts = parquet.read(lake, layout.silver_key(exchange, symbol, hour))
            found.verdicts.update(
                {f"{exchange} {name}": facts[name] for name in ("stream", "rest", "empty", "missing")}
            )
            _compare_hour(found, market, exchange, symbol, hour, table.to_pylist())
            found.notes += [f"{exchange} {symbol} {minute}: {cause}" for minute, cause in facts["causes"].items()]
    return found


def _compare_hour(
    found: Silver, market: Market, exchange: str, symbol: str, hour: datetime, rows: list[dict[str, Any]]
) -> None:
    by_minute = Counter(row["interval_start"] for row in rows)
    found.duplicates += sum(count - 1 for count in by_minute.values())
    for minute in (hour + n * MINUTE for n in range(60)):
        found.minutes += 1
        if market.bar(symbol, minute) is not None and minute not in by_minute:
            found.missing += 1
    for row in rows:
        truth = market.bar(symbol, row["interval_start"])
        fault = "no such candle" if truth is None else difference(row, truth)
        if fault is None:
            continue
        early = truth is not None and any(difference(row, state) is None for _, state in updates(truth))
        found.unfinished += early
        found.wrong += not early
        found.notes.append(f"{exchange} {symbol} {row['interval_start']:%Y-%m-%d %H:%M} ({row['source']}): {fault}")


def difference(row: dict[str, Any], truth: Bar) -> str | None:
    """What is wrong with a candle, None when it is the truth."""
    for name in _EXACT:
        if row[name] != float(getattr(truth, name)):
            return f"{name} {row[name]} instead of {getattr(truth, name)}"
    if row["trade_count"] not in (None, truth.trade_count):
        return f"{row['trade_count']} trades instead of {truth.trade_count}"
    if row["vwap"] is not None and row["vwap"] != pytest.approx(float(truth.vwap), rel=1e-5):
        return f"vwap {row['vwap']} instead of {truth.vwap}"
    return None
