"""How long to wait before trying again: the policies that connections, uploads, the disk and REST share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import tenacity

from stream.clock import Clock

_ATTEMPTS = 4


def delays(initial: float, cap: float, chance: random.Random) -> Iterator[float]:
    """Waits that average `initial`, then twice that, and so on up to `cap`; scattered, so that many do not march."""
    average = initial
    while True:
        yield average * chance.uniform(0.5, 1.5)
        average = min(2 * average, cap)


def attempts(
    on: Callable[[BaseException], bool | float], clock: Clock, chance: random.Random
) -> Iterator[tenacity.AttemptManager]:
    """Tries, for as long as `on` says that the error may pass (or how many seconds to wait), and not too often.

    Seconds are the clock's. The last error is raised.
    """
    waits = delays(1, 20, chance)

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = on(error) if error else False
        return next(waits) if asked is True else float(asked)

    return iter(
        tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: on(error) is not False),
            stop=tenacity.stop_after_attempt(_ATTEMPTS),
            wait=wait,
            sleep=clock.pause,
            reraise=True,
        )
    )
