"""What to do with an hour's bad lines: the good ones are read without them, they are kept aside, with the reason.

Nearly no hour has any, so that nothing here happens before DuckDB has stumbled, or called a row invalid. Bad lines
become an object per file and kind under bronze/rejected, named after the file's: a second run writes the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import msgspec
import pyarrow as pa

from stream import bronze
from stream.clock import hour_of
from stream.elements import UNREADABLE
from stream.lake import Lake, layout

Files = dict[str, Path]
"""Object key → the local file with its lines."""
Bad = tuple[int, int, str]
"""A line: from where to where it goes, and what is wrong with it."""
_Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class Line(msgspec.Struct, gc=False):
    """As sql/duckdb/read_lines.sql types it; what is optional there is optional here."""

    exchange: str
    symbol: str
    event_type: str
    recv_ts: datetime
    interval_minutes: _Int32 = 1
    event_ts: datetime | None = None
    interval_start: datetime | None = None
    is_final: bool | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    volume: float | None = None
    quote_volume: float | None = None
    trade_count: _Int32 | None = None
    vwap: float | None = None
    conn: str | None = None
    since: datetime | None = None
    status: str | None = None
    detail: str | None = None
    trade_id: _Int64 | None = None
    price: float | None = None
    size: float | None = None
    side: str | None = None


decode = msgspec.json.Decoder(Line).decode


Reads = Callable[[Path], bool]
"""Whether DuckDB can read this file."""


def torn(content: bytes, _reads: Reads, _tried: Path) -> list[Bad]:
    """Those that do not look like a line, and are none: the usual case, and soon found."""
    return [(start, end, why) for start, end in _odd(content) if (why := _no_line(content[start:end]))]


def mistyped(content: bytes, _reads: Reads, _tried: Path) -> list[Bad]:
    """Those that are none, whatever they look like."""
    return [(start, end, why) for start, end in _spans(content) if (why := _no_line(content[start:end]))]


def unreadable(content: bytes, reads: Reads, tried: Path) -> list[Bad]:
    """Those that DuckDB does not like, for whatever reason: found by trying."""
    left, bad = list(_spans(content)), list[Bad]()

    def fits(spans: Sequence[tuple[int, int]]) -> bool:
        tried.write_bytes(b"".join(content[start : end + 1] for start, end in spans))
        return reads(tried)

    while not fits(left):
        first, end = 0, len(left)
        while end - first > 1:
            middle = (first + end) // 2
            first, end = (middle, end) if fits(left[first:middle]) else (first, middle)
        bad.append((*left.pop(first), "DuckDB cannot read it"))
    return sorted(bad)


REMEDIES = (torn, mistyped, unreadable)
"""To be tried one after the other, until DuckDB reads what is left."""


def without(
    lake: Lake,
    exchange: str,
    hour: datetime,
    files: Files,
    folder: Path,
    find: Callable[[bytes, Reads, Path], list[Bad]],
    reads: Reads,
) -> tuple[Files, int]:
    """The files without the lines that `find` finds, which are kept aside; and how many those were."""
    sound, aside = dict(files), 0
    for number, (key, path) in enumerate(files.items()):
        content = _content(path)
        if bad := find(content, reads, folder / "tried.jsonl"):
            starts, ends = [0, *(end + 1 for _, end, _ in bad)], [*(start for start, _, _ in bad), len(content)]
            sound[key] = folder / f"{number}-{find.__name__}.jsonl"
            sound[key].write_bytes(b"".join(content[start:end] for start, end in zip(starts, ends, strict=True)))
            _keep(lake, exchange, hour, key, [(content[start:end], why) for start, end, why in bad], find.__name__)
            aside += len(bad)
    return sound, aside


def foreign(
    lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime, files: Files, rows: Iterable[int]
) -> None:
    """Keeps the lines aside that were read as these rows, counted from 0, of all files, and that do not belong here."""
    wanted, first = sorted(rows), 0
    for key, path in files.items():
        content = _content(path)
        lines = list(_spans(content))
        here = [lines[row - first] for row in wanted if first <= row < first + len(lines)]
        bad = [
            (line, reason(line, exchange, symbols, hour) or "not a line of this hour")
            for line in (content[start:end] for start, end in here)
        ]
        _keep(lake, exchange, hour, key, bad, "foreign")
        first += len(lines)


def _spans(content: bytes) -> Iterator[tuple[int, int]]:
    """From where to where each line goes, without its end."""
    start = 0
    while start < len(content):
        end = content.find(b"\n", start)
        end = len(content) if end < 0 else end
        if end > start:
            yield start, end
        start = end + 1


def _odd(content: bytes) -> Iterator[tuple[int, int]]:
    """The lines that do not begin and end as all do."""
    for start, end in _spans(content):
        if not (content.startswith(b'{"exchange":', start) and content.endswith(b"}", start, end)):
            yield start, end


def _no_line(line: bytes) -> str | None:
    """Why it is no bronze line."""
    try:
        decode(line)
    except UNREADABLE as error:
        return f"not a bronze line: {error}"
    return None


def _content(path: Path) -> bytes:
    with pa.input_stream(str(path), compression="zstd" if path.suffix == ".zst" else None) as file:
        content: bytes = file.read()
    return content


def reason(line: bytes, exchange: str, symbols: Sequence[str], hour: datetime) -> str | None:
    """Why it is no line of these pairs' hour; None if it is one."""
    if (unreadable := _no_line(line)) is not None:
        return unreadable
    found = decode(line)
    if found.exchange != exchange or found.symbol not in symbols:
        return f"a line about {found.exchange} {found.symbol} in the folder of others"
    if found.interval_minutes != 1:
        return f"the interval was {found.interval_minutes} minutes, not 1"
    if found.event_type == "status":
        return None
    start = found.interval_start
    if start is None or hour_of(start) != hour:
        return f"the interval start {start} is not in the hour {hour:%Y-%m-%dT%H}"
    if found.event_type == "alive":
        return None if found.since and found.conn else "an alive line without `since` or `conn`"
    if found.event_type == "trade":
        return _trade_reason(found, start)
    return _candle_reason(found, start)


