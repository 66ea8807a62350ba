"""A feed: some pairs of one exchange, kept recorded by one connection after another, with an overlap where possible."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Protocol

from stream.backoff import delays
from stream.clock import Clock, lasted
from stream.errors import SpoolError
from stream.health import LinkHealth, PairHealth
from stream.live.intake import Intake

log = logging.getLogger(__name__)

_STEADY = 60.0
"""Seconds of the clock that a connection must deliver for, before its end counts as an accident and not a failure."""
_PATIENCE = 30.0
"""Seconds of the clock that a replacement has for its acknowledgements, and at least a few of the wall."""
_LEAST = 5.0
_CAP = 60.0


class Line(Protocol):
    """What a feed keeps alive: a connection, of whatever make."""

    intake: Intake
    ready: asyncio.Event
    """Every pair is acknowledged or refused."""
    replace: asyncio.Event
    """It is time for a replacement: the exchange will close this connection, or said so."""
    opened: datetime | None
    """Since when it is open; None before."""

    async def run(self) -> str:
        """Live until the end, whose reason is returned. SpoolError when a line could not be written."""

    async def close(self, reason: str) -> None:
        """End it in an orderly way; `run` returns the reason."""


class Feed:
    """`dial` makes a new connection object for these pairs (native → canonical).

    `reconnect` is the exchange's shortest average wait.
    """

    def __init__(
        self,
        *,
        name: str,
        exchange: str,
        symbols: Mapping[str, str],
        dial: Callable[[Mapping[str, str]], Line],
        reconnect: float,
        clock: Clock,
        chance: random.Random,
    ) -> None:
        self.name = name
        self._exchange = exchange
        self._symbols = symbols
        self._dial = dial
        self._reconnect = reconnect
        self._clock = clock
        self._chance = chance
        self._waits = self._fresh_waits()
        self._line: Line | None = None
        self._ended = clock.now()
        self._reason = ""
        self._lost: datetime | None = None
        """When the incident began that goes on."""

    def health(self) -> LinkHealth:
        """What is known of its connection now."""
        intake = self._line.intake if self._line else None
        opened = self._line.opened if self._line else None
        return LinkHealth(
            name=self.name,
            exchange=self._exchange,
            up=opened is not None,
            since=opened or self._ended,
            reason=self._reason,
            ailing=intake.ailing if intake else None,
            pairs=[
                PairHealth(
                    symbol=symbol,
                    heard=intake.heard.get(native) if intake else None,
                    quiet=0.0,
                    refused=intake is not None and native in intake.refused,
                )
                for native, symbol in self._symbols.items()
            ],
        )

    async def run(self) -> None:
        """Until it is cancelled. SpoolError when there is no room for what is received."""
        while True:
            try:
                reason = await self._keep_one()
            except SpoolError:
                raise
            except Exception as error:
                log.exception("%s: this is a bug; the other connections go on", self.name)
                reason = repr(error)
            self._reason = reason
            if self._lost is None:
                self._lost = self._ended
                log.warning("%s: not connected, trying again: %s", self.name, reason)
            await self._clock.sleep(next(self._waits))

    async def _keep_one(self) -> str:
        """One connection and its replacements, until one ends by itself; returns why."""
        current = self._line = self._dial(self._symbols)
        running = asyncio.create_task(current.run())
        try:
            while True:
                expired = asyncio.create_task(current.replace.wait())
                try:
                    done, _ = await asyncio.wait(
                        {running, expired},
                        timeout=self._clock.wall_seconds(_STEADY),
                        return_when=asyncio.FIRST_COMPLETED,
                    )
                finally:
                    expired.cancel()
                if running.done():
                    return running.result()
                if not done and current.intake.candles:
                    self._steady()
                if current.replace.is_set():
                    current, running = await self._relieve(current, running)
                    self._line = current
        finally:
            self._line, self._ended = None, self._clock.now()
            await _end(running)

    async def _relieve(self, current: Line, running: asyncio.Task[str]) -> tuple[Line, asyncio.Task[str]]:
        """Open the replacement; when all its pairs are acknowledged, close the old one. Both record meanwhile."""
        successor = self._dial(self._symbols)
        starting = asyncio.create_task(successor.run())
        ready = asyncio.create_task(successor.ready.wait())
        try:
            patience = max(self._clock.wall_seconds(_PATIENCE), _LEAST)
            await asyncio.wait({starting, ready}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if starting.done() or successor.opened is None:
                await _end(starting)
                await asyncio.wait({running}, timeout=self._clock.wall_seconds(next(self._waits)))
                return current, running
            await current.close("replaced by a newer connection")
            await running
            return successor, starting
        except BaseException:
            await _end(starting)
            raise
        finally:
            ready.cancel()

    def _steady(self) -> None:
        self._waits = self._fresh_waits()
        if self._lost is not None:
            log.info("%s: connected again, after %s", self.name, lasted(self._lost, self._clock.now()))
            self._lost = None

    def _fresh_waits(self) -> Iterator[float]:
        """The first accident is followed by a quick attempt; from then on the exchange's pace counts."""
        first = itertools.islice(delays(0.5, 0.5, self._chance), 1)
        return itertools.chain(first, delays(self._reconnect, _CAP, self._chance))


async def _end(task: asyncio.Task[str]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and isinstance(task.exception(), SpoolError):
        raise SpoolError(str(task.exception()))
