"""Results that were lost or damaged: noticed where all else is up to date, and made anew to the byte."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stream.errors import LakeError
from stream.lake import layout
from stream.lake.folder import FolderLake
from stream.settings import LakeSettings
from tasks import SilverPair
from tasks.hour import evidence
from tasks.rules.schemas import SILVER
from tasks.tables import views
from tests.boundaries.hour import recorded
from tests.processes import build, still
from tests.recording import PATIENCE
from tests.sim.world import HOUR, SYMBOLS

EXCHANGES = ("coinbase", "kraken")
WAYS: dict[str, Callable[[bytes], bytes | None]] = {
    "lost": lambda _: None,
    "cut": lambda data: data[: len(data) // 2],
    "empty": lambda _: b"",
    "zeros": lambda data: bytes(len(data)),
}


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderLake:
    """An hour that is up to date, with the luigi.cfg of a process that looks after it."""
    now = datetime(2025, 11, 12, 10, 5, tzinfo=UTC)
    (tmp_path / "luigi.cfg").write_text(still(now, {exchange: [SYMBOLS[0]] for exchange in EXCHANGES}))
    monkeypatch.setenv("LUIGI_CONFIG_PATH", str(tmp_path / "luigi.cfg"))
    found = FolderLake(tmp_path / "lake")
    for key, data in recorded(*EXCHANGES).done.items():
        found.put(key, data)
    return found


def pairs() -> list[SilverPair]:
    """As a process that has just begun sees them."""
    evidence.look_again()
    return [SilverPair(exchange=exchange, symbol=SYMBOLS[0], hour=HOUR.replace(tzinfo=None)) for exchange in EXCHANGES]


@pytest.mark.parametrize("way", WAYS)
def test_every_result_is_noticed_and_made_anew(lake: FolderLake, way: str) -> None:
    """Candles, trades and sessions of bronze; silver. REST need not be asked for it."""
    whole = recorded(*EXCHANGES).done
    results = [key for key in whole if key.endswith(".parquet")]
    kinds = {key.split("/")[1] + key.rpartition("/")[2] for key in results}
    assert len(kinds) == 7, kinds
    assert all(pair.complete() for pair in pairs())
    for key in results:
        data = WAYS[way](whole[key])
        lake.delete(key) if data is None else lake.put(key, data)
        assert not all(pair.complete() for pair in pairs()), key
        assert build(*pairs()), key
        assert {one.key: lake.get(one.key) for one in lake.objects("")} == whole, key


@pytest.mark.parametrize("way", ["cut", "empty", "zeros"])
def test_sql_says_which_object_it_is_and_what_makes_it_anew(lake: FolderLake, way: str) -> None:
    """Whether it is met when the lake is opened or when rows are read."""
    key = layout.silver_key("kraken", SYMBOLS[0], HOUR)
    data = WAYS[way](lake.get(key))
    assert data is not None
    lake.put(key, data)
    done = subprocess.run(
        [sys.executable, "-m", "tasks.commands.cli", "sql", "-c", "SELECT sum(close) FROM silver.fact_ohlcv"],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    assert f"{lake.root}/{key} is damaged (" in done.stderr
    assert "luigi --module tasks SilverHour --hour 2025-11-12T09 --local-scheduler" in done.stderr


def test_sql_says_it_of_an_object_whose_end_is_well(lake: FolderLake) -> None:
    """Its rows cannot be read, or even the head before them, of which DuckDB does not say whose it is."""
    key = layout.silver_key("kraken", SYMBOLS[0], HOUR)
    data = lake.get(key)
    column = pq.read_metadata(pa.BufferReader(data)).row_group(0).column(SILVER.names.index("close"))
    page, end = column.data_page_offset, column.data_page_offset + column.total_compressed_size
    for begin, says in (
        (page + 150, r"part\.parquet is damaged .* --hour 2025-11-12T09 "),
        (page, "does not say which: ask about fewer hours"),
    ):
        lake.put(key, data[:begin] + bytes(255 - byte for byte in data[begin:end]) + data[end:])
        with views.open_lake(LakeSettings(root=lake.root)) as connection, pytest.raises(LakeError, match=says):
            views.show(connection, "SELECT sum(close) FROM silver.fact_ohlcv")
