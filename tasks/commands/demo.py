"""`klines demo`: a rehearsal of the whole pipeline in one folder, with emulated exchanges and faults switched on.

Every part runs as a user would run it, as a process of its own, against a luigi.cfg of its own.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from stream import settings
from stream.clock import HOUR
from stream.errors import KlinesError
from stream.exchanges import EXCHANGES
from tasks import hours as hours_of
from tasks import warehouse
from tasks.commands import status_page
from tasks.watch import published

FIRST_HOUR = datetime(2025, 11, 10, 13, tzinfo=UTC)
"""The real candles (Binance's and Kraken's BTC-USDT) cover 2025-11-10 12:17 to 2025-11-11 00:16."""
_PAIRS = ["BTC-USDT", "WALK-USDT"]
"""Of every exchange."""
_WARM_UP = timedelta(minutes=25)
_FAULTS = {
    "seed": 7,
    "disconnects": 0.02,
    "lost-finals": 0.02,
    "late-finals": 0.03,
    "duplicates": 0.05,
    "reordering": 0.02,
    "rate-limits": 0.2,
    "garbage": 0.02,
}
_CONFIG = """\
# A rehearsal, written by `klines demo`. Use it with LUIGI_CONFIG_PATH={folder}/luigi.cfg

[lake]
root = lake

[pairs]
{pairs}

[stream]
recorder_id = demo
spool_dir = spool
flush_seconds = 600

{addresses}

[warehouse]
dsn = embedded
data_dir = postgres

[hours]
grace_seconds = 120
lookback_hours = {hours}

[clock]
simulated_start = {simulated_start}
wall_start = {wall_start}
speed = {speed:g}

[core]
scheduler_host = 127.0.0.1
scheduler_port = {luigid}
log_level = INFO
autoload_range = true
no_lock = true

[worker]
check_complete_on_run = true
check_unfulfilled_deps = false

[scheduler]
stable_done_cooldown_secs = 0

[retcode]
already_running = 10
missing_data = 20
not_run = 25
task_failed = 30
scheduling_error = 35
unhandled_exception = 40
"""


class DemoError(KlinesError):
    """The rehearsal could not be brought to its end."""


def run(folder: Path, *, hours: int, speed: float, keep: bool, console: Console) -> None:
    """Rehearses `hours` hours in `folder` (emptied first), prints the verdicts; DemoError when a part fails."""
    # The parts are ended however this process is, also when a shell started it in the background, deaf to Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with ExitStack() as stack:
        stack.enter_context(_alone(folder))
        config, ports = folder / "luigi.cfg", _free_ports("emulator", "luigid")
        start = FIRST_HOUR - _WARM_UP
        _write(config, ports, hours, start, speed)
        os.environ["LUIGI_CONFIG_PATH"] = str(config)
        found = settings.load()
        console.print(
            f"A rehearsal in {folder}: {len(EXCHANGES)} exchanges, two pairs each, {hours} hours at {speed:g} times "
            "real time."
        )
        console.print(
            f"Faults are switched on: {', '.join(name for name in _FAULTS if name != 'seed')}.",
        )
        with warehouse.connect(found.warehouse):
            console.print(f"Postgres is up: {warehouse.address(found.warehouse)}")
        parts = {
            "luigid": stack.enter_context(_process(folder, "luigid", _luigid(folder, ports["luigid"]))),
            "emulator": stack.enter_context(_process(folder, "emulator", _klines("simulate", *_fault_options()))),
            "recorder": stack.enter_context(_process(folder, "recorder", [sys.executable, "-m", "stream"])),
        }
        console.print(f"luigid shows the tasks at http://127.0.0.1:{ports['luigid']}")
        _rehearse(found, parts, hours, folder, console)
        _stop(parts["recorder"])
        # From here on the clock goes at normal speed: "now" stays near the rehearsed hours for who looks around.
        end = hours_of.ready_at(FIRST_HOUR + (hours - 1) * HOUR, found) + timedelta(minutes=1)
        _write(config, ports, hours, end, speed=1)
        console.print("what came late, and gaps that REST refused: luigi --module tasks Hourly")
        _luigi(folder, "Hourly")
        _report(settings.load(), hours, console)
        _next_commands(folder, console)
        if keep:
            _stop(parts["emulator"])
            _wait_for_interrupt(parts["luigid"], console)


def _rehearse(
    found: settings.Settings, parts: dict[str, subprocess.Popen[bytes]], hours: int, folder: Path, console: Console
) -> None:
    """Waits for each hour to be over, then runs it through Luigi, while the recorder goes on."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[at]}"),
        TimeElapsedColumn(),
        console=console,
    ) as progress:
        last = hours_of.ready_at(FIRST_HOUR + (hours - 1) * HOUR, found)
        total = (last - found.clock.now()).total_seconds()
        bar = progress.add_task("recording", total=total, at="")
        for n in range(hours):
            hour = FIRST_HOUR + n * HOUR
            while (now := found.clock.now()) < hours_of.ready_at(hour, found):
                _check(parts, folder)
                progress.update(bar, completed=total - (last - now).total_seconds(), at=f"{now:%Y-%m-%d %H:%M}")
                time.sleep(0.1)
            progress.console.print(
                f"hour {hour:%Y-%m-%dT%H} is over: luigi --module tasks GoldHour --hour {hour:%Y-%m-%dT%H}"
            )
            _luigi(folder, "GoldHour", "--hour", f"{hour:%Y-%m-%dT%H}")
        progress.update(bar, completed=total, at="")


