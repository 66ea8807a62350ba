"""The same with a Postgres of our own: killed, out of locks, or without room on its disk, from each exchange on."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from stream.settings import WarehouseSettings
from tasks import warehouse
from tasks.warehouse import embedded
from tests.boundaries.statements import Place
from tests.recording import PATIENCE

HOWS = {
    "killed": "the server is killed (immediate) before a statement",
    "locks": "the server is out of locks from a statement on",
    "room": "the session's files cannot grow from a statement on",
}


class Server(Place):
    """An embedded server in this folder, which publishers start again by themselves."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._others = ExitStack()
        settings = WarehouseSettings(dsn="embedded", data_dir=str(data_dir), lock_timeout_seconds=0.01)
        with warehouse.connect(settings):
            super().__init__(embedded.keep(data_dir))
        self.settings = settings

    def _mend(self) -> None:
        """The server is up again, and nobody else wants anything of it."""
        self._others.close()
        hang = time.monotonic() + PATIENCE
        while True:
            with suppress(psycopg.OperationalError):
                self._connect(embedded.keep(self._data_dir))
                return
            assert time.monotonic() < hang

    def _look(self, hour: datetime) -> Iterator[tuple[Any, ...]]:
        """Nothing is seen of a server that is down."""
        with suppress(psycopg.OperationalError):
            yield from super()._look(hour)

    def _go_wrong(
        self,
        connection: psycopg.Connection[Any],
        name: str,  # noqa: ARG002  # it does not matter here
        exchange: Callable[[], Any],
        how: str,
    ) -> Any:
        if how == "killed":
            file = self._data_dir / "cluster" / "postmaster.pid"
            os.kill(int(file.read_text().split()[0]), signal.SIGQUIT)
            hang = time.monotonic() + PATIENCE
            while file.exists():
                assert time.monotonic() < hang
        elif how == "locks":
            hog = self._others.enter_context(psycopg.connect(self._dsn, autocommit=True))
            with suppress(psycopg.errors.OutOfMemory):
                hog.execute("SELECT pg_advisory_lock(1, n) FROM generate_series(1, 10000000) AS n")
        else:
            self._forbid_to_grow(connection.info.backend_pid)
        return exchange()

    def _forbid_to_grow(self, pid: int) -> None:
        owner = (self._data_dir / "cluster").stat()
        who: dict[str, Any] = {}
        if owner.st_uid != os.geteuid():  # even root may not limit what another user runs
            who = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        subprocess.run(["prlimit", "--pid", str(pid), "--fsize=0:"], check=True, **who)
