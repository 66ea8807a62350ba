"""The parts of an installation as processes of their own, and the luigi.cfg that they share."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import luigi
from luigi.task_register import Register

from stream.exchanges import EXCHANGES
from tests.recording import PATIENCE

CONFIG = """\
[lake]
root = {root}
s3_endpoint = {endpoint}
[pairs]
{pairs}
[stream]
recorder_id = rehearsal
flush_seconds = 600
fsync_seconds = 60
{addresses}
[warehouse]
dsn = {dsn}
[hours]
grace_seconds = 120
lookback_hours = 1
[clock]
simulated_start = {simulated_start}
wall_start = {wall_start}
speed = {speed}
[core]
autoload_range = true
[worker]
check_complete_on_run = true
"""


def build(*tasks: luigi.Task) -> bool:
    """Runs tasks in this process, whose logging stays as it was, as if it were the first time."""
    Register.clear_instance_cache()
    loggers = [logging.getLogger(name) for name in ("luigi-interface", "stream", "tasks")]
    before = [(one.level, list(one.handlers)) for one in loggers]
    try:
        done: bool = luigi.build(tasks, local_scheduler=True, log_level="CRITICAL")
    finally:
        for one, (level, handlers) in zip(loggers, before, strict=True):
            one.setLevel(level)
            one.handlers[:] = handlers
    return done


def addresses(port: int) -> str:
    """Sections that send every exchange to the emulator at this port."""
    here = f"127.0.0.1:{port}"
    return "\n".join(
        f"[exchange_{exchange}]\nws_url = ws://{here}/{exchange}\nrest_url = http://{here}/{exchange}"
        for exchange in EXCHANGES
    )


def still(now: datetime, pairs: dict[str, list[str]], *, dsn: str = "embedded", addresses: str = "") -> str:
    """A luigi.cfg with its lake beside it, whose clock stands almost still at this time."""
    return CONFIG.format(
        root="lake",
        endpoint="",
        pairs=pair_lines(pairs),
        addresses=addresses,
        dsn=dsn,
        simulated_start=now.isoformat(),
        wall_start=datetime.now(UTC).isoformat(),
        speed=1e-6,
    )


def pair_lines(pairs: dict[str, list[str]]) -> str:
    """What stands under [pairs]."""
    return "\n".join(f"{exchange} = {json.dumps(symbols)}" for exchange, symbols in pairs.items())


@contextmanager
def process(environment: dict[str, str], log: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A part of the rehearsal; ended with SIGTERM, as systemd would."""
    with log.open("wb") as output:
        part = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield part
        finally:
            if part.poll() is None:
                part.send_signal(signal.SIGTERM)
            part.wait(PATIENCE)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Until somebody listens there."""
    for _ in range(20 * PATIENCE):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"nobody listens at port {port}")
