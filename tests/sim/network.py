"""Connections in memory: bytes go from one end to the other in order, as TCP carries them, with its flow control."""

from __future__ import annotations

import asyncio
import random
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Literal

_FULL = 64 * 1024
"""Bytes that are under way before the sender is asked to wait."""
_FIRST_PORT = 40_000

Factory = Callable[[], Any]
"""Makes an asyncio.Protocol."""
Address = tuple[str, int]
"""Host and port."""

whose: ContextVar[object] = ContextVar("whose", default=None)
"""The process that a connection belongs to: what this is where it is dialled."""


class Socket:
    """What libraries ask a socket: where it is."""

    family = socket.AF_INET
    type = socket.SOCK_STREAM

    def __init__(self, here: Address, there: Address | None = None) -> None:
        self._here, self._there = here, there

    def getsockname(self) -> Address:
        """This end."""
        return self._here

    def getpeername(self) -> Address | None:
        """The other end."""
        return self._there

    def setsockopt(self, *_: object) -> None:
        """There is no kernel to tell."""


class Weather:
    """How bytes travel: half a millisecond, whole. With a `chance`, most take longer, and some are taken apart."""

    def __init__(self, chance: random.Random | None = None) -> None:
        self._chance = chance

    def delay(self) -> float:
        """Seconds."""
        if self._chance is None:
            return 0.0005
        return self._chance.uniform(0.0005, 0.04) if self._chance.random() < 0.99 else self._chance.uniform(0.04, 1.5)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The bytes as they arrive."""
        if self._chance is not None and len(data) > 1 and self._chance.random() < 0.05:
            cut = self._chance.randrange(1, len(data))
            yield data[:cut]
            data = data[cut:]
        yield data


class Network:
    """Who listens where, and what is between them."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.weather = Weather()
        self.closed: dict[int, Literal["refused", "slammed"]] = {}
        """What happens to who dials these ports."""
        self.lag: dict[int, float] = {}
        """Seconds that bytes take longer from and to these ports."""
        self.turned_away = 0
        """How often that happened."""
        self._lines: dict[Line, None] = {}
        self._servers: dict[Address, Server] = {}
        self._port = _FIRST_PORT

    def lines(self, *, port: int | None = None, process: object = None) -> list[Line]:
        """The clients' ends of what is connected, to that port or by that process, in the order of dialling."""
        for line in [line for line in self._lines if line.is_closing() or line.peer.is_closing()]:
            del self._lines[line]
        return [
            line
            for line in self._lines
            if (port is None or line.port == port) and (process is None or line.process is process)
        ]

    def listen(self, factory: Factory, host: str, port: int) -> Server:
        """A server at that port, or at a free one when it is 0."""
        if not port:
            self._port += 1
            port = self._port
        if (host, port) in self._servers:
            raise OSError(f"{host}:{port} is in use")
        server = Server(self, factory, (host, port))
        self._servers[host, port] = server
        return server

    def forget(self, server: Server) -> None:
        """It listens no more."""
        self._servers.pop(server.address, None)

    async def connect(self, factory: Factory, host: str, port: int) -> tuple[Line, Any]:
        """Both ends are connected, the server's first."""
        await asyncio.sleep(self.weather.delay())
        server = self._servers.get((host, port))
        self.turned_away += port in self.closed
        if server is None or self.closed.get(port) == "refused":
            raise ConnectionRefusedError(f"nobody listens at {host}:{port}")
        self._port += 1
        here = ("127.0.0.1", self._port)
        theirs, ours = server.factory(), factory()
        far = Line(self, port, theirs, server.address, here)
        near = Line(self, port, ours, here, server.address)
        near.peer, far.peer = far, near
        theirs.connection_made(far)
        ours.connection_made(near)
        self._lines[near] = None
        if self.closed.get(port) == "slammed":
            far.abort()
        return near, ours


