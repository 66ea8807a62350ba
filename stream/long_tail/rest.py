"""REST of the long tail: the only file that uses ccxt's synchronous clients. To be imported where one is needed.

What ccxt calls a network error is tried again, as in `stream/rest.py`, and an exchange that does not answer at all is
left alone for the rest of the run.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import ccxt
import msgspec

from stream.backoff import attempts
from stream.clock import Clock
from stream.errors import RestError, UnknownPair
from stream.long_tail import dialect
from stream.pages import Row, learnt, starts
from stream.wire import MINUTE, Fetched, Instrument, milliseconds

_T = TypeVar("_T")


@contextmanager
def open_ccxt(exchange: str, rest_url: str, clock: Clock) -> Iterator[CcxtRest]:
    """A client of the exchange's REST interface, through ccxt; connects when it is asked something."""
    client = getattr(ccxt, exchange)(dialect.CONFIG)
    dialect.prepare(client, rest_url, "", clock)
    client.milliseconds = lambda: milliseconds(clock.now())  # some exchanges are asked relative to now
    with closing(client):
        yield CcxtRest(exchange, client, clock)


class CcxtRest:
    """REST of one exchange. ccxt's clients are not made for threads: one is served after another."""

    def __init__(self, exchange: str, client: Any, clock: Clock) -> None:
        self._id = exchange
        self._dialect = dialect.Dialect(exchange)
        self._client = client
        self._clock = clock
        self._chance = random.Random()  # noqa: S311  # nothing to keep secret
        self._turn = threading.Lock()
        self._given_up: str | None = None

    def candles(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """What REST knows of `start <= interval_start < end`; RestError when it cannot be had."""
        with self._turn:
            if not self._client.has["fetchOHLCV"] or "1m" not in (self._client.timeframes or {}):
                raise RestError(f"{self._id}: ccxt has no 1-minute candles of this exchange over REST.")
            natives = {one.symbol: one.native_symbol for one in self._listed()}
            if symbol not in natives:
                raise UnknownPair(f"{self._id} does not list {symbol}, says ccxt.")
            rows = list(self._rows(natives[symbol], start, end))
        return learnt(rows, start, end, now=self._clock.now(), silence="no_trade_if_alive")

    def instruments(self) -> list[Instrument]:
        """The exchange's list of pairs; RestError when it cannot be had."""
        with self._turn:
            return self._listed()

    def _listed(self) -> list[Instrument]:
        return dialect.instruments(self._ask(self._client.load_markets))  # loaded once

    def _rows(self, native: str, start: datetime, end: datetime) -> Iterator[Row]:
        """Pages, oldest first, until a row behind the range, or the page behind the range's end.

        A page without rows ends nothing: some exchanges answer about as many minutes as a page has rows, silent or not.
        The row before the range gives the previous close, the row behind it proves that the last minute is over.
        """
        step = dialect.page(self._client, native)
        first = start - MINUTE
        while first <= end:
            since = milliseconds(first)
            page = self._ask(partial(self._client.fetch_ohlcv, native, "1m", since, step))
            rows = self._dialect.candles(
                native, "snapshot", [msgspec.Raw(msgspec.json.encode(row)) for row in page or []]
            )
            yield from rows
            newest = max(starts(rows), default=first)
            first = newest + MINUTE if newest >= first and rows else first + step * MINUTE

    def _ask(self, question: Callable[[], _T]) -> _T:
        """The answer to one request, after as many attempts as it takes and is allowed."""
        if self._given_up:
            raise RestError(self._given_up)
        try:
            for attempt in attempts(_may_pass, self._clock, self._chance):
                with attempt:
                    return question()
        except ccxt.NetworkError as error:
            self._given_up = (
                f"{self._id} could not be read through ccxt: {_said(error)}. What is missing is asked for again by a "
                f"later run; check [exchange_{self._id}] rest_url if it persists."
            )
            raise RestError(self._given_up) from error
        except ccxt.BadSymbol as error:
            raise UnknownPair(f"{self._id} does not list this pair, says ccxt: {_said(error)}") from error
        except ccxt.BaseError as error:
            raise RestError(f"{self._id} refused, says ccxt: {_said(error)}") from error
        except Exception as error:
            raise RestError(f"ccxt does not understand what {self._id} answered: {_said(error)}") from error
        raise AssertionError("the loop above returns or raises")


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, ccxt.NetworkError)


def _said(error: Exception) -> str:
    return f"{type(error).__name__} {' '.join(str(error).split())[:300]}"
