"""The exchange's side: lines that are cut, slammed and silent, messages that are lost, late, doubled and contradicted.

All exchanges at once, one pair each, with a recorder that is left alone; then its hours are held against the truth.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from stream.clock import HOUR, hour_of
from stream.exchanges import EXCHANGES
from tests.faults import proxy, world
from tests.faults.outcome import Outcome
from tests.faults.world import World

_SPEED = 120
_PAIRS = dict.fromkeys(EXCHANGES, ("ETH-USDT",))
_LINES = {
    "cut": "line cut, at each phase of a minute",
    "all cut": "all lines cut at once, as at the end of a day's connection",
    "slammed": "server accepts and closes",
    "maintenance": "handshake refused with 503",
    "half-open": "half-open line: no data, no close",
}
_MESSAGES = {
    "lost-finals": "last message of a minute never sent",
    "late-finals": "last message, or late trades, after the minute",
    "duplicates": "messages sent twice, finals too",
    "reordering": "messages overtake each other",
    "contradictions": "two finals that contradict each other",
    "stalls": "subscription that goes quiet on a living line",
    "garbage": "messages that are none",
}
_SHARE = 0.12
_SKEW = timedelta(seconds=90)
_SOON = timedelta(seconds=60)
"""After its end an hour is judged at the earliest: the default of [hours] grace_seconds."""


def run(seed: int, effort: float, folder: Path) -> Iterator[Outcome]:
    """One outcome per kind; each has about as many simulated minutes as `effort` of an hour."""
    minutes = max(14.0, 50 * effort)
    with world.emulated(folder / "lines", seed, speed=_SPEED, pairs=_PAIRS) as whole:
        found = [_lines(whole, kind, minutes) for kind in _LINES]
        found += [_skewed(whole, _SKEW, minutes), _skewed(whole, -_SKEW, minutes)]
        for here, outcome in found:
            yield _judged(here, outcome)
    for kind, words in _MESSAGES.items():
        outcome = Outcome("exchange", words)
        options = {kind: _SHARE}
        with world.emulated(folder / kind, seed, speed=_SPEED, pairs=_PAIRS, options=options) as whole:
            _record(whole, minutes)
            _judged(whole, outcome)
        outcome.tried = world.struck(whole, kind.replace("-", "_"))
        yield outcome


def _lines(whole: World, kind: str, minutes: float) -> tuple[World, Outcome]:
    counter = whole.folder / f"{kind}.count"
    counter.touch()
    pid, through = proxy.start(whole, kind, counter)
    try:
        _record(through, minutes)
    finally:
        world.kill(pid)
    return through, Outcome("exchange", _LINES[kind], counter.stat().st_size)


def _skewed(whole: World, ahead: timedelta, minutes: float) -> tuple[World, Outcome]:
    """Counted is every minute of every pair."""
    seconds = ahead.total_seconds()
    here = whole.inside(f"skew{seconds:+g}", ahead=ahead)
    _record(here, minutes)
    return here, Outcome("exchange", f"minutes with our clock {seconds:+g} s off", round(minutes) * len(_PAIRS))


def _record(here: World, minutes: float) -> None:
    pid = world.start_recorder(here)
    time.sleep(minutes * 60 / here.speed)
    os.kill(pid, signal.SIGTERM)
    status = world.ended(pid, 60)
    if status != 0:
        raise AssertionError(f"the recorder ended with status {status}: {world.tail(here.log)}")


def _judged(here: World, outcome: Outcome) -> Outcome:
    """Judges as soon as the last recorded hour may be, by our clock, and once more when it is over by all clocks."""
    clock = here.write().clock
    last = hour_of(clock.now())
    hours = [hour_of(world.START) + n * HOUR for n in range((last - hour_of(world.START)) // HOUR + 1)]
    world.wait_until(lambda: clock.now() > last + HOUR + _SOON, 60, "the hour's end")
    early = world.judged(here, hours)
    outcome.add(replace(early, missing=0))
    world.wait_until(lambda: clock.now() > last + HOUR + 2 * _SKEW, 60, "the hour's end by all clocks")
    outcome.acknowledged, outcome.lost = world.lost(here)
    outcome.add(world.judged(here, hours, again=True))
    return outcome
