"""How every program logs: a line per event, with the time in UTC, the level and a sentence, on stderr."""

from __future__ import annotations

import logging
import time

_CHATTY = ("httpx", "websockets", "botocore", "aiohttp")
"""Libraries whose errors come back as ours."""


def handler() -> logging.Handler:
    """Writes lines such as `2026-11-22T07:00:15Z WARNING kraken connection 1: not connected, trying again: …`."""
    form = logging.Formatter("%(asctime)sZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    form.converter = time.gmtime
    found = logging.StreamHandler()
    found.setFormatter(form)
    return found


def install() -> None:
    """All that this process logs, from INFO on."""
    logging.basicConfig(level=logging.INFO, handlers=[handler()])
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
