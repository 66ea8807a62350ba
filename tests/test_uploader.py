"""The uploader: every line reaches the object of its own pair-hour, whatever the store does meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import bronze
from stream.background import Background
from stream.clock import Clock, hour_of
from stream.disk import Folder
from stream.errors import LakeError
from stream.lake import layout
from stream.spool import Spool
from stream.uploader import Uploader, lines, split
from stream.wire import MINUTE
from tests.recording import PATIENCE, FailingLake, calls, read, read_lake

HOUR = datetime(2026, 11, 22, 7, tzinfo=UTC)


def alive(exchange: str = "binance", symbol: str = "BTC-USDT", start: datetime = HOUR) -> bytes:
    line = bronze.AliveLine(
        exchange=exchange,
        symbol=symbol,
        native_symbol=symbol,
        recv_ts=start + 2 * MINUTE,
        interval_start=start,
        interval_end=start + MINUTE,
        since=start,
        conn="test/1",
    )
    return bronze.encode(line)


def status(moment: datetime) -> bytes:
    line = bronze.StatusLine(
        exchange="binance",
        symbol="BTC-USDT",
        native_symbol="BTCUSDT",
        recv_ts=moment,
        conn="test/1",
        status="connected",
        detail="x",
    )
    return bronze.encode(line)


def rejected(moment: datetime) -> bytes:
    line = bronze.RejectedLine(exchange="kraken", recv_ts=moment, conn="test/1", reason="r", message="m")
    return bronze.encode(line)


class Waits(Clock):
    """A clock whose seconds all are `real` seconds together. What was asked for is noted."""

    def __init__(self, real: float) -> None:
        super().__init__()
        self.asked: list[float]
        self.__dict__.update(_real=real, asked=[])  # a clock is frozen

    _real: float

    def wall_seconds(self, seconds: float) -> float:
        """However many."""
        self.asked.append(seconds)
        return self._real


def make(spool: Spool, lake: FailingLake, compression: str = "zstd", clock: Clock | None = None) -> Uploader:
    kind = "zstd" if compression == "zstd" else "none"
    return Uploader(
        spool=spool,
        lake=lake,
        recorder="test",
        compression=kind,  # type: ignore[arg-type]
        clock=clock or Waits(2 * PATIENCE),
        chance=random.Random(1),
    )


def segment(spool: Spool, *texts: bytes) -> int:
    spool.append(b"".join(texts))
    spool.seal()
    return spool.sealed()[-1]


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(Folder(tmp_path / "spool"), Clock())


@pytest.mark.parametrize(("compression", "suffix"), [("zstd", ".jsonl.zst"), ("none", ".jsonl")])
def test_names_are_deterministic_and_a_repeat_overwrites_itself(
    tmp_path: Path, spool: Spool, compression: str, suffix: str
) -> None:
    """An upload that a crash repeats gives the same objects with the same bytes."""
    with spool:
        lake = FailingLake(tmp_path / "lake")
        one = segment(spool, alive(), alive(symbol="ETH-USDT"), rejected(HOUR))
        with spool.content(one) as mapped:
            content = bytes(mapped[:])
        make(spool, lake, compression=compression).upload(one)
        assert not spool.sealed()
        before = {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*") if path.is_file()}
        (tmp_path / "spool" / f"{one:013d}.jsonl").write_bytes(content)
        make(spool, lake, compression=compression).upload(one)
    after = {path: path.read_bytes() for path in (tmp_path / "lake").rglob("*") if path.is_file()}
    assert before == after
    assert {str(path.relative_to(tmp_path / "lake")) for path in after} == {
        layout.stream_key("binance", "BTC-USDT", HOUR, "test", one, suffix),
        layout.stream_key("binance", "ETH-USDT", HOUR, "test", one, suffix),
        layout.rejected_key("kraken", HOUR, f"test-{one:013d}.jsonl"),
    }


def test_a_minute_that_arrives_after_the_hour_is_in_its_own_hour(tmp_path: Path, spool: Spool) -> None:
    """Candles and alive lines go by their interval, status lines by their reception."""
    last = HOUR + 59 * MINUTE
    with spool:
        make(spool, FailingLake(tmp_path / "lake")).upload(segment(spool, alive(start=last), status(last + 2 * MINUTE)))
    (early, alive_text), (late, status_text) = read_lake(tmp_path / "lake").items()
    assert "hour=07" in early and alive_text == alive(start=last)
    assert "hour=08" in late and status_text == status(last + 2 * MINUTE)


def test_a_segment_stays_until_all_of_its_objects_are_there(tmp_path: Path, spool: Spool) -> None:
    """One failed object of several keeps the whole segment."""
    with spool:
        lake = FailingLake(tmp_path / "lake", failures=1)
        one = segment(spool, *(alive(symbol=f"A{n}-USDT") for n in range(5)))
        with pytest.raises(LakeError):
            make(spool, lake).upload(one)
        assert spool.sealed() == [one]
        make(spool, lake).upload(one)
        assert not spool.sealed() and len(read_lake(tmp_path / "lake")) == 5


@pytest.mark.parametrize("compression", ["zstd", "none"])
def test_what_an_earlier_process_uploaded_stays(tmp_path: Path, spool: Spool, compression: str) -> None:
    """The disk has forgotten a line of its segment, and remembers another: the object has them all, each once."""
    whole = [alive(start=HOUR + n * MINUTE) for n in range(3)]
    lake = FailingLake(tmp_path / "lake")
    with spool:
        number = segment(spool, *whole[:2])
        with spool.content(number) as content:
            kept = bytes(content[:])
        make(spool, lake, compression).upload(number)
    (tmp_path / "spool" / f"{number:013d}.jsonl").write_bytes(kept.splitlines(keepends=True)[0] + whole[2])
    with Spool(Folder(tmp_path / "spool"), Clock()) as later:
        make(later, lake, compression).upload(number)
    (found,) = read_lake(tmp_path / "lake").values()
    assert found == b"".join(whole)


def test_an_outage_is_one_incident(tmp_path: Path, spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """Failures are repeated with patience, logged once, and everything arrives when the store is back."""
    caplog.set_level(logging.INFO)
    clock = Waits(0)
    with spool:
        for text in (alive(), alive(symbol="ETH-USDT")):
            segment(spool, text)
        lake = FailingLake(tmp_path / "lake", failures=4)
        uploads = Background(make(spool, lake, clock=clock).step)
        uploads.start()
        asyncio.run(uploads.finish(patience=PATIENCE))
        assert not spool.sealed() and lake.attempts == 6
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "out of order" in caplog.text and "uploads work again" in caplog.text
    assert all(0.5 <= wait / average <= 1.5 for wait, average in zip(clock.asked, (1, 2, 4, 8), strict=True))


@pytest.mark.parametrize("answers", [True, False], ids=["refuses", "is silent"])
def test_a_store_that_stays_away_does_not_hold_up_the_end(
    tmp_path: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """`finish` waits as long as it is told and no longer, and the segment stays; then the thread ends."""
    waited: list[float | None] = []
    lake = FailingLake(tmp_path / "lake", failures=10**9)
    if not answers:
        lake.opened.clear()
    with spool:
        one = segment(spool, alive())
        uploads = Background(make(spool, lake).step)
        thread, join = uploads._thread, uploads._thread.join

        def wait(timeout: float | None = None) -> None:
            waited.append(timeout)
            join(timeout)

        monkeypatch.setattr(thread, "join", wait)
        uploads.start()
        assert lake.tried.wait(PATIENCE)
        asyncio.run(uploads.finish(patience=0.01))
        assert waited == [0.01] and spool.sealed() == [one]
        lake.opened.set()
        join(PATIENCE)  # although it is not yet time for the next attempt
        assert not thread.is_alive() and spool.sealed() == [one]


def test_what_the_disk_garbled_is_kept_apart(tmp_path: Path, spool: Spool) -> None:
    """Lines that cannot be read are kept verbatim and do not stop the others."""
    garbled = [b"\0\0\0\n", b'{"exchange":"binance","event_type":"alive","recv_ts":"x","symbol":"A-B"}\n', b"tail"]
    with spool:
        make(spool, FailingLake(tmp_path / "lake")).upload(segment(spool, alive(), *garbled))
    found = {key.rpartition("/")[2].partition("-")[2]: text for key, text in read_lake(tmp_path / "lake").items()}
    (damaged,) = (text for name, text in found.items() if "damaged" in name)
    assert sorted(damaged) == sorted(b"".join(garbled))
    assert len(found) == 2


written = st.lists(
    st.tuples(
        st.sampled_from(["binance", "kraken"]),
        st.sampled_from(["BTC-USDT", "ETH-USD", "1000REKT-USDT"]),
        st.integers(0, 300),
        st.sampled_from(["alive", "rejected", "status"]),
    )
)


@given(written)
def test_splitting_loses_nothing_and_each_line_is_in_its_own_place(
    rows: list[tuple[str, str, int, str]],
) -> None:
    """The objects together are the segment, and each holds the lines of one exchange, symbol and hour, in order."""
    texts = []
    for exchange, symbol, minute, kind in rows:
        moment = HOUR + minute * MINUTE
        text = {"alive": alive(exchange, symbol, moment), "rejected": rejected(moment), "status": status(moment)}
        texts.append(text[kind])
    content = b"".join(texts)
    objects = split(content, recorder="r", segment=7, suffix=".jsonl")
    found = {key: list(lines(content, spans)) for key, spans in objects.items()}
    assert Counter(line for part in found.values() for line in part) == Counter(texts)
    for key, part in found.items():
        assert part == [text for text in texts if text in part]
        for line in read(b"".join(part)):
            moment = datetime.fromisoformat(line.get("interval_start") or line["recv_ts"])
            if line["event_type"] == "rejected":
                assert key == layout.rejected_key(line["exchange"], hour_of(moment), "r-0000000000007.jsonl")
            else:
                assert key == layout.stream_key(line["exchange"], line["symbol"], hour_of(moment), "r", 7, ".jsonl")


class Watched(bytes):
    """Bytes that count how many of them are looked at."""

    looked_at = 0

    def __getitem__(self, place: Any) -> Any:
        found = super().__getitem__(place)
        self.looked_at += len(found)
        return found

    def find(self, *what: Any) -> int:
        end, (_, start) = super().find(*what), what
        self.looked_at += end + 1 - start
        return end


def test_a_large_segment_is_split_at_a_useful_pace() -> None:
    """Each byte is looked at twice and each line costs a handful of calls, however many there are."""
    content = Watched(alive() * 5000)
    (spans,) = split(content, recorder="r", segment=7, suffix=".jsonl").values()
    assert len(spans) == 2 * 5000
    assert json.loads(content[spans[-2] : spans[-1]])["symbol"] == "BTC-USDT"
    assert content.looked_at <= 2 * len(content) + spans[-1] - spans[-2]
    assert calls(lambda: split(bytes(content), recorder="r", segment=7, suffix=".jsonl")) < 8 * 5000
