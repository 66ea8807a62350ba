"""The course of a world: what happens when, until all faults are over and everything is mended."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from stream.clock import HOUR as ONE_HOUR
from stream.emulator.bar import Bar
from stream.emulator.faults import Faults
from stream.emulator.server import Emulator
from stream.errors import LakeError
from tasks.hour import evidence, stream_hour
from tests.sim import world as worlds
from tests.sim.answers import Transport
from tests.sim.loop import LoopClock, VirtualLoop, run
from tests.sim.machine import Machine, configured, slow
from tests.sim.network import Weather
from tests.sim.published import differences
from tests.sim.step import in_step
from tests.sim.store import Objects, SimStore
from tests.sim.worker import Surroundings, Worker
from tests.sim.world import SYMBOLS, Answers, Ill, Killed, Line, Rest, Run, Stopped, Store, World

_Lasting = TypeVar("_Lasting", Store, Rest)

_LOOK_BACK = 3
"""Hours that a run looks after; the last ones look after all."""
_SETTLING = 90.0
"""Seconds that the last processes record for."""


class WorkerKilled(BaseException):
    """At a call of the store."""


@dataclass(repr=False)
class Remains:
    """What is left of a world."""

    world: World
    dsn: str = ""
    """The warehouse, if there is one."""
    truth: Callable[[str, str, datetime], Bar | None] = lambda *_: None
    """(exchange, symbol, minute) → the finished candle of what was traded."""
    objects: Objects = field(default_factory=Objects)
    machines: list[Machine] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    """How often something happened: faults of the emulator, `killed`, `disk`, `line`, `store`, `rest`, `worker`."""
    unpublished: list[str] = field(default_factory=list)
    """In what Postgres was not what silver was."""
    again: Objects = field(default_factory=Objects)
    """The objects after everything was made once more."""
    waiting: list[float] = field(default_factory=list)
    """For each machine: how old the oldest line was that its disk still held before it was told to stop, in seconds."""
    worked: int = 0
    """Results that a last run made although nothing was new."""


def live(world: World, dsn: str = "") -> Remains:
    """The world from its beginning to its end. `dsn`: an empty warehouse of its own, if it publishes."""
    state = random.getstate()
    try:
        with _in_silence():
            return run(_Course(world, dsn).run(), timedelta(days=3), random.Random(f"{world.seed}/timers"))
    finally:
        random.setstate(state)
        evidence.look_again()
        stream_hour._remembered.clear()


@contextmanager
def _in_silence() -> Iterator[None]:
    """What goes wrong was meant to."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


