"""An hour that real Luigi processes work on, with a luigid or without: killed, or stalled, at any of their steps."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from stream.lake.folder import FolderLake
from tests.boundaries.calls import differences
from tests.boundaries.hour import EVIDENCE, Recorded, Still
from tests.processes import addresses, free_port, still, wait_for
from tests.recording import PATIENCE
from tests.sim.judge import Violation
from tests.sim.published import database
from tests.sim.published import differences as unpublished
from tests.sim.store import Objects
from tests.sim.world import HOUR, SYMBOLS

_GOLD = ("GoldHour", "--hour", f"{HOUR:%Y-%m-%dT%H}")
_ALONE = ("--local-scheduler",)


def killed(of: Recorded, server: str, nth: int) -> list[Violation] | None:
    """A worker is killed before that step, and another one does the hour. None: it has fewer steps."""
    with _hour(of, server) as hour:
        code = hour.start(*_ALONE, nth=nth).wait(PATIENCE)
        if code != -signal.SIGKILL:
            return None if code == 0 else [Violation("missing", f"undisturbed, it ended with {code}: {hour.said()}")]
        return [*hour.again(*_ALONE), *hour.wrong()]


def without_luigid(of: Recorded, server: str, nth: int) -> list[Violation] | None:
    """luigid is killed while a worker is at that step, and started again; that worker goes on, then another begins."""
    with _hour(of, server) as hour, Luigid(hour.folder) as luigid:
        worker = hour.start(*luigid.arguments, nth=nth, number="SIGSTOP")
        found = os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        assert found is not None
        if found.si_code != os.CLD_STOPPED:
            worker.wait(PATIENCE)
            return None
        luigid.restart()
        worker.send_signal(signal.SIGCONT)
        worker.wait(PATIENCE)
        return [*hour.again(*luigid.arguments), *hour.wrong()]


class _Hour:
    """One that nothing has been made of yet: all that was recorded and answered is there, so that REST is not asked."""

    def __init__(self, of: Recorded, folder: Path, dsn: str) -> None:
        self.folder = folder
        self._of = of
        self._dsn = dsn
        self._lake = FolderLake(folder / "lake")
        self._pairs = [(exchange, SYMBOLS[0]) for exchange in of.world.exchanges]
        for key, data in of.done.items():
            if key.startswith(EVIDENCE):
                self._lake.put(key, data)
        pairs = {exchange: [symbol] for exchange, symbol in self._pairs}
        text = still(Still().now(), pairs, dsn=dsn, addresses=addresses(free_port()))
        (folder / "luigi.cfg").write_text(text)

    def start(self, *where: str, nth: int | None = None, number: str = "SIGKILL") -> subprocess.Popen[bytes]:
        """A worker; with `nth`, it gets this signal before that step."""
        program = ("luigi", "--module", "tasks") if nth is None else ("tests.boundaries.luigi_at", str(nth), number)
        with (self.folder / "luigi.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *program, *_GOLD, *where],
                env={**os.environ, "LUIGI_CONFIG_PATH": str(self.folder / "luigi.cfg")},
                stdout=log,
                stderr=log,
            )

    def again(self, *where: str) -> Iterator[Violation]:
        """Another worker does it, which cannot fail."""
        if code := self.start(*where).wait(PATIENCE):
            yield Violation("missing", f"it cannot be done any more, exit code {code}: {self.said()}")

    def said(self) -> str:
        """The workers' last words."""
        return (self.folder / "luigi.log").read_text()[-2000:]

    def wrong(self) -> Iterator[Violation]:
        """What is not as if nobody had been disturbed."""
        found = Objects({one.key: self._lake.get(one.key) for one in self._lake.objects("")})
        yield from differences(found, self._of.done, "wrong")
        for what in unpublished(self._dsn, self._lake, self._pairs, HOUR):
            yield Violation("unpublished", what)


@contextmanager
def _hour(of: Recorded, server: str) -> Iterator[_Hour]:
    with tempfile.TemporaryDirectory(prefix="klines-luigi-") as folder, database(server) as dsn:
        yield _Hour(of, Path(folder), dsn)


class Luigid:
    """One that keeps its state in a file, as an installed one does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "luigid.cfg").write_text("[scheduler]\nstable_done_cooldown_secs = 0\n")

    @property
    def arguments(self) -> tuple[str, ...]:
        """What sends a worker there."""
        return "--scheduler-host", "127.0.0.1", "--scheduler-port", str(self._port)

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def restart(self) -> None:
        """It is killed, then another process takes its place."""
        self._kill()
        self._start()

    def _kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(PATIENCE)

    def _start(self) -> None:
        command = [str(Path(sys.executable).parent / "luigid"), "--address", "127.0.0.1", "--port", str(self._port)]
        with (self._folder / "luigid.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--state-path", str(self._folder / "luigid.state")],
                env={**os.environ, "LUIGI_CONFIG_PATH": str(self._folder / "luigid.cfg")},
                stdout=log,
                stderr=log,
            )
        wait_for(self._port)
