"""The lines that a connection writes about its pairs, made from what is known already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from stream import bronze
from stream.wire import MINUTE, Candle, Trade

Status = Literal["connected", "subscribed", "refused", "stale", "lost", "disconnected", "exchange", "rejected"]


class Lines:
    """Those of one connection. `symbols` maps native to canonical spelling: the pairs that it carries."""

    def __init__(self, exchange: str, symbols: Mapping[str, str], name: str) -> None:
        self._exchange = exchange
        self._symbols = symbols
        self._name = name

    def record(self, record: Candle | Trade, now: datetime) -> bytes:
        """A candle or a trade of one of the pairs."""
        symbol = self._symbols[record.native_symbol]
        if isinstance(record, Candle):
            return bronze.encode(bronze.candle_line(self._exchange, symbol, record, now, self._name))
        return bronze.encode(bronze.trade_line(self._exchange, symbol, record, now, self._name))

    def status(
        self,
        status: Status,
        detail: str,
        now: datetime,
        natives: Iterable[str] | None = None,
        minute: datetime | None = None,
    ) -> bytes:
        """A status line for each of these pairs, or for all; about a minute of theirs, or in general."""
        return b"".join(
            bronze.encode(
                bronze.StatusLine(
                    exchange=self._exchange,
                    symbol=self._symbols[native],
                    native_symbol=native,
                    recv_ts=now,
                    interval_start=minute,
                    interval_end=None if minute is None else minute + MINUTE,
                    conn=self._name,
                    status=status,
                    detail=detail,
                )
            )
            for native in (self._symbols if natives is None else natives)
        )

    def alive(self, native: str, minute: datetime, since: datetime, now: datetime) -> bytes:
        """The subscription was live from `since` until after the minute."""
        return bronze.encode(
            bronze.AliveLine(
                exchange=self._exchange,
                symbol=self._symbols[native],
                native_symbol=native,
                recv_ts=now,
                interval_start=minute,
                interval_end=minute + MINUTE,
                since=since,
                conn=self._name,
            )
        )

    def rejected(self, message: bytes, now: datetime, reason: str) -> bytes:
        """The message, verbatim."""
        return bronze.encode(
            bronze.RejectedLine(
                exchange=self._exchange,
                recv_ts=now,
                conn=self._name,
                reason=reason,
                message=message.decode(errors="backslashreplace"),
            )
        )
