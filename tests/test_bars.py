"""Larger candles are true or silent: each value is what the minutes behind it add up to, or null."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import settings
from stream.settings import WarehouseSettings
from tasks import warehouse
from tasks.hour import publish_hour
from tasks.hour.context import Context
from tasks.rules import schemas
from tasks.rules.completeness import Completeness
from tasks.tables import duck

HOUR = datetime(2025, 11, 10, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB session for all bars of this file."""
    with duck.open_memory() as opened:
        yield opened


def candle(minute: int, **values: Any) -> dict[str, Any]:
    """A traded minute about which everything is known."""
    start = HOUR + minute * MINUTE
    return {
        "exchange": "coinbase",
        "symbol": "BTC-USDT",
        "quote_asset": "USDT",
        "interval_seconds": 60,
        "interval_start": start,
        "interval_end": start + MINUTE,
        "open": 100.0,
        "high": 110.0,
        "low": 90.0,
        "close": 105.0,
        "volume": 2.0,
        "quote_volume": 200.0,
        "trade_count": 7,
        "vwap": 100.0,
        "source": "stream",
        "ingestion_ts": start + MINUTE,
        **values,
    }


def quiet(minute: int) -> dict[str, Any]:
    """A minute in which nobody traded, of an exchange that counts no trades."""
    flat = dict.fromkeys(("open", "high", "low", "close"), 105.0)
    return candle(minute, **flat, volume=0.0, quote_volume=0.0, trade_count=None, vwap=None, source="empty")


def table(rows: list[dict[str, Any]]) -> pa.Table:
    """Silver."""
    return pa.Table.from_pylist(rows, schema=schemas.SILVER)


