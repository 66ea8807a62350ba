"""Hours of candles in versions that a reader can tell apart: all of a version's prices are the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from tasks.rules import schemas
from tasks.rules.completeness import Completeness
from tasks.warehouse import rows

HOUR = datetime(2026, 11, 22, 7, tzinfo=UTC)
NEXT = HOUR + timedelta(hours=1)
MINUTE = timedelta(minutes=1)
PAIRS = [("binance", "BTC-USDT"), ("kraken", "ÄTH-EUR")]


def candles(hour: datetime = HOUR, price: float = 100.1, pairs: list[tuple[str, str]] = PAIRS) -> pa.Table:
    """Sixty candles per pair, all at one price, so that a reader can tell versions apart."""
    row: dict[str, Any] = dict.fromkeys(("open", "high", "low", "close", "volume"), price)
    row |= {"interval_seconds": 60, "quote_volume": None, "trade_count": None, "vwap": price, "source": "stream"}
    return pa.Table.from_pylist(
        [
            row
            | {"exchange": exchange, "symbol": symbol, "quote_asset": symbol.partition("-")[2]}
            | {"interval_start": start, "interval_end": start + MINUTE, "ingestion_ts": start + MINUTE}
            for exchange, symbol in pairs
            for start in (hour + MINUTE * number for number in range(60))
        ],
        schema=schemas.SILVER,
    )


def ledger(content: str = "a", hour: datetime = HOUR, pairs: list[tuple[str, str]] = PAIRS) -> list[Completeness]:
    """Complete hours whose content_hash is `content`."""
    return [
        Completeness(
            exchange=exchange,
            symbol=symbol,
            hour=hour,
            expected=60,
            stream=60,
            rest=0,
            empty=0,
            missing=0,
            content_hash=content,
        )
        for exchange, symbol in pairs
    ]


def bars(hour: datetime = HOUR, price: float = 100.1, pairs: list[tuple[str, str]] = PAIRS) -> pa.Table:
    """One candle of an hour per pair."""
    table = candles(hour, price, pairs).slice(0).to_pylist()[::60]
    return pa.Table.from_pylist(
        [row | {"interval_seconds": 3600, "interval_end": hour + timedelta(hours=1), "minutes": 60} for row in table],
        schema=rows.BARS,
    )