class _Course:
    def __init__(self, world: World, dsn: str) -> None:
        assert bool(dsn) == world.publishes, "a world that publishes needs a warehouse, and no other does"
        self._world = world
        self._remains = Remains(world, dsn)
        self._chance = random.Random(f"{world.seed}/course")
        self._hours = [worlds.HOUR + n * ONE_HOUR for n in range(world.hours)]
        self._runs: list[asyncio.Task[None]] = []
        self._mending = False

    async def run(self) -> Remains:
        """All of it."""
        world, loop = self._world, asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        random.seed(world.seed)  # the libraries' own
        self._loop = loop
        loop.network.weather = Weather(random.Random(f"{world.seed}/weather"))
        true = LoopClock(worlds.START)
        faults = Faults(seed=world.seed, **world.faults)
        async with Emulator(configured(world, true, "emulator"), faults) as emulator:
            self._remains.truth = emulator.truth
            machines = [Machine(who, world, loop, self._remains.objects, self._call) for who in range(world.recorders)]
            self._remains.machines = machines
            for machine in machines:
                machine.start()
            for incident in (*world.incidents, *self._hourly()):
                loop.call_at(incident.at, self._happen, incident)
            await asyncio.sleep(world.recorded - loop.time())
            await self._drain()
            for pushing in emulator._tasks:  # nobody listens any more: REST is all that is asked for
                pushing.cancel()
            await asyncio.sleep(world.end - loop.time())
            if self._runs:
                await asyncio.wait(self._runs)
            for task in self._runs:
                task.result()
            await self._mend()
        self._remains.struck.update(faults.struck)
        self._remains.struck["killed"] = sum(machine.deaths for machine in machines)
        self._remains.struck["disk"] = sum(machine.disk.failures for machine in machines)
        self._remains.struck["line"] += loop.network.turned_away
        return self._remains

    def _hourly(self) -> Iterator[Run]:
        for hour in self._hours if self._world.hourly else ():
            yield Run(at=(hour + ONE_HOUR - worlds.START).total_seconds() + worlds.GRACE + 30)

    async def _drain(self) -> None:
        """The recorders come to a good end."""
        self._remains.waiting = [machine.waiting() for machine in self._remains.machines]
        for machine in self._remains.machines:
            machine.spare()
            machine.start(leave_out=0)
        await asyncio.sleep(_SETTLING)
        await asyncio.gather(*(machine.retire() for machine in self._remains.machines))

    async def _mend(self) -> None:
        """All faults are over: the tasks do what they can, and soon have nothing more to do."""
        self._mending = True
        for _ in range(3):
            self._remains.worked = await self._work(Run(at=0))
            if not self._remains.worked:
                break
        self._remains.unpublished = list(self._unpublished())
        before = Objects(self._remains.objects)
        await self._work(Run(at=0), anew=True)
        self._remains.again, self._remains.objects = self._remains.objects, before

    def _unpublished(self) -> Iterator[str]:
        pairs = [(exchange, symbol) for exchange in self._world.exchanges for symbol in SYMBOLS[: self._world.pairs]]
        for hour in self._hours if self._world.publishes else ():
            for what in differences(self._remains.dsn, SimStore(self._remains.objects), pairs, hour):
                yield f"{what} of {hour:%H:%M} is not what silver is"

    def _happen(self, incident: worlds.Incident) -> None:
        loop, machines = self._loop, self._remains.machines
        match incident:
            case Killed():
                machines[incident.who].kill(incident)
            case Stopped():
                task = loop.create_task(self._replace(incident))
                self._runs.append(task)
            case Ill():
                illnesses = machines[incident.who].disk.illnesses
                illnesses.append(incident.illness)
                loop.call_later(incident.lasting, illnesses.remove, incident.illness)
            case Line():
                self._strike(incident)
            case Run():
                self._runs.append(loop.create_task(self._run(incident)))
            case _:
                pass  # looked up when it matters

    async def _replace(self, incident: Stopped) -> None:
        machine = self._remains.machines[incident.who]
        await machine.stop()
        await asyncio.sleep(incident.away)
        machine.start(incident.leave_out)

    def _strike(self, incident: Line) -> None:
        network, port = self._loop.network, self._world.exchanges.index(incident.exchange) + 1
        if incident.kind == "slow":
            self._remains.struck["line"] += 1
            network.lag[port] = self._chance.uniform(0.5, 25)
            self._loop.call_later(incident.lasting, network.lag.pop, port, None)
            return
        for line in network.lines(port=port):
            self._remains.struck["line"] += 1
            line.die() if incident.kind == "half-open" else line.cut()
        if incident.kind in ("refused", "slammed"):
            network.closed[port] = incident.kind
            self._loop.call_later(incident.lasting, network.closed.pop, port, None)

    async def _run(self, incident: Run) -> None:
        with suppress(LakeError, WorkerKilled):  # the next run goes on
            await self._work(incident)

    async def _work(self, incident: Run, *, anew: bool = False) -> int:
        clock = LoopClock(self._now(), lambda _: incident.ahead)
        clock.now()
        number = self._chance.random()
        calls = iter(range(1, 1 << 30))

        def call(doing: str, key: str, deed: Callable[[], Any]) -> Any:
            if next(calls) == incident.killed:
                self._remains.struck["worker"] += 1
                raise WorkerKilled
            return self._call(doing, key, deed, worker=True)

        lake = SimStore(self._remains.objects, call)
        lake.root = f"worker {number}"  # what a process remembers of the lake is its own
        found = configured(self._world, clock, "worker", dsn=self._remains.dsn)
        over = [hour for hour in self._hours if hour + ONE_HOUR <= clock.now()]
        look_at = over[-_LOOK_BACK:] if incident.at else over
        context = Surroundings(found, lake, Transport(self._ill), random.Random(number))
        worker = Worker(context, look_at, publishes=self._world.publishes)
        await in_step(lambda: worker.run(anew=anew))
        return worker.worked

    def _now(self) -> datetime:
        return worlds.START + timedelta(seconds=self._loop.time())

    def _call(self, doing: str, key: str, deed: Callable[[], Any], *, worker: bool = False) -> Any:  # noqa: ARG002
        """What the store makes of a call."""
        if self._mending:  # nothing else happens meanwhile
            return deed()
        slow(self._chance.uniform(0.002, 0.05))
        kind = next(self._lasting(Store), None)
        if kind is None or (worker and not kind.workers):
            return deed()
        self._remains.struck["store"] += 1
        if kind.kind == "slow":
            slow(60)
            return deed()
        if kind.kind == "unanswered":
            deed()
        raise LakeError("the store does not answer")

    def _ill(self, exchange: str) -> Answers | None:
        kind = "503" if exchange in self._world.without_rest else self._spoilt(exchange)
        self._remains.struck["rest"] += kind is not None
        return kind

    def _spoilt(self, exchange: str) -> Answers | None:
        return next((one.kind for one in self._lasting(Rest) if one.exchange == exchange), None)

    def _lasting(self, kind: type[_Lasting]) -> Iterator[_Lasting]:
        """The incidents of a kind that last just now, the earliest first."""
        now = self._loop.time()
        for one in self._world.incidents:
            if isinstance(one, kind) and one.at <= now < one.at + one.lasting:
                yield one
