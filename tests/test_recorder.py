"""The recorder as a whole: through kills, full disks and stores that are away.

As a process it is tried in real time, against an exchange on loopback. Inside the test it lives on virtual time, where
only its uploader is a real thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection

from stream import __main__ as process
from stream import backlog
from stream.backoff import delays
from stream.clock import Clock
from stream.disk import Folder
from stream.errors import RestError, SettingsError, SpoolFull
from stream.exchanges import binance
from stream.recorder import Recorder, next_seal
from stream.roster import Ask, unknown
from stream.settings import Settings
from stream.spool import Spool
from stream.wire import MINUTE, Instrument
from tests.recording import (
    PATIENCE,
    PAYLOADS,
    FailingLake,
    acknowledge,
    exchange_server,
    kline,
    make_settings,
    payload,
    read,
    read_lake,
    settings_text,
)
from tests.sim.loop import START, LoopClock, run

MINUTE_59 = datetime(2026, 11, 22, 6, 59, tzinfo=UTC)
ROOT = Path(__file__).parent.parent
INSTRUMENTS = (PAYLOADS / "binance/rest/instruments.json").read_text()
PROCESS = f"""
import httpx, runpy, stream.recorder, stream.rest, stream.roster
stream.recorder._FAREWELL = stream.roster._PATIENCE = {PATIENCE}
stream.rest._TIMEOUT = httpx.Timeout({PATIENCE})
runpy.run_module("stream", run_name="__main__", alter_sys=True)
"""
"""`python -m stream` on a machine that may be slow."""


@pytest.fixture(autouse=True)
def _in_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The uploader is a real thread on a real disk: the last upload may take as long as it takes."""
    monkeypatch.setattr("stream.recorder._FAREWELL", PATIENCE)
    random.seed(7)


async def talk(socket: ServerConnection, _number: int) -> None:
    """Acknowledge, then send candles with rising closes, as fast as they are taken."""
    await acknowledge(socket)
    for n in range(10**9):
        await socket.send(kline("BTCUSDT", MINUTE_59, 1 + n % 1000 / 1000, n=n))
        await asyncio.sleep(0.002)


async def listed(exchange: str, rest_url: str, clock: Clock) -> list[Instrument]:
    """What REST would answer."""
    return binance.parse_instruments(INSTRUMENTS.encode())


def virtual(folder: Path, server: str, **options: Any) -> Settings:
    """Settings whose clock is the virtual loop's."""
    return msgspec.structs.replace(make_settings(folder, server, **options), clock=LoopClock())


@contextlib.asynccontextmanager
async def recording(settings: Settings, lake: FailingLake | None = None, ask: Ask = listed) -> AsyncIterator[Recorder]:
    """A recorder in this loop, stopped in an orderly way after the block."""
    recorder, stop = Recorder(settings, lake=lake, ask=ask), asyncio.Event()
    task = asyncio.create_task(recorder.run(stop))
    try:
        yield recorder
    finally:
        stop.set()
        await task


async def until(check: Callable[[], object]) -> None:
    """Wait until `check()` is true, in the loop's time."""
    async with asyncio.timeout(PATIENCE):
        while not check():  # noqa: ASYNC110  # it looks at files
            await asyncio.sleep(0.01)


def spooled(folder: Path, pattern: str = "*") -> bytes:
    """What lies in the spool."""
    while True:
        with contextlib.suppress(FileNotFoundError):  # sealed or uploaded meanwhile: look again
            paths = sorted((folder / "spool").glob(pattern))
            return b"".join(path.read_bytes() for path in paths if path.stem.isdigit())


def in_lake(folder: Path) -> bytes:
    """All lines in the lake."""
    return b"".join(read_lake(folder / "lake").values())


def against_process(coroutine: Coroutine[Any, Any, None]) -> None:
    """A test's coroutine in real time, but not for ever."""
    asyncio.run(asyncio.wait_for(coroutine, PATIENCE))


def environment(folder: Path, server: str) -> dict[str, str]:
    """What a process finds its settings by. Its next hour, at which segments end too, is far away."""
    file = folder / "luigi.cfg"
    begin = f"simulated_start = {MINUTE_59 + timedelta(seconds=90)}\nwall_start = {datetime.now(UTC)}"
    file.write_text(settings_text(folder, server, clock=f"[clock]\n{begin}\n"))
    return {**os.environ, "LUIGI_CONFIG_PATH": str(file), "PYTHONPATH": str(ROOT)}


