"""Lakes for tests: a folder, and a bucket of a real S3 server; and hours of recorded lines to put into them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

import pyarrow as pa

from stream import bronze
from stream.lake import Lake, layout
from stream.wire import MINUTE, Candle


def update(exchange: str, symbol: str, start: datetime, second: float, **given: object) -> bronze.CandleLine:
    """An update about the minute `start`, received `second` seconds into it."""
    heard = start + timedelta(seconds=second)
    facts: dict[str, object] = {
        "native_symbol": symbol.replace("-", ""),
        "event_type": "update",
        "event_ts": heard,
        "interval_start": start,
        "is_final": None,
        "open": 100.0,
        "high": 102.0,
        "low": 99.0,
        "close": 101.0,
        "volume": 2.0,
        "quote_volume": 201.0,
        "trade_count": 4,
        "payload": "{}",
    }
    conn = str(given.pop("conn", "rec/1"))
    return bronze.candle_line(exchange, symbol, Candle(**(facts | given)), heard, conn)  # type: ignore[arg-type]


def alive(exchange: str, symbol: str, start: datetime, since: datetime, conn: str = "rec/1") -> bronze.AliveLine:
    """An alive line about the minute `start`."""
    return bronze.AliveLine(
        exchange=exchange,
        symbol=symbol,
        native_symbol=symbol.replace("-", ""),
        recv_ts=start + MINUTE + timedelta(seconds=5),
        interval_start=start,
        interval_end=start + MINUTE,
        since=since,
        conn=conn,
    )


def upload(
    lake: Lake,
    exchange: str,
    symbol: str,
    hour: datetime,
    lines: Iterable[bronze.Line | bytes],
    *,
    segment: int = 1,
    suffix: str = ".jsonl",
) -> str:
    """Puts lines (or raw bytes) where the recorder would; returns the key."""
    data = b"".join(line if isinstance(line, bytes) else bronze.encode(line) for line in lines)
    if suffix.endswith(".zst"):
        data = pa.compress(data, codec="zstd", asbytes=True)
    key = layout.stream_key(exchange, symbol, hour, "rec", segment, suffix)
    lake.put(key, data)
    return key
