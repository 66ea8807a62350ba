"""Closing an hour: JSONL in a local lake → published Postgres partition, as a whole process, for several pair counts.

python -m bench.hour_close [--pairs 1,30,100,300] [--repeat 1]
"""

from __future__ import annotations

import configparser
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NamedTuple

import duckdb
import psycopg
import typer
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier
from rich.console import Console
from rich.table import Table

from bench import market, naive
from bench.process import CHECKOUT, MEGABYTE, Measured, environment, free_port, measure
from stream import settings
from stream.lake import layout
from tasks import warehouse
from tasks.warehouse import embedded

HOUR = datetime(2026, 1, 15, 10, tzinfo=UTC)
SAMPLE = 10
"""Pairs of the naive loader: enough to measure, and it takes its time."""
_COLUMNS = {
    **dict.fromkeys(("exchange", "symbol", "event_type", "conn"), "VARCHAR"),
    **dict.fromkeys(("event_ts", "recv_ts", "interval_start"), "TIMESTAMPTZ"),
    **dict.fromkeys(("open", "high", "low", "close", "volume", "quote_volume", "vwap"), "DOUBLE"),
    "trade_count": "INTEGER",
    "is_final": "BOOLEAN",
}
console = Console()


class Bench(NamedTuple):
    """Where everything is."""

    folder: Path
    recorded: Path
    dsn: str

    def files(self, pairs: int) -> list[Path]:
        """The recorded lines of the first pairs."""
        names = market.symbols(pairs)
        return [self.recorded / layout.stream_key("binance", name, HOUR, "bench", 1, ".jsonl") for name in names]


class Close(NamedTuple):
    """One pair count: the run that closes the hour, and the same command once more."""

    first: Measured
    again: Measured


class References(NamedTuple):
    """Seconds per pair-hour of other ways."""

    naive: float
    finals: float
    read: float
    copy: float

    @property
    def floor(self) -> float:
        """What reading and loading cost at least."""
        return self.read + self.copy


def main(
    pairs: Annotated[
        str, typer.Option(help="Pair counts; the second of several to the last gives the cost of one more.")
    ] = ("1,30,100,300"),
    repeat: Annotated[int, typer.Option(min=1, help="The fastest of so many runs counts.")] = 1,
) -> None:
    """Measures and prints."""
    counts = sorted({int(count) for count in pairs.split(",")})
    if len(counts) < 2:
        sys.exit("--pairs needs two counts at least, such as 1,30: the difference is what one more pair costs.")
    with tempfile.TemporaryDirectory(prefix="klines-bench-") as name:
        folder = Path(name)
        with embedded.server(folder / "postgres") as dsn:
            bench = Bench(folder, folder / "recorded", dsn)
            size = sum(market.record(bench.recorded, symbol, HOUR) for symbol in market.symbols(counts[-1]))
            console.print(f"{counts[-1]} pairs x 3,600 lines, {size / counts[-1] / MEGABYTE:.1f} MB per pair-hour")
            closes = {count: _close(bench, count, repeat) for count in counts}
            references = _references(bench, counts[-1], repeat)
    _print(closes, references)


def _close(bench: Bench, pairs: int, repeat: int) -> Close:
    runs = [_close_once(bench, pairs, f"bench_{pairs}_{number}") for number in range(repeat)]
    return Close(
        Measured(min(run.first.seconds for run in runs), max(run.first.peak for run in runs), 0),
        Measured(min(run.again.seconds for run in runs), max(run.again.peak for run in runs), 0),
    )


