"""The judge of the worlds is judged: whatever is wrong with what a world left, it must say so, by its kind."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from stream.emulator.market import Market
from stream.emulator.trades import updates
from stream.lake import layout
from tasks.rules.schemas import SILVER
from tasks.tables import parquet
from tests.sim.course import Remains, live
from tests.sim.judge import judge
from tests.sim.store import SimStore
from tests.sim.world import HOUR, SYMBOLS, World

WORLD = World(seed=5, exchanges=("binance", "kraken"), minutes=20, without_rest=("binance",), flush=120.0)
KRAKEN = layout.silver_key("kraken", SYMBOLS[0], HOUR)
BINANCE = layout.silver_key("binance", SYMBOLS[0], HOUR)


@pytest.fixture(scope="module")
def whole() -> Remains:
    """A world in which nothing goes wrong, but that one exchange has no REST."""
    return live(WORLD)


def doctored(whole: Remains, key: str, change: Callable[[list[dict[str, Any]], dict[str, Any]], Any]) -> set[str]:
    """The kinds of what the judge says when silver's rows and facts are changed."""
    left = copy.copy(whole)
    left.objects, left.again = copy.deepcopy(whole.objects), copy.deepcopy(whole.again)
    table, facts = parquet.read(SimStore(left.objects), key)
    rows = table.to_pylist()
    change(rows, facts)
    left.objects[key] = left.again[key] = parquet.encode(pa.Table.from_pylist(rows, SILVER), facts)
    return {fault.kind for fault in judge(left)}


def busy(rows: list[dict[str, Any]]) -> int:
    """The first row of a minute with several trades."""
    return next(place for place, row in enumerate(rows) if (row["trade_count"] or 0) > 3)


def test_a_world_in_which_nothing_goes_wrong_passes(whole: Remains) -> None:
    """And what is missing has its reason."""
    assert judge(whole) == []
    _, facts = parquet.read(SimStore(whole.objects), BINANCE)
    assert facts["missing"] > 30 and set(facts["causes"].values()) == {"rest_unavailable"}


def test_candles_that_are_doubled_invented_or_early(whole: Remains) -> None:
    """Each is called what it is."""
    market = Market("kraken", seed=WORLD.seed)

    def early(rows: list[dict[str, Any]], _: dict[str, Any]) -> None:
        row = rows[busy(rows)]
        bar = market.bar(SYMBOLS[0], row["interval_start"])
        assert bar is not None
        state = updates(bar)[0][1]
        row |= {name: float(getattr(state, name)) for name in ("open", "high", "low", "close", "volume")}
        row |= {"trade_count": state.trade_count, "vwap": float(state.vwap)}

    assert doctored(whole, KRAKEN, early) == {"unfinished"}
    assert doctored(whole, KRAKEN, lambda rows, _: rows[busy(rows)].update(close=1.0)) == {"wrong"}
    assert doctored(whole, KRAKEN, lambda rows, _: rows.append(rows[7])) == {"duplicates"}
    assert doctored(whole, KRAKEN, lambda rows, _: rows.pop()) == {"unexplained"}


def test_minutes_that_are_missing_without_a_reason(whole: Remains) -> None:
    """What was heard, what REST has, what has a wrong cause."""

    def lose(rows: list[dict[str, Any]], facts: dict[str, Any], minute: int, cause: str) -> None:
        place = next(n for n, row in enumerate(rows) if row["interval_start"] >= HOUR + timedelta(minutes=minute))
        row = rows.pop(place)
        facts[row["source"]] -= 1
        facts["missing"] += 1
        facts["causes"][f"{row['interval_start']:%Y-%m-%dT%H:%M:%SZ}"] = cause

    assert doctored(whole, KRAKEN, lambda rows, facts: lose(rows, facts, 40, "unknown")) == {"missing"}
    assert doctored(whole, BINANCE, lambda rows, facts: lose(rows, facts, 5, "rest_unavailable")) == {"missing"}
    assert doctored(whole, BINANCE, lambda rows, facts: lose(rows, facts, 5, "unknown")) == {"unexplained"}


def test_rest_over_the_stream(whole: Remains) -> None:
    """Also where its candle is the truth."""
    assert doctored(whole, BINANCE, lambda rows, _: rows[5].update(source="rest")) == {"wrong"}


def test_lines_that_are_lost_late_or_claim_too_much(whole: Remains) -> None:
    """By the journal of what was written."""
    (machine,) = whole.machines

    def kinds(**changes: Any) -> set[str]:
        other = copy.copy(machine)
        for name, value in changes.items():
            setattr(other, name, value)
        return {fault.kind for fault in judge(replace(whole, machines=[other]))}

    alive = next(lines for _, lines in machine.ledger if b'"event_type":"alive"' in lines)
    first = json.loads(alive.splitlines()[0])
    assert kinds(ledger=[*machine.ledger, (5.0, b'{"never":"uploaded"}\n')]) == {"lost"}
    assert kinds(ledger=[*machine.ledger, (5.0, b'{"never":"uploaded"}\n')], lost={b'{"never":"uploaded"}'}) == set()
    assert kinds(ledger=[(5.0, alive)]) == {"claimed"}, first
    assert {fault.kind for fault in judge(replace(whole, waiting=[500.0]))} == {"late"}


def test_lines_that_lie_elsewhere(whole: Remains) -> None:
    """Under another hour, for example: whoever looks for that hour does not find them."""
    key = next(key for key in whole.objects if key.startswith(layout.stream_prefix("binance", SYMBOLS[0], HOUR)))
    left = copy.copy(whole)
    left.objects = copy.deepcopy(whole.objects)
    left.objects[key.replace("hour=09", "hour=10")] = left.objects[key]
    assert {fault.kind for fault in judge(left)} == {"misplaced"}


def test_what_is_not_the_same_again(whole: Remains) -> None:
    """Bytes, work without news, and Postgres."""
    again = copy.deepcopy(whole.again)
    again[KRAKEN] += b"x"
    assert {fault.kind for fault in judge(replace(whole, again=again))} == {"changed"}
    assert {fault.kind for fault in judge(replace(whole, worked=1))} == {"changed"}
    assert {fault.kind for fault in judge(replace(whole, unpublished=["the ledger"]))} == {"unpublished"}
