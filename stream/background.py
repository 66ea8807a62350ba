"""Work that must not hold up the recording: done step by step in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

Step = Callable[[], float | None]
"""Does a piece of work, and does not raise. After so many wall seconds it is to be called again, sooner if there is
news; None: only then."""


class Background:
    """Calls `step` again and again, for as long as the process lives."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._news = threading.Event()
        self._finishing = False
        self._abandoned = False
        # A daemon: a store that does not answer must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="uploader", daemon=True)

    def start(self) -> None:
        """Begin, with what there is to do already."""
        self._thread.start()

    def wake(self) -> None:
        """There is news."""
        self._news.set()

    async def finish(self, patience: float) -> None:
        """Do what there is to do, then stop; after `patience` wall seconds at the latest."""
        self._finishing = True
        self.wake()
        await asyncio.to_thread(self._thread.join, patience)
        self._abandoned = True
        self.wake()

    def _run(self) -> None:
        while not self._abandoned:
            wait = self._step()
            if wait is None and self._finishing:
                return
            if wait != 0:
                self._news.wait(wait)
                self._news.clear()
