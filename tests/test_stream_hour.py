"""Recorded lines → typed Parquet: every line is read or set aside, and the order of objects plays no part."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stream import bronze
from stream.lake import layout
from stream.lake.folder import FolderLake
from stream.wire import MINUTE
from tasks.hour import evidence, stream_hour
from tasks.rules.schemas import BRONZE, SESSIONS
from tasks.tables import parquet
from tests.lakes import alive, update, upload

pytestmark = pytest.mark.usefixtures("fresh_eyes")
HOUR = datetime(2025, 11, 10, 13, tzinfo=UTC)
BTC, ETH = "BTC-USDT", "ETH-USDT"
KEY = layout.bronze_key("binance", HOUR, "stream")


def hour_of_lines(symbol: str) -> list[bronze.Line]:
    """An open and a final candle for each minute, and an alive line."""
    lines: list[bronze.Line] = []
    for n in range(60):
        start = HOUR + n * MINUTE
        lines.append(update("binance", symbol, start, 30, is_final=False, close=100.0 + n / 100))
        lines.append(update("binance", symbol, start, 60.01, is_final=True, close=100.0 + n / 100))
        lines.append(alive("binance", symbol, start, HOUR - MINUTE))
    return lines


def make(lake: FolderLake, symbols: tuple[str, ...] = (BTC, ETH)) -> int:
    """Reads the hour anew."""
    evidence.look_again()
    return stream_hour.make(lake, "binance", symbols, HOUR)


def test_candles_and_sessions_are_told_apart(lake: FolderLake) -> None:
    """All candles, also unfinished ones, are in bronze; alive lines are in the sessions."""
    upload(lake, "binance", BTC, HOUR, hour_of_lines(BTC))
    assert make(lake) == 0
    candles, _ = parquet.read(lake, KEY)
    sessions, _ = parquet.read(lake, layout.sessions_key("binance", HOUR, "stream"))
    assert candles.schema.equals(BRONZE)
    assert sessions.schema.equals(SESSIONS)
    assert (candles.num_rows, sessions.num_rows) == (120, 60)
    assert set(candles["source"].to_pylist()) == {"stream"}


def test_an_hour_without_objects_is_not_an_error(lake: FolderLake) -> None:
    """Empty Parquet of the right shape, and the hour counts as read."""
    assert make(lake) == 0
    assert parquet.read(lake, KEY)[0].num_rows == 0
    assert stream_hour.is_current(lake, "binance", (BTC, ETH), HOUR)


def test_plain_and_compressed_segments_are_read_together(lake: FolderLake) -> None:
    """Both spellings of an object, in one hour."""
    lines = hour_of_lines(BTC)
    upload(lake, "binance", BTC, HOUR, lines[:90], segment=1)
    upload(lake, "binance", BTC, HOUR, lines[90:], segment=2, suffix=".jsonl.zst")
    assert make(lake) == 0
    assert parquet.read(lake, KEY)[0].num_rows == 120


def test_late_objects_make_the_hour_incomplete_again(lake: FolderLake) -> None:
    """A process stands by what it saw first; the next look sees the new object."""
    upload(lake, "binance", BTC, HOUR, hour_of_lines(BTC)[:30])
    make(lake)
    assert stream_hour.is_current(lake, "binance", (BTC,), HOUR)
    upload(lake, "binance", BTC, HOUR, hour_of_lines(BTC)[30:], segment=2)
    assert stream_hour.is_current(lake, "binance", (BTC,), HOUR)
    evidence.look_again()
    assert not stream_hour.is_current(lake, "binance", (BTC,), HOUR)
    make(lake)
    assert parquet.read(lake, KEY)[0].num_rows == 120


def test_the_same_lines_in_other_segments_give_the_same_rows(lake: FolderLake, tmp_path: Path) -> None:
    """However the recorder cut its segments: the rows are the same; from the same segments, so are the bytes."""
    other = FolderLake(tmp_path / "other")
    lines = hour_of_lines(BTC)
    upload(lake, "binance", BTC, HOUR, lines)
    for n in range(6):
        upload(other, "binance", BTC, HOUR, reversed(lines[n::6]), segment=n)
    make(lake)
    make(other)
    order = [("interval_start", "ascending"), ("ingestion_ts", "ascending")]
    assert parquet.read(lake, KEY)[0].sort_by(order).equals(parquet.read(other, KEY)[0].sort_by(order))
    before = lake.get(KEY)
    make(lake)
    assert lake.get(KEY) == before


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b'{"exchange":"binance","symbol":"BTC-US', "not a bronze line"),
        (b"\x00\x00\x00", "not a bronze line"),
        (b'{"a":1}', "not a bronze line"),
        (b'{"exchange":"binance","symbol":"BTC-USDT","event_type":"update","recv_ts":"yesterday"}', "not a bronze"),
        (bronze.encode(update("kraken", BTC, HOUR, 1)).strip(), "kraken"),
        (bronze.encode(update("binance", "DOGE-USDT", HOUR, 1)).strip(), "DOGE-USDT"),
        (bronze.encode(update("binance", BTC, HOUR + timedelta(hours=2), 1)).strip(), "not in the hour"),
        (bronze.encode(update("binance", BTC, HOUR + timedelta(seconds=7), 1)).strip(), "not on the minute"),
        (bronze.encode(update("binance", BTC, HOUR, 1, low=101.5)).strip(), "cannot be one candle"),
        (bronze.encode(update("binance", BTC, HOUR, 1, trade_count=2**31)).strip(), "not a bronze line"),
        (bronze.encode(update("binance", BTC, HOUR, 1)).strip()[:-1] + b',"symbol":"x"}', "DuckDB cannot read it"),
        (bronze.encode(update("binance", BTC, HOUR, 1)).replace(b"13:00:01Z", b"13:00:01z").strip(), "DuckDB cannot"),
    ],
    ids=[
        "torn",
        "zeros",
        "foreign",
        "mistyped",
        "other exchange",
        "other pair",
        "other hour",
        "off minute",
        "low > high",
        "too many trades",
        "a name twice",
        "another way to write a time",
    ],
)
def test_bad_lines_are_counted_and_kept_aside(lake: FolderLake, bad: bytes, reason: str) -> None:
    """The good lines around are read; the bad one is kept verbatim with its reason; the other pair does not notice."""
    lines = hour_of_lines(BTC)
    key = upload(lake, "binance", BTC, HOUR, [*lines[:50], bad + b"\n", *lines[50:]])
    upload(lake, "binance", ETH, HOUR, hour_of_lines(ETH))
    assert make(lake) == 1
    assert parquet.read(lake, KEY)[0].num_rows == 240
    (aside,) = lake.objects(layout.rejected_key("binance", HOUR, ""))
    kept = json.loads(lake.get(aside.key))
    assert kept["message"] == bad.decode(errors="replace")
    assert reason in kept["reason"]
    assert key in kept["reason"]


def test_bad_lines_of_every_kind_in_every_file(lake: FolderLake) -> None:
    """What DuckDB cannot read, what it may not read, and what does not belong: each is kept, and only that is lost."""
    good, foreign = hour_of_lines(BTC), bronze.encode(update("kraken", BTC, HOUR, 1))
    twice = bronze.encode(update("binance", BTC, HOUR, 1)).strip()[:-1] + b',"symbol":"x"}\n'
    for segment, part in enumerate((good[:60], good[60:120], good[120:]), 1):
        bad = [b"{torn\n", foreign, twice, foreign]
        lines = [*part[:7], bad[0], *part[7:20], bad[1], *part[20:40], bad[2], *part[40:], bad[3]]
        upload(lake, "binance", BTC, HOUR, lines, segment=segment, suffix=".jsonl.zst" if segment == 2 else ".jsonl")
    assert make(lake) == 12
    assert parquet.read(lake, KEY)[0].num_rows == 120
    kept = [line for one in lake.objects("bronze/rejected/") for line in lake.get(one.key).splitlines()]
    messages = [json.loads(line)["message"] for line in kept]
    assert sorted(messages) == sorted([line.decode().strip() for line in (b"{torn", foreign, twice, foreign)] * 3)


def test_a_torn_last_line_is_kept_aside_and_a_second_run_says_the_same(lake: FolderLake) -> None:
    """Without a newline at the end; the rejected object is the same after another run."""
    lines = b"".join(map(bronze.encode, hour_of_lines(BTC)))
    upload(lake, "binance", BTC, HOUR, [lines[:-40]], suffix=".jsonl.zst")
    assert make(lake) == 1
    before = {one.key: lake.get(one.key) for one in lake.objects("")}
    assert make(lake) == 1
    assert {one.key: lake.get(one.key) for one in lake.objects("")} == before
