"""The fixed worlds: what must hold after each world holds after these, and each is the same in every process."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.recording import PATIENCE
from tests.sim.course import live
from tests.sim.fixed import WORLDS
from tests.sim.judge import judge
from tests.sim.mutants import MUTANTS
from tests.sim.published import database
from tests.sim.world import draw, read, written

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("name", WORLDS)
def test_all_that_must_hold_does(name: str, request: pytest.FixtureRequest) -> None:
    """Nothing is lost, wrong, doubled, unfinished, missing without a reason, or changed by a repetition."""
    publishes = WORLDS[name].publishes
    with database(request.getfixturevalue("server")) if publishes else nullcontext("") as dsn:
        assert judge(live(WORLDS[name], dsn)) == []


def test_a_world_is_the_same_in_every_process() -> None:
    """The same number, the same bytes, whatever hashes Python draws, and whatever a process did before."""
    alone = subprocess.run(
        [sys.executable, "-c", "from tests.test_worlds import digest; print(digest())"],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    assert alone.stdout.strip() == digest()


def digest() -> str:
    """Of all that is left of a world."""
    objects, digest = live(replace(draw(46), minutes=20)).objects, hashlib.blake2b(digest_size=16)
    for key in sorted(objects):
        digest.update(key.encode() + objects[key])
    return digest.hexdigest()


def test_a_world_is_one_line() -> None:
    """What is printed replays."""
    for world in (*WORLDS.values(), *map(draw, range(50))):
        assert read(written(world)) == world and "\n" not in written(world)


def test_mutants_name_worlds_that_are_there() -> None:
    """`python -m tests.sim mutants` tries them."""
    assert {mutant.world for mutant in MUTANTS} <= WORLDS.keys()
    assert len({mutant.rule for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:  # else it would be the missing text that is noticed
        source = (ROOT / mutant.module.replace(".", "/")).with_suffix(".py").read_text()
        assert source.count(mutant.old) == 1, mutant.rule
