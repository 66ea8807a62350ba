"""What must hold after each world; each violation is of a kind, and a sentence."""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

import msgspec

from stream.clock import HOUR
from stream.emulator.bar import Bar
from stream.emulator.trades import updates
from stream.lake import layout
from stream.wire import MINUTE
from tasks.tables import parquet
from tests.sim import world as worlds
from tests.sim.course import Remains
from tests.sim.store import SimStore
from tests.sim.world import SYMBOLS
from tests.truth import difference

Kind = Literal[
    "lost",
    "late",
    "misplaced",
    "claimed",
    "duplicates",
    "unfinished",
    "wrong",
    "missing",
    "unexplained",
    "unpublished",
    "changed",
]
Truth = Callable[[datetime], Bar | None]
"""The finished candle of a minute of a pair."""


class _Head(msgspec.Struct):
    """What says where a line belongs."""

    exchange: str
    symbol: str
    interval_start: str | None
    recv_ts: str


_head = msgspec.json.Decoder(_Head)


class Violation(NamedTuple):
    """Something that must not be."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def judge(left: Remains) -> list[Violation]:
    """What is wrong."""
    rules = (_kept, _in_time, _claims, _placed, _silver, _published, _repeated)
    return [violation for rule in rules for violation in rule(left)]


def _kept(left: Remains) -> Iterator[Violation]:
    """What a spool took is in the lake; but what a power loss was free to take."""
    stored = {line for key, data in left.objects.items() if key.startswith("bronze/") for line in _lines(key, data)}
    for number, machine in enumerate(left.machines):
        taken = {line for _, lines in machine.ledger for line in lines.splitlines()}
        lost = taken - machine.lost - stored
        if lost:
            some = min(lost)[:200]
            text = f"recorder {number}: {len(lost)} of {len(taken)} lines are not in the lake, such as {some!r}"
            yield Violation("lost", text)
        if machine.disk.files:
            yield Violation("late", f"recorder {number}: {sorted(machine.disk.files)} were not uploaded")


def _in_time(left: Remains) -> Iterator[Violation]:
    """Where disk and store are well and nobody dies, nothing waits for long."""
    disturbed = any(
        isinstance(one, worlds.Ill | worlds.Killed | worlds.Store | worlds.Stopped) for one in left.world.incidents
    )
    for number, seconds in enumerate(left.waiting):
        if not disturbed and seconds > left.world.flush + 60:
            yield Violation("late", f"recorder {number}: lines wait for their upload since {seconds:.0f} s")


def _lines(key: str, data: bytes) -> list[bytes]:
    return data.splitlines() if key.endswith((".jsonl", ".txt")) else []


def _claims(left: Remains) -> Iterator[Violation]:
    """No `alive` line says of a minute that it was heard whole before it was over at the exchange."""
    for machine in left.machines:
        for moment, lines in machine.ledger:
            for line in lines.splitlines():
                if b'"event_type":"alive"' in line:
                    said = json.loads(line)
                    over = datetime.fromisoformat(said["interval_end"])
                    then = worlds.START + timedelta(seconds=moment)
                    if then < over:
                        text = f"{said['exchange']}: the minute until {over:%H:%M} was claimed at {then:%H:%M:%S}"
                        yield Violation("claimed", text)


def _placed(left: Remains) -> Iterator[Violation]:
    """A line lies where its exchange, pair and hour say."""
    for key, data in left.objects.items():
        if key.startswith("bronze/stream/"):
            for line in map(_head.decode, data.splitlines()):
                place = _place(line.exchange, line.symbol, (line.interval_start or line.recv_ts)[:13])
                if not key.startswith(place):
                    yield Violation("misplaced", f"{key} has a line of {place}")


@functools.cache
def _place(exchange: str, symbol: str, hour: str) -> str:
    return layout.stream_prefix(exchange, symbol, datetime.fromisoformat(f"{hour}:00:00Z"))


def _silver(left: Remains) -> Iterator[Violation]:
    """At most one candle a minute, and that the truth; one verdict a minute; nothing is missing but with a reason."""
    world = left.world
    lake = SimStore(left.objects)
    for exchange in world.exchanges:
        for symbol in SYMBOLS[: world.pairs]:
            truth = functools.partial(left.truth, exchange, symbol)
            for hour in (worlds.HOUR + n * HOUR for n in range(world.hours)):
                key = layout.silver_key(exchange, symbol, hour)
                if key not in left.objects:
                    yield Violation("missing", f"{key} was not made")
                    continue
                table, facts = parquet.read(lake, key)
                rows = table.to_pylist()
                missing = {datetime.fromisoformat(minute): cause for minute, cause in facts["causes"].items()}
                faults = [
                    *_one_each(hour, rows, missing, facts),
                    *_true(truth, rows),
                    *_accounted(left, exchange, truth, missing),
                    *_stream_first(left, exchange, symbol, hour, rows),
                ]
                yield from (Violation(kind, f"{exchange} {symbol} {text}") for kind, text in faults)


def _one_each(
    hour: datetime, rows: list[dict[str, Any]], missing: dict[datetime, str], facts: dict[str, Any]
) -> Iterator[Violation]:
    """A minute has one candle or one cause."""
    found = Counter([*(row["interval_start"] for row in rows), *missing])
    for minute in found.keys() | {hour + n * MINUTE for n in range(60)}:
        if found[minute] != 1 or not hour <= minute < hour + HOUR:
            kind: Kind = "duplicates" if found[minute] > 1 else "unexplained"
            yield Violation(kind, f"{minute:%H:%M}: {found[minute]} candles or causes")
    if sum(facts[name] for name in ("stream", "rest", "empty", "missing")) != 60 or facts["missing"] != len(missing):
        yield Violation("unexplained", f"the counts are {facts}")


def _true(truth: Truth, rows: list[dict[str, Any]]) -> Iterator[Violation]:
    """Each candle is what was traded."""
    for row in rows:
        bar = truth(row["interval_start"])
        fault = "no such candle" if bar is None else difference(row, bar)
        if fault is not None:
            early = bar is not None and any(difference(row, state) is None for _, state in updates(bar))
            kind: Kind = "unfinished" if early else "wrong"
            yield Violation(kind, f"{row['interval_start']:%H:%M} ({row['source']}): {fault}")


def _accounted(left: Remains, exchange: str, truth: Truth, missing: dict[datetime, str]) -> Iterator[Violation]:
    """Nothing is missing where REST answers; elsewhere nothing that was heard, and the cause is that REST did not."""
    world = left.world
    for minute, cause in missing.items():
        if exchange not in world.without_rest:
            yield Violation("missing", f"{minute:%H:%M}: {cause}")
        elif cause != "rest_unavailable":
            yield Violation("unexplained", f"{minute:%H:%M}: the cause is {cause}, but REST never answered")
        elif not world.faults and _traded(truth(minute)) and _heard(left, exchange, minute):
            yield Violation("missing", f"{minute:%H:%M}: though all of it was heard")


def _traded(bar: Bar | None) -> bool:
    return bar is not None and bar.trade_count > 0


def _heard(left: Remains, exchange: str, minute: datetime) -> bool:
    """Some recorder with a right clock and a sound disk was there, and nothing came between it and the exchange."""
    start = (minute - worlds.START).total_seconds()
    begin, end = start - 60, start + 90
    world = left.world

    def within(incident: worlds.Incident) -> bool:
        return incident.at < end and incident.at + getattr(incident, "lasting", 0.0) + 60 > begin

    if any(isinstance(one, worlds.Line) and one.exchange == exchange and within(one) for one in world.incidents):
        return False
    for who, machine in enumerate(left.machines):
        disturbed = any(
            isinstance(one, worlds.Ill | worlds.Set) and one.who == who and within(one) for one in world.incidents
        )
        right = abs(world.ahead[who] if who < len(world.ahead) else 0.0) < 4 and not world.drift
        right = right and not any(isinstance(one, worlds.Set) and one.who == who for one in world.incidents)
        if right and not disturbed and any(first <= begin and end <= last for first, last in machine.lives):
            return True
    return False


def _stream_first(
    left: Remains, exchange: str, symbol: str, hour: datetime, rows: list[dict[str, Any]]
) -> Iterator[Violation]:
    """Where the stream said that a candle was finished, silver has none of REST."""
    finished = {
        json.loads(line)["interval_start"]
        for key in left.objects.under(layout.stream_prefix(exchange, symbol, hour))
        for line in left.objects[key].splitlines()
        if b'"is_final":true' in line
    }
    for row in rows:
        if row["source"] == "rest" and f"{row['interval_start']:%Y-%m-%dT%H:%M:%SZ}" in finished:
            text = f"{row['interval_start']:%H:%M}: REST's candle in the place of a finished one of the stream"
            yield Violation("wrong", text)


def _published(left: Remains) -> Iterator[Violation]:
    """Postgres had what silver had."""
    return (Violation("unpublished", what) for what in left.unpublished)


def _repeated(left: Remains) -> Iterator[Violation]:
    """Running everything again finds nothing to do, and making it again changes no byte."""
    if left.worked:
        yield Violation("changed", f"{left.worked} results were made again though nothing was new")
    derived = {key: data for key, data in left.objects.items() if key.endswith(".parquet")}
    again = {key: data for key, data in left.again.items() if key.endswith(".parquet")}
    changed = sorted(key for key in derived.keys() | again.keys() if derived.get(key) != again.get(key))
    if changed:
        yield Violation("changed", f"{len(changed)} objects, when they were made again, such as {changed[0]}")
