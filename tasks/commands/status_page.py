"""How `klines status` looks: one screen, whatever the number of pairs."""

from __future__ import annotations

from datetime import timedelta
from itertools import groupby

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.rules.completeness import Total
from tasks.watch.page import Page
from tasks.watch.problems import moment, size, span
from tasks.watch.published import PairHour
from tasks.watch.recorder import Recorder

_FEW = 8
"""Rows of hours that are shown: more are in --json."""
_VERDICTS = ("expected", "stream", "rest", "empty", "missing")


def show(page: Page, first_command: str, console: Console) -> None:
    """The page for a person; `first_command` is what publishes something where nothing is published yet."""
    console.print(
        f"{page.now:%Y-%m-%d %H:%M:%S} UTC\nlake       {page.lake}\nwarehouse  {page.warehouse_dsn or 'not reachable'}"
    )
    for problem in page.problems:
        console.print(Text("✗ ", style="red") + Text(problem))
    if page.recorder is not None:
        _show_recorder(page.recorder, page, console)
    if page.totals:
        console.print(_hours(page))
    elif page.warehouse_dsn:
        console.print(f"No hour is published yet. Publish the last one: {first_command}")
    for missing in page.missing:
        lost = f", lost from {moment(missing.lost_at)} on" if missing.lost_at else ""
        console.print(
            f"missing    {missing.exchange}: {missing.minutes} minutes of {missing.pairs} pairs since "
            f"{missing.first_hour:%Y-%m-%dT%H}, {missing.cause}: {missing.why_then}{lost}"
        )
    if not page.problems:
        console.print(Text("✓", style="green") + Text(" Nobody needs to get up."))


def _show_recorder(seen: Recorder, page: Page, console: Console) -> None:
    if seen.state == "none":
        console.print(f"recorder   none has ever used {seen.spool}")
        return
    heard = f"last message {span(page.now - seen.last_heard)} ago" if seen.last_heard else "no message yet"
    up, pairs = sum(one.up for one in seen.connections), sum(one.pairs for one in seen.connections)
    if seen.said and seen.state in ("stopped", "dead"):
        state = f"{seen.state} since {moment(seen.said)}, with {pairs} pairs"
    else:
        usual = pairs - len(seen.silent_pairs) - len(seen.refused_pairs)
        state = f"{seen.state}; {up} of {len(seen.connections)} connections, {usual} of {pairs} pairs as usual"
    console.print(f"recorder   {seen.name}, {state}; {heard}")
    uploaded = f"the last one {span(page.now - seen.last_upload)} ago" if seen.last_upload else "none yet"
    lasts = f", enough for {span(timedelta(seconds=seen.disk_lasts_seconds))}" if seen.disk_lasts_seconds else ""
    console.print(
        f"uploads    {uploaded}; {size(seen.backlog_bytes)} wait, the oldest line for "
        f"{span(timedelta(seconds=seen.backlog_age_seconds))}; {size(seen.disk_free_bytes)} free{lasts}"
    )
    for exchange, trouble in seen.ailing.items():
        console.print(f"says       {exchange}: {trouble.reason}, since {moment(trouble.since)}")
    for what, names in (("refused", seen.refused_pairs), ("not listed", seen.unlisted_pairs)):
        if names:
            more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
            console.print(f"{what:10} {', '.join(names[:_FEW])}{more}: correct [pairs], and restart the recorder")


def _hours(page: Page) -> Table:
    """A row an hour, all pairs together."""
    assert page.published_until is not None
    table = _table(f"Minutes of all pairs, published until {moment(page.published_until)}", "hour", "pairs")
    for total in page.totals[-_FEW:]:
        _add(table, [f"{total.hour:%Y-%m-%dT%H}", str(total.pairs)], total)
    return table


def verdict_table(rows: list[PairHour]) -> Table:
    """A row for each pair and hour, a line between hours."""
    table = _table("Minutes by verdict", "exchange", "symbol", "hour")
    for _, group in groupby(rows, key=lambda row: row.hour):
        for row in group:
            _add(table, [row.exchange, row.symbol, row.hour[:13]], row)
        table.add_section()
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, padding=0)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for column in _VERDICTS:
        table.add_column(column, justify="right")
    return table


def _add(table: Table, heads: list[str], row: PairHour | Total) -> None:
    missing = Text(str(row.missing), style="red" if row.missing else "")
    table.add_row(*heads, *(str(number) for number in (row.expected, row.stream, row.rest, row.empty)), missing)
