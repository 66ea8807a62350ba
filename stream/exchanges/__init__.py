"""The exchanges: one module each, and this list of them. File name = id = key = path segment = column value.

Others are read through the library ccxt. Which ones it knows is read off its file names: importing it takes its time.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from datetime import timedelta

from stream.clock import HOUR
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


def streams_trades(exchange: str) -> bool:
    """Whether trades come over its websocket, not candles."""
    rules = EXCHANGES[exchange].TRADES if exchange in EXCHANGES else None
    return rules is not None and rules.streamed


def consecutive_ids(exchange: str) -> bool:
    """Whether the exchange numbers a pair's trades one by one, so that a number left out is a trade that is missing."""
    rules = EXCHANGES[exchange].TRADES if exchange in EXCHANGES else None
    return rules is not None and rules.consecutive_ids


def together(exchange: str) -> timedelta:
    """How far apart minutes may be that REST is asked about in one question."""
    return EXCHANGES[exchange].REST.together if exchange in EXCHANGES else HOUR


def known_to_ccxt() -> frozenset[str] | None:
    """The ids of the exchanges that ccxt knows; None where it is not installed."""
    spec = importlib.util.find_spec("ccxt")
    if spec is None:
        return None
    folder = spec.submodule_search_locations or []
    return frozenset(module.name for module in pkgutil.iter_modules(folder) if not module.ispkg)
