"""The elements of a message or an answer, one by one: what is no candle and no trade costs itself only. Pure.

How rows are read: known columns by their place, further ones ignored; fewer, or others of another kind, are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec

from stream.errors import MessageError
from stream.wire import EPOCH, MINUTE, Candle, Misfit, Novelty, Trade

UNREADABLE = (msgspec.DecodeError, OverflowError, ValueError, RecursionError)
"""What decoding something that an exchange sent may raise."""
_BAD = (*UNREADABLE, MessageError)
ABSENT = msgspec.Raw(b"")
"""A field that was not sent."""
Number = float | str | None
"""A number that may be missing: it may also be empty, or written as text."""

_ROUNDED = 0.005
"""Exchanges round volumes: the mean price that follows from them may be off by this share ..."""
_CENT = 0.01
"""... and by this much of the quote currency, where next to nothing was traded."""
_MOST = 2**31 - 1
"""Trades of a minute, as columns hold them."""
_HIGHEST = 2**63 - 1
"""The same of a trade's number."""
_FIRST, _LAST = datetime(2009, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""Times of candles. What would be far beyond them as seconds since the epoch, is milliseconds."""
_columns = msgspec.json.Decoder(list[msgspec.Raw])
_T = TypeVar("_T")


class Ohlcv(msgspec.Struct, array_like=True, gc=False):
    """How a row begins at most exchanges: start in milliseconds, prices, volume. A subclass has the columns behind."""

    start: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class About(NamedTuple):
    """How an element that cannot be read is asked what it is about: its native symbol, and its time."""

    symbol: Callable[[Any], Any]
    time: Callable[[Any], Any]
    """Seconds or milliseconds since the epoch, as a number or as text; or ISO 8601."""


def each(raws: Sequence[msgspec.Raw], read: Callable[[msgspec.Raw], _T], about: About) -> list[_T | Misfit]:
    """What `read` makes of each; a misfit where it raises MessageError, or one of `UNREADABLE`."""
    try:
        return [read(raw) for raw in raws]  # as it is nearly always, at full speed
    except _BAD:
        return [_one(raw, read, about) for raw in raws]


def _one(raw: msgspec.Raw, read: Callable[[msgspec.Raw], _T], about: About) -> _T | Misfit:
    try:
        return read(raw)
    except _BAD as error:
        return misfit(raw, error, about)


def misfit(raw: msgspec.Raw, error: Exception, about: About) -> Misfit:
    """The element, and all that can still be told about it."""
    payload = bytes(raw).decode(errors="backslashreplace")
    native, minute = None, None
    with suppress(*UNREADABLE, LookupError, TypeError, AttributeError):
        element = msgspec.json.decode(raw)
        with suppress(*UNREADABLE, LookupError, TypeError, AttributeError):
            minute = _minute(about.time(element))
        native = about.symbol(element)
    return Misfit(
        native_symbol=native if isinstance(native, str) else None,
        minute=minute,
        reason=str(error),
        payload=payload,
    )


def beyond(raws: Sequence[msgspec.Raw], columns: int) -> list[Novelty]:
    """A novelty where one of these rows has more columns than are known."""
    found = 0
    for raw in raws:
        with suppress(*UNREADABLE):
            found = max(found, len(_columns.decode(raw)))
    if found <= columns:
        return []
    return [Novelty(what=f"rows have {found} columns, {columns} are known: what the new ones mean is not")]


def number(value: Number) -> float | None:
    """None for what is missing or empty; one of `UNREADABLE` is raised for what is no number."""
    return None if value is None or value == "" else msgspec.convert(value, float, strict=False)


def count(value: Number) -> int | None:
    """The same for a whole number, however it is written."""
    return None if value is None or value == "" else msgspec.convert(value, int, strict=False)


def _minute(value: object) -> datetime | None:
    """The minute that this moment lies in."""
    if isinstance(value, str) and "-" in value:
        moment = datetime.fromisoformat(value)
        return None if moment.tzinfo is None else _floor(moment.astimezone(UTC))
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    since = float(value)
    moment = EPOCH + timedelta(seconds=since if since < _LAST.timestamp() else since / 1000)
    return _floor(moment) if _FIRST <= moment < _LAST else None


def _floor(moment: datetime) -> datetime:
    return moment - (moment - EPOCH) % MINUTE


def check_candle(candle: Candle) -> Candle:
    """The candle itself, or MessageError naming what no real candle can have."""
    o, h, low, c, v, q = candle.open, candle.high, candle.low, candle.close, candle.volume, candle.quote_volume
    count, mean = candle.trade_count, candle.vwap
    if not (0 < low <= o <= h < math.inf and low <= c <= h):
        raise MessageError(
            f"{candle.native_symbol} {candle.interval_start:%Y-%m-%dT%H:%M:%SZ}: open {o}, high {h}, low {low}, "
            f"close {c} cannot be one candle (0 < low <= open, close <= high)"
        )
    if not 0 <= v < math.inf:
        raise MessageError(f"{candle.native_symbol} {candle.interval_start}: the volume {v} is not a quantity")
    if q is not None and not low * v * (1 - _ROUNDED) - _CENT <= q <= h * v * (1 + _ROUNDED) + _CENT:
        raise MessageError(
            f"{candle.native_symbol} {candle.interval_start:%Y-%m-%dT%H:%M:%SZ}: the quote volume {q} over the volume "
            f"{v} is no price between low {low} and high {h}: the two may be swapped, or mean something else"
        )
    if count is not None and not 0 <= count <= _MOST:
        raise MessageError(f"{candle.native_symbol} {candle.interval_start}: {count} is no number of trades")
    if mean is not None and not 0 < mean < math.inf:
        raise MessageError(f"{candle.native_symbol} {candle.interval_start}: the vwap {mean} is not a price")
    start = candle.interval_start
    if not _FIRST <= start < _LAST:
        raise MessageError(f"{candle.native_symbol}: {start.isoformat()} is no time of a candle")
    if start.second or start.microsecond:
        raise MessageError(f"{candle.native_symbol}: the interval start {start.isoformat()} is not on the minute")
    return candle


def check_trade(trade: Trade) -> Trade:
    """The trade itself, or MessageError naming what no real trade can have."""
    if not (0 < trade.price < math.inf and 0 < trade.size < math.inf):
        raise MessageError(
            f"{trade.native_symbol}: the trade {trade.trade_id} has price {trade.price} and size {trade.size}; "
            "both must be more than 0"
        )
    if not _FIRST <= trade.event_ts < _LAST:
        raise MessageError(f"{trade.native_symbol}: {trade.event_ts.isoformat()} is no time of a trade")
    if trade.trade_id is not None and not 0 <= trade.trade_id <= _HIGHEST:
        raise MessageError(f"{trade.native_symbol}: {trade.trade_id} is no trade's number")
    return trade
