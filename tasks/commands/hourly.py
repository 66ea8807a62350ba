"""`klines hourly`: runs the task Hourly whenever an hour is ready, and again soon where a failure may pass."""

from __future__ import annotations

import logging
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta

import luigi.configuration

from stream import settings
from stream.backoff import delays
from stream.clock import HOUR, lasted
from tasks import hours, sentences

log = logging.getLogger(__name__)

_FIRST, _CAP = 60.0, 300.0
"""Seconds until a failed run is repeated, the first time and at most."""


def run(*, once: bool, work: Callable[[], int] | None = None, sleep: Callable[[float], None] = time.sleep) -> int:
    """For ever, or once: then Luigi's exit code, but 0 where other workers do what there is to do.

    `work` runs the task and gives Luigi's exit code; `sleep` takes wall seconds.
    """
    work = work or (lambda: subprocess.run(command("Hourly"), check=False).returncode)  # noqa: S603  # our own
    failing, waits = None, None
    while True:
        ready = hours.window(settings.load(), 1)[0]  # before the run, which may take longer than an hour
        code = work()
        found = settings.load()
        now, next_hour = found.clock.now(), hours.ready_at(ready + HOUR, found)
        is_elsewhere = code in _elsewhere()
        if once:
            return 0 if is_elsewhere else code
        if code:
            waits = waits or delays(_FIRST, _CAP, random.Random())  # noqa: S311  # nothing to keep secret
            due = min(next_hour, now + timedelta(seconds=next(waits)))
        else:
            waits, due = None, next_hour
        when = f"{due:%Y-%m-%d %H:%M:%S} UTC"
        if is_elsewhere:
            log.info("another worker has some of the tasks (Luigi's exit code %d); looking again at %s", code, when)
        elif code and failing is None:
            failing = now
            log.error("Hourly failed (Luigi's exit code %d); it is tried again until it succeeds, at %s", code, when)
        elif not code and failing is not None:
            log.info("Hourly succeeded again after %s; the next run is at %s", lasted(failing, now), when)
            failing = None
        elif not code:
            log.info("Hourly is done; the next run is at %s", when)
        sleep(max(1.0, found.clock.wall_seconds((due - now).total_seconds())))


def command(*arguments: str) -> list[str]:
    """The command line of a Luigi run; with the local scheduler when no luigid answers at [core]."""
    line = [sys.executable, "-m", "luigi", "--module", "tasks", *arguments]
    core = luigi.configuration.get_config()  # type: ignore[no-untyped-call]
    address = core.get("core", "scheduler_host", "localhost"), core.getint("core", "scheduler_port", 8082)
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        return [*line, "--local-scheduler"]
    return line


def _elsewhere() -> set[int]:
    """Luigi's exit codes that say that other workers have the tasks."""
    sentences.install()
    config = luigi.configuration.get_config()  # type: ignore[no-untyped-call]
    return {config.getint("retcode", name) for name in ("already_running", "not_run")}
