"""Completeness: what is known about one hour of one pair. An entry of the ledger that is published with the candles."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Completeness(msgspec.Struct, frozen=True, kw_only=True):
    """How many of the hour's expected minutes have which verdict, and why the missing ones are missing."""

    exchange: str
    symbol: str
    hour: datetime
    expected: int
    stream: int
    rest: int
    empty: int
    missing: int
    missing_minutes: tuple[datetime, ...] = ()
    causes: tuple[str, ...] = ()
    """Parallel to `missing_minutes`."""
    content_hash: str
    """Digest of what is published: equal digests, equal content."""

    @property
    def completion_rate(self) -> float:
        """Share of the expected minutes that are not missing, 0 to 1."""
        return 1.0 if not self.expected else (self.expected - self.missing) / self.expected


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Minutes of some hours of an exchange that are missing for the same reason."""

    exchange: str
    cause: str
    minutes: int
    pairs: int
    first_hour: datetime
    last_hour: datetime


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """How many of an hour's expected minutes have which verdict, all pairs together."""

    hour: datetime
    pairs: int
    expected: int
    stream: int
    rest: int
    empty: int
    missing: int
