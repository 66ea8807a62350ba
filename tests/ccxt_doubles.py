"""A ccxt object that follows a script, for tests: what it receives is what the test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from types import SimpleNamespace
from typing import Any, cast

import ccxt
from aiohttp import WSMsgType

from stream.clock import Clock
from stream.long_tail.feed import CcxtConnection, LongTail
from stream.long_tail.trust import Trust
from tests.recording import Journal


class Future(asyncio.Future[Any]):
    """As ccxt's."""


class Client:
    """As ccxt's client of one websocket, without a websocket. `deaf` pongs nothing."""

    def __init__(self, receive: Callable[[Any], None]) -> None:
        self.error: Exception | None = None
        self.deaf = False
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
