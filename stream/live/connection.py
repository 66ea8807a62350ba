"""One websocket connection's life: dial, subscribe, prove each minute, end. The only file that opens websockets.

Messages are handled where the library receives them, in one synchronous path: when a pong has been seen, everything
that the exchange sent before it has been written.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, PayloadTooBig, WebSocketException

from stream.clock import Clock, http_date
from stream.errors import SpoolError
from stream.live.intake import Intake
from stream.live.minutes import CLOCK_WAS_SET, Minutes
from stream.live.subscriptions import Subscriptions
from stream.live.websocket import Websocket
from stream.wire import Exchange, seconds

_LARGEST = 4 << 20
"""Bytes of a message. The largest that any exchange here sends (a snapshot) is a tenth of it."""
_PONG = 10.0
"""Wall seconds within which a ping is answered."""
_TICK = 0.05
"""Wall seconds of the shortest wait, however fast the clock of a rehearsal runs."""
_UNANSWERED = f"a ping was not answered within {_PONG:.0f} s"
_APART = timedelta(microseconds=1)
_COARSE = timedelta(milliseconds=50)
"""Clocks stand still for as long as this at most, unless they are set back."""
_LEAST = 5.0
"""Wall seconds of silence that are always allowed, however fast the clock of a rehearsal runs."""


class Connection:
    """A connection for some pairs (`symbols`: native → canonical). `write` puts lines into the spool.

    `tally` counts `candles` and `rejected` messages over all connections that share it.
    """

    def __init__(
        self,
        *,
        exchange: Exchange,
        url: str,
        symbols: Mapping[str, str],
        name: str,
        clock: Clock,
        write: Callable[[bytes], None],
        chance: random.Random,
        tally: Counter[str] | None = None,
    ) -> None:
        self.intake = Intake(exchange=exchange, symbols=symbols, name=name, tally=tally)
        self.ready = asyncio.Event()
        """Every pair is acknowledged or refused."""
        self.replace = asyncio.Event()
        """It is time for a replacement: the exchange will close this connection, or said so."""
        self.opened: datetime | None = None
        self._url = url
        self._rules = exchange.STREAM
        self._clock = clock
        self._write = write
        self._chance = chance
        self._failed: SpoolError | None = None
        self._socket: Websocket | None = None
        self._close_reason: str | None = None
        self._ponged = asyncio.Event()
        self._pinging = asyncio.Lock()
        self._subscriptions = Subscriptions(exchange, self.intake, clock, self._send, write)
        self._expiry: asyncio.TimerHandle | None = None
        self._latest = clock.now()

    async def run(self) -> str:
        """Live until the end, whose reason is returned. SpoolError when a line could not be written."""
        reason = "the recorder stopped"
        try:
            try:
                await self._dial()
            except (OSError, WebSocketException, ValueError) as error:
                reason = f"it could not be opened: {error or type(error).__name__}"
            else:
                reason = await self._live()
        except SpoolError:
            reason = "the spool could not be written"
            raise
        finally:
            await self._hang_up(reason)
        return reason

    async def close(self, reason: str) -> None:
        """End it in an orderly way; `run` returns the reason."""
        self._close_reason = reason
        if self._socket is not None:
            await self._socket.close()

    async def _dial(self) -> None:
        await connect(
            self._url,
            create_connection=cast("type[ClientConnection]", self._make_socket),
            compression=None,  # a message costs more time than its bytes cost money
            max_size=_LARGEST,
            open_timeout=10,
            close_timeout=2,
            ping_interval=None,  # the pings of `_prove` and `_watch_idle` mean more
        )
        self.opened = self._clock.now()
        assert self._socket is not None
        if self._socket.response is not None and (said := http_date(self._socket.response.headers.get("Date"))):
            self.intake.clock.dated(said, self._clock.now())
        self._write(self.intake.lines.status("connected", f"connected to {self._url}", self._clock.now()))
        if self._rules.lifetime is not None:
            scattered = self._rules.lifetime - 600 * self._chance.uniform(1, 2)
            wait = self._clock.wall_seconds(max(scattered, 60))
            self._expiry = asyncio.get_running_loop().call_later(wait, self.replace.set)

    def _make_socket(self, protocol: ClientProtocol, **options: Any) -> Websocket:
        self._socket = Websocket(protocol, receive=self._receive, **options)
        return self._socket

    def _receive(self, messages: list[bytes]) -> None:
        """The hot path. Called by the socket, so that it must not raise."""
        take, now, pongs = self.intake.take, self._received, self.intake.pongs
        lines = b"".join([take(message, now()) for message in messages])
        try:
            if lines:
                self._write(lines)
        except SpoolError as error:
            self._failed = error
            if self._socket is not None:
                self._socket.transport.abort()
        if not self.ready.is_set() and self.intake.settled():
            self.ready.set()
        if self.intake.closing:
            self.replace.set()
        if self.intake.pongs > pongs:
            self._ponged.set()
        self._subscriptions.heard()

    def _received(self) -> datetime:
        """When a message is received: a bit later than the one before, so that their order can be told by it."""
        now = self._clock.now()
        if timedelta() <= self._latest - now < _COARSE:
            now = self._latest + _APART
        self._latest = now
        return now

    async def _live(self) -> str:
        assert self._socket is not None
        watches: list[Coroutine[Any, Any, str]] = [
            self._subscriptions.run(),
            self._keep_alive(),
            self._prove(),
            self._watch_idle(self._socket),
            self._watch_end(self._socket),
        ]
        tasks = [asyncio.create_task(watch) for watch in watches]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return next(iter(done)).result()
        except ConnectionClosed:
            return await self._watch_end(self._socket)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, text: str) -> None:
        assert self._socket is not None
        if self._rules.timed is not None:
            text = text.replace(self._rules.timed, f"{self._rules.timed[:-1]}{seconds(self._clock.now())}")
        await self._socket.send(text)

    async def _keep_alive(self) -> str:
        """The text that some exchanges want to hear, data or not."""
        keepalive = self._rules.keepalive
        while keepalive is not None:
            await asyncio.sleep(max(self._clock.wall_seconds(keepalive.every), _TICK))
            if not await self._answers():
                return _UNANSWERED
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    async def _prove(self) -> str:
        """After each minute, a ping: its pong comes behind everything that the exchange had sent until then."""
        minutes = Minutes(self._clock, self.intake.clock.there)
        while (ended := await minutes.next()) is not None:
            if not await self._answers():
                return _UNANSWERED
            if lines := self.intake.alive(*ended, self._clock.now()):
                self._write(lines)
            self.intake.clock.complain(self.intake.tally, self._clock)
        return CLOCK_WAS_SET

    async def _answers(self) -> bool:
        """The exchange answers a ping in its own words where it has some: those reach behind any proxy."""
        assert self._socket is not None
        try:
            async with self._pinging, asyncio.timeout(_PONG):
                if self._rules.keepalive is None:
                    await (await self._socket.ping())
                else:
                    self._ponged.clear()
                    await self._send(self._rules.keepalive.text)
                    await self._ponged.wait()
        except TimeoutError:
            return False
        return True

    async def _watch_idle(self, socket: Websocket) -> str:
        """Half of the allowed silence is followed by a ping, so that only a dead line stays silent."""
        limit = max(self._clock.wall_seconds(self._rules.idle), _LEAST)
        while True:
            silent = socket.loop.time() - socket.last_heard
            if silent >= limit:
                return f"nothing at all arrived for {limit:.0f} s"
            if silent >= limit / 2:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(limit / 2):
                        await socket.ping()
                await asyncio.sleep(limit - silent)
            else:
                await asyncio.sleep(limit / 2 - silent)

    async def _watch_end(self, socket: Websocket) -> str:
        await socket.wait_closed()
        if self._failed is not None:
            raise self._failed
        too_big = socket.protocol.parser_exc
        if isinstance(too_big, PayloadTooBig):
            reason = f"a message was larger than the limit of {_LARGEST} bytes: {too_big}"
            self._write(self.intake.reject(b"", self._clock.now(), reason))
            return reason
        if self._close_reason is not None:
            return self._close_reason
        return f"the line ended: {socket.close_code} {socket.close_reason or '(no reason given)'}"

    async def _hang_up(self, reason: str) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        if self._socket is None or self.opened is None:
            return
        try:
            async with asyncio.timeout(_LEAST):
                await self._socket.close()
        except (TimeoutError, WebSocketException, OSError):
            self._socket.transport.abort()
        with contextlib.suppress(SpoolError):
            self._write(self.intake.lines.status("disconnected", reason, self._clock.now()))
