"""`python -m tests.faults [--seed N] [--effort 1.0] [--only crash,power]`: the fault suite, two boundaries at once.

Prints the seed first, and at the end the table as Markdown; exits with 1 when something is not zero that must be.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import secrets
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from tests.faults import SUITES
from tests.faults.outcome import Outcome, table


def main() -> int:
    """Runs the suites that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="replays a run")
    parser.add_argument("--effort", type=float, default=1.0, help="how many faults, as a share of a full run")
    parser.add_argument("--only", default=",".join(SUITES), help="boundaries, comma-separated")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # a single suite writes its outcomes there
    given = parser.parse_args()
    names = given.only.split(",")
    if unknown := set(names) - set(SUITES):
        parser.error(f"--only names {', '.join(sorted(unknown))}; there are {', '.join(SUITES)}")
    if given.into:
        given.into.write_text(json.dumps([asdict(one) for one in _run(names[0], given.seed, given.effort)]))
        return 0
    print(f"faults: --seed {given.seed} --effort {given.effort:g} --only {given.only}", flush=True)
    began = time.monotonic()
    with ThreadPoolExecutor(2) as both:
        outcomes = [
            one for suite in both.map(lambda name: _apart(name, given.seed, given.effort), names) for one in suite
        ]
    print(f"\n{table(outcomes)}\n\n{time.monotonic() - began:.0f} s, seed {given.seed}")
    failed = [one for one in outcomes if one.failed]
    for one in failed:
        print(f"FAILED {one.boundary}, {one.fault}: {one.note or 'see the table'}")
    return 1 if failed else 0


def _run(name: str, seed: int, effort: float) -> list[Outcome]:
    logging.basicConfig(level=logging.CRITICAL)  # what goes wrong here was meant to
    suite = importlib.import_module(f"tests.faults.{name}")
    with tempfile.TemporaryDirectory(prefix=f"klines-faults-{name}-", ignore_cleanup_errors=True) as folder:
        found: list[Outcome] = []
        for outcome in suite.run(seed, effort, Path(folder)):
            print(
                f"  {outcome.boundary}: {outcome.fault}: {outcome.tried}{' FAILED' if outcome.failed else ''}",
                flush=True,
            )
            found.append(outcome)
        return found


def _apart(name: str, seed: int, effort: float) -> list[Outcome]:
    """A suite in a process of its own: it may kill, patch and fork as it likes."""
    with tempfile.TemporaryDirectory(prefix="klines-faults-") as folder:
        into = Path(folder) / "outcomes.json"
        command = [sys.executable, "-m", "tests.faults", "--only", name, "--seed", str(seed), "--effort", str(effort)]
        code = subprocess.run([*command, "--into", str(into)], check=False).returncode
        if code or not into.exists():
            return [Outcome(boundary=name, fault="the suite itself broke", note=f"exit code {code}; see above")]
        return [Outcome(**one) for one in json.loads(into.read_text())]


if __name__ == "__main__":
    sys.exit(main())
