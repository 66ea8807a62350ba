"""What `klines status` shows: the published hours, from the ledger in Postgres."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stream.settings import Settings
from tasks import warehouse
from tasks.rules.completeness import Completeness


@dataclass(frozen=True)
class PairHour:
    """One row: how many of the hour's expected minutes have which verdict."""

    hour: str
    exchange: str
    symbol: str
    expected: int
    stream: int
    rest: int
    empty: int
    missing: int


@dataclass(frozen=True)
class StatusPage:
    """Where things are, and the rows, latest hour last."""

    lake: str
    warehouse_dsn: str
    hours: list[PairHour]


def read(settings: Settings, hours: int) -> StatusPage:
    """The latest `hours` published hours; WarehouseError when Postgres cannot be asked."""
    with warehouse.connect(settings.warehouse) as postgres:
        rows = [_row(one) for one in postgres.latest(hours)]
    return StatusPage(lake=settings.lake.root, warehouse_dsn=warehouse.address(settings.warehouse), hours=rows)


def show(page: StatusPage, last_hour: datetime, console: Console) -> None:
    """The page for a person; `last_hour` is the last that is over, to suggest where nothing is published yet."""
    console.print(f"lake       {page.lake}\nwarehouse  {page.warehouse_dsn}")
    if not page.hours:
        command = f"luigi --module tasks SilverHour --hour {last_hour:%Y-%m-%dT%H} --local-scheduler"
        console.print(f"No hour is published yet. Publish the last one: {command}")
        return
    console.print(verdict_table(page.hours))


def verdict_table(rows: list[PairHour]) -> Table:
    """The rows as a table, a line between hours."""
    table = Table(title="Minutes by verdict", box=SIMPLE_HEAD, padding=0)
    for column in ("exchange", "symbol", "hour"):
        table.add_column(column, no_wrap=True)
    for column in ("expected", "stream", "rest", "empty", "missing"):
        table.add_column(column, justify="right")
    for _, group in groupby(rows, key=lambda row: row.hour):
        for row in group:
            missing = Text(str(row.missing), style="red" if row.missing else "")
            counts = (str(number) for number in (row.expected, row.stream, row.rest, row.empty))
            table.add_row(row.exchange, row.symbol, row.hour[:13], *counts, missing)
        table.add_section()
    return table


def _row(one: Completeness) -> PairHour:
    return PairHour(
        hour=f"{one.hour:%Y-%m-%dT%H:%M:%SZ}",
        exchange=one.exchange,
        symbol=one.symbol,
        expected=one.expected,
        stream=one.stream,
        rest=one.rest,
        empty=one.empty,
        missing=one.missing,
    )
