"""What an emulated exchange must be able to do, without a socket, a clock or a fault: text in, text out."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from stream.emulator.bar import EPOCH, Bar
from stream.emulator.faults import Emission, Finality
from stream.emulator.market import Market


@dataclass(eq=False)
class Session:
    """One websocket connection, as the exchange remembers it. `channels` are kept in the order of subscription."""

    number: int
    target: str
    opened: datetime
    channels: dict[str, None] = field(default_factory=dict)
    heard: float = 0.0
    """When the client last said something, in wall seconds of the event loop."""
    told: float = 0.0
    """When it was last told something."""
    messages: int = 0
    """How many messages were numbered, where the exchange numbers them."""


@dataclass(frozen=True, kw_only=True)
class Manners:
    """How the exchange treats its connections. Each `timedelta` but `deaf` is a reason to hang up; None: it is none."""

    lifetime: timedelta | None = None
    """The connection is that old."""
    heartbeat: str | None = None
    """Said every second to subscribers, when nothing else is. A pattern of `strftime`, for those that tell the time."""
    heartbeat_channel: str | None = None
    """Where heartbeats are subscribed like a pair: only these subscribers are sent them, whatever else is said."""
    first_request: timedelta | None = None
    """Nothing has been subscribed for so long."""
    client_silence: timedelta | None = None
    """The client said nothing for so long, pushes or not."""
    idle: timedelta | None = None
    """Neither side said anything for so long."""
    deaf: timedelta | None = None
    """The client said nothing for so long: it is not sent any pushes until it does."""

    @property
    def watchful(self) -> timedelta | None:
        """How often the exchange looks whether somebody is due a heartbeat or has been silent for too long."""
        if self.heartbeat is not None:
            return timedelta(seconds=1)
        limits = [limit for limit in (self.first_request, self.client_silence, self.idle) if limit is not None]
        return min(limits) / 6 if limits else None


@dataclass(frozen=True)
class Answer:
    """An answer to a REST request."""

    body: object
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def text(self) -> bytes:
        """The body as it goes over the wire."""
        return encode(self.body).encode()


class Venue(Protocol):
    """One exchange: its market, its list of pairs, its words. Moments are the exchange's time."""

    exchange: str
    market: Market
    symbols: tuple[str, ...]
    finality: Finality
    manners: Manners

    def serves(self, target: str, /) -> bool:
        """Whether this path takes websockets."""

    def welcome(self, session: Session, /) -> list[str]:
        """What is said, or subscribed, on connecting."""

    def reply(self, session: Session, text: str, now: datetime, /) -> list[str]:
        """The answers to a client's text; the session's channels change with it."""

    def channel(self, symbol: str, /) -> str:
        """What a session has in its `channels` when it wants this pair."""

    def planned(self, bar: Bar, /) -> list[Emission]:
        """What a faultless exchange sends for this minute, in the order of sending."""

    def message(self, symbol: str, emission: Emission, /) -> str:
        """The text of a candle, or of trades."""

    def framed(self, session: Session, symbol: str, message: str, /) -> str:
        """The text as this session is sent it; where messages are numbered, this takes the session's next number."""

    def get(self, path: str, query: dict[str, str], now: datetime, /) -> Answer:
        """The answer to a REST request."""

    def refused(self) -> Answer:
        """The answer to a REST request that is one too many."""


def encode(body: object) -> str:
    """Compact JSON, as the exchanges write it."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


def since_epoch(moment: datetime, unit: timedelta) -> int:
    """Whole milliseconds, seconds, ... since the epoch."""
    return (moment - EPOCH) // unit
