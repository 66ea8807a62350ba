"""A market to measure with: the texts that Binance would send about a pair, and the lake lines that they become."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from stream import bronze
from stream.exchanges import binance
from stream.lake import layout
from stream.wire import EPOCH, MINUTE, Candle

UPDATES_A_MINUTE = 60
_LATENCY = timedelta(milliseconds=120)


def symbols(count: int) -> list[str]:
    """That many pairs with names of the usual length."""
    return [f"C{number:03d}-USDT" for number in range(count)]


def messages(native: str, start: datetime, minutes: int) -> Iterator[tuple[datetime, str]]:
    """(when it was sent, text) of the pair's stream: an update a second, the last of each minute final."""
    chance = random.Random(native)  # noqa: S311  # a market, not a secret
    price = chance.uniform(0.5, 60_000)
    trade = chance.randrange(10**9)
    for minute in range(minutes):
        opened = start + minute * MINUTE
        first, bar, volume, quote = trade, [price] * 3, 0.0, 0.0
        for update in range(1, UPDATES_A_MINUTE + 1):
            price *= 1 + chance.gauss(0, 1e-4)
            bar[1], bar[2] = max(bar[1], price), min(bar[2], price)
            size = chance.expovariate(1)
            trade, volume, quote = trade + chance.randrange(1, 40), volume + size, quote + size * price
            sent = opened + update * timedelta(seconds=60 / UPDATES_A_MINUTE) + timedelta(milliseconds=2)
            values = (bar[0], price, bar[1], bar[2], volume, quote)
            yield sent, _text(native, opened, sent, first, trade, update == UPDATES_A_MINUTE, values)


def _text(
    native: str, opened: datetime, sent: datetime, first: int, last: int, final: bool, values: tuple[float, ...]
) -> str:
    o, c, h, low, v, q = (f"{value:.8f}" for value in values)
    begin = _milliseconds(opened)
    kline = (
        f'{{"t":{begin},"T":{begin + 59_999},"s":"{native}","i":"1m","f":{first},"L":{last},"o":"{o}","c":"{c}",'
        f'"h":"{h}","l":"{low}","v":"{v}","n":{last - first},"x":{str(final).lower()},"q":"{q}",'
        f'"V":"{v}","Q":"{q}","B":"0"}}'
    )
    head = f'"stream":"{native.lower()}@kline_1m","data":{{"e":"kline","E":{_milliseconds(sent)},"s":"{native}"'
    return f'{{{head},"k":{kline}}}}}'


def lines(symbol: str, start: datetime, minutes: int) -> Iterator[tuple[datetime, bytes]]:
    """(when it was received, line) of the pair, as the recorder would have written them."""
    for sent, text in messages(binance.native_symbol(symbol), start, minutes):
        (candle,) = binance.parse_message(text)
        assert isinstance(candle, Candle)
        heard = sent + _LATENCY
        yield heard, bronze.encode(bronze.candle_line(binance.ID, symbol, candle, heard, "bench/1"))


def record(root: Path, symbol: str, hour: datetime) -> int:
    """Writes one pair-hour as the recorder would have, uncompressed; returns its bytes."""
    path = root / layout.stream_key(binance.ID, symbol, hour, "bench", 1, ".jsonl")
    path.parent.mkdir(parents=True)
    return path.write_bytes(b"".join(line for _, line in lines(symbol, hour, 60)))


def listing(pairs: list[str]) -> bytes:
    """What `GET /api/v3/exchangeInfo` answers about these pairs."""
    listed = [
        {
            "symbol": binance.native_symbol(pair),
            "status": "TRADING",
            "baseAsset": pair.split("-")[0],
            "quoteAsset": pair.split("-")[1],
        }
        for pair in pairs
    ]
    return msgspec.json.encode({"symbols": listed})


def _milliseconds(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)
