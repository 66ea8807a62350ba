"""The repository tests itself: what a rule says and nobody checks is a wish."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import luigi.retcodes
import luigi.scheduler
import luigi.worker
import msgspec
import pytest

from stream import exchanges, settings

ROOT = Path(__file__).parent.parent
CODE = sorted(file for folder in ("stream", "tasks", "sql") for file in (ROOT / folder).rglob("*.py"))
EMULATOR = {str(file.relative_to(ROOT)) for file in (ROOT / "stream" / "emulator").rglob("*.py")}

ROOMS = {
    # stream/: the ground that everybody stands on, then the rooms, then the program that puts them to work.
    "ground": set(),
    "exchanges": {"ground"},
    "settings": {"ground", "exchanges"},
    "lake": {"ground", "settings"},
    "live": {"ground"},
    "rest": {"ground"},
    "long_tail": {"ground", "settings", "live"},
    "emulator": {"ground", "settings"},
    "recorder": {"ground", "exchanges", "settings", "lake", "live", "rest", "long_tail"},
    # tasks/, on top of it.
    "rules": {"ground"},
    "tables": {"ground", "settings", "lake", "rules", "sql"},
    "warehouse": {"ground", "settings", "rules", "sql"},
    "hour": {"ground", "exchanges", "settings", "lake", "recorder", "rules", "tables", "warehouse"},
    "hours": {"ground", "exchanges", "settings"},
    "watch": {"ground", "exchanges", "settings", "lake", "recorder", "rules", "warehouse", "hours"},
    "graph": {"ground", "lake", "hour", "hours", "watch"},
    "commands": {"ground", "exchanges", "settings", "emulator", "recorder", "rules", "tables", "warehouse", "hours"}
    | {"graph", "watch", "hour"},
    # Statements, and nothing that runs by itself.
    "sql": set(),
}
"""Room → the rooms whose words it may use. docs/design.md begins with this map."""
ON_THE_FLOOR = {
    "stream": dict.fromkeys(
        ("__init__", "backoff", "bronze", "clock", "errors", "health", "logs", "pages", "wire", "elements"), "ground"
    )
    | {"settings": "settings", "rest": "rest"}
    | dict.fromkeys(
        ("__main__", "any_rest", "background", "backlog", "disk", "recorder", "roster", "spool", "uploader", "vitals"),
        "recorder",
    ),
    "tasks": dict.fromkeys(("__init__", "graph", "kinds", "sentences"), "graph") | {"hours": "hours"},
    "sql": {"__init__": "sql"},
}
"""Which room the files belong to that lie directly in a top folder."""
CONNECTIONS_ARE_MADE_OF = {"stream.live.intake", "stream.live.minutes"}


def room(file: Path) -> str:
    """The folder under the top one is the room; files without one are listed above."""
    top, *folders, _ = file.relative_to(ROOT).parts
    return folders[0] if folders else ON_THE_FLOOR[top][file.stem]


def imports(file: Path) -> Iterator[str]:
    """Every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def name(file: Path) -> str:
    """The path as the reader knows it."""
    return str(file.relative_to(ROOT))


def modules(file: Path) -> Iterator[str]:
    """Every module of ours that a file imports; of a package, the module in it where it names one."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in PLACES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def module(file: Path) -> str:
    """`stream/lake/s3.py` → `stream.lake.s3`, a package's `__init__.py` → the package."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


PLACES = {module(file): file for file in CODE}


def test_rooms_use_each_other_in_one_direction() -> None:
    """Who may use whom is said above, room by room; a permission that nobody needs is taken back."""
    used: dict[str, set[str]] = {name: set() for name in ROOMS}
    for file in CODE:
        here = room(file)
        for found in set(modules(file)) & set(PLACES):
            there = room(PLACES[found])
            assert there == here or there in ROOMS[here], f"{name(file)} ({here}) imports {found} ({there})"
            used[here] |= {there} - {here}
    assert used == ROOMS


def test_the_rooms_have_no_circle() -> None:
    """Each room uses only rooms that stand before it in the list."""
    standing: set[str] = {"sql"}
    for here, uses in ROOMS.items():
        assert uses <= standing, here
        standing.add(here)


def test_the_long_tail_uses_what_a_connection_is_made_of() -> None:
    """And nothing else of the room where our own connections live."""
    for file in CODE:
        if room(file) == "long_tail":
            assert {one for one in modules(file) if one.startswith("stream.live")} <= CONNECTIONS_ARE_MADE_OF


def test_the_map_in_the_docs_is_this_one() -> None:
    """docs/design.md begins with the rooms, each with what it may use."""
    text = (ROOT / "docs" / "design.md").read_text().partition("## The whole")[0]
    rows = re.findall(r"^\| `([a-z_]+)` \|[^|]*\|([^|]*)\|$", text, re.MULTILINE)
    assert {here: set(re.findall(r"[a-z_]+", uses)) for here, uses in rows} == ROOMS


@pytest.mark.parametrize("id_", exchanges.EXCHANGES)
def test_exchange_modules_do_nothing_but_translate(id_: str) -> None:
    """Standard library, msgspec, and our words for the wire: no socket, no clock, no logging."""
    file = ROOT / "stream" / "exchanges" / f"{id_}.py"
    allowed = {
        "__future__",
        "datetime",
        "itertools",
        "msgspec",
        "stream",
        "stream.wire",
        "stream.pages",
        "stream.elements",
        "stream.errors",
        "operator",
        "typing",
        "collections.abc",
    }
    allowed |= {"stream.exchanges", "stream.exchanges.binance"}  # a sister exchange may speak the same protocol
    assert set(imports(file)) <= allowed
    assert "now(" not in file.read_text()