def _close_once(bench: Bench, pairs: int, name: str) -> Close:
    """A lake and a database of its own, so that the hour is new; twice the same command."""
    root = bench.folder / name
    (root / "lake" / "bronze").mkdir(parents=True)
    (root / "lake" / "bronze" / "stream").symlink_to(bench.recorded / "bronze" / "stream")
    with psycopg.connect(bench.dsn, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
    dsn = make_conninfo(bench.dsn, dbname=name)
    config = _write_config(root, pairs, dsn)
    with warehouse.connect(settings.parse(config.read_text(), config).warehouse) as target:
        target.init()
    luigi = Path(sys.executable).with_name("luigi")
    command = [str(luigi), "--module", "tasks", "SilverHour", "--hour", f"{HOUR:%Y-%m-%dT%H}", "--local-scheduler"]
    env = environment(LUIGI_CONFIG_PATH=str(config))
    found = [measure(command, env, root / f"{number}.log") for number in range(2)]
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM silver.fact_ohlcv WHERE source = 'stream'").fetchone()
    if [one.code for one in found] != [0, 0] or row != (pairs * 60,):
        console.print((root / "0.log").read_text()[-4000:])
        sys.exit(f"The hour of {pairs} pairs was not published whole: {row} candles.")
    return Close(*found)


def _write_config(root: Path, pairs: int, dsn: str) -> Path:
    """The checked-in settings, with a lake, pairs and a warehouse of our own. REST has nobody at the other end."""
    config = configparser.ConfigParser(interpolation=None)
    config.read(CHECKOUT / "luigi.cfg")
    config["lake"] = {"root": str(root / "lake")}
    config["pairs"] = {"binance": json.dumps(market.symbols(pairs))}
    config["exchange_binance"] = {"rest_url": f"http://127.0.0.1:{free_port()}"}
    config["warehouse"] = {"dsn": dsn}
    path = root / "luigi.cfg"
    with path.open("w") as file:
        config.write(file)
    return path


def _references(bench: Bench, pairs: int, repeat: int) -> References:
    sample, some = bench.files(min(SAMPLE, pairs)), bench.files(min(5 * SAMPLE, pairs))
    dsn = make_conninfo(bench.dsn, dbname=f"bench_{pairs}_0")
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY (SELECT * FROM silver.fact_ohlcv) TO STDOUT") as copy:
            rows = b"".join(copy)
        cursor.execute("CREATE TABLE bare (LIKE silver.fact_ohlcv INCLUDING INDEXES)")
    return References(
        naive=_fastest(lambda: naive.load(dsn, sample), repeat) / len(sample),
        finals=_fastest(lambda: naive.load(dsn, sample, finals_only=True), repeat) / len(sample),
        read=_fastest(lambda: _read(some), repeat) / len(some),
        copy=_fastest(lambda: _copy(dsn, rows), repeat) / pairs,
    )


def _fastest(work: Callable[[], object], repeat: int) -> float:
    seconds = []
    for _ in range(repeat):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _read(files: list[Path]) -> int:
    with duckdb.connect() as connection:
        lines = connection.read_json(
            [str(file) for file in files],  # type: ignore[arg-type]  # the stub knows one path only
            format="newline_delimited",
            columns=_COLUMNS,
        )
        return int(lines.to_arrow_table().num_rows)


def _copy(dsn: str, rows: bytes) -> None:
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE bare")
        with cursor.copy("COPY bare FROM STDIN") as copy:
            copy.write(rows)


def _print(closes: dict[int, Close], references: References) -> None:
    counts = list(closes)
    low, high = counts[0 if len(counts) < 3 else 1], counts[-1]
    runs = Table(title="Hour close, whole process", title_justify="left")
    for heading in ("pairs", "seconds", "peak MB", "again: seconds", "peak MB"):
        runs.add_column(heading, justify="right")
    for count, (first, again) in closes.items():
        cells = [one for run in (first, again) for one in (f"{run.seconds:.2f}", f"{run.peak / MEGABYTE:.0f}")]
        runs.add_row(str(count), *cells)
    console.print(runs)
    marginal = (closes[high].first.seconds - closes[low].first.seconds) / (high - low)
    ratios = Table(title=f"One pair more (between {low} and {high} pairs)", title_justify="left")
    for heading in ("way", "ms per pair-hour", "ours is"):
        ratios.add_column(heading, justify="right" if heading != "way" else "left")
    for way, seconds in (
        ("this pipeline", marginal),
        ("naive: every update into Postgres", references.naive),
        ("naive: flagged updates only", references.finals),
        ("floor: DuckDB reads the lines", references.read),
        ("floor: COPY of the candles", references.copy),
        ("floor, both", references.floor),
    ):
        ratios.add_row(way, f"{1000 * seconds:.2f}", f"{marginal / seconds:.2f} x")
    console.print(ratios)
    _judge("one more pair, of naive", marginal / references.naive, 1 / 3, "{:.2f}")
    _judge(f"fixed cost ({counts[0]} pairs), seconds", closes[counts[0]].first.seconds, 2.5, "{:.2f}")
    _judge(f"peak memory ({high} pairs), MB", closes[high].first.peak / MEGABYTE, 500, "{:.0f}")


def _judge(what: str, found: float, limit: float, form: str) -> None:
    verdict = "[green]met[/]" if found <= limit else "[red]missed[/]"
    console.print(f"{what}: {form.format(found)}, target {form.format(limit)}: {verdict}")


if __name__ == "__main__":
    typer.run(main)
