"""The slow path for an hour with bad lines: tells good from bad, keeps the bad ones aside, with the reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import pyarrow as pa

from stream import bronze
from stream.clock import hour_of
from stream.lake import Lake, layout


class _Line(msgspec.Struct):
    """As sql/duckdb/read_lines.sql types it; what is optional there is optional here."""

    exchange: str
    symbol: str
    event_type: str
    recv_ts: datetime
    interval_minutes: int = 1
    event_ts: datetime | None = None
    interval_start: datetime | None = None
    is_final: bool | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    volume: float | None = None
    quote_volume: float | None = None
    trade_count: int | None = None
    vwap: float | None = None
    conn: str | None = None
    since: datetime | None = None
    status: str | None = None
    detail: str | None = None
    trade_id: int | None = None
    price: float | None = None
    size: float | None = None
    side: str | None = None


_decoder = msgspec.json.Decoder(_Line)


def sift(
    lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime, files: dict[str, Path], folder: Path
) -> tuple[list[Path], int]:
    """Object key → local file in; the files to read instead out, with the number of lines that were set aside.

    Files without a bad line are handed back as they are. Bad lines become one object per file under bronze/rejected,
    named after it, so that a second run writes the same.
    """
    sifted, aside = [], 0
    for number, (key, path) in enumerate(files.items()):
        good, bad = [], []
        for line in _lines(path):
            reason = _reason(line, exchange, symbols, hour)
            if reason is None:
                good.append(line)
            else:
                bad.append(_rejected(exchange, hour, key, reason, line))
        if bad:
            path = folder / f"sifted-{symbols[0]}-{number}.jsonl"
            path.write_bytes(b"".join(line + b"\n" for line in good))
            lake.put(layout.rejected_key(exchange, hour, _name(key)), b"".join(bad))
            aside += len(bad)
        sifted.append(path)
    return sifted, aside


def _lines(path: Path) -> Iterator[bytes]:
    with pa.input_stream(str(path), compression="zstd" if path.suffix == ".zst" else None) as file:
        yield from (line for line in file.read().split(b"\n") if line)


def _reason(line: bytes, exchange: str, symbols: Sequence[str], hour: datetime) -> str | None:
    try:
        found = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"not a bronze line: {error}"
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


def _trade_reason(line: _Line, start: datetime) -> str | None:
    if line.event_ts is None or line.event_ts.replace(second=0, microsecond=0) != start:
        return f"the trade was made at {line.event_ts}, which is not in the minute {start}"
    if line.price is None or line.size is None or not (0 < line.price < math.inf and 0 < line.size < math.inf):
        return f"price {line.price} and size {line.size} cannot be a trade"
    return None


def _candle_reason(line: _Line, start: datetime) -> str | None:
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


def _rejected(exchange: str, hour: datetime, key: str, reason: str, line: bytes) -> bytes:
    return bronze.encode(
        bronze.RejectedLine(
            exchange=exchange,
            recv_ts=hour,
            conn=None,
            reason=f"{key}: {reason}",
            message=line.decode(errors="replace"),
        )
    )


def _name(key: str) -> str:
    """`…/symbol=S/…/<object>.jsonl.zst` → `S-<object>.jsonl`: one name per source object."""
    symbol = key.partition("/symbol=")[2].partition("/")[0]
    return f"{symbol}-{key.rpartition('/')[2].removesuffix('.zst')}"
