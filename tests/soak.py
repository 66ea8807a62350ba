"""A day of all exchanges, ten pairs each, at 120 times real time, faults on: `make soak`. Not part of `make test`.

Every candle of the day is compared with what the emulator traded. Nothing that the emulator does is irrecoverable, so
that no minute may be missing. SOAK_HOURS and SOAK_SPEED make it shorter.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from stream import layout, settings
from stream.clock import HOUR
from stream.emulator.market import Market
from stream.exchanges import EXCHANGES
from stream.lake import open_lake
from stream.settings import WarehouseSettings
from tasks import parquet
from tests.test_rehearsal import Rehearsal, free_port, process

HOURS = int(os.environ.get("SOAK_HOURS", "24"))
SPEED = float(os.environ.get("SOAK_SPEED", "120"))
START = datetime(2025, 11, 12, 0, tzinfo=UTC)
SEED = 23
SILENT = 0.1
PAIRS = [f"{base}-USDT" for base in ("ETH", "SOL", "XRP", "DOGE", "ADA", "LINK", "LTC", "DOT", "UNI", "ATOM")]
FAULTS = {
    "seed": SEED,
    "disconnects": 0.005,
    "lost-finals": 0.005,
    "late-finals": 0.01,
    "duplicates": 0.02,
    "reordering": 0.01,
    "silent": SILENT,
    "rate-limits": 0.05,
    "garbage": 0.005,
}
CONFIG = """\
[lake]
root = lake
[pairs]
{pairs}
[stream]
recorder_id = soak
flush_seconds = 900
{addresses}
[warehouse]
dsn = {dsn}
[hours]
grace_seconds = 120
lookback_hours = {hours}
[clock]
simulated_start = {simulated_start}
wall_start = {wall_start}
speed = {speed}
[core]
autoload_range = true
[worker]
check_complete_on_run = true
"""


def write(config: Path, port: int, dsn: str, simulated_start: datetime, speed: float) -> settings.Settings:
    """The settings of the day, from a moment on, at a speed."""
    here = f"127.0.0.1:{port}"
    text = CONFIG.format(
        pairs="\n".join(f"{exchange} = {json.dumps(PAIRS)}" for exchange in EXCHANGES),
        addresses="\n".join(
            f"[exchange_{exchange}]\nws_url = ws://{here}/{exchange}\nrest_url = http://{here}/{exchange}"
            for exchange in EXCHANGES
        ),
        dsn=dsn,
        hours=HOURS,
        simulated_start=simulated_start.isoformat(),
        wall_start=datetime.now(UTC).isoformat(),
        speed=speed,
    )
    config.write_text(text)
    return settings.parse(text, config)


@pytest.fixture
def soaked(tmp_path: Path, warehouse_settings: WarehouseSettings) -> Iterator[Rehearsal]:
    """The day, recorded, run hour by hour while it goes on, and once more at its end."""
    config, port = tmp_path / "luigi.cfg", free_port()
    found = write(config, port, warehouse_settings.dsn, START - timedelta(minutes=25), SPEED)
    environment = {**os.environ, "LUIGI_CONFIG_PATH": str(config)}
    options = [word for name, value in FAULTS.items() for word in (f"--{name}", str(value))]
    pairs = [(exchange, symbol) for exchange in EXCHANGES for symbol in PAIRS]
    day = Rehearsal(environment, open_lake(found.lake), warehouse_settings.dsn, pairs)
    with ExitStack() as stack:
        klines = (sys.executable, "-m", "tasks.cli")
        emulator = stack.enter_context(process(environment, tmp_path / "emulator.log", *klines, "simulate", *options))
        recorder = stack.enter_context(process(environment, tmp_path / "recorder.log", *klines, "record"))
        for n in range(HOURS):
            hour = START + n * HOUR
            while found.clock.now() < hour + HOUR + timedelta(seconds=150):
                assert emulator.poll() is None, (tmp_path / "emulator.log").read_text()
                assert recorder.poll() is None, (tmp_path / "recorder.log").read_text()
                time.sleep(0.1)
            began = time.monotonic()
            done = day.luigi("GoldHour", "--hour", f"{hour:%Y-%m-%dT%H}")
            assert done.returncode == 0, done.stdout + done.stderr
            print(f"{hour:%Y-%m-%dT%H} run in {time.monotonic() - began:.1f} s", usage(emulator.pid, recorder.pid))
        recorder.send_signal(signal.SIGTERM)
        assert recorder.wait(60) == 0, (tmp_path / "recorder.log").read_text()
        write(config, port, warehouse_settings.dsn, START + HOURS * HOUR + timedelta(minutes=3), 1)
        emulator.send_signal(signal.SIGTERM)
        emulator.wait(30)
        stack.enter_context(
            process(
                environment,
                tmp_path / "emulator.log",
                *klines,
                "simulate",
                "--seed",
                str(SEED),
                "--silent",
                str(SILENT),
            )
        )
        done = day.luigi("Hourly")
        assert done.returncode == 0, done.stdout + done.stderr
        yield day


def usage(emulator: int, recorder: int) -> str:
    """Processor time and memory so far."""
    parts = []
    for name, pid in (("emulator", emulator), ("recorder", recorder)):
        one = psutil.Process(pid)
        parts.append(f"{name} {sum(one.cpu_times()[:2]):.0f} s, {one.memory_info().rss >> 20} MB")
    return "; ".join(parts)


def check(row: dict[str, Any], market: Market, symbol: str, minute: datetime) -> str | None:
    """What is wrong with a candle, None when it is the truth."""
    truth = market.bar(symbol, minute)
    assert truth is not None
    for name in ("open", "high", "low", "close", "volume"):
        if row[name] != float(getattr(truth, name)):
            return f"{name} {row[name]} instead of {getattr(truth, name)}"
    if row["trade_count"] not in (None, truth.trade_count):
        return f"{row['trade_count']} trades instead of {truth.trade_count}"
    if row["vwap"] is not None and row["vwap"] != pytest.approx(float(truth.vwap), rel=1e-5):
        return f"vwap {row['vwap']} instead of {truth.vwap}"
    return None


def test_a_day_without_a_missing_or_wrong_minute(soaked: Rehearsal) -> None:
    """Every minute of every pair is there and is the truth; most came over the stream."""
    wrong, verdicts = [], {exchange: Counter[str]() for exchange in EXCHANGES}
    for exchange, symbol in soaked.pairs:
        market = Market(exchange, seed=SEED, silent=SILENT)
        for n in range(HOURS):
            hour = START + n * HOUR
            table, facts = parquet.read(soaked.lake, layout.silver_key(exchange, symbol, hour))
            verdicts[exchange].update({name: facts[name] for name in ("stream", "rest", "empty", "missing")})
            wrong += [f"{exchange} {symbol} {m}: cause {cause}" for m, cause in facts["causes"].items()]
            for row in table.to_pylist():
                fault = check(row, market, symbol, row["interval_start"])
                if fault:
                    wrong.append(f"{exchange} {symbol} {row['interval_start']:%H:%M} ({row['source']}): {fault}")
    print(f"\n{'exchange':<10} {'stream':>7} {'rest':>7} {'empty':>7} {'missing':>7}")
    for exchange, count in verdicts.items():
        print(f"{exchange:<10}", *(f"{count[name]:>7}" for name in ("stream", "rest", "empty", "missing")))
    print(f"{sum(sum(count.values()) for count in verdicts.values())} minutes, {len(wrong)} wrong or missing")
    assert not wrong, "\n".join(wrong[:40])
    for exchange, count in verdicts.items():
        assert count["stream"] + count["empty"] > 0.8 * sum(count.values()), (exchange, count)
    with_rows = soaked.rows()["silver.fact_ohlcv"]
    assert len(with_rows) == len(soaked.pairs) * HOURS * 60
