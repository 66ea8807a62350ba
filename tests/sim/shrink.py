"""A world that fails, made smaller: fewer incidents, faults, exchanges, recorders and minutes, as long as it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from msgspec.structs import replace

from tests.sim.world import World

_TRIES = 80


def shrink(world: World, fails: Callable[[World], bool]) -> World:
    """The smallest that a few tries find."""
    tries = 0
    going = True
    while going:
        going = False
        for smaller in _smaller(world):
            tries += 1
            if tries > _TRIES:
                return world
            if fails(smaller):
                world, going = smaller, True
                break
    return world


def _smaller(world: World) -> Iterator[World]:
    """Steps that make it simpler, the largest first."""
    yield from _fewer_incidents(world)
    yield from _fewer_exchanges(world)
    if world.faults:
        yield replace(world, faults={})
    for name in world.faults:
        yield replace(world, faults={one: share for one, share in world.faults.items() if one != name})
    yield from _plainer_recorders(world)
    for minutes in (8, 15, 30):
        if world.minutes is None or minutes < world.minutes:
            yield replace(world, minutes=minutes)


def _fewer_incidents(world: World) -> Iterator[World]:
    for count in sorted({max(1, len(world.incidents) // 2), 1}, reverse=True):
        for first in range(0, len(world.incidents), count):
            yield replace(world, incidents=world.incidents[:first] + world.incidents[first + count :])


def _fewer_exchanges(world: World) -> Iterator[World]:
    for exchange in world.exchanges if len(world.exchanges) > 1 else ():
        yield replace(
            world,
            exchanges=tuple(one for one in world.exchanges if one != exchange),
            without_rest=tuple(one for one in world.without_rest if one != exchange),
            incidents=tuple(one for one in world.incidents if getattr(one, "exchange", None) != exchange),
        )


def _plainer_recorders(world: World) -> Iterator[World]:
    if world.recorders > 1 and all(getattr(one, "who", 0) == 0 for one in world.incidents):
        yield replace(world, recorders=1)
    if world.drift:
        yield replace(world, drift=0.0)
    if any(world.ahead):
        yield replace(world, ahead=())
    if world.without_rest:
        yield replace(world, without_rest=())
