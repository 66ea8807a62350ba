"""A recorder's health, as it leaves it beside its lines: stream/vitals.py writes it, stream/backlog.py reads it.

Times and durations are of the recorder's clock.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

WORD = "health.json"
"""The file in the spool's folder."""
_LEAST = timedelta(minutes=10)
_LONGER = 3
"""A pair is silent when it has been quiet for so many times as long as ever lately, and for `_LEAST` anyway."""


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Something that goes on: a sentence, and since when."""

    reason: str
    since: datetime


class PairHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One pair."""

    symbol: str
    heard: datetime | None
    """When its last candle or trade came."""
    quiet: float
    """Seconds of the longest silence that it broke lately."""
    refused: bool = False
    """The exchange will not have it."""


class LinkHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A place at an exchange, which one connection after another fills."""

    name: str
    exchange: str
    up: bool
    since: datetime
    """Since when it is up, or down."""
    reason: str = ""
    """Why the last connection ended."""
    ailing: Trouble | None = None
    """What the exchange says of itself, while it is not well."""
    pairs: list[PairHealth]

    def silent(self, now: datetime) -> list[PairHealth]:
        """Its pairs of which nothing came for longer than is normal for them; of a link that is down, none."""
        return [
            pair
            for pair in self.pairs
            if self.up and not pair.refused and now - max(pair.heard or self.since, self.since) > _patience(pair)
        ]


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    recorder: str
    started: datetime
    said: datetime
    """The moment of this word."""
    ended: bool = False
    """It stopped in an orderly way: this is its last word."""
    stopped: Trouble | None = None
    """Nothing is recorded, because the spool refuses."""
    uploads: Trouble | None = None
    """The lake does not take them."""
    uploaded: datetime | None = None
    """When a segment last came into the lake."""
    written: int = 0
    """Bytes that were recorded since the start."""
    links: list[LinkHealth] = []


def _patience(pair: PairHealth) -> timedelta:
    return max(_LEAST, _LONGER * timedelta(seconds=pair.quiet))
