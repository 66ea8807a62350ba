"""A connection's subscriptions: which texts ask for which pairs, in which order and at what pace.

The rules are the exchange's (`StreamRules`); sending is the connection's business.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import timedelta

from stream.clock import Clock
from stream.live.intake import Intake
from stream.wire import Exchange

_PATIENCE = 30.0
"""Seconds of the clock within which a subscription is acknowledged."""
_LEAST = 5.0
"""Wall seconds that an exchange always has to answer, however fast the clock of a rehearsal runs."""


class Subscriptions:
    """Asks for all pairs of `intake`, and again for those that keep silent. `write` puts lines into the spool."""

    def __init__(
        self,
        exchange: Exchange,
        intake: Intake,
        clock: Clock,
        send: Callable[[str], Awaitable[None]],
        write: Callable[[bytes], None],
    ) -> None:
        self._exchange = exchange
        self._intake = intake
        self._rules = exchange.STREAM
        self._clock = clock
        self._send = send
        self._write = write
        self._answered = asyncio.Event()
        self._one_by_one = False
        self._sent: deque[float] = deque(maxlen=self._rules.requests_per_hour)

    def heard(self) -> None:
        """The connection received something: what is waited for may be among it. Part of the hot path."""
        if self._one_by_one or self._intake.alone:
            self._answered.set()

    async def run(self) -> str:
        """Until it is cancelled, or there is a reason to end the connection, which is returned."""
        rules, natives = self._rules, list(self._intake.symbols)
        limit = rules.first_request and max(self._clock.wall_seconds(rules.first_request), _LEAST)
        try:
            async with asyncio.timeout(limit):
                if rules.greeting is not None:
                    await self._request(rules.greeting)
                await self._ask(natives[: rules.pairs_per_request])
        except TimeoutError:
            return f"nothing could be asked for within the {rules.first_request:.0f} s that the exchange allows"
        await self._ask(natives[rules.pairs_per_request :])
        while True:
            await self._ask_alone()
            await self._ask_silent()

    async def _ask_silent(self) -> None:
        """Waits a while, unless pairs are to be asked for alone; asks again for those that kept silent."""
        stale = max(self._rules.stale, self._least(_LEAST))
        patience = max(_PATIENCE, self._least(_LEAST))
        await self._hear(self._clock.wall_seconds(min(stale, patience) / 4))
        now = self._clock.now()
        quiet = self._intake.quiet(now, stale=timedelta(seconds=stale), patience=timedelta(seconds=patience))
        if quiet:
            detail = "nothing came, or the subscription was not acknowledged; it is subscribed again"
            self._write(self._intake.lines.status("stale", detail, now, quiet))
            await self._ask(quiet, again=True)

    async def _ask_alone(self) -> None:
        """One pair a request, the next one when this one is answered: so a refusal tells which pair it is about."""
        intake, loop = self._intake, asyncio.get_running_loop()
        self._one_by_one = bool(intake.alone)
        while intake.alone:
            native = intake.alone.pop(0)
            await self._subscribe([native])
            until = loop.time() + _LEAST
            while native not in intake.since and native not in intake.refused and await self._hear(until - loop.time()):
                pass
        self._one_by_one = False

    async def _hear(self, seconds: float) -> bool:
        """Waits for a message that may matter; False when none came in time."""
        self._answered.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await self._answered.wait()
        return False

    async def _ask(self, natives: list[str], *, again: bool = False) -> None:
        for first in range(0, len(natives), self._rules.pairs_per_request):
            batch = natives[first : first + self._rules.pairs_per_request]
            if again:
                await self._request(self._exchange.unsubscribe(batch, self._intake.take_back()))
            await self._subscribe(batch)

    async def _subscribe(self, natives: list[str]) -> None:
        await self._request(self._exchange.subscribe(natives, self._intake.ask(natives, self._clock.now())))

    async def _request(self, text: str) -> None:
        """One request, at the pace that the exchange allows."""
        loop = asyncio.get_running_loop()
        if self._sent.maxlen is not None and len(self._sent) == self._sent.maxlen:
            await asyncio.sleep(self._sent[0] + self._clock.wall_seconds(3600) - loop.time())
        await self._send(text)
        self._sent.append(loop.time())
        await self._clock.sleep(1 / self._rules.requests_per_second)

    def _least(self, wall: float) -> float:
        """Wall seconds as seconds of the clock."""
        return wall / self._clock.wall_seconds(1)
