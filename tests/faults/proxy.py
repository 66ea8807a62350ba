"""Stands between the recorder and the exchanges and breaks lines, on the simulated clock. A process of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from stream.clock import Clock, floor
from stream.wire import MINUTE
from tests.faults.world import World

PHASES = (59.98, 0.0, 0.05, 0.5, 2.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 55.0, 59.0, 59.9)
"""Seconds of the minute at which lines are cut, in turn."""
_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class _Line:
    """One connection through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._ends = (client, server)
        self.is_dead = False

    def cut(self) -> None:
        """Both ends see a reset."""
        for end in self._ends:
            end.transport.abort()

    def go_silent(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self.is_dead = True


class _Proxy:
    """The lines of all exchanges, and one kind of trouble."""

    def __init__(self, kind: str, clock: Clock, target: int, struck: Callable[[], None]) -> None:
        self._kind = kind
        self._clock = clock
        self._target = target
        self._struck = struck
        self._lines: set[_Line] = set()
        self._refused_until = clock.now()

    async def attend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its start to its end."""
        if self._refuses():
            self._struck()
            if self._kind == "maintenance":
                await reader.read(1)
                writer.write(_UNAVAILABLE)
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        line = _Line(writer, back)
        self._lines.add(line)
        try:
            await asyncio.gather(_pump(line, reader, back), _pump(line, there, writer))
        finally:
            self._lines.discard(line)
            for end in (writer, back):
                end.close()

    def _refuses(self) -> bool:
        return self._clock.now() < self._refused_until

    async def trouble(self) -> None:
        """Strikes every other minute; what lasts longer, every sixth."""
        phases = itertools.cycle(PHASES)
        minute = floor(self._clock.now(), MINUTE)
        for number in itertools.count():
            minute += 2 * MINUTE
            for line in list(self._lines) if self._kind == "cut" else []:
                await self._until(minute + timedelta(seconds=next(phases)))
                line.cut()
                self._struck()
            await self._until(minute)
            if self._kind == "all cut":
                self._all(_Line.cut)
            if number % 3 == 0 and self._kind in ("slammed", "maintenance"):
                self._refused_until = minute + timedelta(seconds=40)
                self._all(_Line.cut)
            if number % 3 == 0 and self._kind == "half-open":
                await self._until(minute + timedelta(seconds=next(phases)))
                self._all(_Line.go_silent)

    def _all(self, strike: Callable[[_Line], None]) -> None:
        for line in list(self._lines):
            strike(line)
            self._lines.discard(line)
            self._struck()

    async def _until(self, moment: datetime) -> None:
        await self._clock.sleep(max(0.0, (moment - self._clock.now()).total_seconds()))


async def _pump(line: _Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            if not line.is_dead:
                writer.write(data)
                await writer.drain()
    if not line.is_dead:
        writer.close()


def start(world: World, kind: str, counter: Path) -> tuple[int, World]:
    """Forks a proxy for the websockets of all exchanges; its pid, and the world that goes through it.

    Every strike is a byte in `counter`.
    """
    listening = {exchange: socket.create_server(("127.0.0.1", 0)) for exchange in world.pairs}
    through = world.inside(kind, ports=tuple((name, one.getsockname()[1]) for name, one in listening.items()))
    clock = through.write().clock
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(_serve(listening, _Proxy(kind, clock, world.port, lambda: _count(counter))))
        except BaseException:  # noqa: BLE001  # a child must never go on as its parent
            traceback.print_exc()
        os._exit(70)
    for one in listening.values():
        one.close()
    return pid, through


async def _serve(listening: dict[str, socket.socket], proxy: _Proxy) -> None:
    servers = [await asyncio.start_server(proxy.attend, sock=one) for one in listening.values()]
    await asyncio.gather(proxy.trouble(), *(server.serve_forever() for server in servers))


def _count(counter: Path) -> None:
    with counter.open("ab") as file:
        file.write(b".")
