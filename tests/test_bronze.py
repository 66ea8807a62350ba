"""The written form: what a line looks like, where it lies, and that both can be read back."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import bronze, settings
from stream.clock import Clock, floor, hour_of
from stream.errors import SettingsError
from stream.lake import layout
from stream.wire import MINUTE, Candle

HOUR = datetime(2025, 11, 10, 7, tzinfo=UTC)


@given(st.floats(min_value=0, max_value=1e300, allow_subnormal=True))
def test_numbers_always_have_a_decimal_point_and_never_an_exponent(value: float) -> None:
    """For all prices and volumes: readers that sniff types see a decimal number, and the value is the same."""
    text = msgspec.json.encode(bronze.number(value)).decode()
    assert "." in text
    assert "e" not in text.lower()
    assert math.isclose(float(text), value, rel_tol=0, abs_tol=0)


def test_a_candle_line_has_the_fields_of_the_contract() -> None:
    """Times in UTC with Z, numbers with a point, the payload byte for byte, the end exclusive."""
    candle = Candle(
        native_symbol="BTCUSDT",
        event_type="update",
        event_ts=None,
        interval_start=HOUR,
        is_final=True,
        open=100.0,
        high=100.0,
        low=0.00000012,
        close=100.0,
        volume=0.0,
        payload='{"o":"100.0"}',
    )
    line = bronze.encode(bronze.candle_line("binance", "BTC-USDT", candle, HOUR + timedelta(seconds=61.5), "rec/7"))
    assert line.endswith(b"}\n")
    assert b'"low":0.00000012,' in line
    assert json.loads(line) == {
        "exchange": "binance",
        "symbol": "BTC-USDT",
        "native_symbol": "BTCUSDT",
        "interval_minutes": 1,
        "event_type": "update",
        "event_ts": None,
        "recv_ts": "2025-11-10T07:01:01.500000Z",
        "interval_start": "2025-11-10T07:00:00Z",
        "interval_end": "2025-11-10T07:01:00Z",
        "is_final": True,
        "open": 100.0,
        "high": 100.0,
        "low": 0.00000012,
        "close": 100.0,
        "volume": 0.0,
        "quote_volume": None,
        "trade_count": None,
        "vwap": None,
        "conn": "rec/7",
        "payload": '{"o":"100.0"}',
    }


def test_every_key_lies_where_the_contract_says() -> None:
    """A table of examples: nobody else spells a path."""
    day = "year=2025/month=11/day=10/hour=07"
    pair = f"exchange=binance/symbol=BTC-USDT/interval_minutes=1/{day}/"
    assert layout.stream_key("binance", "BTC-USDT", HOUR, "rec", 42, ".jsonl.zst") == (
        f"bronze/stream/{pair}rec-0000000000042.jsonl.zst"
    )
    assert layout.rest_key("binance", "BTC-USDT", HOUR, 3) == f"bronze/rest/{pair}0003.jsonl"
    assert layout.bronze_key("kraken", HOUR, "rest") == (
        f"bronze/bronze_ohlcv_native/exchange=kraken/{day}/rest.parquet"
    )
    assert layout.silver_key("kraken", "1000REKT-USDT", HOUR) == (
        f"silver/fact_ohlcv/exchange=kraken/symbol=1000REKT-USDT/{day}/part.parquet"
    )


def test_the_simulated_clock_runs_from_its_date_at_its_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """simulated_start + (now - wall_start) times speed, and durations shrink accordingly."""
    wall, slept = datetime(2026, 1, 1, tzinfo=UTC), list[float]()
    ten_seconds_later = SimpleNamespace(now=(wall + timedelta(seconds=10)).astimezone)
    monkeypatch.setattr("stream.clock.datetime", ten_seconds_later)
    monkeypatch.setattr("stream.clock.time", SimpleNamespace(sleep=slept.append))
    clock = Clock(simulated_start=HOUR, wall_start=wall, speed=60)
    assert clock.now() == HOUR + timedelta(minutes=10)
    assert clock.wall_seconds(60) == 1
    clock.pause(30)
    assert slept == [0.5]


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_a_moment_lies_in_its_minute_and_hour(moment: datetime) -> None:
    """For all moments: floors are multiples, not after it, and less than one step away."""
    assert floor(moment, MINUTE) <= moment < floor(moment, MINUTE) + MINUTE
    assert hour_of(moment) == moment.replace(minute=0, second=0, microsecond=0)


def test_settings_paths_start_from_the_files_folder(tmp_path: Path) -> None:
    """So that cron, which starts elsewhere, records into the same place; other time zones become UTC."""
    text = (
        '[lake]\nroot = lake\n[stream]\nspool_dir = /abs/spool\n[pairs]\nbinance = ["BTC-USDT", "BTC-USDT"]\n'
        "[clock]\nsimulated_start = 2025-11-10T09:00:00+02:00\nwall_start = 2026-01-01T00:00:00Z\nspeed = 2\n"
    )
    found = settings.parse(text, tmp_path / "luigi.cfg")
    assert found.lake.root == str(tmp_path / "lake")
    assert found.stream.spool_dir == "/abs/spool"
    assert found.pairs == {"binance": ("BTC-USDT",)}
    assert found.clock.simulated_start == HOUR.astimezone(timezone(timedelta(hours=1)))
    assert found.exchanges["kraken"].ws_url == "wss://ws.kraken.com/v2"
    with pytest.raises(SettingsError, match="both simulated_start and wall_start"):
        settings.parse(text.replace("wall_start", "# wall_start"), tmp_path / "luigi.cfg")
