"""Doubles for the recorder's tests: an exchange on loopback that follows a script, a journal, a lake that fails."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import msgspec
import pyarrow
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from stream import settings
from stream.clock import Clock
from stream.errors import LakeError
from stream.lake.folder import FolderLake
from stream.live.connection import Connection
from stream.wire import Exchange, Record
from tests.sim.loop import START, VirtualLoop

PAYLOADS = Path(__file__).parent / "payloads"
PATIENCE = 900
"""Seconds, virtual or real, that only a hang takes."""
Script = Callable[[ServerConnection, int], Awaitable[None]]


def payload(name: str) -> str:
    """A recorded message."""
    return (PAYLOADS / name).read_text().strip()


def like(
    module: ModuleType | Exchange, *, parse_message: Callable[[bytes], list[Record]] | None = None, **rules: Any
) -> Exchange:
    """An exchange that differs from `module` in some of its rules, and perhaps in how it reads messages."""
    names = [name for name in Exchange.__annotations__ if name != "STREAM"]
    names += [name for name in vars(Exchange) if not name.startswith("_")]
    parts = {name: getattr(module, name) for name in names}
    if parse_message is not None:
        parts["parse_message"] = parse_message
    return cast("Exchange", SimpleNamespace(**parts, STREAM=msgspec.structs.replace(module.STREAM, **rules)))


def kline(native: str, start: datetime, close: float = 1.5, *, final: bool = False, **more: Any) -> str:
    """A Binance message about the minute that begins at `start`."""
    opened = int(start.timestamp() * 1000)
    candle = {"t": opened, "T": opened + 59_999, "s": native, "i": "1m", "o": "1.0", "c": str(close)}
    candle |= {"h": "2.0", "l": "0.5", "v": "10.0", "n": 3, "x": final, "q": "15.0", **more}
    data = {"e": "kline", "E": opened + 1, "s": native, "k": candle}
    return json.dumps({"stream": f"{native.lower()}@kline_1m", "data": data})


@contextlib.asynccontextmanager
async def exchange_server(
    script: Script,
    *,
    instruments: str | None = None,
    kind: type[ServerConnection] | None = None,
    start: datetime = START,
) -> AsyncIterator[str]:
    """A server on loopback, `host:port`. `script` gets each connection and its number, counted from 1.

    On virtual time its clock says `start` when the loop begins.
    """
    connections = 0
    over = asyncio.Event()

    async def handle(socket: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        acting, ending = asyncio.ensure_future(script(socket, connections)), asyncio.create_task(over.wait())
        await asyncio.wait({acting, ending}, return_when=asyncio.FIRST_COMPLETED)
        for task in (acting, ending):
            task.cancel()
        with contextlib.suppress(ConnectionClosed, asyncio.CancelledError):
            await acting

    def answer(socket: ServerConnection, request: Request) -> Response | None:
        if request.path.startswith("/api/v3/exchangeInfo"):
            if instruments is None:
                return socket.respond(HTTPStatus.NOT_FOUND, "no such thing")
            return socket.respond(HTTPStatus.OK, instruments)
        return None

    def date(_socket: ServerConnection, _request: Request, response: Response) -> None:
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualLoop):
            del response.headers["Date"]
            response.headers["Date"] = format_datetime(start + timedelta(seconds=loop.time()), usegmt=True)

    async with serve(
        handle,
        "127.0.0.1",
        0,
        compression=None,
        process_request=answer,
        process_response=date,
        create_connection=kind,
        ping_interval=None,
        close_timeout=0.2,
    ) as server:
        host, port = server.sockets[0].getsockname()
        try:
            yield f"{host}:{port}"
        finally:
            over.set()


async def acknowledge(socket: ServerConnection) -> list[str]:
    """Read one Binance request and acknowledge it; returns its streams."""
    request = json.loads(await socket.recv())
    await socket.send(json.dumps({"result": None, "id": request["id"]}))
    return [request["method"], *request["params"]]


class Journal:
    """A spool that is a list of what was written."""

    def __init__(self) -> None:
        self.text = b""
        self._news = asyncio.Event()

    def append(self, lines: bytes) -> None:
        """Keep it."""
        assert lines.endswith(b"\n")
        self.text += lines
        self._news.set()

    def lines(self, *kinds: str) -> list[dict[str, Any]]:
        """The lines of these event types, or all, in order."""
        return [line for line in read(self.text) if not kinds or line["event_type"] in kinds]

    async def wait_for(self, kind: str | set[str], count: int = 1) -> list[dict[str, Any]]:
        """The lines of this event type or status (or one of these), as soon as there are so many."""
        kinds = {kind} if isinstance(kind, str) else kind
        async with asyncio.timeout(PATIENCE):
            while True:
                found = [line for line in self.lines() if kinds & {line["event_type"], line.get("status")}]
                if len(found) >= count:
                    return found
                self._news.clear()
                await self._news.wait()


def read(text: bytes) -> list[dict[str, Any]]:
    """Lines of JSON → dicts; fails on a torn one."""
    return [json.loads(line) for line in text.splitlines()]


def read_lake(root: Path) -> dict[str, bytes]:
    """Key → content of everything in a folder lake, uncompressed."""
    found = {}
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.name.startswith("."):  # with a dot: still being written
            content = path.read_bytes()
            if path.suffix == ".zst":
                content = pyarrow.CompressedInputStream(pyarrow.BufferReader(content), "zstd").read()
            found[str(path.relative_to(root))] = content
    return found


class FailingLake(FolderLake):
    """A folder lake whose first `failures` writes fail, and whose writes wait while `closed`."""

    def __init__(self, root: Path, failures: int = 0) -> None:
        super().__init__(root)
        self.failures = failures
        self.attempts = 0
        self.tried = threading.Event()
        """Somebody has begun to write."""
        self.opened = threading.Event()
        self.opened.set()
        self._counting = threading.Lock()  # several threads write at once

    def put(self, key: str, data: bytes) -> None:
        """Fail, wait, or write."""
        with self._counting:
            self.attempts += 1
            failing = self.failures > 0
            self.failures -= failing
        self.tried.set()
        assert self.opened.wait(PATIENCE)
        if failing:
            raise LakeError("The store is out of order.")
        super().put(key, data)


def calls(work: Callable[[], object]) -> int:
    """How many functions are called in this thread while that works: what it costs, on any machine."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def connection(exchange: Exchange | ModuleType, url: str, journal: Journal, clock: Clock, *symbols: str) -> Connection:
    """A connection to a scripted server; `symbols` are canonical."""
    known = cast("Exchange", exchange)
    return Connection(
        exchange=known,
        url=known.stream_url(f"ws://{url}"),
        symbols={known.native_symbol(symbol): symbol for symbol in symbols},
        name="test/1",
        clock=clock,
        write=journal.append,
        chance=random.Random(1),
    )


def settings_text(
    folder: Path,
    server: str,
    *,
    pairs: str = '["BTC-USDT"]',
    flush: float = 3600,
    fsync: float = 1,
    clock: str = "",
) -> str:
    """A luigi.cfg for one scripted Binance."""
    return f"""
[lake]
root = {folder / "lake"}
[pairs]
binance = {pairs}
[stream]
recorder_id = test
spool_dir = {folder / "spool"}
flush_seconds = {flush}
fsync_seconds = {fsync}
[exchange_binance]
ws_url = ws://{server}
rest_url = http://{server}
{clock}
"""


def make_settings(folder: Path, server: str, **options: Any) -> settings.Settings:
    """The same, read."""
    return settings.parse(settings_text(folder, server, **options), folder / "luigi.cfg")
