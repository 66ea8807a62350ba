"""Code that blocks, in a world on virtual time: it runs in a thread that goes in step with the loop."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from stream.background import Background, Step

HANG = 3600
"""Real seconds that only a hang takes."""
_T = TypeVar("_T")

_here = threading.local()
"""`wishes`, in a thread that goes in step: coroutines whose ends it waits for."""


async def in_step(function: Callable[..., _T], *arguments: object) -> _T:
    """As `asyncio.to_thread`, but one of the two stands while the other one goes.

    When the thread waits for a coroutine, the loop goes on until that has ended. So what blocks takes as much time as
    there is to take in that world, however fast the machine is, and nothing in it depends on which thread is faster.
    """
    wishes: queue.SimpleQueue[tuple[Coroutine[Any, Any, Any], Future[Any]] | None] = queue.SimpleQueue()
    result: Future[_T] = Future()

    def work() -> None:
        _here.wishes = wishes
        try:
            result.set_result(function(*arguments))
        except BaseException as error:  # noqa: BLE001  # it is raised where it is awaited
            result.set_exception(error)
        wishes.put(None)

    threading.Thread(target=work, name="in step", daemon=True).start()
    while (wish := wishes.get(timeout=HANG)) is not None:
        coroutine, answer = wish
        try:
            answer.set_result(await coroutine)
        except BaseException as error:  # noqa: BLE001  # also a cancellation: the thread hears of it, and ends
            answer.set_exception(error)
    return result.result()


def wait_for(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """What the coroutine gives, when the loop has run it. For threads that go in step."""
    answer: Future[_T] = Future()
    _here.wishes.put((coroutine, answer))
    return answer.result(HANG)


def is_in_step() -> bool:
    """Whether this is such a thread."""
    return hasattr(_here, "wishes")


class Stepping(Background):
    """Steps that are done in step with the loop, as a task of it."""

    def __init__(self, step: Step) -> None:
        super().__init__(step)
        self._woken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """As a task."""
        self._task = asyncio.create_task(self._go_on())

    def wake(self) -> None:
        """The task hears of it."""
        self._woken.set()

    async def finish(self, patience: float) -> None:
        """After so many virtual seconds at the latest."""
        assert self._task is not None
        self._finishing = True
        self.wake()
        await asyncio.wait({self._task}, timeout=patience)
        self._task.cancel()

    def kill(self) -> None:
        """At once, wherever it is."""
        if self._task is not None:
            self._task.cancel()

    async def _go_on(self) -> None:
        while True:
            wait = await in_step(self._step)
            if wait is None and self._finishing:
                return
            if wait != 0:
                await asyncio.wait({waking := asyncio.create_task(self._woken.wait())}, timeout=wait)
                waking.cancel()
                self._woken.clear()
