"""Silver held against the emulator's market, candle by candle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest

from stream.emulator.bar import MINUTE, Bar
from stream.emulator.market import Market, market
from stream.emulator.trades import updates
from stream.lake import Lake, layout
from tasks.tables import parquet

_EXACT = ("open", "high", "low", "close", "volume")
_MAY_LACK = ("quote_volume", "trade_count", "vwap")


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
        there = market(exchange, seed=seed, silent=silent)
        for hour in hours:
            table, facts = parquet.read(lake, layout.silver_key(exchange, symbol, hour))
            found.verdicts.update(
                {f"{exchange} {name}": facts[name] for name in ("stream", "rest", "empty", "missing")}
            )
            _compare_hour(found, there, exchange, symbol, hour, table.to_pylist())
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


def bar_difference(row: dict[str, Any], market: Market, minutes: Iterable[dict[str, Any]]) -> str | None:
    """What is wrong with a larger candle of gold, None when it is what was traded in the minutes of silver behind it.

    A value may be unknown, but then some traded minute of silver must lack it.
    """
    silver = list(minutes)
    bars = [market.bar(row["symbol"], one["interval_start"]) for one in silver]
    truth = [bar for bar in bars if bar is not None]
    volume, spent = sum(bar.volume for bar in truth), sum(bar.volume * bar.vwap for bar in truth)
    expected: dict[str, Any] = {
        "open": truth[0].open,
        "high": max(bar.high for bar in truth),
        "low": min(bar.low for bar in truth),
        "close": truth[-1].close,
        "minutes": len(truth),
        "volume": volume,
        "quote_volume": sum(bar.quote_volume for bar in truth),
        "trade_count": sum(bar.trade_count for bar in truth),
        "vwap": spent / volume if volume else None,
    }
    for name, value in expected.items():
        lacks = any(one[name] is None and one["volume"] > 0 for one in silver) if name in _MAY_LACK else False
        exact = None if lacks or value is None else float(value)
        silent = name == "trade_count" and not volume and row[name] is None  # who sends no count says so by null
        if row[name] != (exact if exact is None else pytest.approx(exact, rel=1e-5)) and not silent:
            return f"{name} {row[name]} instead of {exact}"
    if row["vwap"] is not None and not row["low"] <= row["vwap"] <= row["high"]:
        return f"vwap {row['vwap']} outside of {row['low']} to {row['high']}"
    return None


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
