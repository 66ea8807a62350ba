"""How the recorder of this machine is, by its spool and its last word."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

from stream import backlog
from stream.health import LinkHealth, Trouble
from stream.settings import Settings

_STALE = 60.0
"""Wall seconds after which a recorder that said nothing hangs: it says something every ten."""

State = Literal["none", "starting", "recording", "hanging", "stopped", "dead"]
"""No recorder ever used the spool; one has it, and said nothing yet, or something just now, or nothing for long; none
has it, and the last one said goodbye, or did not."""


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection, or the place of one."""

    name: str
    exchange: str
    pairs: int
    up: bool
    since: datetime
    reason: str


class Silent(msgspec.Struct, frozen=True, kw_only=True):
    """A pair of which nothing came for longer than is normal for it."""

    exchange: str
    symbol: str
    last_heard: datetime | None


class Recorder(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. Times are of the clock of the settings."""

    spool: str
    name: str
    state: State
    started: datetime | None
    said: datetime | None
    """Its last word."""
    last_heard: datetime | None
    """When the last candle or trade came, of any pair."""
    connections: list[Connection]
    silent_pairs: list[Silent]
    refused_pairs: list[str]
    """Such as `kraken BTC-USD`: the exchange will not have them."""
    unlisted_pairs: list[str]
    """The exchange did not list them, or they stand in [pairs] since after the start."""
    ailing: dict[str, Trouble]
    """Exchange → what it says of itself, while it is not well."""
    stopped: Trouble | None
    """Nothing is recorded, because the spool refuses."""
    uploads: Trouble | None
    """The lake does not take them."""
    last_upload: datetime | None
    backlog_bytes: int
    """What is in the spool and not in the lake."""
    backlog_age_seconds: float
    disk_free_bytes: int
    disk_lasts_seconds: float | None
    """How long it takes until the disk is full if nothing can be uploaded; None where nothing was recorded."""


def look(settings: Settings) -> Recorder:
    """At the spool that the settings name. SpoolError when it cannot be looked at."""
    folder, clock = Path(settings.stream.spool_dir), settings.clock
    taken, word, waiting = backlog.is_taken(folder), backlog.last_word(folder), backlog.measure(folder, clock)
    now, links = clock.now(), word.links if word else []
    state: State = "starting" if taken else "none"
    if word is not None:
        quiet = clock.wall_seconds((now - word.said).total_seconds())
        state = ("hanging" if quiet > _STALE else "recording") if taken else ("stopped" if word.ended else "dead")
    lived = (word.said - word.started).total_seconds() if word else 0.0
    written = word.written if word else 0
    return Recorder(
        spool=str(folder),
        name=word.recorder if word else settings.stream.recorder_id,
        state=state,
        started=word.started if word else None,
        said=word.said if word else None,
        last_heard=max((pair.heard for link in links for pair in link.pairs if pair.heard), default=None),
        connections=[
            Connection(
                name=link.name,
                exchange=link.exchange,
                pairs=len(link.pairs),
                up=link.up,
                since=link.since,
                reason=link.reason,
            )
            for link in links
        ],
        silent_pairs=_silent(links, word.said) if word else [],
        refused_pairs=[f"{link.exchange} {pair.symbol}" for link in links for pair in link.pairs if pair.refused],
        unlisted_pairs=_unlisted(settings, links) if links else [],
        ailing={link.exchange: link.ailing for link in links if link.ailing is not None},
        stopped=word.stopped if word else None,
        uploads=word.uploads if word else None,
        last_upload=word.uploaded if word else None,
        backlog_bytes=waiting.bytes,
        backlog_age_seconds=round(waiting.age.total_seconds(), 1),
        disk_free_bytes=waiting.free,
        disk_lasts_seconds=round(waiting.free * lived / written) if written and lived else None,
    )


def _silent(links: list[LinkHealth], then: datetime) -> list[Silent]:
    """When it said its last word: later, it may be the recorder that is silent."""
    return [
        Silent(exchange=link.exchange, symbol=pair.symbol, last_heard=pair.heard)
        for link in links
        for pair in link.silent(then)
    ]


def _unlisted(settings: Settings, links: list[LinkHealth]) -> list[str]:
    recorded = {(link.exchange, pair.symbol) for link in links for pair in link.pairs}
    configured = [(exchange, symbol) for exchange, symbols in settings.pairs.items() for symbol in symbols]
    return [f"{exchange} {symbol}" for exchange, symbol in configured if (exchange, symbol) not in recorded]
