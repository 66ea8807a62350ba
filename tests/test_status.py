"""`klines status`, as somebody types it who was woken: with real recorders, lakes and Postgres."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from stream.clock import HOUR
from stream.health import WORD
from stream.lake.folder import FolderLake
from stream.settings import WarehouseSettings
from tasks import SilverHour, warehouse
from tasks.commands import status_page
from tasks.rules.completeness import Total
from tasks.warehouse import Warehouse
from tasks.watch import failures
from tasks.watch.failures import Noted
from tasks.watch.page import Page
from tests.processes import addresses, build, free_port, still
from tests.recording import PATIENCE, exchange_server
from tests.test_problems import DOWN, NOW, UP, WELL
from tests.test_recorder import INSTRUMENTS, against_process, start_process, talk, until
from tests.versions import candles, ledger

PUBLISHED = datetime(2025, 11, 10, 12, tzinfo=UTC)
STATUS = f"""
from tasks.commands import cli
from tasks.watch import recorder
recorder._STALE = {PATIENCE}
cli.main()
"""
"""`klines` on a machine that may be slow: a recorder's last word counts as fresh for longer."""
PAIRS = [("binance", "BTC-USDT"), ("gate", "BTC-USDT")]


def status(config: Path, *arguments: str) -> tuple[int, str]:
    """`klines status` with this luigi.cfg: exit code, and what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", STATUS, "status", *arguments],
        env={**os.environ, "LUIGI_CONFIG_PATH": str(config)},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout if "--json" in arguments else " ".join(done.stdout.split())


def write(folder: Path, now: datetime, dsn: str, lookback: int = 24) -> Path:
    """A luigi.cfg whose clock stands almost still, and whose exchanges do not answer."""
    config = folder / "luigi.cfg"
    pairs = {exchange: [symbol] for exchange, symbol in PAIRS}
    text = still(now, pairs, dsn=dsn, addresses=addresses(free_port()))
    config.write_text(text.replace("lookback_hours = 1", f"lookback_hours = {lookback}"))
    return config


def publish(house: Warehouse, hour: datetime, **missing: int) -> None:
    """An hour of both pairs; of an exchange that is named, so many minutes are missing because REST was not had."""
    entries = [
        msgspec.structs.replace(
            one,
            stream=60 - (lacking := missing.get(one.exchange, 0)),
            missing=lacking,
            missing_minutes=tuple(hour + n * timedelta(minutes=1) for n in range(lacking)),
            causes=("rest_unavailable",) * lacking,
        )
        for one in ledger(hour=hour, pairs=PAIRS)
    ]
    house.publish(hour, candles(hour, pairs=PAIRS), entries)


def test_a_recorder_lives_and_is_killed(tmp_path: Path, warehouse_settings: WarehouseSettings) -> None:
    """What comes, connections and backlog while it runs; afterwards that it is gone, and what it left behind."""

    async def go() -> None:
        async with exchange_server(talk, instruments=INSTRUMENTS) as server:
            running = await start_process(tmp_path, server)
            config = tmp_path / "luigi.cfg"
            with config.open("a") as file:
                file.write(f"[warehouse]\ndsn = {warehouse_settings.dsn}\n")

            async def ask(*arguments: str) -> tuple[int, str]:
                return await asyncio.to_thread(status, config, *arguments)

            word = tmp_path / "spool" / WORD
            await until(lambda: word.exists() and b'"heard":"' in word.read_bytes())
            page = json.loads((await ask("--json"))[1])
            code, said = await ask()
            assert code == 0 and said.endswith("✓ Nobody needs to get up.")
            assert "recorder test, recording; 1 of 1 connections, 1 of 1 pairs as usual; last message" in said
            recorder = page["recorder"]
            assert (recorder["state"], recorder["name"]) == ("recording", "test")
            assert [(one["up"], one["pairs"]) for one in recorder["connections"]] == [(True, 1)]
            assert recorder["silent_pairs"] == recorder["refused_pairs"] == recorder["unlisted_pairs"] == []
            assert recorder["backlog_bytes"] > 0 and recorder["disk_free_bytes"] > 0
            assert page["problems"] == [] and page["now"] >= recorder["said"] >= recorder["last_heard"]

            running.kill()
            await running.communicate()
            code, said = await ask()
            assert code == 1
            assert "✗ Nothing is recorded: the recorder test ended without a word" in said
            assert "Start it: klines record." in said and "the next start brings them into the lake" in said

            killed = word.read_bytes()
            running = await start_process(tmp_path, server)
            with config.open("a") as file:
                file.write(f"[warehouse]\ndsn = {warehouse_settings.dsn}\n")
            await until(lambda: word.read_bytes() != killed)
            running.send_signal(signal.SIGTERM)
            await running.communicate()
            assert running.returncode == 0
            code, said = await ask()
            assert code == 0 and "recorder test, stopped since" in said

    against_process(go())


def test_an_hour_that_fails_has_its_cause_until_it_succeeds(
    tmp_path: Path, warehouse_settings: WarehouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres is down when the hour is run: the page says so in a sentence, and shows the rest all the same."""
    now = PUBLISHED + HOUR + timedelta(minutes=5)
    config = write(tmp_path, now, "postgresql://klines:secret@127.0.0.1:9/klines")
    lake = FolderLake(tmp_path / "lake")
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(config))
    monkeypatch.setattr("stream.clock.Clock.pause", lambda *_: None)
    hour = SilverHour(hour=PUBLISHED.replace(tzinfo=None))
    assert not build(hour)
    (failure,) = failures.known(lake)
    assert (failure.task, failure.hour, failure.since.replace(microsecond=0)) == ("SilverHour", PUBLISHED, now)
    assert "Postgres at 127.0.0.1:9 cannot be reached" in failure.cause

    write(tmp_path, now + timedelta(minutes=40), "postgresql://klines:secret@127.0.0.1:9/klines")
    code, said = status(config)
    assert code == 1 and "secret" not in said
    assert "✗ Postgres at 127.0.0.1:9 cannot be reached" in said
    assert "✗ SilverHour fails for the hour 2025-11-10T12 since 2025-11-10 13:05: Postgres at 127.0.0.1:9" in said
    page = json.loads(status(config, "--json")[1])
    assert (page["warehouse_dsn"], page["hours"], len(page["problems"])) == ("", [], 2)

    write(tmp_path, now + timedelta(minutes=41), warehouse_settings.dsn)
    assert build(hour)
    assert failures.known(lake) == []
    code, said = status(config)
    assert code == 0 and "SilverHour fails" not in said
    assert "2025-11-10T12 2 120 0 0 0 120" in said
    assert "missing binance: 60 minutes of 1 pairs since 2025-11-10T12, rest_unavailable: asked for at each run" in said


