"""After an outage: how fast the recorder brings what waited in its spool into the lake, while it goes on recording.

python -m bench.drain [--hours 24] [--pairs 30]
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import boto3
import pyarrow
import typer
from rich.console import Console
from rich.table import Table

from bench import market
from bench.process import MEGABYTE, await_server, configure, environment, free_port, memory, pinned, processor_seconds
from stream.clock import HOUR
from stream.recorder import next_seal
from stream.wire import EPOCH

TARGET = 20
_FLUSH = 900.0
_START = datetime(2026, 11, 22, 0, 0, 15, tzinfo=UTC)
_BUCKET = "bench"
_PATIENCE = 60.0
_KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_DEFAULT_REGION": "us-east-1"}
console = Console()


class Drained(NamedTuple):
    """What the recorder did."""

    seconds: float
    busy: float
    """Share of its core that it used."""
    own: int
    """Most memory without the pages of files, bytes."""
    live: float
    """Lines a second that it recorded meanwhile."""


def main(
    hours: Annotated[int, typer.Option(min=1, help="How long the store was away, in hours of recording.")] = 24,
    pairs: Annotated[int, typer.Option(min=1, max=200, help="Pairs, an update a second each.")] = 30,
) -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("Two cores are needed: one for the store and the exchange, one for the recorder.")
    os.environ.update(_KEYS)
    with tempfile.TemporaryDirectory(prefix="klines-bench-") as name:
        folder = Path(name)
        waiting = folder / "waiting"
        waiting.mkdir()
        with ProcessPoolExecutor(2) as both:
            lines = sum(both.map(partial(_record, waiting, pairs), range(hours)))
        segments = sorted(waiting.iterdir())
        size = sum(path.stat().st_size for path in segments)
        console.print(f"{hours} h, {pairs} pairs: {lines:,} lines, {size / MEGABYTE:,.0f} MB, {len(segments)} segments")
        drained, floors = {}, {"floor: files copied, with fsync": _timed(partial(_copy, segments, folder / "copy"))}
        for kind, module in (("moto", "moto.server"), ("a sink that keeps nothing", "bench.sink")):
            with _store(cores[0], module, folder) as port:
                drained[kind] = _drain(folder, (cores[0], cores[-1]), port, pairs, segments)
                if module == "moto.server":
                    _check(port, segments, lines)
                floors[f"floor: files PUT as they are, {kind}"] = _timed(partial(_put, segments, port))
    _print(hours, size, drained, floors)


def _record(folder: Path, pairs: int, hour: int) -> int:
    """An hour's sealed segments, as the recorder ends them, all pairs interleaved; returns the number of lines."""
    start, count = _START + hour * HOUR, 0
    by_pair = [market.lines(symbol, start.replace(second=0), 61) for symbol in market.symbols(pairs)]
    end, file = start, None
    for updates in zip(*by_pair, strict=True):
        heard = updates[0][0]
        if not start <= heard < start + HOUR:
            continue
        if heard >= end or file is None:
            if file is not None:
                file.close()
            file = (folder / f"{(end - EPOCH) // timedelta(milliseconds=1):013d}.jsonl").open("wb")
            end = next_seal(end, _FLUSH)
        file.write(b"".join(line for _, line in updates))
        count += len(updates)
    assert file is not None
    file.close()
    return count


@contextmanager
def _store(core: int, module: str, folder: Path) -> Iterator[int]:
    """A store at a port of this machine, with a bucket."""
    port, log = free_port(), folder / "store.log"
    arguments = (str(port),) if module == "bench.sink" else ("-H", "127.0.0.1", "-p", str(port))
    with pinned(core, module, *arguments, env=environment(), output=log):
        await_server(port, log)
        boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(Bucket=_BUCKET)
        yield port


