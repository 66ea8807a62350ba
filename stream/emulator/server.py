"""The emulator's sockets: one server per address, websockets and REST on the same port if the settings say so."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from http import HTTPStatus
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from stream.clock import Clock
from stream.emulator.addresses import Address, addresses
from stream.emulator.bar import Bar
from stream.emulator.faults import Faults
from stream.emulator.feed import Feed
from stream.emulator.market import market
from stream.emulator.venue import Answer
from stream.emulator.venues import VENUES
from stream.errors import SettingsError
from stream.settings import Settings


class Emulator:
    """Serves the exchanges of `settings` that have pairs, for as long as it is entered.

    `listed` names further pairs (exchange id → canonical symbols) that the exchanges list and serve.
    """

    def __init__(
        self, settings: Settings, faults: Faults | None = None, listed: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        faults = faults or Faults()
        self._clock: Clock = settings.clock
        self._addresses = addresses(settings)
        self._feeds: dict[str, Feed] = {}
        for exchange in dict.fromkeys(address.exchange for address in self._addresses):
            if exchange not in VENUES:
                raise SettingsError(
                    f"{settings.path}: [pairs] names {exchange}, which the emulator cannot imitate; "
                    f"take its line out. It knows {', '.join(VENUES)}."
                )
            symbols = tuple(dict.fromkeys((*settings.pairs[exchange], *(listed or {}).get(exchange, ()))))
            there = market(exchange, seed=faults.seed, silent=faults.silent)
            self._feeds[exchange] = Feed(VENUES[exchange](exchange, there, symbols), faults, self._clock)
        self._servers: list[Server] = []
        self._tasks: list[asyncio.Task[None]] = []

    def truth(self, exchange: str, symbol: str, minute: datetime) -> Bar | None:
        """The finished candle of that minute, whatever was sent of it; None where the market has none."""
        return self._feeds[exchange].truth(symbol, minute)

    async def __aenter__(self) -> Self:
        for feed in self._feeds.values():
            feed.start()
        for host, port in dict.fromkeys((address.host, address.port) for address in self._addresses):
            await self._listen(host, port)
        for feed in self._feeds.values():
            self._tasks += [asyncio.create_task(feed.play()), asyncio.create_task(feed.beat())]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._close()
        for one in ended:
            if isinstance(one, Exception):  # a cancelled task is none
                raise one

    async def serve_forever(self) -> None:
        """Until it is cancelled, or something breaks."""
        await asyncio.gather(*self._tasks)

    async def _listen(self, host: str, port: int) -> None:
        here = [address for address in self._addresses if (address.host, address.port) == (host, port)]
        sockets = _Sockets(here, self._feeds, self._clock)
        try:
            server = await serve(
                sockets.attend,
                host,
                port,
                create_connection=_Connection,
                process_request=sockets.answer,
                process_response=sockets.date,
                compression=None,
                close_timeout=2,
            )
        except OSError as error:
            await self._close()
            raise SettingsError(
                f"[exchange_{here[0].exchange}] {here[0].key}: {host}:{port} could not be opened ({error.strerror}). "
                "End the program that uses it, or write another port."
            ) from error
        self._servers.append(server)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        await asyncio.gather(*(server.wait_closed() for server in self._servers))
        self._servers.clear()


class _Connection(ServerConnection):
    """A client's connection; the feed says what is due before any answer goes out."""

    feed: Feed | None = None

    def data_received(self, data: bytes) -> None:
        """Where the library receives, and answers pings."""
        if self.feed is not None:
            self.feed.catch_up()
        super().data_received(data)


class _Sockets:
    """What happens on one host and port."""

    def __init__(self, here: list[Address], feeds: dict[str, Feed], clock: Clock) -> None:
        self._here = sorted(here, key=lambda address: -len(address.prefix))
        self._feeds = feeds
        self._clock = clock

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:  # noqa: ARG002
        """A plain GET is a REST request; None lets a websocket handshake go on."""
        wants_websocket = request.headers.get("Upgrade", "").lower() == "websocket"
        feed, target = self._route("ws_url" if wants_websocket else "rest_url", request.path)
        if feed is None or (wants_websocket and not feed.venue.serves(target)):
            return self._response(Answer({"error": f"nothing is served at {request.path}"}, 404))
        if wants_websocket:
            return None
        parts = urlsplit(target)
        return self._response(feed.get(parts.path, dict(parse_qsl(parts.query))))

    def date(self, connection: ServerConnection, request: Request, response: Response) -> None:  # noqa: ARG002
        """The exchange's time, in the place of this machine's."""
        del response.headers["Date"]
        response.headers["Date"] = format_datetime(self._clock.now(), usegmt=True)

    async def attend(self, connection: ServerConnection) -> None:
        """One websocket connection."""
        assert connection.request is not None
        feed, target = self._route("ws_url", connection.request.path)
        assert feed is not None
        assert isinstance(connection, _Connection)
        connection.feed = feed
        try:
            await feed.attend(connection, target)
        except ConnectionClosed:
            return  # cut, by us or by them: the client's business

    def _route(self, key: str, path: str) -> tuple[Feed | None, str]:
        for address in self._here:
            if address.key == key and path.startswith(address.prefix):
                return self._feeds[address.exchange], path.removeprefix(address.prefix)
        return None, path

    def _response(self, answer: Answer) -> Response:
        body = answer.text()
        headers = {
            "Date": format_datetime(self._clock.now(), usegmt=True),
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **answer.headers,
        }
        return Response(answer.status, HTTPStatus(answer.status).phrase, Headers(headers), body)


async def run(
    settings: Settings, faults: Faults | None = None, listed: Mapping[str, Sequence[str]] | None = None
) -> None:
    """Serves until it is cancelled."""
    async with Emulator(settings, faults, listed) as emulator:
        await emulator.serve_forever()
