"""A recorder's machine: a disk and a clock that stay, and processes on them that come and go."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from stream import settings
from stream.clock import Clock
from stream.errors import LakeError, SpoolError
from stream.recorder import Recorder
from tests.sim.answers import listed
from tests.sim.disk import Mount, SimDisk
from tests.sim.loop import LoopClock, VirtualLoop
from tests.sim.network import whose
from tests.sim.step import Stepping, wait_for
from tests.sim.store import Call, Objects, SimStore
from tests.sim.world import GRACE, START, SYMBOLS, Ill, Killed, Set, World

_UNSYNCED = 3.0
"""Seconds after which what was written should be on the disk."""
_AGAIN = 10.0
"""Seconds after which a process that ended by itself is started again, as a service manager does."""


def configured(world: World, clock: Clock, recorder: str, *, leave_out: int = 0, dsn: str = "") -> settings.Settings:
    """What would stand in a luigi.cfg of this world."""
    symbols = SYMBOLS[: max(1, world.pairs - leave_out)]
    text = "[lake]\nroot = lake\ncompression = none\n[pairs]\n"
    text += "".join(f"{exchange} = {msgspec.json.encode(symbols).decode()}\n" for exchange in world.exchanges)
    text += f"[stream]\nrecorder_id = {recorder}\nflush_seconds = {world.flush}\n[hours]\ngrace_seconds = {GRACE}\n"
    text += f"[warehouse]\ndsn = {dsn}\n" if dsn else ""
    for port, exchange in enumerate(world.exchanges, 1):
        here = f"127.0.0.1:{port}/{exchange}"
        text += f"[exchange_{exchange}]\nws_url = ws://{here}\nrest_url = http://{here}\n"
    return msgspec.structs.replace(settings.parse(text, Path("luigi.cfg")), clock=clock)


class Machine:
    """The `who`-th of the world. `call` is what the store makes of a call."""

    def __init__(self, who: int, world: World, loop: VirtualLoop, objects: Objects, call: Call) -> None:
        self.disk = SimDisk(room=world.room)
        self.ledger: list[tuple[float, bytes]] = []
        """What was written whole to the disk: when, and the lines."""
        self.lost: set[bytes] = set()
        """Lines that a power loss was free to take."""
        self.deaths = 0
        self.lives: list[list[float]] = []
        """From when to when there was a process."""
        self._who = who
        self._world = world
        self._loop = loop
        self._objects = objects
        self._call = call
        self._sets = [one for one in world.incidents if isinstance(one, Set) and one.who == who]
        self._ahead = world.ahead[who] if who < len(world.ahead) else 0.0
        self._clock = LoopClock(START, self._off)
        self._chance = random.Random(f"{world.seed}/machine/{who}")
        self._leave_out = 0
        self._process: Process | None = None
        self._due: list[Killed] = []
        self._retired = False

    def _off(self, passed: float) -> float:
        return self._ahead + self._world.drift * passed + sum(one.by for one in self._sets if one.at <= passed)

    def start(self, leave_out: int | None = None) -> None:
        """A new process, unless there is one."""
        if leave_out is not None:
            self._leave_out = leave_out
        if self._process is None and not self._retired:
            self._process = Process(self)
            self.lives.append([self._loop.time(), float("inf")])

    def kill(self, incident: Killed) -> None:
        """At once, or when the process does what the incident names."""
        if incident.doing is None:
            self._die(incident)
        else:
            self._due.append(incident)

    def waiting(self) -> float:
        """How old the oldest line is that waits for its upload, in seconds."""
        held = self.disk.lines()
        oldest = next((moment for moment, lines in self.ledger if not held.isdisjoint(lines.splitlines())), None)
        return 0.0 if oldest is None else self._loop.time() - oldest

    def spare(self) -> None:
        """It dies no more."""
        self._due.clear()

    async def stop(self) -> None:
        """In an orderly way."""
        if self._process is not None:
            await self._process.stop()

    async def retire(self) -> None:
        """In an orderly way and for good."""
        self._retired = True
        await self.stop()

    def ended(self, process: Process) -> None:
        """It ended by itself: it is started again."""
        if self._process is process:
            self._process = None
            self.lives[-1][1] = self._loop.time()
            self._loop.call_later(_AGAIN, self.start)

    def strikes(self, doing: str) -> bool:
        """Whether the process dies now that it does that."""
        for place, incident in enumerate(self._due):
            if incident.doing == doing:
                if incident.nth > 1:
                    self._due[place] = msgspec.structs.replace(incident, nth=incident.nth - 1)
                    continue
                del self._due[place]
                self._die(incident)
                return True
        return False

    def _may_lose(self) -> set[bytes]:
        """What was written in the last moments: it is synced every second, if the disk does what it is told."""
        since = self._loop.time() - _UNSYNCED
        fresh = {line for moment, lines in self.ledger if moment >= since for line in lines.splitlines()}
        if any(isinstance(one, Ill) and one.who == self._who and one.at <= since for one in self._world.incidents):
            return self.disk.may_lose()
        return self.disk.may_lose() & fresh

    def _die(self, incident: Killed) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        self.deaths += 1
        self.lives[-1][1] = self._loop.time()
        process.die(silently=incident.power)
        if incident.power:
            self.lost |= self._may_lose()
            self.disk.lose_power(self._chance)
        self._loop.call_later(incident.away, self.start)


class Process:
    """A recorder, with its own hold of the disk, the store and the network, which end with it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._dead = False
        self._stop = asyncio.Event()
        self._mount = Mount(machine.disk, noted=self._note, strikes=machine.strikes)
        self._stepping: Stepping | None = None
        context = contextvars.copy_context()
        context.run(whose.set, self)
        self._task = asyncio.get_running_loop().create_task(self._run(), context=context)

    async def stop(self) -> None:
        """In an orderly way."""
        self._stop.set()
        await asyncio.wait({self._task})

    def die(self, *, silently: bool) -> None:
        """Nothing that it still does has an effect on anything. `silently`: the exchanges hear no goodbye."""
        self._dead = self._mount.dead = True
        for line in self._machine._loop.network.lines(process=self):
            line.die() if silently else line.cut()
            line.abort()
        if self._stepping is not None:
            self._stepping.kill()
        self._task.cancel()

    def _background(self, step: Callable[[], float | None]) -> Stepping:
        self._stepping = Stepping(step)
        return self._stepping

    def _note(self, lines: bytes) -> None:
        self._machine.ledger.append((self._machine._loop.time(), lines))

    def _store(self, doing: str, key: str, deed: Callable[[], Any]) -> Any:
        if self._dead or self._machine.strikes(doing):
            raise LakeError("this process is dead")

        def alive() -> Any:
            if self._dead:
                raise LakeError("this process is dead")
            return deed()

        found = self._machine._call(doing, key, alive)
        if self._machine.strikes("done"):
            raise LakeError("this process is dead")
        return found

    async def _run(self) -> None:
        machine = self._machine
        found = configured(machine._world, machine._clock, f"r{machine._who}", leave_out=machine._leave_out)
        recorder = Recorder(
            found,
            disk=self._mount,
            lake=SimStore(machine._objects, self._store),
            ask=listed,
            background=self._background,
            chance=random.Random(machine._chance.random()),
        )
        try:
            await recorder.run(self._stop)
        except SpoolError:
            pass  # its disk is ill
        finally:
            if not self._dead:
                self._dead = self._mount.dead = True
                if self._stepping is not None:
                    self._stepping.kill()
                if not self._stop.is_set():
                    machine.ended(self)
                else:
                    machine._process = None
                    machine.lives[-1][1] = machine._loop.time()


def slow(seconds: float) -> None:
    """A call takes so long."""
    wait_for(asyncio.sleep(seconds))
