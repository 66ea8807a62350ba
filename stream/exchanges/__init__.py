"""The exchanges: one module each, and this list of them. File name = id = key = path segment = column value."""

from __future__ import annotations

from stream.exchanges import binance, binanceus, bybit, coinbase, gate, kraken, okx
from stream.wire import Exchange

EXCHANGES: dict[str, Exchange] = {
    "binance": binance,
    "binanceus": binanceus,
    "bybit": bybit,
    "coinbase": coinbase,
    "gate": gate,
    "kraken": kraken,
    "okx": okx,
}


def consecutive_ids(exchange: str) -> bool:
    """Whether the exchange numbers a pair's trades one by one, so that a number left out is a trade that is missing."""
    rules = EXCHANGES[exchange].TRADES if exchange in EXCHANGES else None
    return rules is not None and rules.consecutive_ids
