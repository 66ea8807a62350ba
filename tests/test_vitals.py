"""What a recorder leaves about its health, and the lines that it logs about pairs that fall silent."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from stream import backlog
from stream.clock import Clock
from stream.disk import Folder
from stream.exchanges import kraken
from stream.health import LinkHealth, PairHealth, Trouble
from stream.live.feed import Feed
from stream.live.intake import Intake
from stream.uploader import Uploader
from stream.vitals import Vitals

START = datetime(2026, 11, 22, 7, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Hand(Clock):
    """Moved by hand."""

    def __init__(self) -> None:
        super().__init__(simulated_start=START, wall_start=START)
        self.passed = timedelta()

    def now(self) -> datetime:
        """Where it stands."""
        return START + self.passed


@dataclass
class Place:
    """What `Vitals` sees of a feed."""

    heard: dict[str, datetime | None] = field(default_factory=dict)
    up: bool = True
    since: datetime = START

    def health(self) -> LinkHealth:
        """As it is."""
        pairs = [PairHealth(symbol=symbol, heard=heard, quiet=0.0) for symbol, heard in self.heard.items()]
        return LinkHealth(name="kraken connection 1", exchange="kraken", up=self.up, since=self.since, pairs=pairs)


class Uploads:
    """What `Vitals` sees of an uploader."""

    trouble: Trouble | None = None
    uploaded: datetime | None = None


@pytest.fixture
def clock() -> Hand:
    """At the start."""
    return Hand()


def vitals(folder: Path, clock: Hand, *places: Place) -> Vitals:
    """Of a recorder with these feeds."""
    found = Vitals(
        recorder="vm",
        disk=Folder(folder),
        clock=clock,
        uploader=cast("Uploader", Uploads()),
        written=lambda: 7_000,
    )
    found.feeds = cast("list[Feed]", list(places))
    return found


def minutes(clock: Hand, seen: Vitals, place: Place, count: int, *heard: str) -> Iterator[list[str]]:
    """The silent pairs after each of so many minutes, in which something comes of the pairs `heard`."""
    for _ in range(count):
        clock.passed += MINUTE
        place.heard.update(dict.fromkeys(heard, clock.now()))
        yield [pair.symbol for link in seen.look() for pair in link.silent(clock.now())]


def test_a_pair_is_silent_when_it_is_quiet_for_longer_than_is_normal_for_it(
    tmp_path: Path, clock: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    """An hour for one of which nothing is known; one line when it begins, and one when it is over."""
    place = Place({"BTC-USD": None, "ETH-USD": None})
    seen = vitals(tmp_path, clock, place)
    with caplog.at_level(logging.INFO, "stream.vitals"):
        silent = list(minutes(clock, seen, place, 200, "BTC-USD"))
        assert silent[:58] == [[]] * 58  # nearly an hour: what is thought of unknown pairs fades too
        assert silent[60:] == [["ETH-USD"]] * 140
        assert list(minutes(clock, seen, place, 3, "BTC-USD", "ETH-USD")) == [[], [], []]
    assert [record.getMessage() for record in caplog.records] == [
        "kraken connection 1: nothing comes of ETH-USD for longer than is normal, since 2026-11-22 07:00",
        "kraken connection 1: ETH-USD is heard again, after 3:21:00",
    ]


def test_what_is_normal_is_learnt_and_forgotten(tmp_path: Path, clock: Hand) -> None:
    """A pair that was always busy is missed after ten minutes; one that is often quiet for two hours, after five."""
    place = Place({"BTC-USD": None, "RARE-USD": None})
    seen = vitals(tmp_path, clock, place)
    for n in range(5 * 24 * 60):
        clock.passed += MINUTE
        place.heard["BTC-USD"] = clock.now()
        if n % 120 == 0:
            place.heard["RARE-USD"] = clock.now()
        silent = seen.look()[0].silent(clock.now())
        assert not silent or n < 120  # then it is known to be rare
    quiet = list(minutes(clock, seen, place, 400))
    assert next(n for n, one in enumerate(quiet, 1) if "BTC-USD" in one) in range(10, 13)
    assert next(119 + n for n, one in enumerate(quiet, 1) if "RARE-USD" in one) in range(300, 320)


def test_a_connection_that_is_down_says_nothing_about_its_pairs(
    tmp_path: Path, clock: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    """That is another incident; and when it is up again, its pairs have their time."""
    place = Place({"BTC-USD": None}, up=False)
    seen = vitals(tmp_path, clock, place)
    assert not any(minutes(clock, seen, place, 500))
    place.up, place.since = True, clock.now()
    assert not any(minutes(clock, seen, place, 9))
    assert caplog.records == []


def test_the_last_word_can_be_read_while_it_runs_and_afterwards(tmp_path: Path, clock: Hand) -> None:
    """And the next process knows what was normal."""
    place = Place({"BTC-USD": START, "ETH-USD": None})
    disk = Folder(tmp_path / "spool")

    async def live() -> None:
        seen = vitals(tmp_path / "spool", clock, place)
        seen.stopped = Trouble(reason="full", since=START)
        async with seen:
            await asyncio.sleep(0)
            word = backlog.last_word(tmp_path / "spool")
            assert word is not None
            assert (word.recorder, word.ended, word.written, word.stopped) == ("vm", False, 7_000, seen.stopped)
            clock.passed += 90 * MINUTE
            place.heard["BTC-USD"] = clock.now()

    assert backlog.last_word(tmp_path / "spool") is None and not backlog.is_taken(tmp_path / "spool")
    disk.take()
    assert backlog.is_taken(tmp_path / "spool")
    asyncio.run(live())
    disk.leave()
    assert not backlog.is_taken(tmp_path / "spool")
    word = backlog.last_word(tmp_path / "spool")
    assert word is not None and word.ended and word.said == START + 90 * MINUTE
    ((btc, eth),) = (link.pairs for link in word.links)
    assert (btc.symbol, btc.heard, btc.quiet) == ("BTC-USD", START + 90 * MINUTE, 5400.0)
    assert (eth.heard, 1100 < eth.quiet < 1200) == (None, True)
    # Another process: what BTC is like, is known; of what is said in another version, nothing.
    asyncio.run(live())
    (tmp_path / "spool" / "health.json").write_text('{"recorder": 7}')
    assert backlog.last_word(tmp_path / "spool") is None
    asyncio.run(live())


def test_a_backlog_is_measured_without_the_recorder(tmp_path: Path) -> None:
    """Segments only; how old the oldest is, its name says; a folder that is not there is empty."""
    clock: Any = Clock()
    assert backlog.measure(tmp_path / "none", clock).bytes == 0
    old = clock.real_milliseconds() - 90_000
    for name, size in (
        (f"{old}.jsonl", 100),
        (f"{old + 60_000}.open", 20),
        (f"{old - 1}.open", 0),
        ("health.json", 500),
    ):
        (tmp_path / name).write_bytes(bytes(size))
    found = backlog.measure(tmp_path, clock)
    assert found.bytes == 120 and found.free > 0
    assert timedelta(seconds=90) <= found.age < timedelta(hours=1)


def test_what_an_exchange_says_of_itself_is_one_incident(clock: Hand, caplog: pytest.LogCaptureFixture) -> None:
    """However often it says so; it ends when the exchange is online again."""
    intake = Intake(exchange=kraken, symbols={"BTC/USD": "BTC-USD"}, name="vm/1")
    with caplog.at_level(logging.INFO, "stream.live.intake"):
        for system in ("online", "maintenance", "maintenance", "post_only", "online"):
            clock.passed += MINUTE
            data = [{"system": system, "api_version": "v2", "connection_id": 1, "version": "2.0.0"}]
            message = {"channel": "status", "type": "update", "data": data}
            assert intake.take(json.dumps(message).encode(), clock.now()).count(b"\n") == 1
            assert (intake.ailing is None) == (system == "online")
    assert [record.getMessage() for record in caplog.records] == [
        "vm/1: the exchange says maintenance: status channel: maintenance",
        "vm/1: the exchange is online again, after 0:03:00",
    ]
