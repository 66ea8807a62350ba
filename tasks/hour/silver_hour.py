"""One exchange-hour of silver: judges all its pairs at once, writes one Parquet object per pair."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from stream.lake import Lake, layout
from tasks.hour import evidence, rest_hour, stream_hour
from tasks.rules import choose
from tasks.rules.completeness import Completeness
from tasks.rules.schemas import SILVER
from tasks.tables import parquet

Facts = dict[tuple[str, str], dict[str, Any] | None]
"""(exchange, symbol) → what the footer of the pair's silver says; None where there is none."""


def facts_of(lake: Lake, hour: datetime, pairs: Sequence[tuple[str, str]]) -> Facts:
    """The footers of these pairs' silver."""
    found = lake.read_each(lambda pair: parquet.facts(lake, layout.silver_key(*pair, hour)), pairs)
    return dict(zip(pairs, found, strict=True))


def is_current(lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime, facts: Facts) -> bool:
    """All these pair-hours were judged, from the evidence that there is; what they were judged from is there too."""
    if not all(facts[exchange, symbol] for symbol in symbols):
        return False
    read = rest_hour.made(lake, exchange, hour)
    if read is None or stream_hour.made(lake, exchange, hour) is None:
        return False
    lines = evidence.fingerprints(evidence.recorded(lake, exchange, symbols, hour))
    return all(
        found["evidence"] == evidence.fingerprint(lines[symbol], read["evidence"].get(symbol, ""))
        for symbol in symbols
        if (found := facts[exchange, symbol])
    )


def make(lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime, *, keep_empty: bool) -> None:
    """Chooses, fills, judges; writes the pairs' objects. The same evidence gives the same bytes."""
    rest, rest_facts = parquet.read(lake, layout.bronze_key(exchange, hour, "rest"))
    answers, _ = parquet.read(lake, layout.sessions_key(exchange, hour, "rest"))
    sessions, _ = parquet.read(lake, layout.sessions_key(exchange, hour, "stream"))
    stream_facts = parquet.facts(lake, layout.bronze_key(exchange, hour, "stream")) or {}
    stream, seen = stream_hour.finished(lake, exchange, hour)
    judged = choose.judge(
        exchange,
        symbols,
        hour,
        choose.Evidence(
            stream=stream,
            seen=seen,
            sessions=parquet.frame(sessions),
            rest=parquet.frame(rest),
            answers=parquet.frame(answers),
        ),
        keep_empty=keep_empty,
    )
    table = judged.candles.to_arrow().cast(SILVER)
    summaries = _summaries(judged)
    objects, row = {}, 0
    for symbol in sorted(symbols):
        rows = summaries[symbol]["stream"] + summaries[symbol]["rest"] + keep_empty * summaries[symbol]["empty"]
        mark = evidence.fingerprint(stream_facts["evidence"].get(symbol, ""), rest_facts["evidence"].get(symbol, ""))
        facts = {"evidence": mark, **summaries[symbol]}
        objects[layout.silver_key(exchange, symbol, hour)] = parquet.encode(table.slice(row, rows), facts)
        row += rows
    lake.each(lambda key: lake.put(key, objects[key]), objects)


def read(lake: Lake, hour: datetime, pairs: Sequence[tuple[str, str]]) -> tuple[pa.Table, list[Completeness]]:
    """All these pairs' candles of the hour (schema SILVER, sorted) and their completeness."""
    keys = [layout.silver_key(exchange, symbol, hour) for exchange, symbol in sorted(pairs)]
    found = lake.read_each(lambda key: parquet.read(lake, key), keys)
    tables = [SILVER.empty_table(), *(table.cast(SILVER) for table, _ in found)]
    ledger = [
        completeness(exchange, symbol, hour, facts)
        for (exchange, symbol), (_, facts) in zip(sorted(pairs), found, strict=True)
    ]
    return pa.concat_tables(tables).combine_chunks(), ledger


def completeness(exchange: str, symbol: str, hour: datetime, facts: dict[str, Any]) -> Completeness:
    """What a silver footer says about the pair-hour."""
    missing: dict[str, str] = facts["causes"]
    return Completeness(
        exchange=exchange,
        symbol=symbol,
        hour=hour,
        expected=facts["expected"],
        stream=facts["stream"],
        rest=facts["rest"],
        empty=facts["empty"],
        missing=facts["missing"],
        missing_minutes=tuple(datetime.fromisoformat(minute) for minute in missing),
        causes=tuple(missing.values()),
        content_hash=facts["content"],
    )


def _summaries(judged: choose.Judged) -> dict[str, dict[str, Any]]:
    """Symbol → counts of the verdicts, the cause of each missing minute, and a digest of all that readers see."""
    summaries: dict[str, dict[str, Any]] = {
        symbol: {"expected": expected, **dict.fromkeys(("stream", "rest", "empty", "missing"), 0), "causes": {}}
        for symbol, expected in judged.verdicts.group_by("symbol").len().iter_rows()
    }
    for symbol, verdict, count in judged.verdicts.group_by("symbol", "verdict").len().iter_rows():
        summaries[symbol][verdict] = count
    missing = judged.verdicts.filter(pl.col("verdict") == "missing")
    for symbol, minute, cause in missing.select("symbol", "interval_start", "cause").iter_rows():
        summaries[symbol]["causes"][f"{minute.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"] = cause
    digests = {
        symbol: hashlib.blake2b(json.dumps(summary, sort_keys=True).encode(), digest_size=16)
        for symbol, summary in summaries.items()
    }
    lines = judged.candles.write_csv(include_header=False).splitlines()
    for symbol, line in zip(judged.candles["symbol"], lines, strict=True):
        digests[symbol].update(line.encode())
    for symbol, summary in summaries.items():
        summary["content"] = digests[symbol].hexdigest()
    return summaries
