"""One exchange-hour of silver: judges all its pairs at once, writes one Parquet object per pair."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from stream import layout
from stream.lake import Lake, in_parallel
from tasks import choose, evidence, parquet, stream_hour
from tasks.completeness import Completeness
from tasks.schemas import SILVER


def current(lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime) -> set[str]:
    """The symbols whose pair-hour was judged from the evidence that there is."""
    read = parquet.facts(lake, layout.bronze_key(exchange, hour, "rest"))
    if read is None:
        return set()
    lines = evidence.fingerprints(evidence.recorded(lake, exchange, symbols, hour))
    found = in_parallel(lambda symbol: parquet.facts(lake, layout.silver_key(exchange, symbol, hour)), symbols)
    return {
        symbol
        for symbol, facts in zip(symbols, found, strict=True)
        if facts and facts["evidence"] == evidence.fingerprint(lines[symbol], read["evidence"].get(symbol, ""))
    }


def make(lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime, *, keep_empty: bool) -> None:
    """Chooses, fills, judges; writes the pairs' objects. The same evidence gives the same bytes."""
    rest, rest_facts = parquet.read(lake, layout.bronze_key(exchange, hour, "rest"))
    answers, _ = parquet.read(lake, layout.sessions_key(exchange, hour, "rest"))
    sessions, _ = parquet.read(lake, layout.sessions_key(exchange, hour, "stream"))
    stream_facts = parquet.facts(lake, layout.bronze_key(exchange, hour, "stream")) or {}
    stream, traded = stream_hour.finished(lake, exchange, hour)
    judged = choose.judge(
        exchange,
        symbols,
        hour,
        choose.Evidence(
            stream=stream,
            traded=traded,
            sessions=parquet.frame(sessions),
            rest=parquet.frame(rest),
            answers=parquet.frame(answers),
        ),
        keep_empty=keep_empty,
    )
    candles = judged.candles.partition_by("symbol", as_dict=True)
    verdicts = judged.verdicts.partition_by("symbol", as_dict=True)

    def write(symbol: str) -> None:
        own = candles.get((symbol,), judged.candles.clear())
        mark = evidence.fingerprint(stream_facts["evidence"].get(symbol, ""), rest_facts["evidence"].get(symbol, ""))
        facts = {"evidence": mark, **_summary(own, verdicts[(symbol,)])}
        lake.put(layout.silver_key(exchange, symbol, hour), parquet.encode(own.to_arrow().cast(SILVER), facts))

    in_parallel(write, symbols)


def read(lake: Lake, hour: datetime, pairs: Sequence[tuple[str, str]]) -> tuple[pa.Table, list[Completeness]]:
    """All these pairs' candles of the hour (schema SILVER, sorted) and their completeness."""
    keys = [layout.silver_key(exchange, symbol, hour) for exchange, symbol in sorted(pairs)]
    found = in_parallel(lambda key: parquet.read(lake, key), keys)
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


def _summary(candles: pl.DataFrame, verdicts: pl.DataFrame) -> dict[str, Any]:
    """Counts of the verdicts, the cause of each missing minute, and a digest of all that readers see."""
    counts = dict(verdicts.group_by("verdict").len().iter_rows())
    causes = {
        f"{minute.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}": cause
        for minute, verdict, cause in verdicts.select("interval_start", "verdict", "cause").iter_rows()
        if verdict == "missing"
    }
    summary = {
        "expected": verdicts.height,
        **{verdict: counts.get(verdict, 0) for verdict in ("stream", "rest", "empty", "missing")},
        "causes": causes,
    }
    digest = hashlib.blake2b(candles.write_csv().encode(), digest_size=16)
    digest.update(json.dumps(summary, sort_keys=True).encode())
    return {**summary, "content": digest.hexdigest()}
