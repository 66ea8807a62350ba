"""The exchanges' REST side: refusals, breakdowns, and answers that are cut off, empty, out of order or out of range.

Nothing was recorded, so that all minutes have to come from REST. While it is ill, a minute may be missing and must be
nothing else but the truth; once it is well, asking again must bring all of them.
"""

from __future__ import annotations

import json
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

import stream.rest
from stream.clock import HOUR, hour_of
from stream.exchanges import EXCHANGES
from tests.faults import world
from tests.faults.outcome import Outcome
from tests.faults.world import World

_SPEED = 120
_PAIRS = dict.fromkeys(EXCHANGES, ("ETH-USDT",))
_HOURS = 3
"""Of each kind, at full effort."""
_PATIENCE = 0.5
"""Wall seconds after which the client gives a silent server up."""
_ERRORS = {
    "binance": {"code": -1003, "msg": "Too many requests."},
    "binanceus": {"code": -1001, "msg": "Internal error; unable to process your request."},
    "bybit": {"retCode": 10006, "retMsg": "Too many visits!", "result": {}},
    "coinbase": {"error": "INTERNAL", "code": 13, "message": "internal error"},
    "gate": {"label": "SERVER_ERROR", "message": "internal error"},
    "kraken": {"error": ["EService:Unavailable"]},
    "okx": {"code": "50001", "msg": "Service temporarily unavailable", "data": []},
}
Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


def _rows(body: Any) -> list[Any] | None:
    """The list of rows somewhere in an answer."""
    if isinstance(body, list):
        return body if body and isinstance(body[0], list | dict) else None
    values = body.values() if isinstance(body, dict) else ()
    return next((found for value in values if (found := _rows(value)) is not None), None)


def _changed(answer: Answer, change: Callable[[list[Any]], None]) -> Answer:
    status, headers, text = answer
    body = json.loads(text)
    rows = _rows(body)
    if rows is not None:
        change(rows)
    return status, headers, json.dumps(body).encode()


def _strangers(rows: list[Any]) -> None:
    """Rows of an hour before and an hour after, with prices of their own."""
    for shift in (-3600, 3600):
        row = rows[len(rows) // 2]
        if isinstance(row, dict) and "start" in row:
            rows.append(row | {"start": str(int(row["start"]) + shift)})
        elif isinstance(row, list):
            unit = 1000 if int(float(row[0])) > 10**11 else 1
            moved = int(float(row[0])) + shift * unit
            rows.append([type(row[0])(moved), *row[1:]])


_KINDS: dict[str, Callable[[str, Answer], Answer]] = {
    "429 with Retry-After": lambda *_: (429, {"Retry-After": "300"}, b"{}"),
    "418 with Retry-After": lambda *_: (418, {"Retry-After": "600"}, b"{}"),
    "503": lambda *_: (503, {}, b"<html>Service Unavailable</html>"),
    "no answer in time": lambda *_: (0, {}, b""),
    "an empty list": lambda _, answer: _changed(answer, list.clear),
    "a body that breaks off": lambda _, answer: (answer[0], answer[1], answer[2][: len(answer[2]) * 2 // 3]),
    "an error with status 200": lambda exchange, _: (200, {}, json.dumps(_ERRORS[exchange]).encode()),
    "rows outside the asked range": lambda _, answer: _changed(answer, _strangers),
    "rows in the wrong order": lambda _, answer: _changed(answer, list.reverse),
}


class _Filter(ThreadingHTTPServer):
    """Stands before the emulator's REST. `ill` is what happens to answers just now."""

    daemon_threads = True

    def __init__(self, target: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.ill: Callable[[str, Answer], Answer] | None = None
        self.struck = 0


class _Handler(BaseHTTPRequestHandler):
    server: _Filter

    def do_GET(self) -> None:
        exchange = self.path.split("/")[1]
        got = httpx.get(f"http://127.0.0.1:{self.server.target}{self.path}")
        answer: Answer = (got.status_code, {"Date": got.headers["Date"]}, got.content)
        if self.server.ill is not None:
            ill = self.server.ill(exchange, answer)
            self.server.struck += ill != answer
            answer = (ill[0], {"Date": got.headers["Date"], **ill[1]}, ill[2])
        if not answer[0]:
            time.sleep(2 * _PATIENCE)
            return
        with suppress(BrokenPipeError):
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer[0])
        for name, value in {**answer[1], "Content-Length": str(len(answer[2])), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer[2])

    def log_message(self, *_: object) -> None:
        """The suite counts."""


@contextmanager
def _filtered(target: int) -> Iterator[_Filter]:
    with _Filter(target) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def run(seed: int, effort: float, folder: Path) -> Iterator[Outcome]:
    """One outcome per kind, over all exchanges."""
    chance = random.Random(f"{seed}/rest")
    stream.rest._TIMEOUT = httpx.Timeout(_PATIENCE)
    with world.emulated(folder, seed, speed=_SPEED, pairs=_PAIRS) as whole, _filtered(whole.port) as server:
        ports = tuple((f"{exchange} rest", server.server_port) for exchange in _PAIRS)
        for number, (name, ill) in enumerate(_KINDS.items()):
            here = whole.inside(f"rest-{number}", ports=ports)
            yield _struck(here, server, Outcome("REST", name), ill, chance, math.ceil(_HOURS * effort))


def _struck(
    here: World,
    server: _Filter,
    outcome: Outcome,
    ill: Callable[[str, Answer], Answer],
    chance: random.Random,
    count: int,
) -> Outcome:
    last = hour_of(here.write().clock.now()) - 2 * HOUR
    hours = [last - n * HOUR for n in chance.sample(range(7), count)]  # Kraken's history is twelve hours long
    before, server.ill = server.struck, ill
    early = world.judged(here, hours)
    server.ill = None
    outcome.tried = server.struck - before
    causes = {note.rpartition(": ")[2] for note in early.notes if note.count(":") and "(" not in note}
    early.missing = 0
    outcome.add(early)
    outcome.note = "; ".join(sorted(causes))
    outcome.add(world.judged(here, hours, again=True))
    return outcome