def test_the_emulator_knows_nothing_of_the_parsers() -> None:
    """It is the truth that the parsers are measured by: sharing code would hide a common mistake."""
    for file in (ROOT / "stream" / "emulator").rglob("*.py"):
        assert not [module for module in imports(file) if module.startswith("stream.exchanges")], file


@pytest.mark.parametrize(
    ("library", "owners"),
    [
        (
            "duckdb",
            {"tasks/tables/duck.py", "tasks/tables/views.py", "tasks/hour/stream_hour.py", "tasks/commands/cli.py"},
        ),
        ("boto3", {"stream/lake/s3.py", "tasks/tables/views.py"}),
        ("httpx", {"stream/rest.py"}),
        ("ccxt", {"stream/long_tail/rest.py", "stream/long_tail/feed.py", "stream/long_tail/tap.py"}),
        ("aiohttp", {"stream/long_tail/tap.py"}),
        ("websockets", {"stream/live/connection.py", "stream/live/websocket.py", *EMULATOR}),
        ("psycopg", {"tasks/warehouse/postgres.py", "tasks/warehouse/ledger.py", "tasks/warehouse/publish.py"}),
    ],
)
def test_each_side_effect_has_an_owner(library: str, owners: set[str]) -> None:
    """Who opens what is known by the file's name; the others are handed what was opened."""
    users = {name(file) for file in CODE if library in {module.partition(".")[0] for module in imports(file)}}
    assert users <= owners


def test_every_sql_file_is_loaded_and_every_load_exists() -> None:
    """A statement that nobody runs, or a name with nothing behind it, is a mistake."""
    files = {str(file.relative_to(ROOT / "sql").with_suffix("")) for file in (ROOT / "sql").rglob("*.sql")}
    text = "\n".join(file.read_text() for file in CODE)
    used = {file for file in files if re.search(rf'["/]{file.partition("/")[2]}"', text)}
    assert used == files
    assert set(re.findall(r'sql\.load\("([^"{]+)"\)', text)) <= files


def test_every_sql_file_says_what_it_is() -> None:
    """The first line is a sentence."""
    for file in (ROOT / "sql").rglob("*.sql"):
        assert file.read_text().startswith("-- "), file


def test_every_key_of_luigi_cfg_is_declared() -> None:
    """Ours in stream/settings.py, which refuses unknown keys; Luigi's own in its config classes."""
    file = ROOT / "luigi.cfg"
    found = settings.parse(file.read_text(), file)
    assert found.pairs
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(file)
    known = {
        "core": {"scheduler_host", "scheduler_port", "log_level", "autoload_range", "no_lock"},
        "worker": {name for name, _ in luigi.worker.worker.get_params()},
        "scheduler": {name for name, _ in luigi.scheduler.scheduler.get_params()},
        "retcode": {name for name, _ in luigi.retcodes.retcode.get_params()},
    }
    for section, keys in known.items():
        assert set(parser[section]) <= keys, section


def test_every_setting_says_why_one_would_change_it() -> None:
    """A docstring follows each field."""
    source = ast.parse((ROOT / "stream" / "settings.py").read_text())
    for node in source.body:
        if isinstance(node, ast.ClassDef) and node.name.endswith("Settings") and node.name != "Settings":
            body = node.body
            for field, following in zip(body, [*body[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign):
                    assert isinstance(following, ast.Expr), f"{node.name}: {ast.unparse(field)}"


def test_every_exit_code_of_luigi_is_set() -> None:
    """Luigi's own default for a failure is 0."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "luigi.cfg")
    assert set(parser["retcode"]) == {name for name, _ in luigi.retcodes.retcode.get_params()}
    assert all(int(code) > 0 for code in parser["retcode"].values())


@pytest.mark.parametrize("file", CODE, ids=name)
def test_files_and_functions_stay_small_and_say_what_they_are(file: Path) -> None:
    """300 lines a file (an exchange, which is one file by rule, 400), 50 a function without its docstring."""
    tree = ast.parse(file.read_text())
    assert ast.get_docstring(tree), file
    assert len(file.read_text().splitlines()) <= (400 if file.parent.name == "exchanges" else 300), file
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or 0) - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
            assert lines <= 50, f"{file}: {node.name} has {lines} lines"


def test_the_packages_are_all_declared() -> None:
    """A package that pyproject.toml forgets is missing from the wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = set(project["tool"]["setuptools"]["packages"])
    assert declared == {
        str(file.parent.relative_to(ROOT)).replace("/", ".") for file in CODE if file.stem == "__init__"
    }


def test_nothing_names_a_place_that_only_one_machine_has() -> None:
    """No absolute path of a developer's machine, no package index, in what is tracked."""
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for path in filter(None, tracked.split("\0")):
        file = ROOT / path
        if file.suffix in {".py", ".md", ".sql", ".toml", ".cfg", ".lock", ""} and file.is_file():
            text = file.read_text(errors="ignore")
            assert not re.search(r"/home/\w+/|--(extra-)?index-url \S", text), path


def test_lines_have_the_fields_of_the_contract() -> None:
    """The bronze line's public field names."""
    from stream import bronze

    names = {field.name for field in msgspec.structs.fields(bronze.CandleLine)}
    assert names == {
        *("exchange", "symbol", "native_symbol", "interval_minutes", "event_type", "event_ts", "recv_ts"),
        *("interval_start", "interval_end", "is_final", "open", "high", "low", "close", "volume"),
        *("quote_volume", "trade_count", "vwap", "conn", "payload"),
    }
