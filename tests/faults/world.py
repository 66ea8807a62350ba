"""What the suites share: emulated exchanges, recorders that can be killed, and what silver makes of it all.

Recorders are forked from a process that has imported everything and runs no thread, so that a restart costs
milliseconds; a SIGKILL ends a forked process as it ends any other.
"""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow

from stream import settings
from stream.clock import HOUR, hour_of
from stream.recorder import Recorder
from stream.spool import Spool
from tests.faults.outcome import Outcome
from tests.truth import Silver

START = datetime(2025, 11, 12, 0, 30, tzinfo=UTC)
GRACE = 120
PAIRS = {"binance": ("ETH-USDT",), "kraken": ("ETH-USD",), "coinbase": ("ETH-USD",)}
"""One exchange that flags its final candles, one that does not, and one whose candles are built from trades."""
_CONFIG = """\
[lake]
root = {root}
s3_endpoint = {endpoint}
[pairs]
{pairs}
[stream]
recorder_id = faults
spool_dir = spool
flush_seconds = {flush}
fsync_seconds = 0.05
{addresses}
[warehouse]
dsn = {dsn}
[hours]
grace_seconds = {grace}
lookback_hours = 3
[clock]
simulated_start = {simulated_start}
wall_start = {wall_start}
speed = {speed}
[worker]
check_complete_on_run = true
"""


@dataclass(frozen=True)
class World:
    """A settings file and what belongs to it. Worlds that share an emulator share its address and clock."""

    folder: Path
    seed: int
    silent: float
    pairs: Mapping[str, tuple[str, ...]]
    port: int
    wall_start: datetime
    speed: float
    flush: float = 60
    root: str = "lake"
    endpoint: str = ""
    dsn: str = "embedded"
    ahead: timedelta = timedelta()
    """How much our clock is before the emulator's."""
    ports: tuple[tuple[str, int], ...] = ()
    """Other ports than the emulator's for some exchanges' websockets: something stands in between."""

    def write(self) -> settings.Settings:
        """The settings file, written and read."""
        through = dict(self.ports)
        text = _CONFIG.format(
            root=self.root,
            endpoint=self.endpoint,
            pairs="\n".join(f"{exchange} = {json.dumps(symbols)}" for exchange, symbols in self.pairs.items()),
            flush=self.flush,
            addresses="\n".join(
                f"[exchange_{exchange}]\nws_url = ws://127.0.0.1:{through.get(exchange, self.port)}/{exchange}\n"
                f"rest_url = http://127.0.0.1:{through.get(f'{exchange} rest', self.port)}/{exchange}"
                for exchange in self.pairs
            ),
            dsn=self.dsn,
            grace=GRACE,
            simulated_start=(START + self.ahead).isoformat(),
            wall_start=self.wall_start.isoformat(),
            speed=self.speed,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "luigi.cfg").write_text(text)
        return settings.parse(text, self.folder / "luigi.cfg")

    def inside(self, name: str, **changes: object) -> World:
        """Another world in a folder of this one's, with the same emulator."""
        return replace(self, folder=self.folder / name, **changes)  # type: ignore[arg-type]

    @property
    def ledger(self) -> Path:
        """The lines that the spool's caller saw taken."""
        return self.folder / "acknowledged"

    @property
    def log(self) -> Path:
        """What the recorders said."""
        return self.folder / "recorder.log"


