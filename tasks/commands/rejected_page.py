"""How `klines rejected` looks: a row for each exchange and reason."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tasks.hour.set_aside import Found
from tasks.watch.problems import moment


def show(found: Found, window: Sequence[datetime], console: Console, *, again: bool) -> None:
    """`window`: the hours that `Hourly` looks at by itself."""
    if not found.tallies:
        console.print("Nothing is set aside.")
        return
    table = Table("exchange", "why", title="Set aside in bronze/rejected", box=SIMPLE_HEAD, padding=0)
    table.add_column("lines", justify="right")
    table.add_column("readable now", justify="right")
    table.add_column("first", no_wrap=True)
    table.add_column("last", no_wrap=True)
    for kind, tally in sorted(found.tallies.items()):
        table.add_row(
            kind.exchange, kind.reason, str(tally.lines), str(tally.readable), moment(tally.first), moment(tally.last)
        )
    console.print(table)
    if not again:
        if any(tally.readable for tally in found.tallies.values()):
            console.print("What is readable now goes into its hours with: klines rejected --again")
        return
    if not found.hours:
        console.print("Nothing that its hour does not have already.")
        return
    old = sorted(found.hours - set(window))
    console.print(f"Hours with new lines: {len(found.hours)}. Hourly takes those of its last {len(window)} by itself.")
    if old:
        console.print("The others are for you:")
    for hour in old:
        console.print(f"luigi --module tasks GoldHour --hour {hour:%Y-%m-%dT%H}")
