"""One minute of a market: the finished candle, and nothing about how it is sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNIT = Decimal("0.00000001")
"""The smallest quantity that either exchange writes."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A 1-minute candle, with every digit of the exchange. `trade_count` 0 is a silent minute, flat, vwap 0.0."""

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    quote_volume: Decimal
    trade_count: int
    vwap: Decimal
    taker_volume: Decimal = 0 * UNIT
    taker_quote_volume: Decimal = 0 * UNIT
    first_trade_id: int = 0
    """The pair's trades are numbered one by one, over all its minutes; means nothing where there was no trade."""


def flat(start: datetime, close: Decimal) -> Bar:
    """The minute in which nobody traded."""
    return Bar(start, close, close, close, close, 0 * UNIT, 0 * UNIT, 0, Decimal("0.0"))


def number(minute: datetime) -> int:
    """The minute's number since the epoch."""
    return (minute - EPOCH) // MINUTE
