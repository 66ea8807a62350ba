"""Whether ccxt reads an exchange's stream truly: it must have said the same as the exchange's REST, a few times.

A module of ours is written from documents and tested with recorded messages. ccxt reads a hundred exchanges; now and
then it takes the quote volume for the volume, or a candle's end for its start, and some exchange may not send what the
last trades of a minute changed. REST, asked for the finished candle, shows all of that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from stream.long_tail import dialect
from stream.wire import from_milliseconds

log = logging.getLogger(__name__)

_NEEDED = 3
"""Candles with trades in which stream and REST agreed one after another."""
_PAIRS = 3
"""Pairs that are looked at in one minute: each costs a request."""


class Trust:
    """In one exchange, for as long as the recorder runs."""

    def __init__(self, exchange: str) -> None:
        self.given = False
        self._exchange = exchange
        self._agreed: set[tuple[str, int]] = set()
        self._complained = False

    async def examine(self, exchange: Any, finished: Mapping[str, Sequence[Sequence[Any]]]) -> None:
        """Compares finished candles of some pairs (ccxt's spelling → rows of the stream, sorted) with those of REST."""
        fresh = {
            native: [row for row in rows if row[5] and (native, row[0]) not in self._agreed]
            for native, rows in finished.items()
        }
        for native in [native for native, rows in fresh.items() if rows][:_PAIRS]:
            try:
                await self._compare(exchange, native, fresh[native])
            except Exception as error:  # noqa: BLE001  # whatever ccxt makes of an answer, the next minute asks again
                self._doubt(f"REST, which it is compared with, could not be read: {type(error).__name__} {error}")
                return
        if len(self._agreed) >= _NEEDED and not self.given:
            log.info("%s: what ccxt reads from the stream is what REST says: it counts", self._exchange)
            self.given = True

    async def _compare(self, exchange: Any, native: str, rows: Sequence[Sequence[Any]]) -> None:
        page = await exchange.fetch_ohlcv(native, "1m", rows[0][0], dialect.page(exchange, native))
        fetched = {row[0]: row for row in page}
        for row in rows:
            if row[0] not in fetched:
                continue  # not there yet, or no longer
            different = dialect.difference(row, fetched[row[0]])
            if different is not None:
                self._agreed.clear()
                start = from_milliseconds(row[0])
                self._doubt(f"{native} {start:%Y-%m-%dT%H:%MZ}: {different}")
                return
            self._agreed.add((native, row[0]))

    def _doubt(self, reason: str) -> None:
        if not self._complained:
            self._complained = True
            log.warning(
                "%s: what ccxt reads from the stream does not count until it agrees with REST, where its minutes come "
                "from meanwhile: %s",
                self._exchange,
                reason,
            )
