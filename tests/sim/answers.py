"""REST over the network in memory, and what may be wrong with an answer."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable
from typing import Any

import httpx

from stream.clock import Clock
from stream.exchanges import EXCHANGES
from stream.wire import Instrument
from tests.sim.step import wait_for
from tests.sim.world import Answers

_ERRORS = {
    "binance": {"code": -1003, "msg": "Too many requests."},
    "binanceus": {"code": -1001, "msg": "Internal error; unable to process your request."},
    "bybit": {"retCode": 10006, "retMsg": "Too many visits!", "result": {}},
    "coinbase": {"error": "INTERNAL", "code": 13, "message": "internal error"},
    "gate": {"label": "SERVER_ERROR", "message": "internal error"},
    "kraken": {"error": ["EService:Unavailable"]},
    "okx": {"code": "50001", "msg": "Service temporarily unavailable", "data": []},
}


def _client() -> httpx.AsyncClient:
    """Nothing is encrypted in that network: certificates need not be read."""
    return httpx.AsyncClient(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), trust_env=False)


async def listed(exchange: str, rest_url: str, _clock: Clock) -> list[Instrument]:
    """The roster's question (`stream.roster.Ask`)."""
    module = EXCHANGES[exchange]
    async with _client() as client:
        answer = await client.get(rest_url + module.instruments_request().path)
    return module.parse_instruments(answer.content)


class Transport(httpx.BaseTransport):
    """For a thread that goes in step with the loop. `ill` says what is wrong with an exchange's answers just now."""

    def __init__(self, ill: Callable[[str], Answers | None]) -> None:
        self._ill = ill

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """One request."""
        return wait_for(self._ask(request))

    async def _ask(self, request: httpx.Request) -> httpx.Response:
        async with _client() as client:
            answer = await client.get(request.url)
        exchange = request.url.path.split("/")[1]
        found = httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
        kind = self._ill(exchange)
        return found if kind is None else _spoilt(kind, exchange, found)


def _spoilt(kind: Answers, exchange: str, answer: httpx.Response) -> httpx.Response:
    if kind == "429":
        return httpx.Response(429, headers={"Retry-After": "300"}, content=b"{}")
    if kind == "503":
        return httpx.Response(503, content=b"<html>Service Unavailable</html>")
    if kind == "silent":
        raise httpx.ReadTimeout("no answer in time")
    if kind == "torn":
        return httpx.Response(
            answer.status_code, headers=_dated(answer), content=answer.content[: len(answer.content) * 2 // 3]
        )
    if kind == "error":
        return httpx.Response(200, headers=_dated(answer), content=json.dumps(_ERRORS[exchange]).encode())
    return _changed(answer, _CHANGES[kind])


def _dated(answer: httpx.Response) -> dict[str, str]:
    return {"Date": answer.headers["Date"]}


def _changed(answer: httpx.Response, change: Callable[[list[Any]], None]) -> httpx.Response:
    body = json.loads(answer.content)
    rows = _rows(body)
    if rows is not None:
        change(rows)
    return httpx.Response(answer.status_code, headers=_dated(answer), content=json.dumps(body).encode())


def _rows(body: Any) -> list[Any] | None:
    """The list of rows somewhere in an answer."""
    if isinstance(body, list):
        return body if body and isinstance(body[0], list | dict) else None
    values = body.values() if isinstance(body, dict) else ()
    return next((found for value in values if (found := _rows(value)) is not None), None)


def _strangers(rows: list[Any]) -> None:
    """Rows of an hour before and an hour after, with prices of their own."""
    for shift in (-3600, 3600):
        row = rows[len(rows) // 2]
        if isinstance(row, dict) and "start" in row:
            rows.append(row | {"start": str(int(row["start"]) + shift)})
        elif isinstance(row, list):
            unit = 1000 if int(float(row[0])) > 10**11 else 1
            rows.append([type(row[0])(int(float(row[0])) + shift * unit), *row[1:]])


def _holes(rows: list[Any]) -> None:
    """Some rows in the middle are not there."""
    del rows[1:-1:3]


_CHANGES = {"empty": list.clear, "reversed": list.reverse, "strangers": _strangers, "holes": _holes}
