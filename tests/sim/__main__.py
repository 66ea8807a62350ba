"""`python -m tests.sim`: explore new worlds, replay one, try the mutants."""

from __future__ import annotations

import argparse
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.sim.mutants import MUTANTS, install


def main() -> int:
    """What is asked for; the exit code says whether all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    commands = parser.add_subparsers(required=True)
    exploring = commands.add_parser("explore", help="new worlds, for some minutes")
    exploring.add_argument("--minutes", type=float, default=10.0)
    exploring.add_argument("--seed", type=int, help="the first world's number; drawn, when not given")
    exploring.set_defaults(run=_explore)
    replaying = commands.add_parser("replay", help="one world, given as the line that was printed, or by its number")
    replaying.add_argument("world")
    replaying.set_defaults(run=_replay)
    mutating = commands.add_parser("mutants", help="each rule taken out in turn: the fixed worlds must notice it")
    mutating.add_argument("only", nargs="*", type=int, help="numbers of mutants")
    mutating.set_defaults(run=_mutants)
    trying = commands.add_parser("mutant", help="one of them, in this process")
    trying.add_argument("number", type=int)
    trying.set_defaults(run=_mutant)
    given = parser.parse_args()
    code: int = given.run(given)
    return code


def _explore(given: argparse.Namespace) -> int:
    from tests.sim.explore import explore

    return 1 if explore(given.minutes, given.seed) else 0


def _replay(given: argparse.Namespace) -> int:
    from tests.sim.course import live
    from tests.sim.judge import judge
    from tests.sim.world import draw, read

    world = draw(int(given.world)) if given.world.isdigit() else read(given.world)
    faults = judge(live(world))
    print("\n".join(faults) or "all is well")
    return 1 if faults else 0


def _mutants(given: argparse.Namespace) -> int:
    """Each in a process of its own, two at once."""

    def tried(number: int) -> bool:
        command = [sys.executable, "-m", "tests.sim", "mutant", str(number)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        print(done.stdout.strip() or done.stderr.strip(), flush=True)
        return done.returncode == 0

    with ThreadPoolExecutor(2) as both:
        noticed = list(both.map(tried, given.only or range(len(MUTANTS))))
    print(f"{sum(noticed)} of {len(noticed)} were noticed")
    return 0 if all(noticed) else 1


def _mutant(given: argparse.Namespace) -> int:
    mutant = MUTANTS[given.number]
    install(mutant)
    from tests.sim.explore import tried
    from tests.sim.fixed import WORLDS

    faults = tried(WORLDS[mutant.world])
    print(f"{given.number:3} {'noticed' if faults else 'LIVES':8} {mutant.rule} ({mutant.world}): {faults[:1]}")
    return 0 if faults else 1


if __name__ == "__main__":
    sys.exit(main())
