"""The judge of the fault suite is judged: whatever is wrong with silver, it must say so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from stream.emulator.bar import MINUTE, Bar
from stream.emulator.market import Market
from stream.emulator.trades import updates
from stream.lake import layout
from stream.lake.folder import FolderLake
from tasks.rules.schemas import SILVER
from tasks.tables import parquet
from tests import truth
from tests.faults import SUITES
from tests.faults.outcome import Outcome, table

HOUR = datetime(2025, 11, 12, 9, tzinfo=UTC)
PAIR = ("kraken", "ETH-USD")
SEED = 5


def row(bar: Bar) -> dict[str, Any]:
    """A candle as silver has it."""
    return {
        "exchange": PAIR[0],
        "symbol": PAIR[1],
        "quote_asset": "USD",
        "interval_seconds": 60,
        "interval_start": bar.start,
        "interval_end": bar.start + MINUTE,
        **{name: float(getattr(bar, name)) for name in ("open", "high", "low", "close", "volume", "quote_volume")},
        "trade_count": bar.trade_count,
        "vwap": float(bar.vwap) if bar.trade_count else None,
        "source": "stream",
        "ingestion_ts": bar.start + MINUTE,
    }


def judged(folder: Path, rows: list[dict[str, Any]]) -> Outcome:
    """What the suite would say about an hour with these candles."""
    lake = FolderLake(folder)
    facts = {"stream": len(rows), "rest": 0, "empty": 0, "missing": 60 - len(rows), "causes": {}}
    lake.put(layout.silver_key(*PAIR, HOUR), parquet.encode(pa.Table.from_pylist(rows, SILVER), facts))
    outcome = Outcome(boundary="judge", fault="doctored silver", tried=1)
    outcome.add(truth.compare(lake, [PAIR], [HOUR], seed=SEED))
    return outcome


@pytest.fixture
def whole() -> list[Bar]:
    """The hour as it was traded."""
    market = Market(PAIR[0], seed=SEED)
    bars = [market.bar(PAIR[1], HOUR + n * MINUTE) for n in range(60)]
    return [bar for bar in bars if bar is not None]


def counts(outcome: Outcome) -> tuple[int | None, ...]:
    """Duplicates, unfinished, wrong, missing."""
    return (outcome.duplicates, outcome.unfinished, outcome.wrong, outcome.missing)


def test_the_truth_passes(tmp_path: Path, whole: list[Bar]) -> None:
    """Sixty candles as traded: nothing to count."""
    found = judged(tmp_path, [row(bar) for bar in whole])
    assert counts(found) == (0, 0, 0, 0)
    assert not found.failed


def test_every_kind_of_fault_is_counted_as_what_it_is(tmp_path: Path, whole: list[Bar]) -> None:
    """A doubled, an early, an invented and an absent candle."""
    busy = [n for n, bar in enumerate(whole) if bar.trade_count > 3]
    early = next(iter(updates(whole[busy[0]])))[1]
    rows = [row(bar) for bar in whole]
    rows[busy[0]] = row(early)
    rows[busy[1]] = row(replace(whole[busy[1]], close=whole[busy[1]].close + 1))
    rows.append(rows[busy[2]])
    del rows[busy[3]]
    found = judged(tmp_path, rows)
    assert counts(found) == (1, 1, 1, 1)
    assert found.failed
    assert found.note


@pytest.mark.parametrize("broken", [{"tried": 0}, {"lost": 1}, {"half_hours": 2}, {"wrong": 1}])
def test_what_fails(broken: dict[str, int]) -> None:
    """Nothing tried is no success either."""
    assert Outcome(**{"boundary": "b", "fault": "f", "tried": 1} | broken).failed  # type: ignore[arg-type]


def test_the_table_has_a_row_per_fault_and_a_sum() -> None:
    """Markdown, thousands separated, blank where a fault cannot touch a thing."""
    rows = [Outcome("recorder", "killed", tried=900, acknowledged=12_345, lost=0), Outcome("s3", "slow", tried=200)]
    text = table(rows).splitlines()
    assert text[2] == "| recorder | killed | 900 | 12,345 | 0 |  |  |  |  |  |"
    assert text[-1].startswith("| | **all** | **1,100** | **12,345** | **0** |")


def test_every_suite_is_there() -> None:
    """A boundary that is named has its file."""
    assert all((Path(__file__).parent / "faults" / f"{name}.py").exists() for name in SUITES)
