"""New worlds, one after another, on two cores: what fails is made smaller and printed as a line that replays it."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait

from tests.sim.course import live
from tests.sim.judge import judge
from tests.sim.shrink import shrink
from tests.sim.world import World, draw, written

_CORES = 2


def tried(world: World) -> list[str]:
    """What is wrong after it; also that something broke in it."""
    try:
        return judge(live(world))
    except Exception as error:  # noqa: BLE001  # whatever it is, it is a finding
        return [f"{type(error).__name__}: {error}"]


def explore(minutes: float, seed: int | None) -> int:
    """Worlds from `seed` on (a drawn one, if not given) until the time is up; returns how many failed."""
    first = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    print(f"explore: SEED={first} MINUTES={minutes:g}", flush=True)
    began, count, failed = time.monotonic(), 0, 0
    numbers, running = itertools.count(first), set[Future[tuple[int, list[str], str]]]()
    with ProcessPoolExecutor(_CORES, mp_context=multiprocessing.get_context("spawn")) as pool:
        while True:
            while len(running) < _CORES and time.monotonic() < began + 60 * minutes:
                running.add(pool.submit(_explored, next(numbers)))
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for number, faults, line in (one.result() for one in done):
                count += 1
                if faults:
                    failed += 1
                    print(f"\nworld {number} fails: {faults[0]}\n  {line}", flush=True)
                if count % 50 == 0:
                    print(f"{count} worlds, {failed} failed, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{count} worlds from {first} on in {time.monotonic() - began:.0f} s, {failed} failed")
    return failed


def _explored(number: int) -> tuple[int, list[str], str]:
    world = draw(number)
    faults = tried(world)
    if not faults:
        return number, [], ""
    small = shrink(world, lambda smaller: bool(tried(smaller)))
    return number, tried(small) or faults, f"make explore WORLD='{written(small)}'"
