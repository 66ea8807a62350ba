"""A session with Postgres: where it is, whether it is new enough, and its errors as sentences. Knows no table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

import sql
from stream.errors import WarehouseError

Connection = psycopg.Connection[dict[str, Any]]

_OLDEST = 140000


class Place(NamedTuple):
    """Where a server is, and the word that must not be in any message."""

    address: str
    password: str

    def sentence(self, error: psycopg.Error) -> str:
        """What a driver's error means to the person who runs this."""
        reason = self.reason(error)
        if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
            return f"Postgres at {self.address} has no warehouse in it yet ({reason}): run klines warehouse init."
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            return (
                f"Postgres at {self.address} does not let this user work: {reason}. "
                "Use the role that ran klines warehouse init, or grant what is missing."
            )
        if isinstance(error, psycopg.OperationalError):
            return (
                f"The work with Postgres at {self.address} broke off: {reason}. "
                "Run it again when the server is well; nothing was left half done."
            )
        return f"Postgres at {self.address} refused: {reason}. Nothing was changed; remedy that and run it again."

    def reason(self, error: psycopg.Error) -> str:
        """The driver's words in one line, without the password."""
        words = " ".join((error.diag.message_primary or str(error) or type(error).__name__).split()).rstrip(".")
        return words.replace(self.password, "***") if self.password else words


def place(dsn: str) -> Place:
    """Where a connection string leads; WarehouseError when it is none. Its own text is never shown."""
    try:
        found = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        found = {"host": "@"}
    host = str(found.get("host") or os.environ.get("PGHOST") or "localhost")
    port = str(found.get("port") or os.environ.get("PGPORT") or "5432")
    if "@" in host or not port.replace(",", "").isdigit():  # a password with @ or / in it spills over into these
        raise WarehouseError(
            "[warehouse] dsn is not a connection string: write postgresql://user@host:5432/database with special "
            "characters as percent codes (or host=... dbname=...), and leave the password to PGPASSWORD or ~/.pgpass."
        ) from None  # the cause would quote it
    return Place(f"{host}:{port}", str(found.get("password") or os.environ.get("PGPASSWORD") or ""))


def without_password(dsn: str) -> str:
    """The same connection string, for showing; WarehouseError when it is none."""
    password = place(dsn).password
    if "://" not in dsn:
        return make_conninfo(**{key: str(value) for key, value in conninfo_to_dict(dsn).items() if key != "password"})
    return dsn.replace(f":{quote(password, safe='')}@", "@").replace(f":{password}@", "@") if password else dsn


def check_version(version: int) -> None:
    """Refuse a server that is too old; `version` as libpq numbers it (150018 is 15.18)."""
    if version < _OLDEST:
        raise WarehouseError(
            f"The server is PostgreSQL {version // 10000}, and the warehouse needs {_OLDEST // 10000} or newer. "
            "Upgrade it, or name another in [warehouse] dsn."
        )


@contextmanager
def session(dsn: str) -> Iterator[tuple[Connection, Place]]:
    """A connection in UTC, each statement its own transaction unless said otherwise."""
    where = place(dsn)
    timeout = conninfo_to_dict(dsn).get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or 10
    try:
        connection = psycopg.Connection.connect(
            dsn,
            autocommit=True,
            row_factory=dict_row,
            cursor_factory=psycopg.ClientCursor[dict[str, Any]],  # binds values in DDL too
            application_name="klines",
            connect_timeout=timeout,
        )
    except psycopg.Error as error:
        raise WarehouseError(
            f"Postgres at {where.address} cannot be reached: {where.reason(error)}. Start it, or put the right "
            "address into [warehouse] dsn (or `embedded`, for a server of our own)."
        ) from error
    with connection:
        check_version(connection.info.server_version)
        connection.execute(sql.load("postgres/begin_session"))
        yield connection, where
