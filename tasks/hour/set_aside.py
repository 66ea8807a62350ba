"""What was set aside in bronze/rejected: by reason, and read anew into the hours that it belongs to.

Messages of the stream, rows of REST and lines of an hour are kept there as they came. A parser that has learnt more
since may understand them: what it makes of them becomes an object beside the hour's others, named after what it holds,
so that reading anew twice writes nothing twice. To the hour's tasks that is late evidence like any other.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import msgspec

from stream import any_rest, bronze
from stream.clock import hour_of
from stream.elements import UNREADABLE
from stream.errors import MessageError
from stream.lake import Lake, layout
from stream.wire import Candle, Misfit, Trade
from tasks.hour import sift

_PARTICULAR = re.compile(
    r"\b(?=[A-Z0-9]*[A-Z])(?:[A-Z0-9]{5,}|[A-Z0-9]{2,}[-/_][A-Z0-9]{2,})\b"  # a pair
    r"|[-+]?\d(?:[\dT:.eE+-]*\d)?Z?"  # a number, a time
)
_line = msgspec.json.Decoder(bronze.RejectedLine)
_Lines = list[tuple[str, bytes]]
"""Each with the folder that it belongs to."""


class Kind(NamedTuple):
    """What is set aside for the same reason: numbers and pairs in it are `…`."""

    exchange: str
    reason: str


@dataclass(slots=True)
class Tally:
    """Of one kind."""

    first: datetime
    last: datetime
    lines: int = 0
    readable: int = 0
    """Those that can be read now."""


@dataclass(slots=True)
class Found:
    """What `look` saw."""

    tallies: dict[Kind, Tally] = field(default_factory=dict)
    hours: set[datetime] = field(default_factory=set)
    """Those that got lines which they did not have."""


def look(lake: Lake, configured: Iterable[tuple[str, str]], *, again: bool) -> Found:
    """Reads all that is set aside; with `again`, what can be read is put into its hours. LakeError.

    Pairs are those that are configured or were ever recorded: nothing is put where no task would look.
    """
    found, pairs = Found(), _Pairs(lake, configured)
    for folder in lake.folders("bronze/rejected/"):
        for stored in lake.objects(f"bronze/rejected/{folder}/"):
            hour = layout.hour_in(stored.key)
            if hour is None:
                continue
            places: dict[str, list[bytes]] = {}
            for aside in _kept(lake.get(stored.key), folder.partition("=")[2], hour):
                read, whole = _anew(aside, hour, pairs)
                _count(found.tallies, aside, readable=whole)
                for place, line in read:
                    places.setdefault(place, []).append(line)
            for place, lines in sorted(places.items()) if again else ():
                data = b"".join(dict.fromkeys(lines))
                name = hashlib.blake2b(data, digest_size=8).hexdigest()
                about = layout.hour_in(place)
                if lake.create(f"{place}again-{name}.jsonl", data) and about is not None:
                    found.hours.add(about)
    return found


class _Pairs:
    """The pairs of each exchange: native symbol → canonical."""

    def __init__(self, lake: Lake, configured: Iterable[tuple[str, str]]) -> None:
        self._lake = lake
        self._configured: dict[str, list[str]] = {}
        for exchange, symbol in configured:
            self._configured.setdefault(exchange, []).append(symbol)
        self._known: dict[str, Mapping[str, str]] = {}

    def of(self, exchange: str) -> Mapping[str, str]:
        if exchange not in self._known:
            if not exchange.isalnum():
                return {}  # a damaged line's: no name of an exchange, and no folder
            recorded = self._lake.folders(f"bronze/stream/exchange={exchange}/")
            symbols = [folder.partition("=")[2] for folder in recorded] + self._configured.get(exchange, [])
            native = any_rest.reader(exchange).native_symbol
            self._known[exchange] = {native(symbol): symbol for symbol in symbols}
        return self._known[exchange]


def _kept(data: bytes, exchange: str, hour: datetime) -> Iterator[bronze.RejectedLine]:
    for line in data.splitlines():
        try:
            yield _line.decode(line)
        except UNREADABLE:
            yield bronze.RejectedLine(
                exchange=exchange,
                recv_ts=hour,
                conn=None,
                reason="damaged in the recorder's spool",
                message=line.decode(errors="backslashreplace"),
            )


def _anew(aside: bronze.RejectedLine, hour: datetime, pairs: _Pairs) -> tuple[_Lines, bool]:
    """What can be made of it now, and whether that is all of it."""
    try:
        if aside.conn is not None:
            return _message(aside, pairs.of(aside.exchange))
        found = _moved(aside.message.encode(), pairs) if aside.symbol is None else _row(aside, aside.symbol, hour)
    except (MessageError, *UNREADABLE):
        return [], False
    return found, bool(found)


def _message(aside: bronze.RejectedLine, symbols: Mapping[str, str]) -> tuple[_Lines, bool]:
    """Of the stream: the candles and trades in it, whether or not they were understood then."""
    if aside.reason.startswith(bronze.NOT_SUBSCRIBED):
        return [], False
    records = any_rest.reader(aside.exchange).parse_message(aside.message)
    known = [one for one in records if isinstance(one, Candle | Trade) and one.native_symbol in symbols]
    misfits = any(isinstance(one, Misfit) for one in records)
    return [_written(aside, symbols[one.native_symbol], one) for one in known], not misfits


def _row(aside: bronze.RejectedLine, symbol: str, hour: datetime) -> _Lines:
    """Of REST: what it is about must be over, and only of the hour that was asked about that is known."""
    reader = any_rest.reader(aside.exchange)
    place, line = _written(
        aside, symbol, reader.parse_row(reader.native_symbol(symbol), msgspec.Raw(aside.message.encode()))
    )
    return [(place, line)] if layout.hour_in(place) == hour else []


def _written(aside: bronze.RejectedLine, symbol: str, record: Candle | Trade) -> tuple[str, bytes]:
    """The line that would have been written then, and its folder."""
    write = bronze.candle_line if isinstance(record, Candle) else bronze.trade_line
    line = write(aside.exchange, symbol, record, aside.recv_ts, aside.conn)  # type: ignore[arg-type]
    folder = layout.rest_prefix if aside.conn is None else layout.stream_prefix
    return folder(aside.exchange, symbol, hour_of(line.interval_start)), bronze.encode(line)


def _moved(text: bytes, pairs: _Pairs) -> _Lines:
    """A line that lay in the folder of another hour or pair."""
    line = sift.decode(text)
    if line.interval_start is None or line.symbol not in pairs.of(line.exchange).values():
        return []
    hour = hour_of(line.interval_start)
    if sift.reason(text, line.exchange, [line.symbol], hour) is not None:
        return []
    return [(layout.stream_prefix(line.exchange, line.symbol, hour), text + b"\n")]


def _count(tallies: dict[Kind, Tally], aside: bronze.RejectedLine, *, readable: bool) -> None:
    why = re.sub(r"^bronze/\S+: ", "", aside.reason)  # of a line, the object that it lay in
    kind = Kind(aside.exchange, _PARTICULAR.sub("…", why))
    tally = tallies.setdefault(kind, Tally(aside.recv_ts, aside.recv_ts))
    tally.first, tally.last = min(tally.first, aside.recv_ts), max(tally.last, aside.recv_ts)
    tally.lines += 1
    tally.readable += readable