async def start_process(folder: Path, server: str) -> asyncio.subprocess.Process:
    """`python -m stream` with a settings file of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, env=environment(folder, server), cwd=folder, stderr=asyncio.subprocess.PIPE
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
        assert "could not be read" not in said  # the list of pairs came over REST

    against_process(go())


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
            await until(lambda: b'"update"' in spooled(tmp_path, "*.open"))
            running.send_signal(signal.SIGTERM)
            said = await stderr_of(running)
        assert running.returncode == 0, said
        found = in_lake(tmp_path)
        assert left.endswith(b"\n") and set(left.splitlines()) <= set(found.splitlines())
        kinds = [line["event_type"] for line in read(found)]
        assert kinds.count("rejected") == 1 and kinds.count("update") > 51
        numbers = [int(key.rpartition("-")[2].partition(".")[0]) for key in read_lake(tmp_path / "lake")]
        assert len(set(numbers)) == 2  # the second process repeated no name

    against_process(go())


def test_recording_goes_on_while_the_lake_is_away(tmp_path: Path) -> None:
    """Segments wait in the spool, in order, and arrive when the store is back."""

    async def go() -> None:
        lake = FailingLake(tmp_path / "lake")
        lake.opened.clear()
        async with exchange_server(talk) as server:
            async with recording(virtual(tmp_path, server, flush=0.2), lake):
                await until(lambda: len(list((tmp_path / "spool").glob("*.jsonl"))) >= 3)
                assert lake.tried.wait(PATIENCE)
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

    async def go() -> None:
        async with exchange_server(talk) as server:
            monkeypatch.setattr("stream.recorder._FAREWELL", 0.01)
            async with recording(virtual(tmp_path, server), FailingLake(tmp_path / "lake", failures=10**9)):
                await until(lambda: b'"update"' in spooled(tmp_path))
            left = spooled(tmp_path)
            assert left and not read_lake(tmp_path / "lake")
            monkeypatch.setattr("stream.recorder._FAREWELL", PATIENCE)
            async with recording(virtual(tmp_path, server)):
                await until(lambda: b'"update"' in spooled(tmp_path, "*.open"))
        assert spooled(tmp_path) == b""
        assert set(left.splitlines()) <= set(in_lake(tmp_path).splitlines())

    run(go())
    assert caplog.text.count("stays in the spool") == 1


def test_a_server_that_accepts_and_closes_is_not_dialled_in_a_hot_loop(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection that delivered nothing counts as a failure and waits; it is one incident in the log."""
    dialled: list[float] = []

    async def slam(socket: ServerConnection, _number: int) -> None:
        dialled.append(asyncio.get_running_loop().time())
        await socket.close(1011)

    async def go() -> None:
        async with exchange_server(slam) as server, recording(virtual(tmp_path, server, fsync=60)):
            await asyncio.sleep(1800)
            word = backlog.last_word(tmp_path / "spool")
        assert word is not None
        (link,) = word.links
        assert (link.exchange, link.up, link.since > word.started) == ("binance", False, True)
        assert link.reason.startswith("the line ended: 1011")

    run(go())
    waits = [after - before for before, after in itertools.pairwise(dialled)]
    averages = [0.5, binance.STREAM.reconnect, 4, 8, 16, 32, *[60] * 100]
    assert len(waits) > 20
    for wait, average in zip(waits, averages, strict=False):
        assert 0.5 * average < wait < 1.5 * average + 0.1  # dialling and closing takes a moment, too
    assert caplog.text.count("not connected, trying again") == 1


def test_waits_grow_to_their_cap_and_scatter() -> None:
    """Averages double up to the cap; no two recorders march in step."""
    many = [[next(waits) for _ in range(8)] for waits in (delays(2, 60, random.Random(n)) for n in range(500))]
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
        async with exchange_server(script) as server, recording(virtual(tmp_path, server)):
            await until(lambda: b'"replaced by a newer connection"' in spooled(tmp_path))
            before = spooled(tmp_path).count(b'"trade_count":2,')
            await until(lambda: spooled(tmp_path).count(b'"trade_count":2,') > before + 5)
            assert closed == [1]
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
        async with exchange_server(script) as server, recording(virtual(tmp_path, server)):
            await until(lambda: b"1013" in spooled(tmp_path))
            before = spooled(tmp_path).count(b'"update"')
            await until(lambda: spooled(tmp_path).count(b'"update"') > before + 10)

    run(go())