def _check(parts: dict[str, subprocess.Popen[bytes]], folder: Path) -> None:
    for name, process in parts.items():
        if process.poll() is not None:
            raise DemoError(
                f"The {name} ended with exit code {process.returncode}. Its last words:\n{_tail(folder, name)}"
            )


def _luigi(folder: Path, *arguments: str) -> None:
    with (folder / "luigi.log").open("ab") as log:
        command = [sys.executable, "-m", "luigi", "--module", "tasks", *arguments]
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode  # noqa: S603
    if code:
        raise DemoError(
            f"luigi {' '.join(arguments)} ended with exit code {code}. Its last words:\n{_tail(folder, 'luigi')}"
        )


def _report(found: settings.Settings, hours: int, console: Console) -> None:
    console.print(status_page.verdict_table(published.look(found, hours, each_pair=True).hours))
    with warehouse.connect(found.warehouse) as postgres:
        candles = postgres.count_candles(FIRST_HOUR, FIRST_HOUR + hours * HOUR)
    console.print(f"{candles} candles in Postgres, table silver.fact_ohlcv.")


def _next_commands(folder: Path, console: Console) -> None:
    bin_folder = Path(sys.executable).parent
    near = os.path.relpath(bin_folder) if bin_folder.is_relative_to(Path.cwd()) else str(bin_folder)
    hour = f"{FIRST_HOUR:%Y-%m-%dT%H}"
    console.print("\nTry next:", style="bold")
    for command in (
        f"export LUIGI_CONFIG_PATH={folder}/luigi.cfg PATH={near}:$PATH",
        "klines status",
        'klines sql -c "SELECT symbol, source, count(*) FROM silver.fact_ohlcv GROUP BY ALL ORDER BY ALL"',
        'klines sql -c "SELECT exchange, symbol, interval_start, close, minutes FROM gold.ohlcv_1h ORDER BY ALL"',
        f"luigi --module tasks SilverHour --hour {hour} --local-scheduler",
        "klines demo --keep   # the same, with luigid's page and Postgres left up until Ctrl-C",
    ):
        console.print(f"  {command}")


def _wait_for_interrupt(luigid: subprocess.Popen[bytes], console: Console) -> None:
    console.print("\nluigid and Postgres stay up. Ctrl-C ends them.")
    try:
        luigid.wait()
    except KeyboardInterrupt:
        console.print("Ended.")


def _write(config: Path, ports: dict[str, int], hours: int, simulated_start: datetime, speed: float) -> None:
    here = f"127.0.0.1:{ports['emulator']}"
    text = _CONFIG.format(
        folder=config.parent,
        pairs="\n".join(f"{exchange} = {json.dumps(_PAIRS)}" for exchange in EXCHANGES),
        addresses="\n\n".join(
            f"[exchange_{exchange}]\nws_url = ws://{here}/{exchange}\nrest_url = http://{here}/{exchange}"
            for exchange in EXCHANGES
        ),
        luigid=ports["luigid"],
        hours=hours,
        simulated_start=simulated_start.isoformat(),
        wall_start=datetime.now(UTC).isoformat(),
        speed=speed,
    )
    config.write_text(text, encoding="utf-8")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """An empty folder that no other demo uses; DemoError when one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"A demo is already running in {folder}; end it with Ctrl-C first.") from None
        if any(folder.iterdir()) and not (folder / "luigi.cfg").exists():
            raise DemoError(f"{folder} holds something that is not a demo; move it away first.")
        shutil.rmtree(folder)
        folder.mkdir()
        yield


@contextmanager
def _process(folder: Path, name: str, command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A part of the rehearsal, its output in a log of its own; ended in any case."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)  # noqa: S603
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _luigid(folder: Path, port: int) -> list[str]:
    luigid = str(Path(sys.executable).parent / "luigid")
    return [luigid, "--address", "127.0.0.1", "--port", str(port), "--state-path", str(folder / "luigid.state")]


def _klines(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tasks.commands.cli", *arguments]


def _fault_options() -> list[str]:
    return [word for name, value in _FAULTS.items() for word in (f"--{name}", str(value))]


def _free_ports(*names: str) -> dict[str, int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in names]
        return {name: one.getsockname()[1] for name, one in zip(names, sockets, strict=True)}


def _tail(folder: Path, name: str) -> str:
    return "\n".join((folder / f"{name}.log").read_text(errors="replace").splitlines()[-15:])