@st.composite
def hours(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Some minutes of an hour, each traded or quiet, each value that may be unknown sometimes unknown."""
    rows = []
    prices = st.floats(1e-6, 1e6) | st.sampled_from([0.1, 0.3, 100.1])
    for minute in sorted(draw(st.sets(st.integers(0, 59), min_size=1, max_size=12))):
        if draw(st.integers(0, 3)) == 0:
            rows.append(quiet(minute))
            continue
        low, vwap, high = sorted(draw(st.tuples(prices, prices, prices) | prices.map(lambda one: (one, one, one))))
        volume = draw(st.floats(1e-8, 1e9) | st.just(0.1))
        known = {
            "quote_volume": volume * vwap,
            "trade_count": draw(st.integers(1, 10_000)),
            "vwap": vwap,
        }
        unknown = dict.fromkeys(draw(st.sets(st.sampled_from(sorted(known)), max_size=2) | st.just(set[str]())))
        rows.append(candle(minute, open=low, high=high, low=low, close=high, volume=volume, **(known | unknown)))
    return rows


def assert_true_or_silent(bar: dict[str, Any], minutes: list[dict[str, Any]]) -> None:
    """What must hold for a bar and the minutes behind it."""
    traded = [one for one in minutes if one["volume"] > 0]
    assert bar["minutes"] == len(minutes)
    assert (bar["open"], bar["close"]) == (minutes[0]["open"], minutes[-1]["close"])
    assert (bar["low"], bar["high"]) == (min(one["low"] for one in minutes), max(one["high"] for one in minutes))
    assert bar["volume"] == pytest.approx(math.fsum(one["volume"] for one in minutes), rel=1e-12)
    for name in ("quote_volume", "trade_count"):
        if any(one[name] is None for one in traded):
            assert bar[name] is None
        elif traded:
            assert bar[name] == pytest.approx(math.fsum(one[name] for one in traded), rel=1e-12)
        else:
            assert not bar[name]
    if not traded or any(one["vwap"] is None for one in traded):
        assert bar["vwap"] is None
    else:
        spent = math.fsum(one["vwap"] * one["volume"] for one in traded)
        assert bar["vwap"] == pytest.approx(spent / math.fsum(one["volume"] for one in traded), rel=1e-12)
        assert bar["low"] <= bar["vwap"] <= bar["high"]


@given(minutes=hours())
def test_every_value_is_the_exact_sum_or_null(
    connection: duckdb.DuckDBPyConnection, minutes: list[dict[str, Any]]
) -> None:
    """For all lengths, whatever is unknown; and the mean price lies between the lowest and the highest."""
    for name, bars in duck.bars(connection, table(minutes)).items():
        length = timedelta(seconds=duck.BARS[name])
        found = bars.to_pylist()
        assert [bar["interval_start"] for bar in found] == sorted(
            {HOUR + (one["interval_start"] - HOUR) // length * length for one in minutes}
        )
        for bar in found:
            behind = [one for one in minutes if bar["interval_start"] <= one["interval_start"] < bar["interval_end"]]
            assert_true_or_silent(bar, behind)


def test_one_traded_minute_that_lacks_a_value_silences_it(connection: duckdb.DuckDBPyConnection) -> None:
    """And that value only: Coinbase's REST knows volume and prices, its stream everything."""
    lacking = dict.fromkeys(("quote_volume", "trade_count", "vwap"))
    (bar,) = duck.bars(connection, table([candle(0), candle(1, **lacking), quiet(2)]))["5m"].to_pylist()
    assert (bar["volume"], bar["minutes"]) == (4.0, 3)
    assert [bar[name] for name in lacking] == [None] * 3
    (bar,) = duck.bars(connection, table([candle(0), candle(1, trade_count=None)]))["5m"].to_pylist()
    assert (bar["quote_volume"], bar["trade_count"], bar["vwap"]) == (400.0, None, 100.0)


def test_a_quiet_minute_silences_nothing(connection: duckdb.DuckDBPyConnection) -> None:
    """It has no mean price, and of some exchanges no count: nobody traded, which adds nothing."""
    (bar,) = duck.bars(connection, table([candle(0), quiet(1), candle(2)]))["5m"].to_pylist()
    assert (bar["quote_volume"], bar["trade_count"], bar["vwap"]) == (400.0, 14, 100.0)


def test_trades_too_small_for_the_volume_to_show_are_trades(connection: duckdb.DuckDBPyConnection) -> None:
    """A minute with a count has been traded in, also where its volume is written as zero."""
    dust = candle(1, volume=0.0, quote_volume=None, vwap=None, trade_count=1)
    (bar,) = duck.bars(connection, table([candle(0), dust]))["5m"].to_pylist()
    assert (bar["quote_volume"], bar["trade_count"], bar["vwap"]) == (None, 8, None)


def test_bars_that_were_published_wrongly_are_made_anew(warehouse_settings: WarehouseSettings, tmp_path: Path) -> None:
    """However old: an hour whose bars an earlier version made is found by their fingerprint, and mended."""
    text = f"[lake]\nroot = lake\n[warehouse]\ndsn = {warehouse_settings.dsn}\n"
    context = Context(settings.parse(text, tmp_path / "luigi.cfg"))
    lacking = candle(1, quote_volume=None, trade_count=None, vwap=None)
    entry = Completeness(
        exchange="coinbase",
        symbol="BTC-USDT",
        hour=HOUR,
        expected=60,
        stream=2,
        rest=0,
        empty=58,
        missing=0,
        content_hash="a",
    )
    with warehouse.connect(warehouse_settings) as house:
        house.publish(HOUR, table([candle(0), lacking]), [entry])
    publish_hour.publish_bars(context, HOUR)
    with psycopg.connect(warehouse_settings.dsn) as connection:
        connection.execute("UPDATE gold.ohlcv_5m SET vwap = 50, quote_volume = 200, trade_count = 7")
        connection.execute("UPDATE gold.completeness_hourly SET bars_hash = content_hash")
    assert not publish_hour.has_bars(context, HOUR)
    publish_hour.mend_bars(context)
    assert publish_hour.has_bars(context, HOUR)
    with psycopg.connect(warehouse_settings.dsn) as connection:
        rows = connection.execute("SELECT volume, vwap, quote_volume, trade_count FROM gold.ohlcv_5m").fetchall()
    assert rows == [(4.0, None, None, None)]
