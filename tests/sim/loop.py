"""An event loop on virtual time: when nothing is left to do at this moment, it is the next moment at once."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from stream.clock import Clock
from stream.wire import milliseconds
from tests.sim.network import Network
from tests.sim.step import wait_for

_T = TypeVar("_T")

START = datetime(2026, 11, 22, 6, 59, 30, tzinfo=UTC)
"""What the clock says when a loop begins, unless a test says otherwise."""
_LATE = 1e-3
"""Seconds that a timer is late at most."""
_STEP = 1e-6
"""Seconds that a round of callbacks takes: nobody waits in vain for the clock to move on by next to nothing."""


class EverythingWaits(AssertionError):
    """No callback is ready and no timer runs; or timers run on and on, and what is waited for does not happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """Timers, tasks and connections in memory; no file descriptor, no thread, no signal.

    With a `chance`, each timer is late by a little, as timers are: so chance decides what comes first of what is due at
    the same moment. What is ready comes in the order that asyncio promises.
    """

    def __init__(self, lasting: timedelta = timedelta(hours=3), chance: random.Random | None = None) -> None:
        super().__init__()
        self._chance = chance
        self._now = 0.0
        self._end = lasting.total_seconds()
        self._clock_resolution = _STEP / 1000
        self._selector = self  # what the base class asks to wait
        self.network = Network(self)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def call_at(  # type: ignore[override]  # the base class has type variables for the arguments
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        """A bit later, where there is chance."""
        late = self._chance.random() * _LATE if self._chance is not None else 0.0
        return super().call_at(when + late, callback, *args, context=context)

    def select(self, timeout: float | None) -> list[Any]:
        """Waits, which takes no time."""
        if timeout is None:
            raise EverythingWaits(f"after {self._now:.3f} virtual seconds everything waits for something else")
        self._now += max(timeout, _STEP)
        if self._now > self._end:
            self._end = float("inf")  # what is cancelled now may still tidy up
            raise EverythingWaits(f"the world was to last {self._now:.0f} virtual seconds at most")
        return []

    def run_in_executor(  # type: ignore[override]  # the base class takes any executor
        self,
        executor: object,  # noqa: ARG002  # there is none
        func: Callable[..., _T],
        *args: Any,
    ) -> asyncio.Future[_T]:
        """The function runs here and now: in this world there is one thread."""
        future: asyncio.Future[_T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # it is raised where it is awaited
            future.set_exception(error)
        return future

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """The only thread may call it."""
        return self.call_soon(callback, *args, context=context)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """A connection in memory; ConnectionRefusedError where nobody listens."""
        return await self.network.connect(protocol_factory, str(host), int(port))

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """A server in memory."""
        return self.network.listen(protocol_factory, str(host), int(port))

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""


class LoopClock(Clock):
    """The product's clock on the loop's time. It says `start` when it is first asked, and belongs to that loop.

    `off`: how many seconds it is off, at so many seconds after that.
    """

    def __init__(self, start: datetime = START, off: Callable[[float], float] = lambda _: 0.0) -> None:
        super().__init__()
        self._zero: list[tuple[asyncio.AbstractEventLoop, float]]
        self.__dict__.update(_start=start, _off=off, _zero=[])  # a clock is frozen

    _start: datetime
    _off: Callable[[float], float]

    def now(self) -> datetime:
        """The start, and what the loop has let go by since."""
        if not self._zero:
            loop = asyncio.get_running_loop()
            self._zero.append((loop, loop.time()))
        ((loop, zero),) = self._zero
        assert not loop.is_closed(), "this clock belongs to a world that is over"
        passed = loop.time() - zero
        return self._start + timedelta(seconds=passed + self._off(passed))

    def real_milliseconds(self) -> int:
        """There is no other time in this world."""
        return milliseconds(self.now())

    def pause(self, seconds: float) -> None:
        """For a thread that goes in step with the loop."""
        wait_for(asyncio.sleep(seconds))


def run(
    coroutine: Coroutine[Any, Any, _T], lasting: timedelta = timedelta(hours=3), chance: random.Random | None = None
) -> _T:
    """The coroutine's result, in a world of its own that lasts so long at most."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(lasting, chance)) as runner:
        return runner.run(coroutine)
