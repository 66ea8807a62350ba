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
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from stream import settings
from stream.clock import HOUR
from stream.exchanges import EXCHANGES
from stream.lake import open_lake
from stream.settings import WarehouseSettings
from tests import truth
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
        klines = (sys.executable, "-m", "tasks.commands.cli")
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


def test_a_day_without_a_missing_or_wrong_minute(soaked: Rehearsal) -> None:
    """Every minute of every pair is there and is the truth; most came over the stream."""
    day = truth.compare(soaked.lake, soaked.pairs, [START + n * HOUR for n in range(HOURS)], seed=SEED, silent=SILENT)
    print(f"\n{'exchange':<10} {'stream':>7} {'rest':>7} {'empty':>7} {'missing':>7}")
    for exchange in EXCHANGES:
        count = {name: day.verdicts[f"{exchange} {name}"] for name in ("stream", "rest", "empty", "missing")}
        print(f"{exchange:<10}", *(f"{number:>7}" for number in count.values()))
        assert count["stream"] + count["empty"] > 0.8 * sum(count.values()), (exchange, count)
    print(f"{day.minutes} minutes, {len(day.notes)} wrong or missing")
    assert not day.notes, "\n".join(day.notes[:40])
    assert (day.duplicates, day.missing) == (0, 0)
    with_rows = soaked.rows()["silver.fact_ohlcv"]
    assert len(with_rows) == len(soaked.pairs) * HOURS * 60
