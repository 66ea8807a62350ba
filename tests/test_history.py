"""Hours from before the recorder existed: REST alone, by candles or by trades, held against the emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from stream.clock import Clock
from stream.emulator.market import Market
from stream.lake.folder import FolderLake
from stream.settings import WarehouseSettings
from stream.wire import MINUTE
from tasks import Hourly, warehouse
from tasks.tables import parquet
from tests.processes import CONFIG, addresses, build, free_port, pair_lines, process, wait_for
from tests.recording import PATIENCE
from tests.versions import candles, ledger

HOUR = datetime(2025, 12, 1, 1, tzinfo=UTC)
SEED = 5


@pytest.fixture
def environment(tmp_path: Path, warehouse_settings: WarehouseSettings) -> dict[str, str]:
    """A luigi.cfg that lives 14 hours after the hour, sixty times as fast."""
    config = tmp_path / "luigi.cfg"
    pairs = {"binance": ["WALK-USDT"], "kraken": ["WALK-USD", "DOGE-USD"], "coinbase": ["WALK-USD"]}
    text = CONFIG.format(
        root="lake",
        endpoint="",
        pairs=pair_lines(pairs),
        addresses=addresses(free_port()),
        dsn=warehouse_settings.dsn,
        simulated_start=(HOUR + timedelta(hours=14)).isoformat(),
        wall_start=datetime.now(UTC).isoformat(),
        speed=60,
    )
    config.write_text(text)
    return {**os.environ, "LUIGI_CONFIG_PATH": str(config)}


def run(environment: dict[str, str], task: str, *options: str) -> str:
    """Runs a task of the hour; returns what it said."""
    command = [sys.executable, "-m", "luigi", "--module", "tasks", task, "--hour", f"{HOUR:%Y-%m-%dT%H}"]
    done = subprocess.run(
        [*command, *options, "--local-scheduler"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def verdicts(tmp_path: Path, exchange: str, symbol: str) -> dict[str, int]:
    """What the footer of the pair's silver counts."""
    key = f"silver/fact_ohlcv/exchange={exchange}/symbol={symbol}/year=2025/month=12/day=01/hour=01/part.parquet"
    facts = parquet.facts(FolderLake(tmp_path / "lake"), key)
    assert facts is not None
    return {name: facts[name] for name in ("stream", "rest", "empty", "missing")}


def test_hours_from_before_the_recorder_are_whole(tmp_path: Path, environment: dict[str, str]) -> None:
    """Kraken's and Coinbase's from trades: all exact, nothing is missing, and no column is empty."""
    port = int((tmp_path / "luigi.cfg").read_text().partition("127.0.0.1:")[2].partition("/")[0])
    simulate = [sys.executable, "-m", "tasks.commands.cli", "simulate", "--seed", str(SEED), "--silent", "0.2"]
    with process(environment, tmp_path / "emulator.log", *simulate):
        wait_for(port)
        run(environment, "GoldHour")
    lake = FolderLake(tmp_path / "lake")
    pairs = (("binance", "WALK-USDT"), ("kraken", "WALK-USD"), ("kraken", "DOGE-USD"), ("coinbase", "WALK-USD"))
    for exchange, symbol in pairs:
        market = Market(exchange, seed=SEED, silent=0.2)
        bars = [market.bar(symbol, HOUR + n * MINUTE) for n in range(60)]
        silent = sum(bar is not None and not bar.trade_count for bar in bars)
        assert silent > 0
        assert verdicts(tmp_path, exchange, symbol) == {"stream": 0, "rest": 60 - silent, "empty": silent, "missing": 0}
        key = f"silver/fact_ohlcv/exchange={exchange}/symbol={symbol}/year=2025/month=12/day=01/hour=01/part.parquet"
        for bar, row in zip(bars, parquet.read(lake, key)[0].to_pylist(), strict=True):
            assert bar is not None
            exact = (bar.open, bar.high, bar.low, bar.close)
            assert tuple(row[name] for name in ("open", "high", "low", "close")) == tuple(map(float, exact))
            assert row["trade_count"] == bar.trade_count
            assert row["volume"] == pytest.approx(float(bar.volume), rel=1e-9)
            assert row["quote_volume"] is not None and (row["vwap"] is not None or not bar.trade_count)
    assert lake.objects("bronze/rest/exchange=kraken/symbol=WALK-USD/")


def test_an_exchange_that_is_away_does_not_block_the_hour(tmp_path: Path, environment: dict[str, str]) -> None:
    """The hour is published with the reason; when REST is back, `Hourly`'s asking again fills it."""
    run(environment, "GoldHour", "--backfill")
    assert verdicts(tmp_path, "binance", "WALK-USDT") == {"stream": 0, "rest": 0, "empty": 0, "missing": 60}
    config = tmp_path / "luigi.cfg"
    port = int(config.read_text().partition("127.0.0.1:")[2].partition("/")[0])
    simulate = [sys.executable, "-m", "tasks.commands.cli", "simulate", "--seed", str(SEED)]
    with process(environment, tmp_path / "emulator.log", *simulate):
        wait_for(port)
        # An hour after the hour's end, at normal speed: the hour is the last finished one.
        text = config.read_text()
        start = f"simulated_start = {(HOUR + timedelta(hours=14)).isoformat()}"
        later = f"simulated_start = {(HOUR + timedelta(hours=1, minutes=5)).isoformat()}"
        wall = text.partition("wall_start = ")[2].partition("\n")[0]
        text = (
            text.replace(start, later).replace(wall, datetime.now(UTC).isoformat()).replace("speed = 60", "speed = 1")
        )
        config.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", "tasks.commands.cli", "hourly", "--once"],
            env=environment,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert verdicts(tmp_path, "binance", "WALK-USDT")["missing"] == 0


def test_hours_that_nobody_looked_at_are_caught_up(
    tmp_path: Path, warehouse_settings: WarehouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host was off for longer than `Hourly` looks back: all hours since then, the latest first, then the oldest."""
    config, latest = tmp_path / "luigi.cfg", HOUR + timedelta(hours=12)
    text = CONFIG.format(
        root="lake",
        endpoint="",
        pairs=pair_lines({"kraken": ["WALK-USD"]}),
        addresses=addresses(free_port()),  # where nobody answers
        dsn=warehouse_settings.dsn,
        simulated_start=(latest + timedelta(hours=1, minutes=5)).isoformat(),
        wall_start=datetime.now(UTC).isoformat(),
        speed=1,
    )
    config.write_text(text)
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(config))
    monkeypatch.setattr(Clock, "pause", lambda *_: None)
    with warehouse.connect(warehouse_settings) as house:
        house.publish(
            HOUR + timedelta(hours=8), candles(HOUR + timedelta(hours=8)), ledger(hour=HOUR + timedelta(hours=8))
        )
    assert build(Hourly(lookback_hours=1))
    with psycopg.connect(warehouse_settings.dsn) as connection:
        published = connection.execute(
            "SELECT hour FROM gold.completeness_hourly GROUP BY hour ORDER BY min(published_at)"
        ).fetchall()
    assert [(hour - HOUR) // timedelta(hours=1) for (hour,) in published] == [8, 12, 9, 10, 11]
