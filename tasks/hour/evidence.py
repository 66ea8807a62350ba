"""Evidence: which recorded objects there are about an hour, as a fingerprint that results carry.

A result is up to date when it was made from the evidence that exists now. A process looks once at what the recorder
has uploaded for an hour and stands by it: what arrives while it works is the next run's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from stream.lake import Lake, Stored, layout

RULES = "3"
"""Part of every fingerprint: raised when the rules of choosing change, so that hours are judged anew."""

_seen: dict[tuple[str, str, str, datetime], list[Stored]] = {}


def recorded(lake: Lake, exchange: str, symbols: Iterable[str], hour: datetime) -> dict[str, list[Stored]]:
    """Symbol → the stream objects of the hour, as this process first saw them; listed by pair, never by wildcard."""
    wanted = list(symbols)
    unseen = [symbol for symbol in wanted if (lake.root, exchange, symbol, hour) not in _seen]
    listed = lake.read_each(lambda symbol: _lines(lake, layout.stream_prefix(exchange, symbol, hour)), unseen)
    _seen.update({(lake.root, exchange, symbol, hour): found for symbol, found in zip(unseen, listed, strict=True)})
    return {symbol: _seen[(lake.root, exchange, symbol, hour)] for symbol in wanted}


def answered(lake: Lake, exchange: str, symbols: Iterable[str], hour: datetime) -> dict[str, list[Stored]]:
    """Symbol → the REST objects of the hour, as they are now."""
    wanted = list(symbols)
    listed = lake.read_each(lambda symbol: _lines(lake, layout.rest_prefix(exchange, symbol, hour)), wanted)
    return dict(zip(wanted, listed, strict=True))


def look_again() -> None:
    """Forget what was seen: the next look is a new one."""
    _seen.clear()


def fingerprints(objects: dict[str, list[Stored]]) -> dict[str, str]:
    """Symbol → fingerprint of its objects. Objects are never changed, so name and size tell them apart."""
    return {symbol: fingerprint(*(f"{one.key} {one.size}" for one in found)) for symbol, found in objects.items()}


def fingerprint(*parts: str) -> str:
    """A short digest of these texts, in this order."""
    return hashlib.blake2b("\n".join((RULES, *parts)).encode(), digest_size=12).hexdigest()


def _lines(lake: Lake, prefix: str) -> list[Stored]:
    return [one for one in lake.objects(prefix) if one.key.endswith((".jsonl", ".jsonl.zst"))]
