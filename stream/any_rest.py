"""Any exchange: by its own module, or, where there is none, through ccxt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Protocol

import msgspec

from stream.clock import Clock
from stream.exchanges import EXCHANGES
from stream.long_tail.dialect import Dialect
from stream.rest import open_rest
from stream.wire import Candle, Fetched, Instrument, Record, Trade


class Rest(Protocol):
    """What can be asked. Several threads may do so."""

    def candles(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """What REST knows of `start <= interval_start < end`; RestError when it cannot be had."""

    def instruments(self) -> list[Instrument]:
        """The exchange's list of pairs; RestError when it cannot be had."""


class Reader(Protocol):
    """How what an exchange sent is read: see `stream.wire.Exchange`."""

    def native_symbol(self, symbol: str, /) -> str:
        """Canonical symbol → the exchange's spelling."""

    def parse_message(self, text: str | bytes, /) -> list[Record]:
        """A message of the stream → its records."""

    def parse_row(self, native: str, raw: msgspec.Raw, /) -> Candle | Trade:
        """A row of REST."""


def reader(exchange: str) -> Reader:
    """Of the exchange's messages and rows."""
    return EXCHANGES[exchange] if exchange in EXCHANGES else Dialect(exchange)


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