class Server(asyncio.AbstractServer):
    """What `create_server` gives. Its connections are the protocols' business."""

    def __init__(self, network: Network, factory: Factory, address: Address) -> None:
        self.factory = factory
        self.address = address
        self._network = network

    @property
    def sockets(self) -> tuple[Socket, ...]:
        """One, which says where it is."""
        return (Socket(self.address),)

    def close(self) -> None:
        """Nobody can connect any more; who is connected stays."""
        self._network.forget(self)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The one that it was made in."""
        return self._network.loop

    async def start_serving(self) -> None:
        """It does."""

    async def serve_forever(self) -> None:
        """Until it is cancelled."""
        await asyncio.Event().wait()

    def is_serving(self) -> bool:
        """It does from the beginning."""
        return True

    async def wait_closed(self) -> None:
        """Nothing is left to wait for."""


class Line(asyncio.Transport):
    """One end of a connection."""

    peer: Line

    def __init__(self, network: Network, port: int, protocol: Any, sockname: Address, peername: Address) -> None:
        super().__init__({"sockname": sockname, "peername": peername, "socket": Socket(sockname, peername)})
        self.port = port
        """The server's."""
        self.process = whose.get()
        self._loop = network.loop
        self._network = network
        self._protocol = protocol
        self._dead = False
        self._under_way: deque[bytes | None] = deque()
        """Sent here; None is the end."""
        self._arrived: deque[bytes | None] = deque()
        """Not read yet."""
        self._unread = 0
        """Bytes that were sent here, under way or arrived."""
        self._reading = True
        self._closing = False
        self._lost = False
        self._held = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Under way to the other end."""
        if self._closing or not data:
            return
        peer = self.peer
        for piece in self._network.weather.pieces(bytes(data)):
            peer._unread += len(piece)
            self._send(piece)
        if peer._unread > _FULL and not self._held:
            self._held = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """Nothing more will come from here."""
        self._send(None)

    def can_write_eof(self) -> bool:
        """As TCP."""
        return True

    def pause_reading(self) -> None:
        """What comes stays unread, and soon the other end must wait."""
        self._reading = False

    def resume_reading(self) -> None:
        """What has come meanwhile is read."""
        self._reading = True
        self._loop.call_soon(self._read)

    def is_reading(self) -> bool:
        """Whether what comes is read."""
        return self._reading and not self._closing

    def is_closing(self) -> bool:
        """Closed, or about to be."""
        return self._closing

    def close(self) -> None:
        """What was written still arrives."""
        if not self._closing:
            self.write_eof()
            self._end(None)

    def abort(self) -> None:
        """What is under way may be lost; the other end hears of it."""
        if not self._closing:
            if not self._dead:
                self._loop.call_later(self._network.weather.delay(), self.peer._reset)
            self._end(None)

    def cut(self) -> None:
        """Somebody in between ends it: both ends hear of it."""
        self._reset()
        self.peer._reset()

    def die(self) -> None:
        """Nothing more arrives at either end, and nobody hears of it."""
        for end in (self, self.peer):
            end._dead = True
            end._under_way.clear()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is one limit."""

    def get_write_buffer_size(self) -> int:
        """What the other end has not read."""
        return self.peer._unread

    def get_protocol(self) -> Any:
        """Who reads here."""
        return self._protocol

    def set_protocol(self, protocol: Any) -> None:
        """Another one reads."""
        self._protocol = protocol

    def _send(self, data: bytes | None) -> None:
        if not self._dead:
            self.peer._under_way.append(data)
            delay = self._network.weather.delay() + self._network.lag.get(self.port, 0.0)
            self._loop.call_later(delay, self.peer._arrive)

    def _arrive(self) -> None:
        if self._dead:
            return
        self._arrived.append(self._under_way.popleft())  # in order, which timers of one moment do not keep
        self._read()

    def _read(self) -> None:
        while self._arrived and self._reading and not self._lost:
            data = self._arrived.popleft()
            if data is None:
                if not self._closing and not self._protocol.eof_received():
                    self.close()
                continue
            self._unread -= len(data)
            if not self._closing:
                self._protocol.data_received(data)
            sender = self.peer
            if sender._held and self._unread <= _FULL // 4 and not sender._lost:
                sender._held = False
                sender._protocol.resume_writing()

    def _reset(self) -> None:
        if not self._closing:
            self._end(ConnectionResetError("the other end is gone"))

    def _end(self, error: Exception | None) -> None:
        self._closing = True

        def lost() -> None:
            if not self._lost:
                self._lost = True
                self._protocol.connection_lost(error)

        self._loop.call_soon(lost)
