"""One exchange while it is open: its connections, and what they are sent at which moment of the simulated clock."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from websockets.asyncio.server import ServerConnection, broadcast

from stream.clock import Clock, floor
from stream.emulator.bar import MINUTE, Bar
from stream.emulator.faults import Emission, Faults, distort
from stream.emulator.venue import Answer, Session, Venue

_BREATH = 0.005
"""Shortest wait on the wall: what falls due meanwhile is sent together, so that a fast clock costs few wakeups."""
_BATCH = 64
"""Sendings between two chances for the other coroutines."""
_HEARTBEAT = 0.05
"""Shortest wall time between two heartbeats."""
_LENIENT = 3.0
"""Wall seconds of silence that are always forgiven, however fast the clock runs."""
_GARBAGE = ('{"channel":"ohlc","type":"upd', '{"channel":"unheard_of","type":"update","data":[]}', "\x00\x01?")


class Feed:
    """One exchange's connections and its timetable: late it may be, but it leaves nothing out."""

    def __init__(self, venue: Venue, faults: Faults, clock: Clock) -> None:
        self.venue = venue
        self._faults = faults
        self._clock = clock
        self._sessions: dict[Session, ServerConnection] = {}
        self._numbers = itertools.count(1)
        self._requests = itertools.count(1)
        self._order = itertools.count()
        self._timetable: list[tuple[datetime, int, Callable[[], None]]] = []
        self._started = clock.now()

    def truth(self, symbol: str, minute: datetime) -> Bar | None:
        """The finished candle of that minute, whatever was sent of it."""
        return self.venue.market.bar(symbol, minute)

    def start(self) -> None:
        """Opens the timetable at the minute that is now; what would have been sent before now is not."""
        self._started = self._clock.now()
        minute = floor(self._started, MINUTE)
        for symbol in self.venue.symbols:
            self._plan(symbol, minute)
        self._begin(minute)

    async def attend(self, connection: ServerConnection, target: str) -> None:
        """One connection, from its welcome until it ends. Replies are written at once, so that no push overtakes."""
        wall = asyncio.get_running_loop().time
        session = Session(next(self._numbers), target, self._clock.now(), heard=wall(), told=wall())
        self._sessions[session] = connection
        try:
            for text in self.venue.welcome(session):
                broadcast([connection], text)
            async for request in connection:
                session.heard = wall()
                words = request if isinstance(request, str) else request.decode(errors="replace")
                for answer in self.venue.reply(session, words, self._position()):
                    broadcast([connection], answer)
        finally:
            self._sessions.pop(session, None)

    def get(self, path: str, query: dict[str, str]) -> Answer:
        """One REST request."""
        if self._faults.strikes("rate_limits", self.venue.exchange, next(self._requests)):
            return self.venue.refused()
        return self.venue.get(path, query, self._clock.now())

    async def play(self) -> None:
        """Does what the timetable says, when it says so; it goes on being written meanwhile."""
        while True:
            more = self.catch_up(_BATCH)
            wait = (self._timetable[0][0] - self._clock.now()).total_seconds()
            await asyncio.sleep(0 if more else max(self._clock.wall_seconds(wait), _BREATH))

    def catch_up(self, most: int | None = None) -> bool:
        """Does what is due, at most so many things; True when that was not all.

        A client is answered, its pings too, only after this: so that a machine under load is late like a slow
        exchange, whose pong still comes behind all that it had said.
        """
        for _ in itertools.count() if most is None else range(most):
            if self._timetable[0][0] > self._clock.now():
                return False
            _, _, action = heapq.heappop(self._timetable)
            action()
        return True

    async def beat(self) -> None:
        """A heartbeat to those who expect one, and good-byes."""
        wall, every = asyncio.get_running_loop().time, self.venue.manners.watchful
        while every is not None:
            before = wall()
            await asyncio.sleep(max(self._clock.wall_seconds(every.total_seconds()), _HEARTBEAT))
            for session in list(self._sessions):
                if self._outstayed(session):
                    self._cut(session)
                elif self.venue.manners.heartbeat is not None and self._awaits_heartbeat(session, before):
                    heartbeat = self._clock.now().strftime(self.venue.manners.heartbeat)
                    self._tell(session, self.venue.framed(session, "", heartbeat))

    def _awaits_heartbeat(self, session: Session, since: float) -> bool:
        channel = self.venue.manners.heartbeat_channel
        return channel in session.channels if channel else bool(session.channels) and session.told < since

    def _outstayed(self, session: Session) -> bool:
        """Whether the connection broke the exchange's rules of silence."""
        manners = self.venue.manners
        return (
            self._over(session.heard, manners.client_silence)
            or self._over(max(session.heard, session.told), manners.idle)
            or (not session.channels and self._over(session.heard, manners.first_request))
        )

    def _over(self, since: float, limit: timedelta | None) -> bool:
        """Whether a silence has lasted that long; in wall seconds, so never in an instant."""
        if limit is None:
            return False
        now = asyncio.get_running_loop().time()
        return now - since > max(self._clock.wall_seconds(limit.total_seconds()), _LENIENT)

    def _tell(self, session: Session, text: str) -> None:
        session.told = asyncio.get_running_loop().time()
        broadcast([self._sessions[session]], text)

    def _position(self) -> datetime:
        """Up to here everything has been sent: what a snapshot may already know."""
        return min(self._clock.now(), self._timetable[0][0])

    def _at(self, moment: datetime, action: Callable[[], None]) -> None:
        heapq.heappush(self._timetable, (moment, next(self._order), action))

    def _begin(self, minute: datetime) -> None:
        """Plans the next minute in the course of this one, pair by pair, so that no moment has to wait for it."""
        following = minute + MINUTE
        self._at(following, partial(self._begin, following))
        for place, symbol in enumerate(self.venue.symbols):
            seconds = 50 * (place + 1) / len(self.venue.symbols)
            self._at(minute + timedelta(seconds=seconds), partial(self._plan, symbol, following))
        for session in self._sessions:
            self._endanger(session, minute)

    def _plan(self, symbol: str, minute: datetime) -> None:
        bar = self.truth(symbol, minute)
        if bar is None:
            return
        name = (self.venue.exchange, symbol, minute)
        for emission in distort(self._faults, name, self.venue.planned(bar), self.venue.finality):
            moment = minute + timedelta(seconds=emission.sent)
            if moment >= self._started:
                self._at(moment, partial(self._emit, symbol, emission))

    def _endanger(self, session: Session, minute: datetime) -> None:
        """Whether the connection ends in this minute: by a fault, or of old age."""
        name = (self.venue.exchange, session.number, minute)
        if self._faults.strikes("disconnects", *name):
            seconds = 5 + 50 * self._faults.draw("disconnects", *name)
            self._at(minute + timedelta(seconds=seconds), partial(self._cut, session))
        if (
            self.venue.manners.lifetime is not None
            and minute <= session.opened + self.venue.manners.lifetime < minute + MINUTE
        ):
            self._at(session.opened + self.venue.manners.lifetime, partial(self._cut, session))

    def _emit(self, symbol: str, emission: Emission) -> None:
        channel, deaf = self.venue.channel(symbol), self.venue.manners.deaf
        subscribed = [session for session in self._sessions if channel in session.channels]
        listeners = [session for session in subscribed if not self._over(session.heard, deaf)]
        if not listeners:
            return
        if emission.kind == "cut":
            for session in listeners:
                self._cut(session)
            return
        if emission.kind == "garbage":
            for session in listeners:
                self._tell(session, _GARBAGE[int(emission.stamped * 1000) % len(_GARBAGE)])
            return
        message = self.venue.message(symbol, emission)
        for session in listeners:
            text = self.venue.framed(session, symbol, message)
            if emission.kind != "loss":
                self._tell(session, text)

    def _cut(self, session: Session) -> None:
        """Without a goodbye: what was not yet on its way is lost."""
        connection = self._sessions.pop(session, None)
        if connection is not None:
            connection.transport.abort()