def _drain(folder: Path, cores: tuple[int, int], store: int, pairs: int, segments: list[Path]) -> Drained:
    """`python -m stream`, as it stands, finds the segments in its spool; until the last of them is gone."""
    spool, exchange = folder / f"spool-{store}", free_port()
    spool.mkdir()
    for segment in segments:
        (spool / segment.name).hardlink_to(segment)
    lake = {"root": f"s3://{_BUCKET}", "s3_endpoint": f"http://127.0.0.1:{store}"}
    stream = {"spool_dir": str(spool), "flush_seconds": str(_FLUSH)}
    config = configure(folder, market.symbols(pairs), exchange, lake, **stream)
    log, blast_log = folder / "log", folder / "blast.log"
    blast = ("bench.blast", str(exchange), str(pairs), str(pairs))
    with pinned(cores[0], *blast, env=environment(), output=blast_log):
        await_server(exchange, blast_log)
        with pinned(cores[1], "stream", env=environment(LUIGI_CONFIG_PATH=str(config)), output=log) as pid:
            begun, own = time.perf_counter(), 0
            while waiting := sum((spool / segment.name).exists() for segment in segments[-3:]):
                own = max(own, memory(pid, "RssAnon"))
                if not own or time.perf_counter() - begun > 3600:
                    sys.exit(f"The recorder did not drain its spool, {waiting} wait: {log.read_text()}")
                time.sleep(0.05)
            seconds = time.perf_counter() - begun
            busy = processor_seconds(pid) / seconds
            live = sum(path.read_bytes().count(b"\n") for path in spool.glob("*.open")) / seconds
    return Drained(seconds, busy, own, live)


def _check(port: int, segments: list[Path], lines: int) -> None:
    """Every line of the segments is in the store."""
    client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
    numbers, found = {segment.stem for segment in segments}, 0
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=_BUCKET):
        for one in page.get("Contents", []):
            if one["Key"].partition("bench-")[2].partition(".")[0] in numbers:
                body = client.get_object(Bucket=_BUCKET, Key=one["Key"])["Body"].read()
                found += pyarrow.CompressedInputStream(pyarrow.BufferReader(body), "zstd").read().count(b"\n")
    if found != lines:
        sys.exit(f"{found:,} lines are in the store, {lines:,} were in the spool.")


def _timed(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _copy(segments: list[Path], target: Path) -> None:
    target.mkdir()
    for segment in segments:
        with segment.open("rb") as source, (target / segment.name).open("wb") as file:
            shutil.copyfileobj(source, file, 1 << 20)
            os.fsync(file.fileno())
    shutil.rmtree(target)


def _put(segments: list[Path], port: int) -> None:
    """One PUT per segment, over one connection, uncompressed."""
    there = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)
    for segment in segments:
        with segment.open("rb") as file:
            there.request("PUT", f"/{_BUCKET}/{segment.name}", file, {"Content-Length": str(segment.stat().st_size)})
            there.getresponse().read()
    there.close()


def _print(hours: int, size: int, drained: dict[str, Drained], floors: dict[str, float]) -> None:
    table = Table(title=f"{hours} h of recording brought into the lake", title_justify="left")
    table.add_column("")
    for heading in ("seconds", "MB/s", "times real time"):
        table.add_column(heading, justify="right")
    rows = {f"the recorder, into {kind}": one.seconds for kind, one in drained.items()} | floors
    for name, seconds in rows.items():
        table.add_row(name, f"{seconds:.1f}", f"{size / MEGABYTE / seconds:.0f}", f"{hours * 3600 / seconds:,.0f} x")
    console.print(table)
    for kind, one in drained.items():
        console.print(
            f"into {kind}: {one.busy:.0%} of its core, {one.own / MEGABYTE:.0f} MB of its own, "
            f"{one.live:.0f} lines/s recorded meanwhile; {one.seconds / min(floors.values()):.1f} x the lowest floor"
        )
    slowest = hours * 3600 / max(one.seconds for one in drained.values())
    verdict = "[green]met[/]" if slowest > TARGET else "[red]missed[/]"
    console.print(f"times real time: {slowest:,.0f}, target {TARGET}: {verdict}")


if __name__ == "__main__":
    typer.run(main)
