"""The trades behind a bar, and the candle as it grows with them."""

from __future__ import annotations

import bisect
import functools
import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from stream.emulator.bar import UNIT, Bar
from stream.emulator.chance import chance

_PUSH = 2
"""Seconds between two pushes of a growing candle."""


@dataclass(frozen=True, slots=True)
class Trade:
    """One trade behind a bar."""

    moment: datetime
    trade_id: int
    price: Decimal
    size: Decimal


def trades(bar: Bar) -> list[Trade]:
    """Trades that make up exactly this bar: count, volume and prices; its vwap as near as rounding allows."""
    return [
        Trade(bar.start + timedelta(seconds=seconds), bar.first_trade_id + index, price, units * UNIT)
        for index, (seconds, (price, units)) in enumerate(zip(_seconds(bar), _deals(bar), strict=True))
    ]


def _deals(bar: Bar) -> list[tuple[Decimal, int]]:
    """(price, units) of each trade.

    The corners of the candle (open, extremes, close) are one trade each and the others trade at the vwap; the volume
    that this leaves lies on the high and the low, in the proportion that makes the mean come out.
    """
    corners = _corners(bar)
    if not corners:
        return []
    fillers = bar.trade_count - len(corners)
    units = int(bar.volume / UNIT)
    each = units // bar.trade_count
    price = min(max(bar.vwap.quantize(bar.open), bar.low), bar.high)
    rest = units - fillers * each
    mean = (bar.vwap * units - price * fillers * each) / rest
    first, *others = zip(corners, _sizes(corners, rest, mean), strict=True)
    deals = [(price, each)] * fillers
    for place, extreme in enumerate(others[:-1]):
        deals.insert(fillers * (place + 1) // 3 + place, extreme)
    return [first, *deals, *others[-1:]]


def _corners(bar: Bar) -> list[Decimal]:
    """The prices that must be traded at, in order."""
    if bar.trade_count < 2:
        return [bar.open] * bar.trade_count
    extremes = [price for price in (bar.low, bar.high) if price not in (bar.open, bar.close)]
    return [bar.open, *(extremes if bar.close >= bar.open else extremes[::-1]), bar.close]


def _sizes(corners: list[Decimal], units: int, mean: Decimal) -> list[int]:
    low, high = min(corners), max(corners)
    spare = units - len(corners)
    upper = round(spare * min(max((mean - low) / (high - low), Decimal(0)), Decimal(1))) if high > low else 0
    sizes = [1] * len(corners)
    sizes[corners.index(high)] += upper
    sizes[corners.index(low)] += spare - upper
    return sizes


def _seconds(bar: Bar) -> list[float]:
    """When the trades are: even over the minute, away from its edges, no two in one microsecond."""
    phase = chance(0, "phase", bar.start, bar.volume)
    apart = 59.8 / max(bar.trade_count, 1)
    return [0.05 + apart * (index + phase) for index in range(bar.trade_count)]


@functools.lru_cache(maxsize=512)
def updates(bar: Bar) -> tuple[tuple[float, Bar], ...]:
    """(seconds into the minute, the candle so far): the open alone, then one every 2 seconds, then the bar itself."""
    deals, seconds = _deals(bar), _seconds(bar)
    if not deals:
        return ()
    states: list[tuple[float, Bar]] = []
    high = low = bar.open
    done, units, quote = 0, 0, Decimal(0)
    for push in _pushes(bar, seconds):
        upto = bisect.bisect_right(seconds, push) if done else 1
        if upto <= done:
            continue
        prices = [price for price, _ in deals[done:upto]]
        high, low = max(high, *prices), min(low, *prices)
        units += sum(size for _, size in deals[done:upto])
        quote += sum(price * size for price, size in deals[done:upto])
        partial = replace(bar, high=high, low=low, close=prices[-1], trade_count=upto)
        states.append((push, _weighed(partial, units * UNIT, quote * UNIT)))
        done = upto
    return (*states[:-1], (states[-1][0], bar))


def _pushes(bar: Bar, seconds: list[float]) -> list[float]:
    """With the first trade, with the last, and every 2 seconds between them, at a beat of the bar's own."""
    first, last = (math.ceil(one * 1000) / 1000 for one in (seconds[0], seconds[-1]))
    beat = _PUSH * chance(0, "beat", bar.start, bar.volume)
    between = [round(beat + _PUSH * count, 3) for count in range(60 // _PUSH)]
    return [first, *(one for one in between if first < one < last), last]


def _weighed(bar: Bar, volume: Decimal, quote: Decimal) -> Bar:
    share = volume / bar.volume
    return replace(
        bar,
        volume=volume,
        quote_volume=min(quote.quantize(UNIT), bar.quote_volume),
        vwap=min(max((quote / volume).quantize(bar.vwap), bar.low), bar.high),
        taker_volume=(bar.taker_volume * share).quantize(UNIT),
        taker_quote_volume=(bar.taker_quote_volume * share).quantize(UNIT),
    )
