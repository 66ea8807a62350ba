"""What the library ccxt says about the long tail, in our words. Nothing here imports ccxt, which takes its time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from stream import elements
from stream.clock import Clock
from stream.errors import MessageError
from stream.wire import Candle, Instrument, Misfit, Record, TradeRules, from_milliseconds

CONFIG = {"enableRateLimit": True, "timeout": 20_000}
"""What every ccxt object is made with."""

Kind = Literal["snapshot", "update"]
Row = tuple[int, float, float, float, float, float]
"""ccxt's candle: milliseconds of the start, open, high, low, close, volume in the base currency."""
_CLOSE = 1e-9
"""Share by which two prices may differ and be the same: floats."""
_ROUNDED = 1e-6
"""The same for volumes, which are rounded here and there."""

_ROWS = 100
"""Rows of a page, where ccxt does not know."""


_row = msgspec.json.Decoder(elements.Ohlcv)


class _Said(msgspec.Struct):
    symbol: str
    kind: Kind
    row: msgspec.Raw


_said = msgspec.json.Decoder(_Said)


def native_symbol(symbol: str) -> str:
    """`BTC-USDT` → `BTC/USDT`, which is how ccxt spells spot pairs of every exchange."""
    return symbol.replace("-", "/")


def instruments(markets: Mapping[str, Mapping[str, Any]]) -> list[Instrument]:
    """The spot pairs of `exchange.markets`. Only what is said to be closed (`active` false) is not open for trading."""
    return [
        Instrument(
            symbol=f"{market['base']}-{market['quote']}".upper(),
            native_symbol=market["symbol"],
            trading=market.get("active") is not False,
        )
        for market in markets.values()
        if market.get("spot") and market.get("base") and market.get("quote")
    ]


def prepare(exchange: Any, rest_url: str, ws_url: str, clock: Clock) -> None:
    """Makes a new ccxt object ours: spot pairs only, our addresses where there are some, the pace of our clock."""
    exchange.urls = redirected(exchange.urls, rest_url, ws_url)
    fetching = exchange.options.get("fetchMarkets")
    types = fetching.get("types") if isinstance(fetching, dict) else None
    if types and "spot" in types:  # the futures are on other hosts here and there, and lists of megabytes
        fetching["types"] = ["spot"] if isinstance(types, list) else {"spot": True}
    if clock.speed != 1:
        exchange.rateLimit, exchange.tokenBucket = clock.wall_seconds(exchange.rateLimit), None
        exchange.init_rest_rate_limiter()


def redirected(urls: Any, rest_url: str, ws_url: str) -> Any:
    """ccxt's `urls` with scheme and host of each address replaced; an empty address leaves those of its kind alone."""
    if isinstance(urls, dict):
        return {key: redirected(value, rest_url, ws_url) for key, value in urls.items()}
    if isinstance(urls, list):
        return [redirected(value, rest_url, ws_url) for value in urls]
    if not isinstance(urls, str):
        return urls
    scheme, _, path, query, fragment = urlsplit(urls)
    base = {"https": rest_url, "http": rest_url, "wss": ws_url, "ws": ws_url}.get(scheme)
    return base + urlunsplit(("", "", path, query, fragment)) if base else urls


def said(native: str, kind: Kind, row: Sequence[object]) -> bytes:
    """What a `Dialect` reads: a candle of ccxt's as a message. The row's own text is what `payload` will be."""
    return msgspec.json.encode({"symbol": native, "kind": kind, "row": row})


class Dialect:
    """An exchange of the long tail, as an intake must know it."""

    TRADES: TradeRules | None = None

    def __init__(self, id_: str) -> None:
        self.ID = id_

    def native_symbol(self, symbol: str) -> str:
        """ccxt's spelling."""
        return native_symbol(symbol)

    def parse_message(self, text: str | bytes) -> list[Record]:
        """`{"symbol":"BTC/USDT","kind":"update","row":[1762777200000,106038.1,106044.3,106038.1,106040.1,0.083]}`"""
        try:
            message = _said.decode(text)
        except elements.UNREADABLE as error:
            raise MessageError(f"{self.ID} through ccxt: {error}") from error
        return [*self.candles(message.symbol, message.kind, [message.row])]

    def candles(self, native: str, kind: Kind, rows: Sequence[msgspec.Raw]) -> list[Candle | Misfit]:
        """Rows' texts → the candles."""
        about = elements.About(symbol=lambda _: native, time=itemgetter(0))
        return elements.each(rows, lambda row: self._candle(native, kind, row), about)

    def parse_row(self, native: str, raw: msgspec.Raw) -> Candle:
        """A row as ccxt gives it."""
        return self._candle(native, "snapshot", raw)

    def _candle(self, native: str, kind: Kind, text: msgspec.Raw) -> Candle:
        """ccxt drops final flag, count, vwap and quote volume, also where there are some."""
        row = _row.decode(text)
        return elements.check_candle(
            Candle(
                native_symbol=native,
                event_type=kind,
                event_ts=None,
                interval_start=from_milliseconds(row.start),
                is_final=None,
                open=row.open,
                high=row.high,
                low=row.low,
                close=row.close,
                volume=row.volume,
                payload=bytes(text).decode(),
            )
        )


def cached(ohlcvs: Mapping[str, Any], native: str) -> Sequence[Sequence[Any]]:
    """The 1-minute candles of a pair in `exchange.ohlcvs`, oldest first.

    They are under the pair and the timeframe; where only one timeframe can be had, under any other word, or right
    under the pair.
    """
    found = ohlcvs.get(native)
    if isinstance(found, dict):
        found = found.get("1m", next(iter(found.values())) if len(found) == 1 else None)
    return found if isinstance(found, list) else []


def page(exchange: Any, native: str) -> int:
    """Rows that the exchange gives at once over REST, as far as ccxt knows."""
    limit = exchange.feature_value(native, "fetchOHLCV", "limit")
    return limit if isinstance(limit, int) and limit > 0 else _ROWS


def is_row(row: Sequence[Any]) -> bool:
    """Six numbers, the first of which is whole, and whatever comes behind them."""
    return len(row) >= 6 and isinstance(row[0], int) and all(isinstance(value, int | float) for value in row[:6])


def went_back(before: Sequence[Any], after: Sequence[Any]) -> bool:
    """Of two rows about the same minute, the second one has less volume: they were overtaken, or it was corrected."""
    return is_row(before) and is_row(after) and bool(after[5] < before[5] * (1 - _CLOSE))


def difference(streamed: Sequence[float], fetched: Sequence[float]) -> str | None:
    """What two rows about the same minute do not agree on; None where they say the same."""
    for name, place, share in (
        ("open", 1, _CLOSE),
        ("high", 2, _CLOSE),
        ("low", 3, _CLOSE),
        ("close", 4, _CLOSE),
        ("volume", 5, _ROUNDED),
    ):
        if not math.isclose(streamed[place], fetched[place], rel_tol=share):
            return f"{name} {streamed[place]} on the stream, {fetched[place]} over REST"
    return None
