"""How soon `klines status` answers, with a year of ledger behind it.

python -m bench.status [--pairs 300] [--days 365] [--repeat 5]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import psycopg
import typer
from rich.console import Console
from rich.table import Table

from bench.process import environment
from stream.clock import Clock
from stream.disk import Folder
from stream.health import WORD, Health, LinkHealth, PairHealth
from tasks.warehouse import embedded

TARGET = 1.0
_PER_CONNECTION = 25
_FILL = """
INSERT INTO gold.completeness_hourly
    (exchange, symbol, hour, expected, stream, rest, empty, missing, missing_minutes, causes, content_hash,
    published_at)
SELECT 'binance', 'P' || pair || '-USDT', hour, 60, 57, 2, 0, 1,
    ARRAY[hour], ARRAY['exchange_status'], md5(pair || '/' || hour), now()
FROM generate_series(%(first)s, %(last)s, interval '1 hour') AS hour, generate_series(1, %(pairs)s) AS pair
"""
_NAIVE = """
SELECT exchange, symbol, sum(expected), sum(stream), sum(rest), sum(empty), sum(missing), max(hour)
FROM gold.completeness_hourly GROUP BY exchange, symbol
"""
console = Console()


def main(
    pairs: Annotated[int, typer.Option(min=1)] = 300,
    days: Annotated[int, typer.Option(min=1, help="Days of published hours.")] = 365,
    repeat: Annotated[int, typer.Option(min=1, help="The median of so many counts.")] = 5,
) -> None:
    """Measures and prints."""
    with tempfile.TemporaryDirectory(prefix="klines-bench-") as name, embedded.server(Path(name)) as dsn:
        folder = Path(name)
        _write(folder, dsn, pairs)
        _run(folder, "klines", "warehouse", "init")
        _fill(dsn, pairs, days)
        _recorder(folder, pairs)
        measured = {
            "`klines status`": lambda: _run(folder, "klines", "status"),
            "`klines status --json`": lambda: _run(folder, "klines", "status", "--json"),
            "floor: Python imports a Postgres driver and asks for 1": lambda: _run(folder, "-c", _floor(dsn)),
            "naive: a query over all of the ledger, alone": lambda: _query(dsn, _NAIVE),
        }
        seconds = {what: _median(work, repeat) for what, work in measured.items()}
    status = seconds["`klines status`"]
    table = Table(title=f"{pairs} pairs, {24 * days * pairs:,} entries of ledger, median of {repeat}")
    for column in ("what", "seconds", "klines status takes"):
        table.add_column(column)
    for what, took in seconds.items():
        table.add_row(what, f"{took:.2f}", f"{status / took:.2f} ×")  # noqa: RUF001
    console.print(table)
    console.print(f"{'reached' if status < TARGET else 'MISSED'}: under {TARGET:.0f} s")


def _write(folder: Path, dsn: str, pairs: int) -> None:
    symbols = msgspec.json.encode([f"P{n}-USDT" for n in range(1, pairs + 1)]).decode()
    text = f"[lake]\nroot = lake\n[pairs]\nbinance = {symbols}\n[stream]\nspool_dir = spool\n[warehouse]\ndsn = {dsn}\n"
    (folder / "luigi.cfg").write_text(text)


def _fill(dsn: str, pairs: int, days: int) -> None:
    """Up to the last hour that is over."""
    last = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    with psycopg.connect(dsn) as connection:
        connection.execute(_FILL, {"first": last - timedelta(days=days), "last": last, "pairs": pairs})
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE gold.completeness_hourly")


def _recorder(folder: Path, pairs: int) -> None:
    """What a recorder of these pairs would have left a moment ago, which has stopped since."""
    now = Clock().now()
    known = [PairHealth(symbol=f"P{n}-USDT", heard=now, quiet=2.0) for n in range(1, pairs + 1)]
    links = [
        LinkHealth(name=f"binance connection {n}", exchange="binance", up=True, since=now, pairs=known[first:][:25])
        for n, first in enumerate(range(0, pairs, _PER_CONNECTION), 1)
    ]
    word = Health(recorder="bench", started=now - timedelta(days=1), said=now, ended=True, written=10**9, links=links)
    disk = Folder(folder / "spool")
    disk.take()
    disk.replace(WORD, msgspec.json.encode(word))
    disk.leave()


def _floor(dsn: str) -> str:
    return f"import psycopg; psycopg.connect({dsn!r}).execute('SELECT 1')"


def _run(folder: Path, *command: str) -> None:
    program = [str(Path(sys.executable).parent / "klines"), *command[1:]] if command[0] == "klines" else None
    subprocess.run(
        program or [sys.executable, *command],
        env=environment(LUIGI_CONFIG_PATH=str(folder / "luigi.cfg")),
        check=True,
        stdout=subprocess.DEVNULL,
    )


def _query(dsn: str, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(text.encode()).fetchall()


def _median(work: Callable[[], object], repeat: int) -> float:
    work()
    took = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        took.append(time.perf_counter() - began)
    return sorted(took)[repeat // 2]


if __name__ == "__main__":
    typer.run(main)
