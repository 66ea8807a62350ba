"""Emulated exchanges for tests: settings that point at them, and what a client hears and reads there."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from stream.emulator.bar import Bar
from stream.emulator.venues import VENUES
from stream.settings import Settings, parse
from stream.wire import MINUTE, Candle, Exchange, Fetched, Record, Response
from tests.sim.loop import LoopClock

FIRST = datetime(2025, 11, 10, 12, 17, tzinfo=UTC)
"""First minute of the real candles."""
END = FIRST + 720 * MINUTE
PAIRS = ["BTC-USDT", "ETH-USDT"]
"""Of every exchange. BTC-USDT of Binance and Kraken is real, the others are walks."""


def configure(start: datetime, speed: float) -> Settings:
    """Settings whose exchanges live on one free port of this machine, from a simulated moment on, at a speed."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        here = f"127.0.0.1:{one.getsockname()[1]}"
    clock = f"[clock]\nsimulated_start = {start.isoformat()}\nwall_start = {datetime.now(UTC).isoformat()}\n"
    return parse(_text(here) + clock + f"speed = {speed}\n", Path("luigi.cfg"))


def in_memory(start: datetime) -> Settings:
    """The same for the virtual loop: its network, its time."""
    return msgspec.structs.replace(parse(_text("127.0.0.1:1"), Path("luigi.cfg")), clock=LoopClock(start))


def _text(here: str) -> str:
    text = "[lake]\nroot = lake\n[pairs]\n" + "".join(f"{exchange} = {json.dumps(PAIRS)}\n" for exchange in VENUES)
    for exchange in VENUES:
        text += f"[exchange_{exchange}]\nws_url = ws://{here}/{exchange}\nrest_url = http://{here}/{exchange}\n"
    return text


def listen(settings: Settings, module: Exchange, native: list[str], seconds: float) -> asyncio.Task[list[Record]]:
    """Subscribes as the recorder does; the records of that many seconds, or until the connection is cut."""

    async def heard() -> list[Record]:
        records: list[Record] = []
        url = module.stream_url(settings.exchanges[module.ID].ws_url)
        try:
            async with asyncio.timeout(seconds), connect(url) as connection:
                if module.STREAM.greeting is not None:
                    await connection.send(module.STREAM.greeting)
                step = module.STREAM.pairs_per_request
                for first in range(0, len(native), step):
                    await connection.send(module.subscribe(native[first : first + step], 7 + first))
                pinging = asyncio.create_task(_keep_alive(connection, module))
                try:
                    async for text in connection:
                        records += module.parse_message(text)
                finally:
                    pinging.cancel()
        except TimeoutError:
            pass
        return records

    return asyncio.create_task(heard())


async def _keep_alive(connection: ClientConnection, module: Exchange) -> None:
    """Says what some exchanges want to hear regularly."""
    while (keepalive := module.STREAM.keepalive) is not None:
        await asyncio.sleep(keepalive.every)
        await connection.send(keepalive.text)


async def fetch(settings: Settings, module: Exchange, symbol: str, start: datetime, end: datetime) -> Fetched:
    """Runs the exchange module's own dialogue against the emulator."""
    dialogue = module.fetch_candles(symbol, start, end)
    async with httpx.AsyncClient(base_url=settings.exchanges[module.ID].rest_url) as client:
        request = next(dialogue)
        while True:
            got = await client.get(request.path, params=request.query)
            response = Response(
                status=got.status_code,
                body=got.content,
                server_time=parsedate_to_datetime(got.headers["Date"]),
                recv_ts=settings.clock.now(),
            )
            assert module.refusal(response) is None
            try:
                request = dialogue.send(response)
            except StopIteration as stop:
                fetched: Fetched = stop.value
                return fetched


def equals(candle: Candle, bar: Bar | None) -> bool:
    """Whether the candle says exactly what the bar is; what the exchange does not send is not compared."""
    assert bar is not None
    assert candle.interval_start == bar.start
    said = (candle.open, candle.high, candle.low, candle.close, candle.volume)
    true = tuple(map(float, (bar.open, bar.high, bar.low, bar.close, bar.volume)))
    if candle.trade_count not in (None, bar.trade_count):
        return False
    quote = candle.quote_volume is None or candle.quote_volume == float(bar.quote_volume)
    return said == true and quote and (candle.vwap is None or candle.vwap == float(bar.vwap))


def candles_of(records: list[Record], native: str) -> Iterator[Candle]:
    """The candles among the records."""
    return (one for one in records if isinstance(one, Candle) and one.native_symbol == native)
