"""The uploader: turns sealed segments of the spool into objects of the lake, one per pair-hour, step by step.

A segment is removed only after all of its objects are in the lake. A crash in between repeats the same objects.
"""

from __future__ import annotations

import logging
import random
from array import array
from collections.abc import Iterator
from datetime import datetime
from typing import Literal

import msgspec
import pyarrow

from stream.backoff import delays
from stream.clock import Clock, hour_of, lasted
from stream.disk import Content
from stream.health import Trouble
from stream.lake import Lake, layout
from stream.spool import Spool
from stream.wire import from_milliseconds

log = logging.getLogger(__name__)

_LEVEL = 3


class _Head(msgspec.Struct, gc=False):
    """What decides where a line goes. Times stay text: their first 13 characters are the hour."""

    exchange: str
    event_type: str
    recv_ts: str
    symbol: str | None = None
    interval_start: str | None = None


_head = msgspec.json.Decoder(_Head)
_Place = tuple[str, str | None, str]


class Uploader:
    """Uploads in order. Its failures never reach the recording."""

    def __init__(
        self,
        *,
        spool: Spool,
        lake: Lake,
        recorder: str,
        compression: Literal["zstd", "none"],
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self._spool = spool
        self._lake = lake
        self._recorder = recorder
        self._compressed = compression == "zstd"
        self._clock = clock
        self._chance = chance
        self._failing: Iterator[float] | None = None
        self.trouble: Trouble | None = None
        """Why nothing is uploaded."""
        self.uploaded: datetime | None = None
        """When a segment last came into the lake."""

    def step(self) -> float | None:
        """The oldest sealed segment, if there is one. When to call again: see `stream.background.Step`."""
        try:
            waiting = self._spool.sealed()
            if not waiting:
                return None
            self.upload(waiting[0])
        except Exception as error:  # noqa: BLE001  # whatever it was, the segment is still here: try again
            if self._failing is None:
                self._failing = delays(1, 60, self._chance)
                self.trouble = Trouble(reason=str(error), since=self._clock.now())
                log.error("uploads wait, recording goes on: %s", error)  # noqa: TRY400  # a sentence, no trace
            return self._clock.wall_seconds(next(self._failing))
        self.uploaded = self._clock.now()
        if self.trouble is not None:
            log.info(
                "uploads work again, after %s; %d segments to catch up",
                lasted(self.trouble.since, self.uploaded),
                len(waiting) - 1,
            )
        self._failing = self.trouble = None
        return 0.0

    def upload(self, segment: int) -> None:
        """One segment → its objects; then it is removed."""
        with self._spool.content(segment) as content:
            self._put_all(content, segment)
        self._spool.remove(segment)

    def _put_all(self, content: Content, segment: int) -> None:
        suffix = ".jsonl.zst" if self._compressed else ".jsonl"
        places = split(content, recorder=self._recorder, segment=segment, suffix=suffix)

        def put(key: str) -> None:
            body = b"".join(lines(content, places[key]))
            if segment in self._spool.inherited:
                body = self._added(key, body)
            self._lake.put(key, compress(body) if key.endswith(".zst") else body)

        self._lake.each(put, sorted(places))

    def _added(self, key: str, body: bytes) -> bytes:
        """What is there, and behind it what is not: a disk may bring back less than was uploaded."""
        if self._lake.tail(key, 1) is None:
            return body
        there = self._lake.get(key)
        if key.endswith(".zst"):
            there = decompress(there)
        known = set(there.splitlines(keepends=True))
        return there + b"".join(line for line in body.splitlines(keepends=True) if line not in known)


def split(content: Content, *, recorder: str, segment: int, suffix: str) -> dict[str, array[int]]:
    """A segment → the objects that it becomes: key → start and end of each line that belongs there.

    Only positions are kept, because a segment may be larger than what should be held in memory.
    """
    places: dict[_Place, array[int]] = {}
    start = 0
    while start < len(content):
        end = content.find(b"\n", start) + 1 or len(content)
        place = _place(content[start:end])
        if place not in places:
            places[place] = array("Q")
        places[place].extend((start, end))
        start = end
    objects: dict[str, array[int]] = {}
    for place, spans in places.items():
        objects.setdefault(_key(place, recorder, segment, suffix), array("Q")).extend(spans)
    return objects


def lines(content: Content, spans: array[int]) -> Iterator[bytes]:
    """The lines at these positions."""
    return (content[start:end] for start, end in zip(spans[::2], spans[1::2], strict=True))


def compress(body: bytes) -> bytes:
    """One zstd frame; the same bytes for the same body."""
    compressed: bytes = pyarrow.Codec("zstd", _LEVEL).compress(body, asbytes=True)
    return compressed


def decompress(data: bytes) -> bytes:
    """What `compress` was given."""
    with pyarrow.CompressedInputStream(pyarrow.BufferReader(data), "zstd") as stream:
        body: bytes = stream.read()
    return body


_DAMAGED: _Place = ("", None, "")


def _place(line: bytes) -> _Place:
    """Exchange, symbol (None for rejected messages) and hour, as text."""
    try:
        head = _head.decode(line)
    except msgspec.DecodeError:
        return _DAMAGED
    if head.event_type == "rejected":
        return (head.exchange, None, head.recv_ts[:13])
    return (head.exchange, head.symbol, (head.interval_start or head.recv_ts)[:13]) if head.symbol else _DAMAGED


def _key(place: _Place, recorder: str, segment: int, suffix: str) -> str:
    exchange, symbol, hour_text = place
    try:
        hour = datetime.fromisoformat(f"{hour_text}:00+00:00")
    except ValueError:  # the disk gave back something else than was written
        hour = hour_of(from_milliseconds(segment))
        return layout.rejected_key("unknown", hour, f"{recorder}-{segment:013d}-damaged.txt")
    if symbol is None:
        return layout.rejected_key(exchange, hour, f"{recorder}-{segment:013d}.jsonl")
    return layout.stream_key(exchange, symbol, hour, recorder, segment, suffix)
