"""Binance.US spot: Binance's protocol on other hosts, with other limits, and its own books.

Source: binance-us-api-docs (2024-06). That silent minutes have flat rows here too is not confirmed.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from stream.exchanges import binance
from stream.exchanges.binance import (
    TRADES,
    instruments_request,
    native_symbol,
    parse_instruments,
    parse_message,
    parse_row,
    refusal,
    stream_url,
    subscribe,
    unsubscribe,
)
from stream.wire import Fetching, RestRules, StreamRules

__all__ = [
    "FLAGS_FINAL",
    "ID",
    "REST",
    "REST_URL",
    "STREAM",
    "TRADES",
    "WS_URL",
    "fetch_candles",
    "instruments_request",
    "native_symbol",
    "parse_instruments",
    "parse_message",
    "parse_row",
    "refusal",
    "stream_url",
    "subscribe",
    "unsubscribe",
]

ID = "binanceus"
WS_URL = "wss://stream.binance.us:9443"
REST_URL = "https://api.binance.us"
FLAGS_FINAL = True
STREAM = StreamRules(
    pairs_per_connection=1024,
    pairs_per_request=200,
    requests_per_second=4,
    lifetime=24 * 3600,
    idle=240,  # documented server ping: every 3 minutes
    stale=600,  # pairs are thin, and a flat candle for a silent minute is not confirmed
    reconnect=2,
)
REST = RestRules(requests_per_second=8)  # weight 1 of 1,200 a minute


def fetch_candles(symbol: str, start: datetime, end: datetime) -> Fetching:
    """As Binance's; but a minute without a row may have been silent, if the stream was alive and silent too."""
    fetched = yield from binance.fetch_candles(symbol, start, end)
    return msgspec.structs.replace(fetched, silence="no_trade_if_alive")
