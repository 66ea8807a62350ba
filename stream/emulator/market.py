"""The truth of one exchange: which candle belongs to which minute. Nothing here knows what was sent to whom.

BTC-USDT of Binance and Kraken is real (`candles/`) and exists only from 2025-11-10 12:17 to 2025-11-11 00:16 UTC;
every other pair is a seeded walk without end. Either way a minute is a pure function of its name.
"""

from __future__ import annotations

import csv
import functools
import itertools
from array import array
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib import resources

from stream.clock import floor
from stream.emulator.bar import EPOCH, MINUTE, UNIT, Bar, flat, number
from stream.emulator.chance import chance
from stream.emulator.trades import updates

LISTED = datetime(2017, 1, 1, tzinfo=UTC)
"""The first minute of a walk."""
_SILENT = 0.03
"""Share of silent minutes in a walk."""
_DAY = 1440
"""Minutes of a day."""
_BUSY = 19.5
"""How many trades a traded minute of a walk has on average, apart from the one that makes it one."""
_WAVES = ((1, 0.0003), (5, 0.0005), (29, 0.002), (181, 0.008), (1117, 0.03), (6701, 0.12))
"""The walk is a sum of waves: minutes between two of a wave's random heights, and how far they reach."""
_PRICES = {
    "BTC": Decimal("105000.0"),
    "ETH": Decimal("3500.00"),
    "SOL": Decimal("160.00"),
    "XRP": Decimal("2.4000"),
    "DOGE": Decimal("0.18000"),
    "ADA": Decimal("0.57000"),
}
"""About where the well-known ones were in November 2025, in dollars, so that a rehearsal looks familiar."""


@functools.lru_cache(maxsize=32)
def market(exchange: str, *, seed: int = 0, silent: float = 0.0) -> Market:
    """The one that others have asked for already, if they have: it remembers what it has worked out."""
    return Market(exchange, seed=seed, silent=silent)


