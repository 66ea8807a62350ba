"""`make faults`: each fault many times, and what came of it: the table of docs/reliability.md."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from typing import get_args

from tests.boundaries.every import EVERY, Every
from tests.sim.faults import ROWS, Row
from tests.sim.judge import Kind

_SHOWN = ("lost", "duplicates", "unfinished", "wrong", "missing")
_ALL: tuple[Row | Every, ...] = (*ROWS, *EVERY)


def main() -> int:
    """Prints it; the exit code says whether all was well."""
    parser = argparse.ArgumentParser(prog="python -m tests.boundaries", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--worlds", type=int, default=1, help="of each fault that strikes by chance")
    given = parser.parse_args()
    return 1 if table(given.seed, given.worlds) else 0


def table(seed: int, worlds: int) -> int:
    """Prints the table, of so many worlds a row; returns how many things were wrong."""
    print(f"faults: SEED={seed} WORLDS={worlds}\n", flush=True)
    heads = ("boundary", "fault", "tried", "lines acknowledged", *_SHOWN)
    print("| " + " | ".join(heads) + " |\n|---|---|" + "---:|" * (len(heads) - 2), flush=True)
    sums: Counter[str] = Counter()
    # The long ones first, so that no process is left alone with them.
    numbers = reversed(range(len(_ALL)))
    jobs = [(number, seed + n) for number in numbers for n in range(worlds if number < len(ROWS) else 1)]
    counts = [Counter[str]() for _ in _ALL]
    with ProcessPoolExecutor(3) as pool:  # for two cores: some wait for other processes
        for (number, _), found in zip(jobs, pool.map(_tried, *zip(*jobs, strict=True)), strict=True):
            counts[number].update(found)
    for row, count in zip(_ALL, counts, strict=True):
        sums.update(count)
        cells = (f"{count[name]:,}" for name in ("tried", "acknowledged", *_SHOWN))
        print(f"| {row.boundary} | {row.fault} | {' | '.join(cells)} |")
    total = (f"**{sums[name]:,}**" for name in ("tried", "acknowledged", *_SHOWN))
    print(f"| | **all {len(_ALL)} kinds** | {' | '.join(total)} |")
    wrong = {name: sums[name] for name in get_args(Kind) if sums[name]}
    print(f"\n{sum(wrong.values())} things that must not be" + "".join(f"; {name}: {n}" for name, n in wrong.items()))
    return sum(wrong.values())


def _tried(number: int, seed: int) -> Counter[str]:
    return _ALL[number].tried(seed)


if __name__ == "__main__":
    sys.exit(main())
