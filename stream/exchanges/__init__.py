"""The exchanges: one module each, and this list of them. File name = id = key = path segment = column value."""

from __future__ import annotations

from stream.exchanges import binance, binanceus, coinbase, kraken
from stream.wire import Exchange

EXCHANGES: dict[str, Exchange] = {
    "binance": binance,
    "binanceus": binanceus,
    "coinbase": coinbase,
    "kraken": kraken,
}
