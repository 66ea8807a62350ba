"""REST of any exchange: of its own module, or, where there is none, through ccxt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

from stream.clock import Clock
from stream.exchanges import EXCHANGES
from stream.rest import open_rest
from stream.wire import Fetched, Instrument


class Rest(Protocol):
    """What can be asked. Several threads may do so."""

    def candles(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """What REST knows of `start <= interval_start < end`; RestError when it cannot be had."""

    def instruments(self) -> list[Instrument]:
        """The exchange's list of pairs; RestError when it cannot be had."""


@contextmanager
def open_any(exchange: str, rest_url: str, clock: Clock) -> Iterator[Rest]:
    """A client of the exchange's REST interface; connects when it is asked something."""
    if exchange in EXCHANGES:
        with open_rest(EXCHANGES[exchange], rest_url, clock) as client:
            yield client
    else:
        from stream.long_tail.rest import (
            open_ccxt,  # who has no exchange of the long tail need not load ccxt, nor have it
        )

        with open_ccxt(exchange, rest_url, clock) as client:
            yield client
