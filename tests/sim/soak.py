"""`make soak`: a simulated day of all exchanges, ten pairs each, with some faults; every candle checked."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta

from stream.clock import HOUR
from stream.lake import layout
from tasks.tables import parquet
from tests.sim import world as worlds
from tests.sim.course import live
from tests.sim.fixed import at
from tests.sim.judge import judge
from tests.sim.store import SimStore
from tests.sim.world import SYMBOLS, Incident, Killed, Line, Store, World

_SHARES = (("binance", "binanceus", "bybit", "okx"), ("coinbase", "gate", "kraken"))
"""Two worlds at once, with about as much to do."""
_FAULTS = {
    "disconnects": 0.002,
    "lost_finals": 0.005,
    "late_finals": 0.01,
    "duplicates": 0.02,
    "reordering": 0.01,
    "silent": 0.05,
    "garbage": 0.005,
}
_VERDICTS = ("stream", "rest", "empty", "missing")


def soak(hours: int) -> int:
    """Prints the verdicts of each exchange; returns how many things were wrong."""
    began = time.monotonic()
    print(f"{hours} hours of {sum(map(len, _SHARES))} exchanges, {len(SYMBOLS)} pairs each", flush=True)
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(_lived, _SHARES, [hours] * len(_SHARES)))
    print(f"{'exchange':<10}" + "".join(f"{name:>9}" for name in _VERDICTS))
    verdicts = Counter[tuple[str, str]]()
    for counts, _ in found:
        verdicts.update(counts)
    for exchange in sorted({exchange for exchange, _ in verdicts}):
        print(f"{exchange:<10}" + "".join(f"{verdicts[exchange, name]:>9,}" for name in _VERDICTS))
    faults = [fault for _, some in found for fault in some]
    print("\n".join(faults[:20]))
    print(
        f"{sum(verdicts.values()):,} minutes, {len(faults)} things that must not be, {time.monotonic() - began:.0f} s"
    )
    return len(faults)


def _lived(exchanges: tuple[str, ...], hours: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """The verdicts by exchange, and what is wrong."""
    day: list[Incident] = [
        Killed(at=at(60 * 5 + 17, 40), away=20),
        Store(at=at(60 * 9 + 50), lasting=1200, kind="refused"),
        *(Line(at=at(60 * 12 + 3, 10), exchange=exchange, kind="cut") for exchange in exchanges),
        Killed(at=at(60 * 15 + 41, 12), away=240, power=True),
        *(Line(at=at(60 * 19 + 30), exchange=exchange, kind="half-open") for exchange in exchanges),
    ]
    end = (worlds.LEAD + hours * HOUR) / timedelta(seconds=1)
    world = World(
        seed=24,
        exchanges=exchanges,
        pairs=len(SYMBOLS),
        hours=hours,
        hourly=True,
        flush=900.0,
        faults=_FAULTS,
        incidents=tuple(one for one in day if one.at < end),
    )
    left = live(world)
    lake, verdicts = SimStore(left.objects), Counter[tuple[str, str]]()
    for key in left.objects:
        if key.startswith(layout.silver_prefix()):
            facts = parquet.facts(lake, key) or {}
            exchange = key.partition("exchange=")[2].partition("/")[0]
            verdicts.update({(exchange, name): facts[name] for name in _VERDICTS})
    return verdicts, [str(fault) for fault in judge(left)]