def test_hours_that_nobody_ran_and_minutes_that_will_be_lost(
    tmp_path: Path, warehouse_settings: WarehouseSettings
) -> None:
    """Up to when is published, what is not and since when, what is missing, what happens next, and until when."""
    with warehouse.connect(warehouse_settings) as house:
        publish(house, PUBLISHED - HOUR)
        publish(house, PUBLISHED, gate=7)
    config = write(tmp_path, PUBLISHED + timedelta(hours=3, minutes=40), warehouse_settings.dsn, lookback=3)
    code, said = status(config)
    assert code == 1
    assert "✗ Nobody has published 2 hours, 2025-11-10T13 to 2025-11-10T14: is klines hourly running?" in said
    assert "published until 2025-11-10 13:00" in said
    # Three hours of looking back end at 16:02, at which the exchange still has them.
    assert "✗ gate: 7 minutes of 1 pairs, in hours from 2025-11-10T12 on, are lost at 2025-11-10 16:02" in said
    page = json.loads(status(config, "--json")[1])
    assert page["published_until"] == "2025-11-10T13:00:00Z"
    assert page["unpublished"] == ["2025-11-10T13:00:00Z", "2025-11-10T14:00:00Z"]
    assert [(one["minutes"], one["cause"], one["lost_at"]) for one in page["missing"]] == [
        (7, "rest_unavailable", "2025-11-10T16:02:00Z")
    ]
    assert [(row["hour"], row["exchange"], row["missing"]) for row in page["hours"]] == [
        ("2025-11-10T11:00:00Z", "binance", 0),
        ("2025-11-10T11:00:00Z", "gate", 0),
        ("2025-11-10T12:00:00Z", "binance", 0),
        ("2025-11-10T12:00:00Z", "gate", 7),
    ]


def test_nothing_is_wrong_with_an_installation_that_has_not_begun(
    tmp_path: Path, warehouse_settings: WarehouseSettings
) -> None:
    """It says what to do first."""
    code, said = status(write(tmp_path, PUBLISHED, warehouse_settings.dsn))
    assert code == 0
    assert "recorder none has ever used" in said
    assert (
        "No hour is published yet. Publish the last one: luigi --module tasks SilverHour --hour 2025-11-10T10" in said
    )


def test_one_screen_whatever_the_number_of_pairs() -> None:
    """300 pairs on 12 connections, all of them silent or refused, and a day of hours with gaps."""
    page = Page(
        now=NOW,
        lake="s3://bucket/prefix",
        warehouse_dsn="postgresql://db/klines",
        problems=["It is broken. Mend it."] * 6,
        recorder=msgspec.structs.replace(
            WELL,
            connections=[UP, DOWN] * 6,
            refused_pairs=[f"okx P{n}-USD" for n in range(150)],
            unlisted_pairs=["a"] * 90,
        ),
        published_until=NOW,
        unpublished=[NOW] * 50,
        missing=[],
        failing=[],
        totals=[
            Total(hour=NOW + n * HOUR, pairs=300, expected=18000, stream=15000, rest=1500, empty=1200, missing=300)
            for n in range(24)
        ],
        hours=[],
    )
    console = Console(width=120, file=io.StringIO())
    status_page.show(page, "", console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) <= 40
    assert "2026-11-23T07 300 18000 15000 1500 1200 300" in [" ".join(line.split()) for line in lines]


def test_a_failure_is_noted_once_and_since_its_first_time(tmp_path: Path) -> None:
    """Whatever the process; and what is over is over."""
    lake = FolderLake(tmp_path)
    first, second = Noted(lake), Noted(lake)
    first.note("SilverHour", PUBLISHED, "Postgres is down.", NOW)
    second.note("SilverHour", PUBLISHED, "The disk is full.", NOW + HOUR)
    second.note("Hourly", None, "The disk is full.", NOW + HOUR)
    found = {one.task: (one.hour, one.cause, one.since) for one in failures.known(lake)}
    assert found == {
        "SilverHour": (PUBLISHED, "The disk is full.", NOW),
        "Hourly": (None, "The disk is full.", NOW + HOUR),
    }
    third = Noted(lake)
    for task, hour in (("SilverHour", PUBLISHED + HOUR), ("SilverHour", PUBLISHED), ("Hourly", None), ("Hourly", None)):
        third.forget(task, hour)
    assert failures.known(lake) == []
