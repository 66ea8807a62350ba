"""A recorder and the exchanges that it records, in one loop on virtual time: hours in seconds, the same each time."""

from __future__ import annotations

import asyncio
import random
from datetime import datetime, timedelta

import msgspec

from stream.emulator.faults import Faults
from stream.emulator.server import Emulator
from stream.recorder import Recorder
from stream.settings import Settings
from tests.sim.answers import listed
from tests.sim.loop import LoopClock, run
from tests.sim.step import Stepping

_HERE = "127.0.0.1:1"


def record(settings: Settings, start: datetime, end: datetime, faults: Faults) -> None:
    """What the settings name, from `start` to `end`, into their lake. The faults' seed decides every wait, too."""
    chance = random.Random(faults.seed)
    addresses = {
        exchange: msgspec.structs.replace(one, ws_url=f"ws://{_HERE}/{exchange}", rest_url=f"http://{_HERE}/{exchange}")
        for exchange, one in settings.exchanges.items()
    }
    settings = msgspec.structs.replace(settings, clock=LoopClock(start), exchanges=addresses)

    async def live() -> None:
        stop = asyncio.Event()
        async with Emulator(settings, faults):
            recording = asyncio.create_task(
                Recorder(settings, ask=listed, background=Stepping, chance=chance).run(stop)
            )
            await asyncio.wait({recording}, timeout=(end - start).total_seconds())
            stop.set()
            assert await recording, "the lake did not take everything"

    run(live(), lasting=end - start + timedelta(hours=1))
