"""What one bad line in each pair's hour costs: recorded lines → typed Parquet, beside the same hour without it.

python -m bench.bad_lines [--pairs 30] [--repeat 5]
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench import market
from stream.lake import layout
from stream.lake.folder import FolderLake
from tasks.hour import evidence, stream_hour

HOUR = datetime(2026, 1, 15, 10, tzinfo=UTC)
TARGET = 2.0
SOUND = "all lines are good"
_Spoil = Callable[[bytes], bytes]
SPOILT: dict[str, _Spoil] = {
    SOUND: lambda line: line,
    "one is torn": lambda line: line[: len(line) // 2],
    "one is about another hour": lambda line: line.replace(b"T10:", b"T09:"),
    "one has a price that is none": lambda line: line.replace(b'"open":', b'"open":"x","opened":'),
    "one has a name twice": lambda line: line[:-1] + b',"symbol":"x"}',
}
"""The line in the middle of each pair's hour."""


def main(pairs: Annotated[int, typer.Option(min=1)] = 30, repeat: Annotated[int, typer.Option(min=1)] = 3) -> None:
    """Prints the table."""
    table = Table("a pair's hour of 3,600 lines", "ms a pair-hour", "times as long")
    symbols = market.symbols(pairs)
    with tempfile.TemporaryDirectory(prefix="klines-bench-") as name:
        recorded = Path(name) / "recorded"
        for symbol in symbols:
            market.record(recorded, symbol, HOUR)
        rounds = [
            {what: _read(recorded, Path(name) / "lake", symbols, spoil) for what, spoil in SPOILT.items()}
            for _ in range(repeat)
        ]
        for what in SPOILT:
            times = median(one[what] / one[SOUND] for one in rounds)  # within a round, since machines change their pace
            table.add_row(what, f"{1000 * median(one[what] for one in rounds) / pairs:.1f}", f"{times:.2f}")
    Console().print(table)


def _read(recorded: Path, root: Path, symbols: list[str], spoil: _Spoil) -> float:
    """Seconds for a lake in which that line of each pair is spoilt."""
    shutil.copytree(recorded, root)
    for symbol in symbols:
        path = root / layout.stream_key("binance", symbol, HOUR, "bench", 1, ".jsonl")
        lines = path.read_bytes().splitlines()
        lines[len(lines) // 2] = spoil(lines[len(lines) // 2])
        path.write_bytes(b"\n".join(lines) + b"\n")
    evidence.look_again()
    began = time.perf_counter()
    stream_hour.make(FolderLake(root), "binance", symbols, HOUR)
    took = time.perf_counter() - began
    shutil.rmtree(root)
    return took


if __name__ == "__main__":
    typer.run(main)
