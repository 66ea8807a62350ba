"""How long to wait before trying again: the policies that connections, uploads, the disk and REST share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import stamina

from stream.clock import Clock

_ATTEMPTS = 4
stamina.instrumentation.set_on_retry_hooks([])  # one line per incident, ours, not one per attempt


def delays(initial: float, cap: float) -> Iterator[float]:
    """Waits that average `initial`, then twice that, and so on up to `cap`; scattered, so that many do not march."""
    average = initial
    while True:
        yield average * random.uniform(0.5, 1.5)  # noqa: S311  # nothing to keep secret
        average = min(2 * average, cap)


def attempts(on: Callable[[Exception], bool | float], clock: Clock) -> Iterator[stamina.Attempt]:
    """Tries, for as long as `on` says that the error may pass (or how many wall seconds to wait), and not too often."""
    return iter(
        stamina.retry_context(
            on=on,
            attempts=_ATTEMPTS,
            timeout=None,
            wait_initial=clock.wall_seconds(1.0),
            wait_max=clock.wall_seconds(20.0),
            wait_jitter=clock.wall_seconds(1.0),
        )
    )
