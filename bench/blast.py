"""Binance's combined stream: `python -m bench.blast PORT PAIRS [PACE]`. Sends as fast as the client takes it.

With a pace, so many messages a second, in small bunches.
Also answers `GET /api/v3/exchangeInfo`, which the recorder asks for before it dials.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from datetime import UTC, datetime

import msgspec
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.http11 import Request, Response

from bench import market
from stream.clock import hour_of
from stream.exchanges import binance

_AT_ONCE = 64
"""Messages per write: about 25 kB."""
_WAITING = 1 << 20
"""Bytes that may wait for the client, so that a pong is never far behind."""


class Blast:
    """Frames that were rendered beforehand, over and over."""

    def __init__(self, pairs: list[str], pace: float) -> None:
        self._wait = _AT_ONCE / pace if pace else 0.0
        self._listing = market.listing(pairs)
        start = hour_of(datetime.now(UTC))
        by_pair = [market.messages(binance.native_symbol(pair), start, 1) for pair in pairs]
        frames = [_frame(text) for updates in zip(*by_pair, strict=True) for _, text in updates]
        self._blobs = [b"".join(frames[n : n + _AT_ONCE]) for n in range(0, len(frames), _AT_ONCE)]

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:  # noqa: ARG002
        """The list of pairs; None lets a handshake go on."""
        if "Upgrade" in request.headers:
            return None
        headers = Headers({"Content-Length": str(len(self._listing)), "Connection": "close"})
        return Response(200, "OK", headers, self._listing)

    async def attend(self, connection: ServerConnection) -> None:
        """Acknowledge the first subscription, then send until the client has had enough."""
        try:
            asked = msgspec.json.decode(await connection.recv())
            await connection.send(msgspec.json.encode({"result": None, "id": asked["id"]}).decode())
            for blob in itertools.cycle(self._blobs):
                connection.transport.write(blob)
                await connection.drain()
                await asyncio.sleep(self._wait)  # pings are answered in between
                if connection.transport.is_closing():
                    return
        except ConnectionClosed:
            return


def _frame(text: str) -> bytes:
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=False)


async def main(port: int, pairs: int, pace: float) -> None:
    """Serves until it is ended."""
    blast = Blast(market.symbols(pairs), pace)
    async with serve(
        blast.attend,
        "127.0.0.1",
        port,
        process_request=blast.answer,
        compression=None,
        close_timeout=1,
        ping_interval=None,
        write_limit=_WAITING,
    ):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0))
