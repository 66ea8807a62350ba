"""ccxt on virtual time: a double of its objects that follows a script, and its real clients in a world in memory."""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import ccxt
import pytest
import urllib3
from aiohttp import WSMsgType
from ccxt.async_support.base import throttler

from stream import roster
from stream.clock import Clock
from stream.long_tail.feed import CcxtConnection, LongTail
from stream.long_tail.trust import Trust
from stream.wire import milliseconds
from tests.recording import Journal
from tests.sim.loop import START
from tests.sim.step import in_step, is_in_step, wait_for


class StillClock(Clock):
    """Stands where a `LoopClock` begins, and its seconds are over at once. For what needs no loop."""

    def __init__(self) -> None:
        super().__init__(speed=10_000)

    def now(self) -> datetime:
        """Always the same."""
        return START


# A double that follows a script: what it receives is what the test says


class Future(asyncio.Future[Any]):
    """As ccxt's."""


class Client:
    """As ccxt's client of one websocket, without a websocket. `deaf` pongs nothing."""

    def __init__(self, receive: Callable[[Any], None]) -> None:
        self.error: Exception | None = None
        self.deaf = False
        self.pings = 0
        self.connected = Future()
        self.connected.set_result("url")
        self.connection = self
        self.futures: dict[str, Future] = {}
        self._receive = receive

    def future(self, name: str) -> Future:
        """One that ends with the connection."""
        return self.futures.setdefault(name, Future())

    def closed(self) -> bool:
        """Whether the socket is."""
        return self.error is not None

    def reject(self, error: Exception) -> None:
        """Tells everybody."""
        if isinstance(error, ccxt.NetworkError):
            self.error = error
        futures, self.futures = self.futures, {}
        for future in futures.values():
            future.set_exception(error)

    def handle_message(self, message: Any) -> None:
        """What ccxt does with a message."""
        if message.type is WSMsgType.TEXT:
            self._receive(message.data)

    async def ping(self, words: bytes) -> None:
        """Answered at once."""
        self.pings += 1
        if not self.deaf:
            self.handle_message(SimpleNamespace(type=WSMsgType.PONG, data=words))


class FakeExchange:
    """As ccxt's exchange. `rest` are its rows over REST; a message is (pair, rows), or a function that fails."""

    id = "fake"

    def __init__(self) -> None:
        self.ohlcvs: dict[str, dict[str, list[list[Any]]]] = {}
        self.rest: list[list[Any]] = []
        self.refusals: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.compared: list[int] = []
        """Since when its rows over REST were asked for, each time."""
        self.asking = asyncio.Condition()
        self.made: dict[str, Client] = {}

    def client(self, url: str) -> Client:
        """One per address."""
        if url not in self.made:
            self.made[url] = Client(self._receive)
        return self.made[url]

    async def watch_ohlcv(self, symbol: str, timeframe: str) -> list[list[Any]]:
        """Subscribes."""
        assert timeframe == "1m"
        async with self.asking:
            self.asked.append(symbol)
            self.asking.notify_all()
        client = self.client("wss://fake")
        if symbol in self.refusals:
            raise self.refusals[symbol]
        return cast("list[list[Any]]", await client.future(symbol))

    async def fetch_ohlcv(self, symbol: str, timeframe: str, since: int, limit: int) -> list[list[Any]]:
        """REST."""
        assert (symbol, timeframe, limit) == ("BTC/USDT", "1m", 100)
        self.compared.append(since)
        return [row for row in self.rest if row[0] >= since]

    def feature_value(self, *_: str) -> None:
        """Nothing is known."""

    async def close(self) -> None:
        """Nothing is open."""

    def send(self, symbol: str, *rows: Sequence[Any]) -> None:
        """The exchange sends candles of a pair."""
        self.client("wss://fake").handle_message(SimpleNamespace(type=WSMsgType.TEXT, data=(symbol, rows)))

    def send_text(self, text: str) -> None:
        """The exchange sends what ccxt stumbles over."""
        self.client("wss://fake").handle_message(SimpleNamespace(type=WSMsgType.TEXT, data=text))

    def _receive(self, message: Any) -> None:
        symbol, rows = message  # a text is not two things
        cache = self.ohlcvs.setdefault(symbol, {"1m": []})["1m"]
        for row in rows:
            cache[:] = sorted([*(one for one in cache if one[0] != row[0]), list(row)], key=lambda one: str(one[0]))


@contextlib.asynccontextmanager
async def connected(
    clock: Clock, *symbols: str, trusted: bool = True
) -> AsyncIterator[tuple[FakeExchange, Journal, CcxtConnection, asyncio.Task[str]]]:
    """A connection over such an object, alive during the block."""
    exchange, journal, trust = FakeExchange(), Journal(), Trust("fake")
    trust.given = trusted

    async def opened() -> FakeExchange:
        return exchange

    tail = cast("LongTail", SimpleNamespace(id="fake", clock=clock, trust=trust, open=opened))
    natives = {symbol.replace("-", "/"): symbol for symbol in symbols}
    one = CcxtConnection(tail=tail, symbols=natives, name="test/1", write=journal.append)
    running = asyncio.create_task(one.run())
    try:
        async with exchange.asking:
            await exchange.asking.wait_for(lambda: len(exchange.asked) == len(symbols))
        await asyncio.sleep(0)
        yield exchange, journal, one, running
    finally:
        running.cancel()
        await asyncio.wait({running})


# The real clients in a world in memory


@contextlib.contextmanager
def clients_in_memory(clock: Clock) -> Iterator[None]:
    """During the block, ccxt's clients connect in the virtual loop's network, and their time is the clock's.

    The blocking ones, and who calls them, run in threads that go `in_step`.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp.TCPConnector, "_wrap_create_connection", _dial)
        patch.setattr(urllib3.util.connection, "create_connection", _connect)
        patch.setattr(time, "sleep", _sleep)
        patch.setattr(ccxt.Exchange, "milliseconds", staticmethod(lambda: milliseconds(clock.now())))
        patch.setattr(throttler, "time", lambda: clock.now().timestamp())
        patch.setattr(roster, "_in_thread", in_step)
        yield


_really_sleep = time.sleep


def _sleep(seconds: float) -> None:
    """Threads that go in step sleep in the loop's time, the others in ours."""
    if is_in_step():
        wait_for(asyncio.sleep(seconds))
    else:
        _really_sleep(seconds)


class _Socket(io.RawIOBase):
    """What urllib3 needs of a connected socket, for a thread that goes in step."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def settimeout(self, seconds: float | None) -> None:
        """Who waits for ever is noticed by the loop."""

    def sendall(self, data: bytes) -> None:
        """It is under way, and there was room for it."""

        async def send() -> None:
            self._writer.write(data)
            await self._writer.drain()

        wait_for(send())

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What comes."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """At least one byte, or none at the end."""
        data = wait_for(self._reader.read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """What was sent still arrives."""
        if not self.closed:
            self._writer.close()  # the loop stands meanwhile
        super().close()


def _connect(address: tuple[str, int], *_: object, **__: object) -> _Socket:
    """In the place of urllib3's own."""
    return _Socket(*wait_for(asyncio.open_connection(*address)))


async def _dial(_: aiohttp.TCPConnector, factory: Any, *, addr_infos: Any, req: Any, **__: Any) -> Any:
    """In the place of aiohttp's own, which makes a socket first."""
    host, port = addr_infos[0][4][:2]
    try:
        return await asyncio.get_running_loop().create_connection(factory, host, port)
    except OSError as error:
        raise aiohttp.ClientConnectorError(req.connection_key, error) from error
