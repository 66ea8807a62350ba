"""The exchanges that the emulator imitates: one file each, and this list of them."""

from __future__ import annotations

from collections.abc import Callable

from stream.emulator.market import Market
from stream.emulator.venue import Venue
from stream.emulator.venues.binance import Binance
from stream.emulator.venues.bybit import Bybit
from stream.emulator.venues.coinbase import Coinbase
from stream.emulator.venues.gate import Gate
from stream.emulator.venues.kraken import Kraken
from stream.emulator.venues.okx import Okx

VENUES: dict[str, Callable[[str, Market, tuple[str, ...]], Venue]] = {
    "binance": Binance,
    "binanceus": Binance,
    "bybit": Bybit,
    "coinbase": Coinbase,
    "gate": Gate,
    "kraken": Kraken,
    "okx": Okx,
}
