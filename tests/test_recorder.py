"""The recorder as a whole: against exchanges on loopback, through kills, full disks and stores that are away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection

from stream import __main__ as process
from stream.backoff import delays
from stream.errors import SettingsError, SpoolFull
from stream.recorder import Recorder, next_seal
from stream.roster import unknown
from stream.settings import Settings
from stream.spool import Spool
from tests.recording import (
    PAYLOADS,
    FailingLake,
    acknowledge,
    exchange_server,
    fast_clock,
    kline,
    make_settings,
    payload,
    read,
    read_lake,
    settings_text,
)

MINUTE_59 = datetime(2026, 11, 22, 6, 59, tzinfo=UTC)
ROOT = Path(__file__).parent.parent
INSTRUMENTS = (PAYLOADS / "binance/rest/instruments.json").read_text()


def run(coroutine: object, seconds: float = 20) -> None:
    """A test's coroutine, but not for ever."""
    asyncio.run(asyncio.wait_for(coroutine, seconds))  # type: ignore[arg-type]


async def talk(socket: ServerConnection, _number: int) -> None:
    """Acknowledge, then send candles with rising closes, as fast as they are taken."""
    await acknowledge(socket)
    for n in range(10**9):
        await socket.send(kline("BTCUSDT", MINUTE_59, 1 + n % 1000 / 1000, n=n))
        await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def recording(settings: Settings, lake: FailingLake | None = None) -> AsyncIterator[Recorder]:
    """A recorder in this process, stopped in an orderly way after the block."""
    recorder, stop = Recorder(settings, lake), asyncio.Event()
    task = asyncio.create_task(recorder.run(stop))
    try:
        yield recorder
    finally:
        stop.set()
        await task


async def until(check: object, seconds: float = 8) -> None:
    """Wait until `check()` is true."""
    assert callable(check)
    async with asyncio.timeout(seconds):
        while not check():  # noqa: ASYNC110  # it looks at files
            await asyncio.sleep(0.01)


def spooled(folder: Path) -> bytes:
    """What lies in the spool."""
    return b"".join(path.read_bytes() for path in sorted((folder / "spool").glob("*")) if path.stem.isdigit())


def in_lake(folder: Path) -> bytes:
    """All lines in the lake."""
    return b"".join(read_lake(folder / "lake").values())


async def start_process(folder: Path, server: str, **options: float | str) -> asyncio.subprocess.Process:
    """`python -m stream` with a settings file of its own."""
    file = folder / "luigi.cfg"
    file.write_text(settings_text(folder, server, **options))  # type: ignore[arg-type]
    environment = {**os.environ, "LUIGI_CONFIG_PATH": str(file), "PYTHONPATH": str(ROOT)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stream", env=environment, cwd=folder, stderr=asyncio.subprocess.PIPE
    )


async def stderr_of(running: asyncio.subprocess.Process) -> str:
    """Wait for the end and read what was said."""
    _, said = await running.communicate()
    return said.decode()


def test_sigterm_seals_and_uploads_what_is_open(tmp_path: Path) -> None:
    """An orderly stop leaves nothing in the spool, everything in the lake, and status 0; a minute 59 in its hour."""

    async def go() -> None:
        async with exchange_server(talk, instruments=INSTRUMENTS) as server:
            running = await start_process(tmp_path, server)
            await until(lambda: b'"update"' in spooled(tmp_path))
            running.send_signal(signal.SIGTERM)
            said = await stderr_of(running)
        assert running.returncode == 0, said
        assert spooled(tmp_path) == b""
        lake = read_lake(tmp_path / "lake")
        (candles,) = (text for key, text in lake.items() if "year=2026/month=11/day=22/hour=06/test-" in key)
        assert [line["trade_count"] for line in read(candles)] == list(range(len(read(candles))))
        statuses = [line["status"] for text in lake.values() for line in read(text) if line["event_type"] == "status"]
        assert statuses == ["connected", "subscribed", "disconnected"]
        assert "Traceback" not in said and "recording 1 pairs" in said

    run(go())


