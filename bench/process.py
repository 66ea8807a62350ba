"""Processes of our own: started, pinned, watched, and ended by their ids. Linux only: it reads /proc."""

from __future__ import annotations

import configparser
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parent.parent
MEGABYTE = 1_000_000
_PATIENCE = 60.0


class Measured(NamedTuple):
    """What a whole process took."""

    seconds: float
    peak: int
    """Most resident memory, bytes."""
    code: int


def environment(**more: str) -> dict[str, str]:
    """Ours, with this checkout to import from."""
    return {**os.environ, "PYTHONPATH": str(CHECKOUT), **more}


def free_port() -> int:
    """A loopback port at which nobody listens now."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


def measure(command: Sequence[str], env: Mapping[str, str], output: Path) -> Measured:
    """Runs a command to its end. What it writes goes to `output`."""
    with output.open("wb") as sink:
        begun = time.perf_counter()
        process = subprocess.Popen(command, env=env, stdout=sink, stderr=subprocess.STDOUT, cwd=output.parent)
        peak = 0
        while process.poll() is None:
            peak = max(peak, memory(process.pid, "VmHWM"))
            time.sleep(0.005)
        return Measured(time.perf_counter() - begun, peak, process.returncode)


@contextmanager
def pinned(core: int, module: str, *arguments: str, env: Mapping[str, str], output: Path) -> Iterator[int]:
    """`python -m module`, all its threads on one core, for as long as the context lasts; its process id."""
    ours = os.sched_getaffinity(0)
    with output.open("wb") as sink:
        os.sched_setaffinity(0, {core})  # a child begins with its parent's
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                env=env,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=output.parent,
            )
        finally:
            os.sched_setaffinity(0, ours)
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def await_server(port: int, log: Path) -> None:
    """Until something answers over HTTP there, or the bench ends with what the server said."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"The server did not start: {log.read_text()}")


def configure(folder: Path, pairs: list[str], exchange: int, lake: Mapping[str, str], **stream: str) -> Path:
    """The checked-in luigi.cfg, with these pairs of Binance, which is at a port here, and this [lake] and [stream]."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(CHECKOUT / "luigi.cfg")
    config["lake"] = lake
    config["pairs"] = {"binance": json.dumps(pairs)}
    config["exchange_binance"] = {"ws_url": f"ws://127.0.0.1:{exchange}", "rest_url": f"http://127.0.0.1:{exchange}"}
    config["stream"].update(recorder_id="bench", **stream)
    path = folder / "luigi.cfg"
    with path.open("w") as file:
        config.write(file)
    return path


def memory(pid: int, field: str) -> int:
    """A field of /proc/<pid>/status in bytes (`VmRSS`, `RssAnon`, `VmHWM`); 0 when the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def processor_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
