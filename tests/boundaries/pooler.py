"""A pooler in transaction mode before a real Postgres: a client's next transaction is in another session than its last.

That is what PgBouncer and its like do when they are busy. The sessions are left in a state that nobody expects.
"""

from __future__ import annotations

import queue
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg.conninfo import make_conninfo

from tests.recording import PATIENCE

_SESSIONS = 4
_PLAIN = 196608  # the version of the protocol, in place of a request for encryption
_BUFFER = 1 << 16
_TOLD = (
    "server_version",
    "client_encoding",
    "standard_conforming_strings",
    "integer_datetimes",
    "TimeZone",
    "DateStyle",
)


@contextmanager
def pooler(dsn: str) -> Iterator[str]:
    """The connection string of the pooler before that database."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        pool = _Pool(dsn, listening)
        try:
            yield make_conninfo(
                "", host="127.0.0.1", port=listening.getsockname()[1], user="anybody", dbname="any", sslmode="disable"
            )
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            pool.close()


class _Pool:
    """Its sessions wait in a row."""

    def __init__(self, dsn: str, listening: socket.socket) -> None:
        self._dsn = dsn
        self._waiting: queue.SimpleQueue[psycopg.Connection[tuple[object, ...]]] = queue.SimpleQueue()
        for _ in range(_SESSIONS):
            self._open()
        self._attending: list[threading.Thread] = []
        self._listening = threading.Thread(target=self._listen, args=(listening,), daemon=True)
        self._listening.start()

    def close(self) -> None:
        """Nobody listens any more, and the clients have gone: all sessions wait in a row soon, and are ended."""
        self._listening.join(PATIENCE)
        for thread in self._attending:
            thread.join(PATIENCE)
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait().close()

    def _open(self) -> None:
        session = psycopg.connect(self._dsn, autocommit=True, sslmode="disable")
        session.execute("SET TIME ZONE 'America/New_York'")
        session.execute("SET DateStyle = 'SQL, DMY'")
        self._waiting.put(session)

    def _listen(self, listening: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listening.accept()
                self._attending.append(threading.Thread(target=self._attend, args=(client,), daemon=True))
                self._attending[-1].start()

    def _attend(self, client: socket.socket) -> None:
        """One client: whenever it begins something, it gets the session that has waited longest."""
        with client, suppress(ConnectionError):
            self._welcome(client)
            while (asked := client.recv(_BUFFER)) and not asked.startswith(b"X"):
                session = self._waiting.get()
                if _transaction(client, session.pgconn.socket, asked):
                    self._waiting.put(session)
                else:
                    session.close()
                    self._open()

    def _welcome(self, client: socket.socket) -> None:
        """Everybody may come in."""
        while True:
            size = int.from_bytes(client.recv(4))
            if int.from_bytes(client.recv(size - 4)[:4]) == _PLAIN:
                break
            client.sendall(b"N")
        session = self._waiting.get()
        told = {name: session.info.parameter_status(name) or "" for name in _TOLD}
        self._waiting.put(session)
        client.sendall(_message(b"R", bytes(4)))
        for name, value in told.items():
            client.sendall(_message(b"S", f"{name}\0{value}\0".encode()))
        client.sendall(_message(b"K", bytes(8)) + _message(b"Z", b"I"))


def _transaction(client: socket.socket, session: int, asked: bytes) -> bool:
    """Until the session is idle again; False when the client has gone before that."""
    with socket.socket(fileno=session) as server:
        try:
            server.setblocking(True)
            server.sendall(asked)
            answers = b""
            while True:
                ready, _, _ = select.select([client, server], [], [])
                if client in ready:
                    if not (asked := client.recv(_BUFFER)):
                        return False
                    server.sendall(asked)
                if server in ready:
                    client.sendall(data := server.recv(_BUFFER))
                    answers += data
                    while len(answers) > 4 and len(answers) > (size := int.from_bytes(answers[1:5])):
                        message, answers = answers[: size + 1], answers[size + 1 :]
                        if message[:1] == b"Z" and message[5:] == b"I":
                            return True
        except ConnectionError:
            return False
        finally:
            server.detach()  # it is the session's


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4) + body