def test_a_kill_loses_nothing_that_was_in_the_spool(tmp_path: Path) -> None:
    """After kill -9 and a restart, every whole line of the spool is in the lake, and the torn one is not."""

    async def go() -> None:
        async with exchange_server(talk, instruments=INSTRUMENTS) as server:
            running = await start_process(tmp_path, server)
            await until(lambda: spooled(tmp_path).count(b'"update"') > 50)
            running.kill()
            await running.communicate()
            left = spooled(tmp_path)
            (journal,) = (tmp_path / "spool").glob("*.open")
            with journal.open("ab") as file:
                file.write(left.splitlines()[-1][:40])
            running = await start_process(tmp_path, server)
            await until(lambda: in_lake(tmp_path).count(b'"update"') > 50)
            await until(
                lambda: b'"update"' in b"".join(path.read_bytes() for path in (tmp_path / "spool").glob("*.open"))
            )
            running.send_signal(signal.SIGTERM)
            said = await stderr_of(running)
        assert running.returncode == 0, said
        found = in_lake(tmp_path)
        assert left.endswith(b"\n") and set(left.splitlines()) <= set(found.splitlines())
        kinds = [line["event_type"] for line in read(found)]
        assert kinds.count("rejected") == 1 and kinds.count("update") > 51
        numbers = [int(key.rpartition("-")[2].partition(".")[0]) for key in read_lake(tmp_path / "lake")]
        assert len(set(numbers)) == 2  # the second process repeated no name

    run(go())


def test_recording_goes_on_while_the_lake_is_away(tmp_path: Path) -> None:
    """Segments wait in the spool, in order, and arrive when the store is back."""

    async def go() -> None:
        lake = FailingLake(tmp_path / "lake")
        lake.opened.clear()
        async with exchange_server(talk, instruments=INSTRUMENTS) as server:
            async with recording(make_settings(tmp_path, server, flush=0.2), lake) as recorder:
                await until(lambda: len(recorder._spool.sealed()) >= 3 and lake.attempts)
                before = spooled(tmp_path).count(b"\n")
                await until(lambda: spooled(tmp_path).count(b"\n") > before + 50)
                lake.opened.set()
            counts = [line["trade_count"] for line in read(in_lake(tmp_path)) if line["event_type"] == "update"]
        assert sorted(counts) == list(range(len(counts))) and len(counts) > before

    run(go())


def test_what_cannot_be_uploaded_at_the_end_waits_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The stop is bounded, says so in one line, and the next start brings everything."""
    monkeypatch.setattr("stream.recorder._FAREWELL", 0.2)

    async def go() -> None:
        async with exchange_server(talk, instruments=INSTRUMENTS) as server:
            settings = make_settings(tmp_path, server)
            async with recording(settings, FailingLake(tmp_path / "lake", failures=10**9)):
                await until(lambda: b'"update"' in spooled(tmp_path))
            left = spooled(tmp_path)
            assert left and not read_lake(tmp_path / "lake")
            monkeypatch.setattr("stream.recorder._FAREWELL", 10)
            async with recording(settings):
                await until(lambda: in_lake(tmp_path))
        assert set(left.splitlines()) <= set(in_lake(tmp_path).splitlines())

    run(go())
    assert caplog.text.count("stays in the spool") == 1


def test_a_server_that_accepts_and_closes_is_not_dialled_in_a_hot_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that delivered nothing counts as a failure and waits; it is one incident in the log."""
    dialled = 0

    async def slam(socket: ServerConnection, number: int) -> None:
        nonlocal dialled
        dialled = number
        await socket.close(1011)

    async def go() -> None:
        async with exchange_server(slam, instruments=INSTRUMENTS) as server, recording(make_settings(tmp_path, server)):
            await asyncio.sleep(2)

    run(go())
    assert 1 <= dialled <= 3
    assert caplog.text.count("not connected, trying again") == 1


def test_waits_grow_to_their_cap_and_scatter() -> None:
    """Averages double up to the cap; no two recorders march in step."""
    many = [[next(waits) for _ in range(8)] for waits in (delays(2, 60) for _ in range(500))]
    averages = [sum(column) / 500 for column in zip(*many, strict=True)]
    for average, expected in zip(averages, [2, 4, 8, 16, 32, 60, 60, 60], strict=True):
        assert expected * 0.9 < average < expected * 1.1
    assert len({row[0] for row in many}) > 400


