"""What must hold after each world; each violation is a sentence."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from stream.clock import HOUR
from stream.emulator.market import Market
from stream.emulator.trades import updates
from stream.lake import layout
from stream.wire import MINUTE
from tasks.tables import parquet
from tests import truth
from tests.sim import world as worlds
from tests.sim.course import Remains
from tests.sim.store import SimStore
from tests.sim.world import SYMBOLS


def judge(left: Remains) -> list[str]:
    """What is wrong."""
    return [*_kept(left), *_claims(left), *_silver(left), *_repeated(left)]


def _kept(left: Remains) -> Iterator[str]:
    """What a spool took is in the lake; but what a power loss was free to take."""
    stored = {line for key, data in left.objects.items() if key.startswith("bronze/") for line in _lines(key, data)}
    for number, machine in enumerate(left.machines):
        taken = {line for _, lines in machine.ledger for line in lines.splitlines()}
        lost = taken - machine.lost - stored
        if lost:
            some = min(lost)[:200]
            yield f"recorder {number}: {len(lost)} of {len(taken)} lines are not in the lake, such as {some!r}"
        if machine.disk.files:
            yield f"recorder {number}: {sorted(machine.disk.files)} were not uploaded"


def _lines(key: str, data: bytes) -> list[bytes]:
    return data.splitlines() if key.endswith((".jsonl", ".txt")) else []


def _claims(left: Remains) -> Iterator[str]:
    """No `alive` line says of a minute that it was heard whole before it was over at the exchange."""
    for machine in left.machines:
        for moment, lines in machine.ledger:
            for line in lines.splitlines():
                if b'"event_type":"alive"' in line:
                    said = json.loads(line)
                    over = datetime.fromisoformat(said["interval_end"])
                    then = worlds.START + timedelta(seconds=moment)
                    if then < over:
                        yield f"{said['exchange']}: the minute until {over:%H:%M} was claimed at {then:%H:%M:%S}"


def _silver(left: Remains) -> Iterator[str]:
    """At most one candle a minute, and that the truth; one verdict a minute; nothing is missing."""
    world = left.world
    lake = SimStore(left.objects)
    for exchange in world.exchanges:
        market = Market(exchange, seed=world.seed, silent=world.faults.get("silent", 0.0))
        for symbol in SYMBOLS[: world.pairs]:
            for hour in (worlds.HOUR + n * HOUR for n in range(world.hours)):
                key = layout.silver_key(exchange, symbol, hour)
                if key not in left.objects:
                    yield f"{key} was not made"
                    continue
                table, facts = parquet.read(lake, key)
                for fault in _hour(market, symbol, hour, table.to_pylist(), facts):
                    yield f"{exchange} {symbol} {fault}"


def _hour(
    market: Market, symbol: str, hour: datetime, rows: list[dict[str, Any]], facts: dict[str, Any]
) -> Iterator[str]:
    minutes = [hour + n * MINUTE for n in range(60)]
    counts = Counter(row["interval_start"] for row in rows)
    for minute, count in counts.items():
        if count > 1 or minute not in minutes:
            yield f"{minute:%H:%M}: {count} candles"
    for minute, cause in facts["causes"].items():
        yield f"{minute}: missing, {cause}"
    verdicts = sum(facts[name] for name in ("stream", "rest", "empty", "missing"))
    if verdicts != 60 or len(rows) + facts["missing"] != 60:
        yield f"{verdicts} verdicts, {len(rows)} candles, {facts['missing']} missing"
    for row in rows:
        bar = market.bar(symbol, row["interval_start"])
        fault = "no such candle" if bar is None else truth.difference(row, bar)
        if fault is not None:
            early = bar is not None and any(truth.difference(row, state) is None for _, state in updates(bar))
            kind = "unfinished" if early else "wrong"
            yield f"{row['interval_start']:%H:%M} ({row['source']}): {kind}: {fault}"


def _repeated(left: Remains) -> Iterator[str]:
    """Running everything again finds nothing to do, and making it again changes no byte."""
    if left.worked:
        yield f"{left.worked} results were made again though nothing was new"
    derived = {key: data for key, data in left.objects.items() if key.endswith(".parquet")}
    again = {key: data for key, data in left.again.items() if key.endswith(".parquet")}
    changed = sorted(key for key in derived.keys() | again.keys() if derived.get(key) != again.get(key))
    if changed:
        yield f"{len(changed)} objects changed when they were made again, such as {changed[0]}"
