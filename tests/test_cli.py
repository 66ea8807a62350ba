"""The `klines` command's own words: what is written is what is shown."""

from __future__ import annotations

import inspect

import pytest
from typer.core import TyperGroup

from tasks.commands import cli


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What a command prints, without line breaks and frames."""
    cli.command_line().main(list(arguments), standalone_mode=False)
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_help_says_what_is_written(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word of every command and option, also those in square brackets, which Rich would take for styles."""
    monkeypatch.setenv("TERMINAL_WIDTH", "500")
    for group, path in ((cli.app, ()), (cli.warehouse_app, ("warehouse",))):
        listed = shown(capsys, *path, "--help")
        for command in group.registered_commands:
            assert command.callback is not None
            text = " ".join((inspect.getdoc(command.callback) or "").split())
            page = shown(capsys, *path, command.name or command.callback.__name__, "--help")
            assert text in page
            assert text in listed
            for parameter in inspect.signature(command.callback, eval_str=True).parameters.values():
                (option,) = parameter.annotation.__metadata__
                assert option.help in page


def test_the_settings_sections_are_named_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """As they are written in luigi.cfg."""
    page = shown(capsys, "simulate", "--help")
    assert "loopback addresses of [exchange_*], on the clock of [clock]." in page


def test_a_group_and_all_its_commands_have_help() -> None:
    """A command that nobody explained is a mistake."""
    root = cli.command_line()
    groups = [one for one in root.commands.values() if isinstance(one, TyperGroup)]
    assert all(one.help for group in (root, *groups) for one in group.commands.values())
