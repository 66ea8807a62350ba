"""The bronze line: how what was received is written down, one JSON object a line.

Times are RFC 3339 UTC with `Z`; prices and volumes are JSON numbers that always carry a decimal point.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

import msgspec

from stream.clock import floor
from stream.wire import MINUTE, Candle, Silence, Trade

Number = float | msgspec.Raw
_encoder = msgspec.json.Encoder()


class CandleLine(msgspec.Struct, kw_only=True, gc=False):
    """A candle as it stood when it was received. Field meanings: docs/design.md, "The bronze line"."""

    exchange: str
    symbol: str
    native_symbol: str
    interval_minutes: int = 1
    event_type: Literal["snapshot", "update"]
    event_ts: datetime | None
    recv_ts: datetime
    interval_start: datetime
    interval_end: datetime
    is_final: bool | None
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    quote_volume: Number | None
    trade_count: int | None
    vwap: Number | None
    conn: str | None
    payload: str


class TradeLine(msgspec.Struct, kw_only=True, gc=False):
    """One trade, with the minute that it belongs to."""

    exchange: str
    symbol: str
    native_symbol: str
    interval_minutes: int = 1
    event_type: Literal["trade"] = "trade"
    event_ts: datetime
    recv_ts: datetime
    interval_start: datetime
    interval_end: datetime
    trade_id: int | None
    price: Number
    size: Number
    side: Literal["buy", "sell"]
    conn: str | None
    payload: str


class AliveLine(msgspec.Struct, kw_only=True, gc=False):
    """This subscription was live on one unbroken connection from `since` until after `interval_end`."""

    exchange: str
    symbol: str
    native_symbol: str
    interval_minutes: int = 1
    event_type: Literal["alive"] = "alive"
    event_ts: None = None
    recv_ts: datetime
    interval_start: datetime
    interval_end: datetime
    since: datetime
    conn: str


class StatusLine(msgspec.Struct, kw_only=True, gc=False):
    """Something happened to a connection, a subscription or the exchange: `status` is one word, `detail` a sentence.

    `connected`, `subscribed`, `refused`, `stale`, `lost`, `disconnected`, `exchange` (detail begins with the
    exchange's own word) come from the recorder; `answered` comes from REST and carries what the answer covers.
    `rejected` comes from both: what came about this pair, in this interval if there is one, could not be a candle.
    """

    exchange: str
    symbol: str
    native_symbol: str
    interval_minutes: int = 1
    event_type: Literal["status"] = "status"
    event_ts: None = None
    recv_ts: datetime
    interval_start: datetime | None = None
    interval_end: datetime | None = None
    conn: str | None
    status: Literal[
        "connected", "subscribed", "refused", "stale", "lost", "disconnected", "exchange", "answered", "rejected"
    ]
    detail: str
    asked_start: datetime | None = None
    asked_end: datetime | None = None
    covered_start: datetime | None = None
    covered_end: datetime | None = None
    silence: Silence | None = None
    previous_close: Number | None = None
    beyond_history: bool | None = None


NOT_SUBSCRIBED = "wrong symbol"
"""How the reason of a message begins that is about a pair of which nothing was subscribed: it is no riddle."""


class RejectedLine(msgspec.Struct, kw_only=True, gc=False):
    """A message that was not understood, or not wholly, verbatim, with the reason; of REST, the element.

    It is kept apart, under bronze/rejected.
    """

    exchange: str
    symbol: str | None = None
    """The pair that REST was asked about."""
    event_type: Literal["rejected"] = "rejected"
    recv_ts: datetime
    conn: str | None
    reason: str
    message: str


Line = CandleLine | TradeLine | AliveLine | StatusLine | RejectedLine


def encode(line: Line) -> bytes:
    """One line, newline included."""
    return _encoder.encode(line) + b"\n"


def candle_line(exchange: str, symbol: str, candle: Candle, recv_ts: datetime, conn: str | None) -> CandleLine:
    """A parsed candle → its line. `conn` is None for REST rows."""
    return CandleLine(
        exchange=exchange,
        symbol=symbol,
        native_symbol=candle.native_symbol,
        event_type=candle.event_type,
        event_ts=candle.event_ts,
        recv_ts=recv_ts,
        interval_start=candle.interval_start,
        interval_end=candle.interval_start + MINUTE,
        is_final=candle.is_final,
        open=number(candle.open),
        high=number(candle.high),
        low=number(candle.low),
        close=number(candle.close),
        volume=number(candle.volume),
        quote_volume=None if candle.quote_volume is None else number(candle.quote_volume),
        trade_count=candle.trade_count,
        vwap=None if candle.vwap is None else number(candle.vwap),
        conn=conn,
        payload=candle.payload,
    )


def trade_line(exchange: str, symbol: str, trade: Trade, recv_ts: datetime, conn: str | None) -> TradeLine:
    """A parsed trade → its line."""
    minute = floor(trade.event_ts, MINUTE)
    return TradeLine(
        exchange=exchange,
        symbol=symbol,
        native_symbol=trade.native_symbol,
        event_ts=trade.event_ts,
        recv_ts=recv_ts,
        interval_start=minute,
        interval_end=minute + MINUTE,
        trade_id=trade.trade_id,
        price=number(trade.price),
        size=number(trade.size),
        side=trade.side,
        conn=conn,
        payload=trade.payload,
    )


def number(value: float) -> Number:
    """A float that encodes as a JSON number with a decimal point and no exponent: readers that sniff types need it."""
    if value == 0 or 1e-3 <= abs(value) < 1e15:
        return value
    text = format(Decimal(repr(value)), "f")
    return msgspec.Raw((text if "." in text else text + ".0").encode())
