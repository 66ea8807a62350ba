"""A session with Postgres: where it is, its transactions and statements, and its errors as sentences. Knows no table.

Nothing outlives a transaction, neither a setting nor a lock: behind a pooler the next one may be in another session.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composable

import sql
from stream.errors import WarehouseError

log = logging.getLogger(__name__)

_OLDEST = 140000
_LOCKS = 0x6B6C696E  # "klin": keeps our advisory locks apart from other programs'
_SAID_EVERY = 5.0
"""Seconds of a wait for such a lock."""
_PATIENCE = 120
"""How often that is said before it is given up: after ten minutes."""


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


class Session:
    """One connection, which runs the files of sql/postgres/; made by `session`."""

    def __init__(self, connection: psycopg.Connection[dict[str, Any]], where: Place) -> None:
        self.connection = connection
        self.place = where

    def execute(self, name: str, /, **values: Any) -> list[dict[str, Any]]:
        """Run a file and give its rows, if it has any. Identifiers go into its brace fields, other values are bound."""
        identifiers = {key: value for key, value in values.items() if isinstance(value, Composable)}
        bound = {key: value for key, value in values.items() if key not in identifiers}
        found = self.connection.execute(SQL(sql.load(f"postgres/{name}")).format(**identifiers), bound or None)
        return found.fetchall() if found.description else []

    def copy(self, name: str, data: bytes, /, **identifiers: Composable) -> None:
        """Run a file that is a COPY FROM STDIN."""
        statement = SQL(sql.load(f"postgres/{name}")).format(**identifiers)
        with self.connection.cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(data)

    def query(self, name: str, /, **values: Any) -> list[dict[str, Any]]:
        """As `execute`, in a transaction of its own."""
        with self.transaction():
            return self.execute(name, **values)

    @contextmanager
    def transaction(self, subject: int | None = None, what: str = "") -> Iterator[None]:
        """All of it or nothing. With a `subject`, nobody else is in such a transaction; `what` it is called."""
        with self.connection.transaction():
            self.execute("begin_transaction")
            if subject is not None:
                self._take_lock(subject, what)
            yield

    def attempt(self) -> AbstractContextManager[object]:
        """Within a transaction: what fails in it is undone and its locks are free again, and the rest goes on."""
        return self.connection.transaction()

    def _take_lock(self, subject: int, what: str) -> None:
        """Waits while somebody else has it, and says for whom."""
        milliseconds = round(_SAID_EVERY * 1000)
        for times in range(1, _PATIENCE + 1):
            try:
                with self.attempt():
                    self.execute("take_lock", family=_LOCKS, subject=subject, milliseconds=milliseconds)
                return
            except psycopg.errors.LockNotAvailable:
                holders = self.execute("find_holder", family=_LOCKS, subject=subject)
                who = ", ".join("process {pid} of {host} ({state} since {xact_start})".format(**one) for one in holders)
                sentence = f"{what} in Postgres at {self.place.address} is in the hands of another session: {who}"
                log.warning("%s; waiting since %.0f s", sentence, times * _SAID_EVERY)
        raise WarehouseError(
            f"{sentence}. If that does nothing any more, end it with SELECT pg_terminate_backend(<its number>), "
            "then run this again."
        )


@contextmanager
def session(dsn: str) -> Iterator[Session]:
    """A connection; each statement is its own transaction unless said otherwise."""
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
        yield Session(connection, where)