def test_an_expiring_connection_is_replaced_with_an_overlap(tmp_path: Path) -> None:
    """The old connection delivers until the new one is acknowledged; no candle falls in between."""
    closed: list[int] = []

    async def script(socket: ServerConnection, number: int) -> None:
        if number > 1:
            await asyncio.sleep(0.3)
        await acknowledge(socket)
        if number == 1:
            await socket.send(payload("binance/ws/notice_shutdown.json"))
        try:
            while True:
                await socket.send(kline("BTCUSDT", MINUTE_59, n=number))
                await asyncio.sleep(0.01)
        finally:
            closed.append(number)

    async def go() -> None:
        async with (
            exchange_server(script, instruments=INSTRUMENTS) as server,
            recording(make_settings(tmp_path, server)),
        ):
            await until(lambda: b'"replaced by a newer connection"' in spooled(tmp_path))
            assert closed in ([], [1])
            await until(lambda: spooled(tmp_path).count(b'"trade_count":2,') > 5)
        lines = read(in_lake(tmp_path))
        lines.sort(key=lambda line: str(line["recv_ts"]))
        told = [(line.get("status"), line["conn"]) for line in lines]
        first, second = sorted({line["conn"] for line in lines}, key=lambda conn: int(conn.partition("/")[2]))
        assert told.index(("subscribed", second)) < told.index(("disconnected", first))
        between = told[told.index(("connected", second)) : told.index(("subscribed", second))]
        assert (None, first) in between  # it went on delivering

    run(go())


def test_a_replacement_that_fails_leaves_the_old_connection_alone(tmp_path: Path) -> None:
    """A venue that announces its end and does not take new connections yet is recorded to the last."""

    async def script(socket: ServerConnection, number: int) -> None:
        if number > 1:
            await socket.close(1013)
            return
        await acknowledge(socket)
        await socket.send(payload("binance/ws/notice_shutdown.json"))
        while True:
            await socket.send(kline("BTCUSDT", MINUTE_59))
            await asyncio.sleep(0.01)

    async def go() -> None:
        async with (
            exchange_server(script, instruments=INSTRUMENTS) as server,
            recording(make_settings(tmp_path, server)),
        ):
            await until(lambda: b"1013" in spooled(tmp_path))
            before = spooled(tmp_path).count(b'"update"')
            await until(lambda: spooled(tmp_path).count(b'"update"') > before + 10)

    run(go())


def test_a_full_disk_stops_recording_loudly_and_it_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One ERROR line, connections closed, nothing acknowledged is lost, and recording goes on when there is room."""
    caplog.set_level(logging.INFO)
    full, append, written = False, Spool.append, []

    def sometimes(spool: Spool, lines: bytes) -> None:
        if full:
            raise SpoolFull("The spool is full.")
        append(spool, lines)
        written.append(lines)

    def check_room(_spool: Spool) -> None:
        if full:
            raise SpoolFull("The spool is full.")

    monkeypatch.setattr(Spool, "append", sometimes)
    monkeypatch.setattr(Spool, "check_room", check_room)
    open_now = set()

    async def script(socket: ServerConnection, number: int) -> None:
        open_now.add(number)
        try:
            await talk(socket, number)
        finally:
            open_now.discard(number)

    async def go() -> None:
        nonlocal full
        clock = "[clock]\nsimulated_start = 2026-11-22T06:59:00Z\nwall_start = {}\nspeed = 20"
        async with exchange_server(script, instruments=INSTRUMENTS) as server:
            settings = make_settings(tmp_path, server, clock=clock.format(datetime.now(UTC).isoformat()))
            async with recording(settings):
                await until(lambda: len(written) > 20)
                full = True
                await until(lambda: "recording has stopped" in caplog.text and not open_now)
                await asyncio.sleep(0.5)
                full, before = False, len(written)
                await until(lambda: len(written) > before + 20)
        assert sorted(in_lake(tmp_path).splitlines()) == sorted(b"".join(written).splitlines())

    run(go())
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert "recording resumes" in caplog.text


def test_an_unknown_pair_gets_a_sentence_and_stops_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The nearest listed pairs are named; the others are recorded."""

    async def go() -> None:
        async with (
            exchange_server(talk, instruments=INSTRUMENTS) as server,
            recording(make_settings(tmp_path, server, pairs='["BTC-UDST", "BTC-USDT"]')),
        ):
            await until(lambda: b'"update"' in spooled(tmp_path))

    run(go())
    assert "binance does not list BTC-UDST: it is not recorded. Did you mean BTC-USDT" in caplog.text
    assert "or" in unknown("kraken", "BTC-USDT", ["BTC-USD", "BTC-USDC"])