def _trade_reason(line: Line, start: datetime) -> str | None:
    if line.event_ts is None or line.event_ts.replace(second=0, microsecond=0) != start:
        return f"the trade was made at {line.event_ts}, which is not in the minute {start}"
    if line.price is None or line.size is None or not (0 < line.price < math.inf and 0 < line.size < math.inf):
        return f"price {line.price} and size {line.size} cannot be a trade"
    return None


def _candle_reason(line: Line, start: datetime) -> str | None:
    if line.event_type not in ("snapshot", "update"):
        return f"the event type {line.event_type!r} is unknown"
    if start.replace(second=0, microsecond=0) != start:
        return f"the interval start {start} is not on the minute"
    o, h, low, c, v = line.open, line.high, line.low, line.close, line.volume
    if o is None or h is None or low is None or c is None or v is None:
        return "a candle without open, high, low, close or volume"
    if not (0 < low <= min(o, c) and max(o, c) <= h and v >= 0):
        return f"open {o}, high {h}, low {low}, close {c}, volume {v} cannot be one candle"
    return None


def _keep(lake: Lake, exchange: str, hour: datetime, key: str, bad: Sequence[tuple[bytes, str]], kind: str) -> None:
    """One object, if there are any."""
    if bad:
        symbol = key.partition("/symbol=")[2].partition("/")[0]
        name = key.rpartition("/")[2].removesuffix(".zst").removesuffix(".jsonl")
        lines = [
            bronze.RejectedLine(
                exchange=exchange,
                recv_ts=hour,
                conn=None,
                reason=f"{key}: {reason}",
                message=line.decode(errors="replace"),
            )
            for line, reason in bad
        ]
        place = layout.rejected_key(exchange, hour, f"{symbol}-{name}-{kind}.jsonl")
        lake.put(place, b"".join(map(bronze.encode, lines)))
