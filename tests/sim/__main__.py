"""`python -m tests.sim`: explore new worlds, replay one, try the mutants, soak."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.sim.mutants import MUTANTS, faults_of


def main() -> int:
    """What is asked for; the exit code says whether all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    commands = parser.add_subparsers(required=True)
    exploring = commands.add_parser("explore", help="new worlds, for some minutes")
    exploring.add_argument("--minutes", type=float, default=10.0)
    exploring.add_argument("--seed", type=int, help="the first world's number; drawn, when not given")
    exploring.set_defaults(run=_explore)
    replaying = commands.add_parser(
        "replay", help="one world, given as the line that was printed, or by its number; kraken/7 for a parser's case"
    )
    replaying.add_argument("world")
    replaying.set_defaults(run=_replay)
    mutating = commands.add_parser("mutants", help="each rule taken out in turn: the fixed worlds must notice it")
    mutating.add_argument("only", nargs="*", type=int, help="numbers of mutants")
    mutating.set_defaults(run=_mutants)
    soaking = commands.add_parser("soak", help="a day of all exchanges, ten pairs each")
    soaking.add_argument("--hours", type=int, default=24)
    soaking.set_defaults(run=_soak)
    given = parser.parse_args()
    code: int = given.run(given)
    return code


def _explore(given: argparse.Namespace) -> int:
    from tests.sim.explore import explore

    return 1 if explore(given.minutes, given.seed) else 0


def _replay(given: argparse.Namespace) -> int:
    from tests import fuzz
    from tests.sim.course import live
    from tests.sim.judge import judge
    from tests.sim.world import draw, read

    if given.world.count("/") == 1 and "{" not in given.world:
        exchange, number = given.world.split("/")
        found = list(fuzz.spoilt(exchange, int(number)))
        print("\n".join(found) or "all is well")
        return 1 if found else 0
    world = draw(int(given.world)) if given.world.isdigit() else read(given.world)
    faults = judge(live(world))
    print("\n".join(map(str, faults)) or "all is well")
    return 1 if faults else 0


def _soak(given: argparse.Namespace) -> int:
    from tests.sim.soak import soak

    return 1 if soak(given.hours) else 0


def _mutants(given: argparse.Namespace) -> int:
    """Each in a process of its own, two at once."""
    from tasks.warehouse import embedded

    numbers = given.only or range(len(MUTANTS))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.sim.libraries"])
    with (
        tempfile.TemporaryDirectory(prefix="klines-mutants-") as folder,
        embedded.server(Path(folder)) as server,
        ProcessPoolExecutor(2, mp_context=context, max_tasks_per_child=1) as pool,
    ):
        noticed = 0
        for number, faults in zip(numbers, pool.map(faults_of, numbers, itertools.repeat(server)), strict=True):
            mutant, fate = MUTANTS[number], "noticed" if faults else "LIVES"
            print(f"{number:3} {fate:8} {mutant.rule} ({mutant.world}): {', '.join(faults)}", flush=True)
            noticed += bool(faults)
    print(f"{noticed} of {len(numbers)} were noticed")
    return 0 if noticed == len(numbers) else 1


if __name__ == "__main__":
    sys.exit(main())
