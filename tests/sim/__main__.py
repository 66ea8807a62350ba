"""`python -m tests.sim`: explore new worlds, replay one, try the mutants and the faults, soak."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    trying.add_argument("server", help="the connection string of a Postgres")
    trying.set_defaults(run=_mutant)
    interrupting = commands.add_parser("faults", help="each fault many times, and what came of it")
    interrupting.add_argument("--seed", type=int, default=1)
    interrupting.add_argument("--worlds", type=int, default=4, help="of each fault")
    interrupting.set_defaults(run=_faults)
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
    from tests.sim.course import live
    from tests.sim.judge import judge
    from tests.sim.world import draw, read

    world = draw(int(given.world)) if given.world.isdigit() else read(given.world)
    faults = judge(live(world))
    print("\n".join(map(str, faults)) or "all is well")
    return 1 if faults else 0


def _faults(given: argparse.Namespace) -> int:
    from tests.sim.faults import table

    return 1 if table(given.seed, given.worlds) else 0


def _soak(given: argparse.Namespace) -> int:
    from tests.sim.soak import soak

    return 1 if soak(given.hours) else 0


def _mutants(given: argparse.Namespace) -> int:
    """Each in a process of its own, two at once."""
    from tasks.warehouse import embedded

    with tempfile.TemporaryDirectory(prefix="klines-mutants-") as folder, embedded.server(Path(folder)) as server:

        def tried(number: int) -> bool:
            command = [sys.executable, "-m", "tests.sim", "mutant", str(number), server]
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

    faults = tried(WORLDS[mutant.world], given.server)
    fate = "noticed" if faults else "LIVES"
    print(f"{given.number:3} {fate:8} {mutant.rule} ({mutant.world}): {', '.join(faults.values())}")
    return 0 if faults else 1


if __name__ == "__main__":
    sys.exit(main())
