"""`klines hourly`: when it runs again, and what it says about Luigi's exit codes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.commands import hourly
from tests.processes import still
from tests.recording import PATIENCE


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A luigi.cfg in which it is, for long, half past two: the hour from one to two was ready at 2:02."""
    file = tmp_path / "luigi.cfg"
    write(file, "2025-11-10T14:30:00Z")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(file))
    return file


def write(file: Path, now: str) -> None:
    """A clock that stands almost still at this time."""
    moment = datetime.fromisoformat(now)
    file.write_text(still(moment, {"binance": ["BTC-USDT"]}, dsn="postgresql://127.0.0.1:9/nobody"))


class Enough(Exception):
    """The test has seen what it wanted to see."""


def waits(codes: Sequence[int], config: Path, later: str = "") -> list[float]:
    """Minutes of the clock that are waited after runs that end with these codes, the last one at `later`."""
    left, slept = list(codes), list[float]()

    def work() -> int:
        if later and len(left) == 1:
            write(config, later)
        return left.pop(0)

    def sleep(seconds: float) -> None:
        slept.append(seconds * 1e-6 / 60)
        if not left:
            raise Enough

    with pytest.raises(Enough):
        hourly.run(once=False, work=work, sleep=sleep)
    return slept


def test_the_next_hour_is_waited_for(config: Path) -> None:
    """Until it is over, and the grace too."""
    assert waits([0], config) == pytest.approx([32])


def test_what_may_pass_is_tried_again_within_minutes(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Sooner at first; an incident is one line, and its end is another."""
    with caplog.at_level(logging.INFO):
        found = waits([30, 30, 40, 30, 30, 0], config)
    assert all(0.5 <= wait <= 7.5 for wait in found[:5]) and found[0] <= 1.5
    assert found[5] == pytest.approx(32)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in said] == ["ERROR", "INFO"]
    assert said[0][1].startswith("Hourly failed (Luigi's exit code 30); it is tried again until it succeeds, at 2025-")
    assert said[1][1].startswith("Hourly succeeded again after ")
    assert said[1][1].endswith("; the next run is at 2025-11-10 15:02:00 UTC")


def test_a_failure_does_not_hold_up_the_next_hour(config: Path) -> None:
    """When that is ready before the next attempt is due."""
    write(config, "2025-11-10T15:01:59Z")
    assert waits([30], config) == pytest.approx([1 / 60], rel=0.01)


@pytest.mark.parametrize("code", [10, 25])
def test_another_worker_is_no_failure(config: Path, caplog: pytest.LogCaptureFixture, code: int) -> None:
    """It is said as what it is, and looked at again: that worker may die."""
    with caplog.at_level(logging.INFO):
        (wait,) = waits([code], config)
    (record,) = caplog.records
    assert record.levelname == "INFO"
    assert record.getMessage().startswith(f"another worker has some of the tasks (Luigi's exit code {code})")
    assert 0.5 <= wait <= 1.5
    assert hourly.run(once=True, work=lambda: code) == 0
    assert hourly.run(once=True, work=lambda: 30) == 30


def test_a_run_that_overran_the_hour_is_followed_by_the_next_at_once(config: Path) -> None:
    """What became ready meanwhile does not wait for another hour."""
    assert waits([0], config, later="2025-11-10T15:40:00Z") == pytest.approx([1e-6 / 60])
    assert waits([25, 0], config, later="2025-11-10T16:40:00Z")[1:] == pytest.approx([1e-6 / 60])


def test_every_line_has_a_time_and_a_level(config: Path) -> None:
    """Luigi's too, whose own have no time."""
    done = subprocess.run(
        [sys.executable, "-m", "tasks.commands.cli", "hourly", "--once"],
        env={**os.environ, "LUIGI_CONFIG_PATH": str(config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 30
    lines = done.stderr.splitlines()
    assert any(" ERROR " in line and "Postgres at 127.0.0.1:9 cannot be reached" in line for line in lines), lines
    for line in lines:
        if line[:1].isdigit():
            moment, level, _ = line.split(" ", 2)
            assert datetime.fromisoformat(moment) <= datetime.now(UTC)
            assert level in ("DEBUG", "INFO", "WARNING", "ERROR")
    assert not any(line.startswith(("INFO:", "ERROR:", "WARNING:")) for line in lines), lines
