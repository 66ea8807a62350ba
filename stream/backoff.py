"""How long to wait before trying again: the one policy that connections, uploads and the disk share."""

from __future__ import annotations

import random
from collections.abc import Iterator


def delays(initial: float, cap: float) -> Iterator[float]:
    """Waits that average `initial`, then twice that, and so on up to `cap`; scattered, so that many do not march."""
    average = initial
    while True:
        yield average * random.uniform(0.5, 1.5)  # noqa: S311  # nothing to keep secret
        average = min(2 * average, cap)
