"""The recorder at full blast: messages received, parsed and in the spool per second on one core, and its memory.

python -m bench.recorder [--seconds 20] [--pairs 100]
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import duckdb
import typer
from rich.console import Console
from rich.table import Table

from bench import market
from bench.process import MEGABYTE, await_server, configure, environment, free_port, memory, pinned, processor_seconds

TARGET = 20_000
_PATIENCE = 30.0
console = Console()


class Sample(NamedTuple):
    """The recorder during a quarter of the time: the most that was seen."""

    until: float
    own: int
    """Resident memory without the pages of files, bytes."""
    resident: int
    """With them: segments that are being uploaded are mapped, and the kernel takes such pages back when it wants to."""
    waiting: int
    """Bytes of ended segments that are not in the lake yet."""


class Recorded(NamedTuple):
    """What the recorder did."""

    rate: float
    busy: float
    """Share of its core that it used."""
    samples: list[Sample]


def main(
    seconds: Annotated[float, typer.Option(min=4, help="How long the recorder is watched.")] = 20,
    pairs: Annotated[int, typer.Option(min=1, max=200, help="Pairs on the one connection.")] = 100,
) -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("Two cores are needed: one for the exchange, one for the recorder.")
    with tempfile.TemporaryDirectory(prefix="klines-bench-") as name:
        folder, port = Path(name), free_port()
        server = (str(port), str(pairs))
        with pinned(cores[0], "bench.blast", *server, env=environment(), output=folder / "blast.log"):
            await_server(port, folder / "blast.log")
            rates = {kind: _client(folder, cores[-1], kind, port, pairs, seconds / 4) for kind in ("bare", "naive")}
            recorded = _record(folder, cores[-1], port, pairs, seconds)
    _print(recorded, rates)


def _client(folder: Path, core: int, kind: str, port: int, pairs: int, seconds: float) -> float:
    """Messages per second of another client on the recorder's core."""
    lines, output = folder / kind, folder / f"{kind}.log"
    lines.mkdir()
    arguments = (kind, str(port), str(pairs), str(seconds), str(lines))
    with pinned(core, "bench.client", *arguments, env=environment(), output=output):
        deadline = time.monotonic() + seconds + _PATIENCE
        while not (found := output.read_text()).endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.1)
    try:
        return float(found)
    except ValueError:
        sys.exit(f"The {kind} client failed: {found}")


def _record(folder: Path, core: int, port: int, pairs: int, seconds: float) -> Recorded:
    """`python -m stream`, as it stands, for so long; its lines are counted where they ended up."""
    spool, log = folder / "spool", folder / "stream.log"
    config = configure(folder, market.symbols(pairs), port, {"root": str(folder / "lake")}, spool_dir=str(spool))
    with pinned(core, "stream", env=environment(LUIGI_CONFIG_PATH=str(config)), output=log) as pid:
        deadline = time.monotonic() + _PATIENCE
        while not any(path.stat().st_size for path in spool.glob("*.open")):
            if time.monotonic() > deadline:
                sys.exit(f"The recorder did not start: {log.read_text()}")
            time.sleep(0.01)
        begun, used = time.perf_counter(), processor_seconds(pid)
        samples = [_watch(pid, spool, begun, share * seconds) for share in (0.25, 0.5, 0.75, 1)]
        passed = time.perf_counter() - begun
        busy = (processor_seconds(pid) - used) / passed
    return Recorded(_count(folder) / passed, busy, samples)


def _watch(pid: int, spool: Path, begun: float, until: float) -> Sample:
    own = resident = waiting = 0
    while time.perf_counter() < begun + until:
        own, resident = max(own, memory(pid, "RssAnon")), max(resident, memory(pid, "VmRSS"))
        waiting = max(waiting, sum(_size(path) for path in spool.glob("*.jsonl")))
        time.sleep(0.1)
    return Sample(until, own, resident, waiting)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it was uploaded and removed meanwhile
        return 0


def _count(folder: Path) -> int:
    """Candle lines in the lake, and in the spool, where the last upload did not get to them."""
    files = [str(path) for path in folder.glob("lake/bronze/stream/**/*.jsonl*")]
    files += [str(path) for path in folder.glob("spool/*.jsonl")]
    with duckdb.connect() as connection:
        query = (
            "SELECT count(*) FROM read_json($files, format = 'newline_delimited', columns = {event_type: 'VARCHAR'}) "
            "WHERE event_type = 'update'"
        )
        found = connection.execute(query, {"files": files}).fetchone()
    return int(found[0]) if found else 0


def _print(recorded: Recorded, rates: dict[str, float]) -> None:
    table = Table(title="One core, messages per second", title_justify="left")
    table.add_column("client")
    table.add_column("messages/s", justify="right")
    table.add_column("the recorder is", justify="right")
    for client, rate in (
        ("the recorder: parsed, in the spool, uploaded", recorded.rate),
        ("naive: a file opened per line", rates["naive"]),
        ("bare: nothing parsed or kept", rates["bare"]),
    ):
        table.add_row(client, f"{rate:,.0f}", f"{recorded.rate / rate:.2f} x")
    console.print(table)
    samples = Table(title="The recorder, most in each quarter, MB", title_justify="left")
    for heading in ("until s", "memory of its own", "with mapped files", "waiting for upload"):
        samples.add_column(heading, justify="right")
    for sample in recorded.samples:
        cells = [f"{value / MEGABYTE:.0f}" for value in (sample.own, sample.resident, sample.waiting)]
        samples.add_row(f"{sample.until:.0f}", *cells)
    console.print(samples)
    console.print(f"share of its core that the recorder used: {recorded.busy:.0%}")
    verdict = "[green]met[/]" if recorded.rate >= TARGET else "[red]missed[/]"
    console.print(f"messages/s: {recorded.rate:,.0f}, target {TARGET:,}: {verdict}")


if __name__ == "__main__":
    typer.run(main)
