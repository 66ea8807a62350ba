"""New worlds, one after another, on two cores: what fails is made smaller and printed as a line that replays it.

Then the parsers, each of which gets a tenth of that time: messages and answers that nobody has sent yet.
"""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import nullcontext

from stream.exchanges import EXCHANGES
from tests import fuzz
from tests.sim.course import live
from tests.sim.judge import judge
from tests.sim.published import database
from tests.sim.shrink import shrink
from tests.sim.world import World, draw, written

_CORES = 2


def tried(world: World, server: str = "") -> dict[str, str]:
    """What is wrong after it, one of each kind; also what broke in it. `server`: for a world that publishes."""
    found: dict[str, str] = {}
    try:
        with database(server) if world.publishes else nullcontext("") as dsn:
            for fault in judge(live(world, dsn)):
                found.setdefault(fault.kind, str(fault))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
        found[type(error).__name__] = f"{type(error).__name__}: {error}"
    return found


def explore(minutes: float, seed: int | None) -> int:
    """Worlds from `seed` on (a drawn one, if not given) until the time is up; returns how many failed."""
    first = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    print(f"explore: SEED={first} MINUTES={minutes:g}", flush=True)
    began, count, failed = time.monotonic(), 0, 0
    numbers, running = itertools.count(first), set[Future[tuple[int, str, str]]]()
    with ProcessPoolExecutor(_CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            while len(running) < _CORES and time.monotonic() < began + 60 * minutes:
                running.add(pool.submit(_explored, next(numbers)))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for number, fault, line in (one.result() for one in done):
                count += 1
                if fault:
                    failed += 1
                    print(f"\nworld {number} fails: {fault}\n  {line}", flush=True)
                if count % 50 == 0:
                    print(f"{count} worlds, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
        print(f"{count} worlds from {first} on in {time.monotonic() - began:.0f} s, {failed} failed", flush=True)
        for exchange, cases, faults in pool.map(
            _read, EXCHANGES, itertools.repeat(first), itertools.repeat(6 * minutes)
        ):
            failed += bool(faults)
            print(f"{exchange}: {cases} spoilt messages and answers, {len(faults)} faults", flush=True)
            print("".join(f"  {fault}\n" for fault in faults[:5]), end="", flush=True)
    return failed


def _read(exchange: str, first: int, seconds: float) -> tuple[str, int, list[str]]:
    """Cases from that number on, and what was wrong; `replay kraken/7` shows case 7 again."""
    until, faults = time.monotonic() + seconds, list[str]()
    for number in itertools.count(first):
        if time.monotonic() >= until:
            break
        faults += fuzz.spoilt(exchange, number)
    return exchange, number - first, faults


def _explored(number: int) -> tuple[int, str, str]:
    """The number, what is wrong, and the line that replays it: a smaller world that goes wrong in the same way."""
    world = draw(number)
    faults = tried(world)
    if not faults:
        return number, "", ""
    kind, text = next(iter(faults.items()))
    small = shrink(world, lambda smaller: kind in tried(smaller))
    return number, text, f"make explore WORLD='{written(small)}'"
