"""The lake as DuckDB tables, for people who ask questions: `bronze.*`, `silver.*`, `gold.*`."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

import sql
from stream.errors import LakeError
from stream.lake import layout
from stream.settings import LakeSettings
from tasks.rules.schemas import BRONZE, SESSIONS, SILVER, TRADES
from tasks.tables import duck

_FILES = {
    "bronze_files": ("/bronze/bronze_ohlcv_native/*/*/*/*/*/*.parquet", BRONZE),
    "trades_files": ("/bronze/bronze_trades/*/*/*/*/*/*.parquet", TRADES),
    "sessions_files": ("/bronze/bronze_sessions/*/*/*/*/*/*.parquet", SESSIONS),
    "silver_files": ("/silver/fact_ohlcv/*/*/*/*/*/*/part.parquet", SILVER),
}
"""Session variable → where its Parquet lies under the root, and its schema."""


@contextmanager
def open_lake(settings: LakeSettings) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB session with the views over the lake; LakeError when the lake cannot be read."""
    with duck.open_memory() as connection, tempfile.TemporaryDirectory(prefix="klines-") as folder:
        _set(connection, "lake", settings.root)
        try:
            if settings.root.startswith("s3://"):
                _allow_s3(connection, settings)
            for name, (pattern, schema) in _FILES.items():
                _set(connection, name, _files(connection, settings.root + pattern, schema, Path(folder) / name))
        except duckdb.Error as error:
            raise _damaged(error) or LakeError(f"The lake {settings.root} cannot be read: {error}") from error
        for statements in ("view_lake", "roll_up_bars", "view_gold"):
            connection.execute(sql.load(f"duckdb/{statements}"))
        yield connection


def _files(connection: duckdb.DuckDBPyConnection, pattern: str, schema: pa.Schema, empty: Path) -> str:
    """The pattern; as long as nothing lies there, an empty file of the same shape: an empty lake can be asked too."""
    if connection.execute("SELECT 1 FROM glob($1) LIMIT 1", [pattern]).fetchone():
        return pattern
    pq.write_table(schema.empty_table(), empty)
    return str(empty)


def _allow_s3(connection: duckdb.DuckDBPyConnection, settings: LakeSettings) -> None:
    import boto3

    session = boto3.Session(region_name=settings.s3_region or None)
    credentials = session.get_credentials()
    if credentials is None:
        raise LakeError(
            f"No credentials for {settings.root} were found. "
            "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or an instance role."
        )
    frozen = credentials.get_frozen_credentials()
    endpoint = urlsplit(settings.s3_endpoint)
    _set(connection, "key_id", frozen.access_key or "")
    _set(connection, "secret", frozen.secret_key or "")
    _set(connection, "session_token", frozen.token or "")
    _set(connection, "region", session.region_name or "us-east-1")
    _set(connection, "endpoint", endpoint.netloc or "s3.amazonaws.com")
    _set(connection, "url_style", "path" if endpoint.netloc else "vhost")
    _set(connection, "use_ssl", "false" if endpoint.scheme == "http" else "true")
    extension = next(
        file
        for folder in resources.files("duckdb_extension_httpfs").joinpath("extensions").iterdir()
        for file in folder.iterdir()
    )
    connection.load_extension(str(extension))
    connection.execute(sql.load("duckdb/create_secret"))


def _set(connection: duckdb.DuckDBPyConnection, name: str, value: str) -> None:
    connection.execute(f"SET VARIABLE {name} = $1", [value])


def show(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Run a query and print its result, if it has one. duckdb.Error; LakeError where an object is damaged."""
    try:
        result = connection.sql(query)
        if result is not None:
            result.show(max_width=200, max_rows=200)
    except duckdb.Error as error:
        raise _damaged(error) or error from error


def _damaged(error: duckdb.Error) -> LakeError | None:
    """Which object it is that DuckDB could not read, and what makes it anew; None where it is not about one."""
    if type(error) is duckdb.Error:  # of a library within
        return LakeError(
            f"An object of the lake is damaged ({error}), and DuckDB does not say which: ask about fewer hours at a "
            "time until you know. Remove it; luigi --module tasks SilverHour --hour … --local-scheduler makes it anew."
        )
    found = re.search(r"""['"]([^'"]+\.parquet)['"]""", str(error))
    hour = layout.hour_in(found[1]) if found else None
    if found is None or hour is None or not isinstance(error, duckdb.InvalidInputException):
        return None
    return LakeError(
        f"{found[1]} is damaged ({error}). Remove it; this makes it anew: "
        f"luigi --module tasks SilverHour --hour {hour:%Y-%m-%dT%H} --local-scheduler"
    )


def converse(connection: duckdb.DuckDBPyConnection) -> None:
    """Read statements that end with `;` from the terminal, until Ctrl-D."""
    import readline  # noqa: F401  # gives `input` a line to edit and a history

    statement = ""
    while True:
        try:
            statement += input("  ...> " if statement else "klines> ") + "\n"
        except EOFError:
            return
        if statement.rstrip().endswith(";"):
            try:
                show(connection, statement)
            except (duckdb.Error, LakeError) as error:
                sys.stderr.write(f"{error}\n")
            statement = ""