@contextmanager
def emulated(
    folder: Path,
    seed: int,
    *,
    speed: float,
    pairs: Mapping[str, tuple[str, ...]] | None = None,
    silent: float = 0.1,
    options: Mapping[str, object] | None = None,
) -> Iterator[World]:
    """A running emulator, as a process of its own, and the world around it."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
    world = World(folder, seed, silent, pairs or PAIRS, port, datetime.now(UTC), speed)
    world.write()
    command = [sys.executable, "-m", "tasks.commands.cli", "simulate", "--seed", str(seed), "--silent", str(silent)]
    command += [word for name, value in (options or {}).items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "LUIGI_CONFIG_PATH": str(folder / "luigi.cfg")}
    with (folder / "emulator.log").open("wb") as log:
        emulator = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_until(lambda: listens(port), 30, f"the emulator: {folder / 'emulator.log'}")
        yield world
    finally:
        emulator.send_signal(signal.SIGINT)
        emulator.wait(30)


def struck(whole: World, kind: str) -> int:
    """How often a fault of an emulator that has ended struck, in its own words."""
    *_, last = (whole.folder / "emulator.log").read_text().rpartition("faults that struck: ")
    return int(ast.literal_eval(last)[kind])


def listens(port: int) -> bool:
    """Somebody answers at that port of this machine."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(holds: Callable[[], object], seconds: float, what: str) -> None:
    """Until it holds; AssertionError after so many wall seconds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds:g} s in vain for {what}")
        time.sleep(0.01)


def die() -> None:
    """This process's own `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def start_recorder(world: World, prepare: Callable[[], None] = lambda: None, seconds: float | None = None) -> int:
    """Forks a recorder whose acknowledgements are noted; it stops at SIGTERM, or by itself after so many wall seconds.

    `prepare` runs in it before it begins, to break something. Returns its pid.
    """
    found = world.write()
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        logging.basicConfig(filename=world.log, level=logging.INFO, format="%(levelname)s %(message)s", force=True)
        for chatty in ("httpx", "websockets", "botocore", "stamina"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        acknowledge(world.ledger)
        prepare()
        code = 0 if asyncio.run(_record(found, seconds)) else 3
    except BaseException:  # noqa: BLE001  # a child must never go on as its parent
        with world.log.open("a") as log:
            traceback.print_exc(file=log)
    os._exit(code)


async def _record(found: settings.Settings, seconds: float | None) -> bool:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if seconds is not None:
        loop.call_later(seconds, stop.set)
    return await Recorder(found).run(stop)


def acknowledge(ledger: Path) -> None:
    """From now on, what `Spool.append` has taken is noted, after it has returned."""
    append = Spool.append
    noted = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def noting(spool: Spool, lines: bytes) -> None:
        append(spool, lines)
        os.write(noted, lines)

    setattr(Spool, "append", noting)  # noqa: B010


def ended(pid: int, seconds: float) -> int | None:
    """How a child ended (its wait status), None when it still lives after so many wall seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.005)
    return None


def kill(pid: int) -> None:
    """`kill -9`, and wait for the end."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def drain(world: World, seconds: float = 0.3) -> None:
    """A last recorder that is left alone: what is in the spool comes into the lake."""
    status = ended(start_recorder(world, seconds=seconds), 60)
    if status != 0:
        raise AssertionError(f"the last recorder ended with status {status}: {tail(world.log)}")


def tail(path: Path) -> str:
    """The last lines of a log."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-12:])


def lost(world: World) -> tuple[int, int]:
    """How many lines were acknowledged, and how many of them are not in the lake, byte for byte."""
    acknowledged = world.ledger.read_bytes().splitlines()
    return len(acknowledged), len(set(acknowledged) - stored(world))


def stored(world: World) -> set[bytes]:
    """Every recorded or rejected line of a lake in a folder."""
    found: set[bytes] = set()
    for path in (world.folder / world.root / "bronze").rglob("*.*"):
        if path.suffix == ".zst":
            with pyarrow.CompressedInputStream(str(path), "zstd") as file:
                found.update(file.read().splitlines())
        elif path.suffix in (".jsonl", ".txt"):
            found.update(path.read_bytes().splitlines())
    return found


def whole_hours(world: World) -> list[datetime]:
    """The hours since the start that are over, grace included, by our clock."""
    now = world.write().clock.now() - timedelta(seconds=GRACE)
    first, last = hour_of(START), hour_of(now)
    return [first + n * HOUR for n in range((last - first) // HOUR)]


def judged(world: World, hours: list[datetime], *, again: bool = False) -> Silver:
    """Runs these hours as the tasks do, up to silver, and holds them against the truth. Starts threads.

    `again`: REST is asked once more about what is missing, as `Hourly` does.
    """
    from stream.any_rest import open_any
    from stream.lake import open_lake
    from tasks.hour import evidence, rest_hour, silver_hour, stream_hour
    from tests import truth

    found = world.write()
    lake = open_lake(found.lake)
    evidence.look_again()
    for exchange, symbols in world.pairs.items():
        with open_any(exchange, found.exchanges[exchange].rest_url, found.clock) as client:
            for hour in hours:
                stream_hour.make(lake, exchange, symbols, hour)
                rest_hour.make(lake, exchange, symbols, hour, client.candles, found.clock, again=again)
                silver_hour.make(lake, exchange, symbols, hour, keep_empty=True)
    pairs = [(exchange, symbol) for exchange, symbols in world.pairs.items() for symbol in symbols]
    return truth.compare(lake, pairs, hours, seed=world.seed, silent=world.silent)


def settled(whole: World, found: list[tuple[World, Outcome]]) -> Iterator[Outcome]:
    """The outcomes, once an hour is over: what was lost, and what silver makes of the hours. Starts threads."""
    wait_until(lambda: whole_hours(whole), 120, "an hour to be over")
    hours = whole_hours(whole)
    for here, outcome in found:
        outcome.acknowledged, outcome.lost = lost(here)
        outcome.add(judged(here, hours))
        yield outcome
