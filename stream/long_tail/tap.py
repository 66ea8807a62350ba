"""ccxt's websocket clients, overheard. To be imported where one is needed; what ccxt does inside is known here only.

A client of ccxt's handles one message after another, pongs among them, in `handle_message`; when its connection ends it
rejects every future that it ever gave out. So it is listened to there, and has one future too many: ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any, Protocol

import ccxt
from aiohttp import WSMsgType

log = logging.getLogger(__name__)

_PONG = 10.0
"""Wall seconds within which a ping is answered."""
_LEAST = 5.0
"""Wall seconds that an orderly end may take."""
_END = "kline-lakehouse: the end of the connection"


class Listener(Protocol):
    """Who is told. Nothing of this may raise, but `heard`: what it cannot bear is `broken`."""

    def connected(self) -> None:
        """One of the websockets is open."""

    def heard(self) -> None:
        """ccxt has handled a message."""

    def broken(self, message: bytes, reason: str) -> None:
        """A message could not be handled."""

    def ended(self, reason: str) -> None:
        """One of the websockets is no more; ccxt would open another one behind our back."""


class Tap:
    """Listens to all websockets that a ccxt object opens, from their first moment on."""

    def __init__(self, exchange: Any, listener: Listener) -> None:
        self._exchange = exchange
        self._listener = listener
        self._clients: list[Any] = []
        self._pongs: dict[Any, bytes] = {}
        self._ponged = asyncio.Event()
        self._make = exchange.client
        exchange.client = self._client

    async def answered(self, words: str) -> bool:
        """Each websocket answers a ping with these words: all that was sent before the answer has been handled."""
        ping = words.encode()[-125:]  # the most that a ping may carry
        try:
            async with asyncio.timeout(_PONG):
                for client in self._clients:
                    await client.connection.ping(ping)
                while any(self._pongs.get(client) != ping for client in self._clients):
                    self._ponged.clear()
                    await self._ponged.wait()
        except (TimeoutError, OSError, AttributeError):  # AttributeError: a client that still dials has no connection
            return False
        return bool(self._clients)

    async def close(self) -> None:
        """Ends everything that the ccxt object has open."""
        try:
            async with asyncio.timeout(_LEAST):
                await self._exchange.close()
        except Exception as error:  # noqa: BLE001  # what cannot be closed in an orderly way is dropped
            log.debug("%s could not be closed: %s", self._exchange.id, text(error))
            with contextlib.suppress(Exception):
                await self._exchange.session.close()
            self._exchange.session = None

    def _client(self, url: str) -> Any:
        client = self._make(url)
        if client not in self._clients:
            self._clients.append(client)
            self._listen(client)
        return client

    def _listen(self, client: Any) -> None:
        handle = client.handle_message

        def handle_message(message: Any) -> None:
            try:
                handle(message)
                self._listener.heard()
            except Exception as error:  # noqa: BLE001  # it would end ccxt's receiving, silently
                data = message.data if isinstance(message.data, bytes) else str(message.data).encode()
                self._listener.broken(data, f"ccxt: {text(error)}")
            if message.type is WSMsgType.PONG:
                self._pongs[client] = bytes(message.data)
                self._ponged.set()

        client.handle_message = handle_message
        client.connected.add_done_callback(self._dialled)
        self._await_end(client)

    def _dialled(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._listener.connected()

    def _await_end(self, client: Any) -> None:
        def ended(future: asyncio.Future[Any]) -> None:
            error = None if future.cancelled() else future.exception()
            if isinstance(error, ccxt.ExchangeError) and client.error is None and not client.closed():
                self._await_end(client)  # a complaint about some request, which ccxt tells everybody
            else:
                self._listener.ended(f"the line ended: {text(error)}" if error else "it was closed")

        client.future(_END).add_done_callback(ended)


def text(error: BaseException) -> str:
    """An error of ccxt's, which may hold a page of HTML, in a few words."""
    return f"{type(error).__name__} {' '.join(str(error).split())[:300]}".strip()
