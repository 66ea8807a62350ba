"""REST: the only file that opens HTTP connections. Drives the exchange modules' dialogues at a permitted pace.

A request is repeated when the line or the exchange says that it may pass; `Retry-After` is obeyed. An exchange that
does not answer at all is left alone for the rest of the run: the next pair would only wait as long again.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

import httpx

from stream.backoff import attempts
from stream.clock import Clock, http_date
from stream.errors import MessageError, RestError, UnknownPair
from stream.wire import Exchange, Fetched, Fetching, Instrument, Novelty, Request, Response

log = logging.getLogger(__name__)

_LONGEST_WAIT = 60.0
"""Seconds of the clock. An exchange that asks for more (a ban) is left alone for this run."""
_TIMEOUT = httpx.Timeout(20.0, connect=5.0)


class _Again(RestError):
    """This may pass. `wait` is what the exchange asked for, in seconds of the clock, None where it said nothing."""

    def __init__(self, message: str, wait: float | None = None) -> None:
        super().__init__(message)
        self.wait = wait


@contextmanager
def open_rest(
    exchange: Exchange,
    rest_url: str,
    clock: Clock,
    transport: httpx.BaseTransport | None = None,
    chance: random.Random | None = None,
) -> Iterator[RestClient]:
    """A client of the exchange's REST interface; connects when it is asked something.

    `transport` carries requests, the network's own when not given; `chance` scatters repeated ones.
    """
    with httpx.Client(timeout=_TIMEOUT, transport=transport, trust_env=transport is None) as http:
        yield RestClient(exchange, rest_url, clock, http, chance or random.Random())  # noqa: S311  # no secret


class RestClient:
    """REST of one exchange; several threads may use it, all share one pace."""

    def __init__(
        self, exchange: Exchange, rest_url: str, clock: Clock, http: httpx.Client, chance: random.Random
    ) -> None:
        self._exchange = exchange
        self._url = rest_url
        self._clock = clock
        self._http = http
        self._chance = chance
        self._pace = threading.Lock()
        self._given_up: str | None = None
        self._said: set[str] = set()

    def candles(self, symbol: str, start: datetime, end: datetime) -> Fetched:
        """What REST knows of `start <= interval_start < end`; RestError when it cannot be had."""
        with self._understanding():
            fetched = self._converse(self._exchange.fetch_candles(symbol, start, end))
        for new in {one.what for one in fetched.odd if isinstance(one, Novelty)} - self._said:
            self._said.add(new)
            log.warning("%s: new in what REST answers: %s", self._exchange.ID, new)
        return fetched

    def instruments(self) -> list[Instrument]:
        """The exchange's list of pairs; RestError when it cannot be had."""
        with self._understanding():
            return self._exchange.parse_instruments(self._ask(self._exchange.instruments_request()).body)

    def _converse(self, dialogue: Fetching) -> Fetched:
        try:
            request = next(dialogue)
            while True:
                try:
                    answer = self._ask(request)
                except RestError as error:  # who can do without, goes on
                    request = dialogue.throw(error)
                else:
                    request = dialogue.send(answer)
        except StopIteration as end:
            fetched: Fetched = end.value
            return fetched

    @contextmanager
    def _understanding(self) -> Iterator[None]:
        try:
            yield
        except MessageError as error:
            raise RestError(
                f"{self._exchange.ID} answered what its documentation does not describe: {error}"
            ) from error

    def _ask(self, request: Request) -> Response:
        """The answer to one request, after as many attempts as it takes and is allowed."""
        if self._given_up:
            raise RestError(self._given_up)
        try:
            for attempt in attempts(self._backoff, self._clock, self._chance):
                with attempt:
                    return self._ask_once(request)
        except (_Again, httpx.TransportError) as error:
            self._given_up = (
                f"{self._exchange.ID} could not be read at {self._url}{request.path}: {error or type(error).__name__}. "
                f"What is missing is asked for again by a later run; "
                f"check [exchange_{self._exchange.ID}] rest_url if it persists."
            )
            raise RestError(self._given_up) from error
        raise AssertionError("the loop above returns or raises")

    def _backoff(self, error: BaseException) -> bool | float:
        if isinstance(error, _Again) and error.wait is not None:
            return error.wait if error.wait <= _LONGEST_WAIT else False
        return isinstance(error, (_Again, httpx.TransportError))

    def _ask_once(self, request: Request) -> Response:
        with self._pace:
            self._clock.pause(1.0 / self._exchange.REST.requests_per_second)
        answer = self._http.get(f"{self._url}{request.path}", params=request.query)
        response = Response(
            status=answer.status_code,
            body=answer.content,
            server_time=http_date(answer.headers.get("Date")),
            recv_ts=self._clock.now(),
        )
        refusal = self._exchange.refusal(response)
        if refusal is None:
            return response
        if refusal.kind == "unknown_pair":
            raise UnknownPair(f"{self._exchange.ID} does not list {request.query}: {refusal.reason}")
        if refusal.kind == "fatal":
            raise RestError(f"{self._exchange.ID} refused {request.path}: {refusal.reason}")
        raise _Again(refusal.reason, _retry_after(answer))


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds; the form with a date is not used by any exchange here."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdigit() else None
