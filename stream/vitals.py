"""The recorder's vitals: looks at its parts every few seconds, leaves word of them, and logs pairs that fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from types import TracebackType

import msgspec

from stream.clock import Clock, lasted
from stream.disk import Disk
from stream.health import WORD, Health, LinkHealth, PairHealth, Trouble
from stream.live.feed import Feed
from stream.uploader import Uploader

log = logging.getLogger(__name__)

_EVERY = 10.0
"""Wall seconds between two looks."""
_UNKNOWN = 1200.0
"""Seconds of silence that are thought normal of a pair of which nothing is known."""
_HALVES = 86_400.0
"""Seconds after which a silence counts half: what was normal a week ago need not be today."""
_NAMED = 5
"""Pairs that a line of the log names."""

_word = msgspec.json.Decoder(Health)


class Vitals:
    """To be entered for as long as the recorder lives. `written`: bytes that were recorded so far."""

    def __init__(
        self, *, recorder: str, disk: Disk, clock: Clock, uploader: Uploader, written: Callable[[], int]
    ) -> None:
        self.feeds: list[Feed] = []
        self.stopped: Trouble | None = None
        """Why nothing is recorded."""
        self._recorder = recorder
        self._disk = disk
        self._clock = clock
        self._uploader = uploader
        self._written = written
        self._started = self._looked = clock.now()
        self._heard: dict[tuple[str, str], datetime] = {}
        self._quiet: dict[tuple[str, str], float] = {}
        self._silent: dict[tuple[str, str], datetime] = {}
        self._looking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._remember()
        self._looking = asyncio.create_task(self._look_often())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._looking is not None
        self._looking.cancel()
        await asyncio.wait({self._looking})
        if error is None:
            self._say(self.look(), ended=True)

    async def _look_often(self) -> None:
        while True:
            self._say(self.look())
            await asyncio.sleep(_EVERY)

    def look(self) -> list[LinkHealth]:
        """What is known of each feed now. Logs a line when pairs of it fall silent, and when they are heard again."""
        now = self._clock.now()
        fade = 0.5 ** (max(0.0, (now - self._looked).total_seconds()) / _HALVES)
        self._looked = now
        links = [self._judged(feed.health(), fade) for feed in self.feeds]
        for link in links:
            self._tell(link, now)
        return links

    def _judged(self, link: LinkHealth, fade: float) -> LinkHealth:
        """With what was normal lately for each pair."""
        return msgspec.structs.replace(link, pairs=[self._known(link.exchange, pair, fade) for pair in link.pairs])

    def _known(self, exchange: str, pair: PairHealth, fade: float) -> PairHealth:
        key = exchange, pair.symbol
        before = self._heard.get(key)
        quiet = self._quiet.get(key, _UNKNOWN) * fade
        if pair.heard is not None:
            if before is not None:
                quiet = max(quiet, (pair.heard - before).total_seconds())
            self._heard[key] = pair.heard
        self._quiet[key] = quiet
        return msgspec.structs.replace(pair, heard=self._heard.get(key), quiet=round(quiet, 1))

    def _tell(self, link: LinkHealth, now: datetime) -> None:
        silent = {pair.symbol: pair for pair in link.silent(now)}
        fallen = [symbol for symbol in silent if (link.exchange, symbol) not in self._silent]
        if fallen:
            self._silent.update({(link.exchange, symbol): silent[symbol].heard or link.since for symbol in fallen})
            since = min(self._silent[link.exchange, symbol] for symbol in fallen)
            log.warning(
                "%s: nothing comes of %s for longer than is normal, since %s",
                link.name,
                _named(fallen),
                f"{since:%Y-%m-%d %H:%M}",
            )
        if not link.up:
            return  # that is an incident of its own, which says nothing about its pairs
        for pair in link.pairs:
            since_then = self._silent.get((link.exchange, pair.symbol))
            if since_then is not None and pair.symbol not in silent:
                del self._silent[link.exchange, pair.symbol]
                if pair.heard is not None and pair.heard > since_then:
                    log.info("%s: %s is heard again, after %s", link.name, pair.symbol, lasted(since_then, pair.heard))

    def _say(self, links: list[LinkHealth], *, ended: bool = False) -> None:
        uploader = self._uploader
        word = Health(
            recorder=self._recorder,
            started=self._started,
            said=self._clock.now(),
            ended=ended,
            stopped=self.stopped,
            uploads=uploader.trouble,
            uploaded=uploader.uploaded,
            written=self._written(),
            links=links,
        )
        with contextlib.suppress(OSError):  # the disk's trouble is told where lines are written
            self._disk.replace(WORD, msgspec.json.encode(word))

    def _remember(self) -> None:
        """What the process before knew of the pairs."""
        try:
            with self._disk.content(WORD) as content:
                before = _word.decode(bytes(content))
        except (OSError, msgspec.MsgspecError):
            return  # there was none, or it was another version
        for link in before.links:
            for pair in link.pairs:
                self._quiet[link.exchange, pair.symbol] = pair.quiet


def _named(symbols: list[str]) -> str:
    more = len(symbols) - _NAMED
    return ", ".join(symbols[:_NAMED]) + (f" and {more} more" if more > 0 else "")
