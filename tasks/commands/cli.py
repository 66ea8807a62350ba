"""The `klines` command. Each command is a thin shell over one function elsewhere.

What one command needs is imported when it runs: Luigi, DuckDB and Polars take longer to load than `klines status` takes
to answer.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperArgument, TyperGroup, TyperOption

from stream import logs, settings
from stream.errors import KlinesError, SettingsError
from tasks import hours as hour_rules

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="1-minute crypto candles that you can trust: recorded, gap-filled, explained.",
)
warehouse_app = typer.Typer(no_args_is_help=True, help="Postgres.")
app.add_typer(warehouse_app, name="warehouse")
console = Console(soft_wrap=True, highlight=False, markup=False)


def command_line() -> TyperGroup:
    """All commands. Their help texts are shown as they are written.

    Typer takes them for Rich's markup, in which a word in square brackets, such as [clock], is a style, and vanishes.
    """
    root = typer.main.get_command(app)
    assert isinstance(root, TyperGroup)
    commands = [root, *root.commands.values()]
    for command in commands:
        if isinstance(command, TyperGroup) and command is not root:
            commands += command.commands.values()
        command.help = escape(command.help or "")
        for option in command.params:
            if isinstance(option, TyperOption | TyperArgument) and option.help:
                option.help = escape(option.help)
    return root


def main() -> None:
    """The console script: our errors are one sentence and exit code 1, never a traceback."""
    try:
        command_line()()
    except KlinesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option(help="Leave luigid and Postgres up until Ctrl-C.")] = False,
    hours: Annotated[int, typer.Option(min=1, max=10, help="How many hours to rehearse.")] = 3,
    speed: Annotated[float, typer.Option(min=1, help="Simulated seconds per second.")] = 180,
) -> None:
    """Rehearse the whole pipeline on this machine: emulated exchanges, recorder, Luigi, Postgres. In var/demo."""
    from tasks.commands import demo as rehearsal

    rehearsal.run(Path("var/demo"), hours=hours, speed=speed, keep=keep, console=console)


@app.command()
def record() -> None:
    """Record the configured pairs until SIGTERM or Ctrl-C (the same as `python -m stream`)."""
    from stream.__main__ import main as record_main

    sys.exit(record_main())


@app.command()
def simulate(
    seed: Annotated[int, typer.Option(help="Same seed, same market and same faults.")] = 1,
    disconnects: Annotated[float, typer.Option(help="Share of minutes in which a connection is cut.")] = 0.0,
    lost_finals: Annotated[float, typer.Option(help="Share of minutes whose last message is never sent.")] = 0.0,
    late_finals: Annotated[float, typer.Option(help="Share of minutes whose last message is late.")] = 0.0,
    duplicates: Annotated[float, typer.Option(help="Share of messages that are sent twice.")] = 0.0,
    reordering: Annotated[float, typer.Option(help="Share of messages that change places with the next.")] = 0.0,
    contradictions: Annotated[float, typer.Option(help="Share of minutes with two finals that differ.")] = 0.0,
    stalls: Annotated[float, typer.Option(help="Share of minutes in which a subscription goes quiet.")] = 0.0,
    silent: Annotated[float, typer.Option(help="Share of extra minutes without trades, on random-walk pairs.")] = 0.0,
    rate_limits: Annotated[float, typer.Option(help="Share of REST requests that are told to wait.")] = 0.0,
    garbage: Annotated[float, typer.Option(help="Share of minutes with a message that is no message.")] = 0.0,
) -> None:
    """Emulate the configured exchanges on the loopback addresses of [exchange_*], on the clock of [clock]."""
    from stream.emulator.faults import Faults
    from stream.emulator.server import run

    faults = Faults(
        seed=seed,
        disconnects=disconnects,
        lost_finals=lost_finals,
        late_finals=late_finals,
        duplicates=duplicates,
        reordering=reordering,
        contradictions=contradictions,
        stalls=stalls,
        silent=silent,
        rate_limits=rate_limits,
        garbage=garbage,
    )
    try:
        asyncio.run(run(settings.load(), faults))
    finally:
        console.print(f"faults that struck: {dict(faults.struck)}")


@app.command()
def hourly(
    once: Annotated[bool, typer.Option(help="Run once and exit with Luigi's exit code; 0 where others do it.")] = False,
) -> None:
    """Run `luigi --module tasks Hourly` when an hour is ready, soon again when it failed; over luigid if it answers."""
    from tasks.commands import hourly as ticker

    logs.install()
    sys.exit(ticker.run(once=once))


@app.command()
def status(
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    hours: Annotated[int, typer.Option(min=1, help="How many of the latest published hours.")] = 24,
) -> None:
    """Is it recording, uploading, publishing? What is missing, what happens next? Exit code 1: somebody must act."""
    import msgspec

    from tasks.commands import status_page
    from tasks.watch import page

    found = settings.load()
    seen = page.read(found, hours, each_pair=as_json)
    if as_json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(seen), indent=2).decode() + "\n")
    else:
        last = hour_rules.window(found, 1)[0]
        status_page.show(seen, f"luigi --module tasks SilverHour --hour {last:%Y-%m-%dT%H} --local-scheduler", console)
    sys.exit(1 if seen.problems else 0)


@app.command()
def rejected(
    again: Annotated[bool, typer.Option(help="Read it anew: what is understood now goes into its hours.")] = False,
) -> None:
    """What was set aside as unreadable, by exchange and reason, and whether it can be read now."""
    from tasks.commands import rejected_page
    from tasks.hour import set_aside
    from tasks.hour.context import Context

    context = Context.load()
    found = set_aside.look(context.lake, context.pairs(), again=again)
    rejected_page.show(found, hour_rules.window(context.settings), console, again=again)


@app.command(name="sql")
def ask(
    command: Annotated[
        str | None, typer.Option("-c", "--command", help="A query; read from the terminal else.")
    ] = None,
) -> None:
    """Ask the lake questions in DuckDB's SQL: bronze.*, silver.* and gold.* are there as views."""
    import duckdb

    from tasks.tables import views

    with views.open_lake(settings.load().lake) as connection:
        if command is not None:
            try:
                views.show(connection, command)
            except duckdb.Error as error:
                raise SettingsError(f"DuckDB did not accept the query: {error}") from error
        else:
            views.converse(connection)


@warehouse_app.command()
def init() -> None:
    """Create schemas, tables and the read-only role in Postgres; run it as often as you like."""
    from tasks import warehouse

    found = settings.load()
    with warehouse.connect(found.warehouse) as postgres:
        notice = postgres.init()
        console.print(f"The warehouse at {postgres.place.address} is ready." + (f" {notice}" if notice else ""))


@warehouse_app.command(name="drop-hour")
def drop_hour(
    hour: Annotated[str, typer.Argument(help="UTC hour, such as 2010-01-01T00.")],
) -> None:
    """Take back an hour that should not be there: its candles, bars and ledger. What was recorded stays in the lake."""
    from tasks import graph
    from tasks.hour import publish_hour
    from tasks.hour.context import Context

    context, wanted = Context.load(), hour_rules.parse(hour)
    if not publish_hour.drop(context, wanted):
        console.print(f"Nothing of the hour {hour} is published.")
        return
    looked_after = graph.looked_after(context, hour_rules.window(context.settings))
    again = " Hourly will publish it again." if wanted in looked_after else ""
    console.print(
        f"The hour {hour} is gone from silver and from Postgres; what was recorded of it is still in the lake.{again}"
    )


if __name__ == "__main__":
    main()