class Market:
    """The candles of one exchange. `silent` is the share of further silent minutes in the walks."""

    def __init__(self, exchange: str, *, seed: int = 0, silent: float = 0.0) -> None:
        self.exchange = exchange
        self._seed = seed
        self._silent = _SILENT + silent
        self._daily = _DAY + round(_DAY * _BUSY * max(0.0, 1 - self._silent))
        self._walked = functools.lru_cache(maxsize=16_384)(self._walk)
        self._counted = functools.lru_cache(maxsize=4096)(self._count)
        self._height = functools.lru_cache(maxsize=4096)(self._chance)

    def span(self, symbol: str) -> tuple[datetime, datetime]:
        """The first minute of the pair, and the minute after its last."""
        real = _real(self.exchange, symbol)
        return (min(real), max(real) + MINUTE) if real else (LISTED, datetime.max.replace(tzinfo=UTC))

    def bar(self, symbol: str, minute: datetime) -> Bar | None:
        """The finished candle of that minute; None before and after the pair's span."""
        real = _real(self.exchange, symbol)
        if real:
            return real.get(minute)
        return self._walked(symbol, number(minute)) if minute >= LISTED else None

    def at(self, symbol: str, moment: datetime) -> Bar | None:
        """The candle of the minute that `moment` lies in, as it stands at that moment: flat until somebody trades."""
        minute = floor(moment, MINUTE)
        whole = self.bar(symbol, minute)
        if whole is None:
            return None
        seconds = (moment - minute).total_seconds()
        so_far = [state for offset, state in updates(whole) if offset <= seconds]
        before = self.bar(symbol, minute - MINUTE)
        return so_far[-1] if so_far else flat(minute, before.close if before else whole.open)

    def bars(self, symbol: str, first: datetime, last: datetime, now: datetime) -> list[Bar]:
        """The candles of the minutes `first` to `last`, both included, up to the open one as it stands now."""
        begin, end = self.span(symbol)
        minute, found = max(first, begin), []
        while minute <= last and minute < end and minute <= now:
            bar = self.bar(symbol, minute) if minute + MINUTE <= now else self.at(symbol, now)
            assert bar is not None
            found.append(bar)
            minute += MINUTE
        return found

    def _walk(self, symbol: str, at: int) -> Bar:
        start = EPOCH + at * MINUTE
        _, scale = _centre(self._seed, symbol)
        before = self._close(symbol, at - 1)
        if self._is_silent(symbol, at):
            return flat(start, before * scale)
        close = self._level(symbol, at)
        day, place = divmod(at, _DAY)
        earlier, upto = self._counted(symbol, day)[place : place + 2]
        count = upto - earlier
        start_price = close if count == 1 else before + int(3 * self._chance("open", symbol, at)) - 1
        reach = 6 if count >= 4 else 0  # fewer trades cannot touch more prices than open and close
        high = max(start_price, close) + int(reach * self._chance("high", symbol, at))
        low = min(start_price, close) - int(reach * self._chance("low", symbol, at))
        mean = (low + int((high - low + 1) * self._chance("vwap", symbol, at))) * scale
        spent = count * (10 + 990 * self._chance("volume", symbol, at))
        volume = int(spent / float(mean) / float(UNIT)) * UNIT
        quote = (mean * volume).quantize(UNIT)
        taken = Decimal(int(100 * self._chance("taker", symbol, at))) / 100
        return Bar(
            start=start,
            open=start_price * scale,
            high=high * scale,
            low=low * scale,
            close=close * scale,
            volume=volume,
            quote_volume=quote,
            trade_count=count,
            vwap=mean,
            taker_volume=(volume * taken).quantize(UNIT),
            taker_quote_volume=(quote * taken).quantize(UNIT),
            first_trade_id=1 + (day - number(LISTED) // _DAY) * self._daily + earlier,
        )

    def _count(self, symbol: str, day: int) -> array[int]:
        """How many trades of that day there were before each of its minutes, and at its end.

        Every day of a walk has the same number of trades: so all of them are numbered one by one without a jump, and
        nobody has to count from the first day. One trade makes a minute a traded one, the others fall as they may.
        """
        minutes = range(day * _DAY, (day + 1) * _DAY)
        traded = [not self._is_silent(symbol, at) for at in minutes]
        weights = [
            1 + int(1000 * self._chance("count", symbol, at) ** 2) if so else 0
            for at, so in zip(minutes, traded, strict=True)
        ]
        spare, total = self._daily - sum(traded), sum(weights)
        before = zip(itertools.accumulate(traded, initial=0), itertools.accumulate(weights, initial=0), strict=True)
        return array("I", (first + spare * weight // total for first, weight in before))

    def _close(self, symbol: str, at: int) -> int:
        """The last price at the end of that minute, in ticks."""
        while self._is_silent(symbol, at):
            at -= 1
        return self._level(symbol, at)

    def _is_silent(self, symbol: str, at: int) -> bool:
        # Somebody always trades at midnight: so the way back to the last trade is never longer than a day.
        return at % _DAY != 0 and self._chance("silent", symbol, at) < self._silent

    def _level(self, symbol: str, at: int) -> int:
        """The walk's price, in ticks. Only + and * of floats: the same on every machine."""
        height = 1.0
        for period, reach in _WAVES:
            place, step = divmod(at, period)
            here, there = self._height(period, symbol, place), self._height(period, symbol, place + 1)
            height += reach * (2 * (here + (there - here) * step / period) - 1)
        ticks, _ = _centre(self._seed, symbol)
        return round(ticks * height)

    def _chance(self, kind: object, symbol: str, at: int) -> float:
        return chance(self._seed, kind, self.exchange, symbol, at)


@functools.cache
def _centre(seed: int, symbol: str) -> tuple[int, Decimal]:
    """Where the pair's walk is centred, in ticks, and the tick."""
    base, _, quote = symbol.partition("-")
    digits = 10_000 + int(90_000 * chance(seed, "price", symbol))
    price = Decimal(digits).scaleb(-2 - int(5 * chance(seed, "scale", symbol)))
    if base in _PRICES and quote.startswith(("USD", "EUR")):
        price = _PRICES[base]
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int)
    tick = Decimal(1).scaleb(exponent)
    return int(price / tick), tick


@functools.cache
def _real(exchange: str, symbol: str) -> dict[datetime, Bar]:
    file = resources.files("stream.emulator") / "candles" / f"{exchange}-{symbol}.csv"
    if not file.is_file():
        return {}
    with file.open(encoding="ascii") as text:
        bars = [_read(row) for row in csv.DictReader(text)]
    firsts = itertools.accumulate((bar.trade_count for bar in bars), initial=1)
    return {bar.start: replace(bar, first_trade_id=first) for bar, first in zip(bars, firsts, strict=False)}


def _read(row: dict[str, str]) -> Bar:
    """Binance writes the quote volume, Kraken the vwap: the other one follows from it."""
    volume = Decimal(row["volume"])
    quote = Decimal(row["quote_volume"]) if "quote_volume" in row else (volume * Decimal(row["vwap"])).quantize(UNIT)
    return Bar(
        start=datetime.fromisoformat(row["interval_start"]),
        open=Decimal(row["open"]),
        high=Decimal(row["high"]),
        low=Decimal(row["low"]),
        close=Decimal(row["close"]),
        volume=volume,
        quote_volume=quote,
        trade_count=int(row["trade_count"]),
        vwap=Decimal(row["vwap"]) if "vwap" in row else (quote / volume if volume else Decimal("0.0")),
        taker_volume=Decimal(row.get("taker_volume", "0")),
        taker_quote_volume=Decimal(row.get("taker_quote_volume", "0")),
    )