def test_a_full_disk_stops_recording_loudly_and_it_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One ERROR line, connections closed, nothing acknowledged is lost, and recording goes on when there is room."""
    caplog.set_level(logging.INFO)
    full, append, check_room = False, Spool.append, Spool.check_room
    written: list[bytes] = []
    refusals = dialled = 0

    def refuse_when_full() -> None:
        nonlocal refusals
        if full:
            refusals += 1
            raise SpoolFull("The spool is full.")

    def append_where_room(spool: Spool, lines: bytes) -> None:
        refuse_when_full()
        append(spool, lines)
        written.append(lines)

    def check_where_room(spool: Spool) -> None:
        refuse_when_full()
        check_room(spool)

    monkeypatch.setattr(Spool, "append", append_where_room)
    monkeypatch.setattr(Spool, "check_room", check_where_room)
    open_now = set()

    async def script(socket: ServerConnection, number: int) -> None:
        nonlocal dialled
        dialled = number
        open_now.add(number)
        try:
            await talk(socket, number)
        finally:
            open_now.discard(number)

    async def go() -> None:
        nonlocal full
        async with exchange_server(script) as server, recording(virtual(tmp_path, server)):
            await until(lambda: len(written) > 20)
            full = True
            await until(lambda: "recording has stopped" in caplog.text and not open_now)
            before = refusals
            await asyncio.sleep(120)
            assert refusals >= before + 3 and dialled == 1  # it looked for room again and again, and did nothing else
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
            exchange_server(talk) as server,
            recording(virtual(tmp_path, server, pairs='["BTC-UDST", "BTC-USDT"]')),
        ):
            await until(lambda: b'"update"' in spooled(tmp_path))

    run(go())
    assert "binance does not list BTC-UDST: it is not recorded. Did you mean BTC-USDT" in caplog.text
    assert "or" in unknown("kraken", "BTC-USDT", ["BTC-USD", "BTC-USDC"])


def test_only_unknown_pairs_are_a_mistake_in_the_settings(tmp_path: Path) -> None:
    """There is nothing to record: better an end than a process that looks busy."""

    async def go() -> None:
        recorder = Recorder(virtual(tmp_path, "127.0.0.1:9", pairs='["QQ-WW"]'), ask=listed)
        with pytest.raises(SettingsError, match="none of the pairs"):
            await recorder.run(asyncio.Event())

    run(go())


async def away(exchange: str, rest_url: str, clock: Clock) -> list[Instrument]:
    """REST that refuses."""
    raise RestError("it is closed on Sundays")


async def busy(exchange: str, rest_url: str, clock: Clock) -> list[Instrument]:
    """REST that does not answer."""
    await asyncio.Event().wait()
    return []


@pytest.mark.parametrize(("ask", "reason"), [(away, "it is closed on Sundays"), (busy, "no answer within 15 s")])
def test_pairs_are_recorded_as_configured_where_the_list_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, ask: Ask, reason: str
) -> None:
    """REST being away is a warning, not a reason to miss the stream."""

    async def go() -> None:
        async with exchange_server(talk) as server, recording(virtual(tmp_path, server), ask=ask):
            await until(lambda: b'"update"' in spooled(tmp_path))

    run(go())
    assert f"its list of pairs could not be read, all configured pairs are tried: {reason}" in caplog.text


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
    command, variables = [sys.executable, "-m", "stream"], environment(tmp_path, "127.0.0.1:9")
    with Spool(Folder(tmp_path / "spool"), Clock()) as first:
        first.append(b"1\n")
        second = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=PATIENCE)
        first.append(b"2\n")
        assert spooled(tmp_path) == b"1\n2\n"
    assert second.returncode == 1 and second.stderr.startswith("Another recorder is using the spool")


@pytest.mark.parametrize(("flush", "minutes"), [(900, [0, 15, 30, 45, 60]), (7200, [0, 60])])
def test_segments_end_after_the_minute_s_proof_and_at_every_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flush: float, minutes: list[int]
) -> None:
    """The last alive line of a segment is about the minute before its end, and no hour is kept."""
    ends: list[datetime] = []
    proven: list[str] = []
    clock, seal = LoopClock(START + timedelta(minutes=50)), Spool.seal

    def note(spool: Spool) -> None:
        alive = [line for line in read(spooled(tmp_path, "*.open")) if line["event_type"] == "alive"]
        ends.append(clock.now().replace(microsecond=0))
        proven.append(alive[-1]["interval_end"] if alive else "")
        seal(spool)

    monkeypatch.setattr(Spool, "seal", note)

    async def ever(socket: ServerConnection, _: int) -> None:
        while True:
            await acknowledge(socket)

    async def go() -> None:
        async with exchange_server(ever, start=START + timedelta(minutes=50)) as server:
            settings = make_settings(tmp_path, server, flush=flush, fsync=60)
            async with recording(msgspec.structs.replace(settings, clock=clock)):
                await asyncio.sleep(75 * 60)

    run(go())
    expected = [datetime(2026, 11, 22, 8, tzinfo=UTC) + n * MINUTE for n in minutes]
    assert ends[: len(minutes)] == [minute + timedelta(seconds=15) for minute in expected]
    assert [datetime.fromisoformat(minute) for minute in proven[: len(minutes)]] == expected
    assert ends[len(minutes)] >= START + timedelta(minutes=125)  # then the recorder stopped


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