def test_only_unknown_pairs_are_a_mistake_in_the_settings(tmp_path: Path) -> None:
    """There is nothing to record: better an end than a process that looks busy."""

    async def go() -> None:
        async with exchange_server(talk, instruments=INSTRUMENTS) as server:
            with pytest.raises(SettingsError, match="none of the pairs"):
                await Recorder(make_settings(tmp_path, server, pairs='["QQ-WW"]')).run(asyncio.Event())

    run(go())


def test_pairs_are_recorded_as_configured_where_the_list_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """REST being away is a warning, not a reason to miss the stream."""

    async def go() -> None:
        async with exchange_server(talk) as server, recording(make_settings(tmp_path, server)):
            await until(lambda: b'"update"' in spooled(tmp_path))

    run(go())
    assert "its list of pairs could not be read" in caplog.text


@pytest.mark.parametrize(
    ("pairs", "sentence"), [("[]", "names no pair"), ('["btc"]', "is not a symbol")], ids=["none", "misspelt"]
)
def test_settings_that_cannot_be_used_are_a_sentence_and_a_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pairs: str, sentence: str
) -> None:
    """No traceback: file, section, value and remedy."""
    file = tmp_path / "luigi.cfg"
    file.write_text(settings_text(tmp_path, "127.0.0.1:9", pairs=pairs))
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(file))
    assert process.main() == 1
    said = capsys.readouterr().err
    assert sentence in said and str(file) in said and "Traceback" not in said


def test_a_second_process_on_the_same_spool_is_refused(tmp_path: Path) -> None:
    """It says whose fault it is and what to change, and leaves the first alone."""

    async def go() -> None:
        async with exchange_server(talk, instruments=INSTRUMENTS) as server, recording(make_settings(tmp_path, server)):
            await until(lambda: b'"update"' in spooled(tmp_path))
            second = await start_process(tmp_path, server)
            said = await stderr_of(second)
        assert second.returncode == 1 and said.startswith("Another recorder is using the spool")

    run(go())


def test_segments_end_after_the_minute_s_proof_and_at_every_hour(tmp_path: Path) -> None:
    """On a clock whose hours are short: alive lines of the minute before are in the segment, and no hour is kept."""

    async def ever(socket: ServerConnection, _: int) -> None:
        while True:
            await acknowledge(socket)

    async def go() -> None:
        begin = fast_clock()
        clock = f"[clock]\nsimulated_start = {begin.simulated_start}\nwall_start = {begin.wall_start}\nspeed = 120"
        async with exchange_server(ever, instruments=INSTRUMENTS) as server:
            settings = make_settings(tmp_path, server, flush=300, clock=clock)
            async with recording(settings):
                await until(lambda: b'"alive"' in in_lake(tmp_path))
        alive = [json.loads(line) for line in in_lake(tmp_path).splitlines() if b'"alive"' in line]
        assert datetime.fromisoformat(alive[0]["interval_end"]) <= datetime(2026, 11, 22, 7, 5, tzinfo=UTC)

    run(go())


@pytest.mark.parametrize(
    ("after", "flush", "expected"),
    [
        ("07:00:00", 900, "07:00:15"),
        ("07:00:15", 900, "07:15:15"),
        ("07:59:59", 900, "08:00:15"),
        ("07:20:00", 7200, "08:00:15"),
        ("07:00:20", 1, "07:00:21"),
    ],
)
def test_when_segments_end(after: str, flush: float, expected: str) -> None:
    """At multiples of flush_seconds and at each hour, 15 seconds later."""
    day = datetime(2026, 11, 22, tzinfo=UTC)
    moment = datetime.combine(day, datetime.strptime(after, "%H:%M:%S").replace(tzinfo=UTC).timetz())
    assert f"{next_seal(moment, flush):%H:%M:%S}" == expected
