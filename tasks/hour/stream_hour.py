"""One exchange-hour of recorded lines → typed Parquet: candles, trades, and what the recorder said (sessions)."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stream import exchanges
from stream.lake import Lake, Stored, layout
from tasks.hour import evidence, sift
from tasks.rules import choose, proof, trades
from tasks.rules.schemas import BRONZE, SESSIONS, TRADES
from tasks.tables import duck, parquet

_PAIRS_AT_ONCE = 25
"""Bounds the memory of an hour, whatever the number of pairs: about 90,000 lines of a busy hour."""


def is_current(lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime) -> bool:
    """The Parquet exists and was made from the lines that there are."""
    facts = made(lake, exchange, hour)
    if facts is None:
        return False
    now = evidence.fingerprints(evidence.recorded(lake, exchange, symbols, hour))
    return all(facts["evidence"].get(symbol) == mark for symbol, mark in now.items())


def made(lake: Lake, exchange: str, hour: datetime) -> dict[str, Any] | None:
    """What the footer of the Parquet says; None unless all that `make` writes is there. LakeError: it is damaged."""
    keys = [layout.bronze_key(exchange, hour, "stream"), layout.sessions_key(exchange, hour, "stream")]
    if exchanges.streams_trades(exchange):
        keys.append(layout.trades_key(exchange, hour, "stream"))
    return parquet.facts_of_all(lake, keys)


def make(lake: Lake, exchange: str, symbols: Sequence[str], hour: datetime) -> int:
    """Writes the Parquet objects; returns how many lines were set aside as torn or foreign.

    The bronze object is written last: its footer is what says that the hour was read.
    """
    objects = evidence.recorded(lake, exchange, symbols, hour)
    facts = {"evidence": evidence.fingerprints(objects)}
    rejected = 0
    with tempfile.TemporaryDirectory(prefix="klines-") as folder:
        path, trades_path = Path(folder) / "stream.parquet", Path(folder) / "trades.parquet"
        with (
            closing(parquet.writer(str(path), BRONZE, facts)) as bronze,
            closing(parquet.writer(str(trades_path), TRADES, facts)) as deals,
        ):
            taken = _Taken(exchange, hour, bronze, deals)
            for lines, aside in _read_all(lake, exchange, objects, hour, Path(folder)):
                taken.take(lines)
                rejected += aside
        sessions = pa.concat_tables(taken.sessions)
        lake.put(layout.sessions_key(exchange, hour, "stream"), parquet.encode(sessions, facts))
        if exchanges.streams_trades(exchange):
            lake.put_file(layout.trades_key(exchange, hour, "stream"), trades_path)
        lake.put_file(layout.bronze_key(exchange, hour, "stream"), path)
    _remember((lake.root, exchange, hour, _mark(facts)), taken.finished, taken.seen)
    return rejected


class _Taken:
    """What has been read of an hour: candles and trades go into the Parquet at once, the rest is small."""

    def __init__(self, exchange: str, hour: datetime, bronze: pq.ParquetWriter, deals: pq.ParquetWriter) -> None:
        self._exchange = exchange
        self._hour = hour
        self._bronze = bronze
        self._deals = deals
        self.sessions = [SESSIONS.empty_table()]
        self.finished = [parquet.frame(BRONZE.empty_table())]
        self.seen = [choose.seen(self.finished[0])]

    def take(self, lines: pa.Table) -> None:
        """One batch of pairs. It becomes one row group: `_row_groups` relies on it."""
        is_candle = pc.is_in(lines["event_type"], pa.array(["snapshot", "update"]))
        is_trade = pc.equal(lines["event_type"], "trade")
        candles = self._shaped(lines.filter(is_candle), BRONZE)
        deals = self._shaped(lines.filter(is_trade), TRADES)
        sessions = self._shaped(lines.filter(pc.invert(pc.or_(is_candle, is_trade))), SESSIONS)
        if deals.num_rows:
            self._deals.write_table(deals, row_group_size=deals.num_rows)
            candles = pa.concat_tables([candles, self._build(parquet.frame(deals), parquet.frame(sessions))])
        if candles.num_rows:
            self._bronze.write_table(candles, row_group_size=candles.num_rows)
        self.sessions.append(sessions)
        frame = parquet.frame(candles)
        self.finished.append(choose.finished(frame, parquet.frame(sessions)))
        self.seen.append(choose.seen(frame))

    def _build(self, deals: pl.DataFrame, sessions: pl.DataFrame) -> pa.Table:
        """The candles of these trades, unproven ones too (schema BRONZE): they say that somebody traded."""
        minutes = choose.expected(deals["symbol"].unique().to_list(), self._hour)
        built = trades.candles(
            deals, proof.heard(minutes, sessions), consecutive_ids=exchanges.consecutive_ids(self._exchange)
        )
        return built.sort("symbol", "interval_start").select(BRONZE.names).to_arrow().cast(BRONZE)

    def _shaped(self, lines: pa.Table, schema: pa.Schema) -> pa.Table:
        """The lines with the columns of `schema`: what is the same for all of them is not read, but added."""
        minute = pa.scalar(60_000_000, pa.duration("us"))
        added = {
            "exchange": pa.repeat(self._exchange, len(lines)),
            "source": pa.repeat("stream", len(lines)),
            "interval_seconds": pa.repeat(pa.scalar(60, pa.int32()), len(lines)),
            "interval_end": pc.add(lines["interval_start"], minute),
            "ingestion_ts": lines["recv_ts"],
        }
        columns = []
        for field in schema:
            if field.name in added:
                columns.append(added[field.name])
            elif field.name in lines.column_names:
                columns.append(lines[field.name].cast(field.type))
            else:
                columns.append(pa.nulls(len(lines), field.type))
        return pa.table(columns, schema=schema)


_Finished = tuple[pl.DataFrame, pl.DataFrame]
_remembered: dict[tuple[str, str, datetime, str], _Finished] = {}


def finished(lake: Lake, exchange: str, hour: datetime) -> _Finished:
    """The hour's finished stream candles (schema BRONZE), and what `choose.seen` says of all of them.

    BronzeRest and SilverPair ask for it: who has just read the hour, or asks again, need not read the Parquet.
    """
    facts = parquet.facts(lake, layout.bronze_key(exchange, hour, "stream")) or {}
    key = (lake.root, exchange, hour, _mark(facts))
    if key not in _remembered:
        table, _ = parquet.read(lake, layout.sessions_key(exchange, hour, "stream"))
        sessions = parquet.frame(table)
        done = [parquet.frame(BRONZE.empty_table())]
        seen = [choose.seen(done[0])]
        for batch in _row_groups(lake, layout.bronze_key(exchange, hour, "stream")):
            candles = parquet.frame(batch)
            done.append(choose.finished(candles, sessions))
            seen.append(choose.seen(candles))
        _remember(key, done, seen)
    return _remembered[key]


def _mark(facts: dict[str, Any]) -> str:
    return evidence.fingerprint(*(f"{symbol} {mark}" for symbol, mark in sorted(facts["evidence"].items())))


def _remember(key: tuple[str, str, datetime, str], done: list[pl.DataFrame], seen: list[pl.DataFrame]) -> None:
    while len(_remembered) >= 4:
        del _remembered[next(iter(_remembered))]
    _remembered[key] = (pl.concat(done), pl.concat(seen))


def _row_groups(lake: Lake, key: str) -> Iterator[pa.Table]:
    """Some pairs at a time; a pair is never split, because a row group is one batch of `make`."""
    with lake.local([key]) as (path,), pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield file.read_row_group(group).replace_schema_metadata(None)


def _read_all(
    lake: Lake, exchange: str, objects: dict[str, list[Stored]], hour: datetime, folder: Path
) -> Iterator[tuple[pa.Table, int]]:
    """The valid lines of the hour, some pairs at a time, by symbol; and how many lines were set aside.

    Two batches are read at once and one waits: that keeps two cores busy, and bounds the memory.
    """
    symbols = sorted(symbol for symbol, found in objects.items() if found)
    batches = [
        {symbol: objects[symbol] for symbol in symbols[n : n + _PAIRS_AT_ONCE]}
        for n in range(0, len(symbols), _PAIRS_AT_ONCE)
    ]
    if len(batches) == 1:
        yield _read(lake, exchange, batches[0], hour, folder)
        return
    with ThreadPoolExecutor(2) as readers:
        ahead: deque[Future[tuple[pa.Table, int]]] = deque()
        for batch in batches:
            if len(ahead) > 2:
                yield ahead.popleft().result()
            ahead.append(readers.submit(_read, lake, exchange, batch, hour, folder))
        while ahead:
            yield ahead.popleft().result()


def _read(
    lake: Lake, exchange: str, objects: dict[str, list[Stored]], hour: datetime, folder: Path
) -> tuple[pa.Table, int]:
    """The valid lines of some pairs, and how many others there were. Only pairs with torn lines are read twice."""
    keys = [one.key for found in objects.values() for one in found]
    symbols, remedies, aside = list(objects), iter(sift.REMEDIES), 0

    def read(paths: Sequence[Path]) -> pa.Table | None:
        try:
            return duck.read_lines(list(paths), exchange, symbols, hour)
        except duck.UnreadableLines:
            return None

    with lake.local(keys) as paths, tempfile.TemporaryDirectory(dir=folder) as sound:
        files = dict(zip(keys, paths, strict=True))
        while (lines := read(list(files.values()))) is None:
            found = 0
            while not found:
                files, found = sift.without(
                    lake, exchange, hour, files, Path(sound), next(remedies), lambda path: read([path]) is not None
                )
            aside += found
        if invalid := pc.indices_nonzero(pc.invert(lines["valid"])).to_pylist():
            sift.foreign(lake, exchange, symbols, hour, files, invalid)
            lines = lines.filter(lines["valid"])
    return lines, aside + len(invalid)
