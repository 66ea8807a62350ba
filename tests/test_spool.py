"""The spool: nothing that was appended is lost, nothing is torn, and nobody else writes there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.clock import Clock
from stream.disk import Folder
from stream.errors import SpoolError, SpoolFull
from stream.spool import Numbers, Spool
from tests.recording import PATIENCE, read
from tests.sim.disk import Mount, SimDisk

LINE = b'{"exchange":"binance","event_type":"update"}\n'


def spool(folder: Path) -> Spool:
    return Spool(Folder(folder), Clock())


def contents(one: Spool) -> list[bytes]:
    """Of the sealed segments."""
    texts = []
    for segment in one.sealed():
        with one.content(segment) as content:
            texts.append(bytes(content[:]))
    return texts


def test_appended_lines_are_in_the_file_at_once(tmp_path: Path) -> None:
    """A kill right after `append` finds the lines in the folder."""
    with spool(tmp_path) as one:
        one.append(LINE * 2)
        (path,) = tmp_path.glob("*.open")
        assert path.read_bytes() == LINE * 2
        assert one.size == len(LINE * 2)


def test_sealing_ends_a_segment_and_the_next_append_begins_another(tmp_path: Path) -> None:
    """Sealed segments are complete, named by number, and in order."""
    with spool(tmp_path) as one:
        for text in (b"1\n", b"2\n"):
            one.append(text)
            one.sync()
            one.seal()
        one.seal()  # nothing open: nothing happens
        one.sync()
        sealed = one.sealed()
    assert contents(one) == [b"1\n", b"2\n"]
    assert all(re.fullmatch(r"\d{13}\.jsonl", path.name) for path in tmp_path.iterdir())
    one.remove(sealed[0])
    assert one.sealed() == sealed[1:]


def test_a_torn_tail_becomes_a_rejected_line(tmp_path: Path) -> None:
    """What a kill tore off is cut away, kept verbatim as rejected, and the rest is sealed."""
    (tmp_path / "0000000000007.open").write_bytes(LINE + LINE[:30])
    with spool(tmp_path) as one:
        assert one.sealed() == [7]
    whole, torn = read((tmp_path / "0000000000007.jsonl").read_bytes())
    assert whole["event_type"] == "update"
    assert torn["event_type"] == "rejected" and torn["exchange"] == "binance"
    assert torn["message"] == LINE[:30].decode() and torn["reason"].startswith("torn")


@pytest.mark.parametrize(("content", "segments"), [(LINE, 1), (b"", 0), (b"\0\0\0", 1)])
def test_recovery_of_other_leftovers(tmp_path: Path, content: bytes, segments: int) -> None:
    """Whole files are sealed as they are, empty ones vanish, and zeros from a power loss do not get in the way."""
    (tmp_path / "0000000000007.open").write_bytes(content)
    with spool(tmp_path) as one:
        assert len(one.sealed()) == segments
        assert all(read(text) for text in contents(one))
    assert not list(tmp_path.glob("*.open"))


def test_a_short_write_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a write is taken back, the caller learns that the disk is full, and later appends work."""
    with spool(tmp_path) as one:
        one.append(LINE)
        whole_write = os.write
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", lambda file, data: whole_write(file, data[: len(data) // 2]))
            with pytest.raises(SpoolFull, match="is full"):
                one.append(LINE)
        one.append(LINE)
        one.seal()
        assert contents(one) == [LINE * 2]


def test_a_full_disk_damages_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """With a real limit on the file's size, exactly the acknowledged lines are there."""
    program = f"""
import resource
from pathlib import Path
from stream.clock import Clock
from stream.disk import Folder
from stream.errors import SpoolFull
from stream.spool import Spool
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with Spool(Folder(Path({str(tmp_path)!r})), Clock()) as spool:
    written = 0
    try:
        while True:
            spool.append({LINE!r})
            written += 1
    except SpoolFull:
        pass
    try:
        spool.check_room()
    except SpoolFull as error:
        print(written, error)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    written, sentence = done.stdout.split(maxsplit=1)
    assert int(written) == 1000 // len(LINE)
    assert str(tmp_path) in sentence and "Make room" in sentence
    (sealed,) = tmp_path.glob("*.jsonl")
    assert sealed.read_bytes() == LINE * int(written)


def test_a_second_recorder_is_refused(tmp_path: Path) -> None:
    """Two processes on one folder would tear each other's segments."""
    with spool(tmp_path), pytest.raises(SpoolError, match=r"Another recorder is using the spool .* spool_dir"):
        spool(tmp_path).open()
    with spool(tmp_path):
        pass  # the first has let go


def test_a_folder_that_cannot_be_made_gets_a_sentence(tmp_path: Path) -> None:
    """A file in the way is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"file/spool could not be opened"):
        spool(tmp_path / "file" / "spool").open()


class Reads(Clock):
    """A clock that reads what the test says."""

    def __init__(self, *readings: int) -> None:
        super().__init__()
        self.__dict__.update(_readings=iter(readings))  # a clock is frozen

    _readings: Iterator[int]

    def real_milliseconds(self) -> int:
        """The next one."""
        return next(self._readings)


def test_numbers_increase_even_when_the_clock_does_not() -> None:
    """A clock that is set back, or read twice in a millisecond, repeats no name."""
    numbers = Numbers(Reads(900, 1, 902, 902), 5)
    assert [numbers.next() for _ in range(4)] == [900, 901, 902, 903]


def test_a_restart_continues_behind_the_numbers_on_disk(tmp_path: Path) -> None:
    """A segment that waits for its upload is not overwritten by a process whose clock is behind."""
    (tmp_path / "9999999999998.jsonl").write_bytes(LINE)
    with spool(tmp_path) as one:
        one.append(LINE)
    assert (tmp_path / "9999999999999.jsonl").exists()


def test_sealing_and_syncing_from_other_threads_loses_no_line(tmp_path: Path) -> None:
    """Appends go on while segments end and are brought to the disk."""
    with spool(tmp_path) as one:
        done, meddled = threading.Event(), threading.Event()

        def meddle() -> None:
            while not done.is_set():
                one.sync()
                one.seal()
                meddled.set()

        meddlers = [threading.Thread(target=meddle) for _ in range(2)]
        for meddler in meddlers:
            meddler.start()
        for n in range(3000):
            one.append(b"%d\n" % n)
            if n % 100 == 0:
                meddled.clear()
                assert meddled.wait(PATIENCE)
        done.set()
        for meddler in meddlers:
            meddler.join(PATIENCE)
            assert not meddler.is_alive()
        one.seal()
        text = b"".join(contents(one))
    assert text == b"".join(b"%d\n" % n for n in range(3000))


def test_what_could_not_be_sealed_is_sealed_with_the_next() -> None:
    """The disk had no room for a new name: as soon as it has, both segments wait for their upload."""
    disk = SimDisk()
    with Spool(Mount(disk), Clock()) as one:
        one.append(b"1\n")
        disk.illnesses = ["rename"]
        with pytest.raises(SpoolFull):
            one.seal()
        disk.illnesses = []
        assert one.sealed() == []
        one.append(b"2\n")
        one.seal()
        assert contents(one) == [b"1\n", b"2\n"]


def test_a_name_that_could_not_be_synced_is_no_trouble_for_ever() -> None:
    """The segment has its new name: nobody looks for it under the old one."""
    disk = SimDisk()
    with Spool(Mount(disk), Clock()) as one:
        one.append(b"1\n")
        disk.illnesses = ["fsync"]
        with pytest.raises(SpoolError):
            one.seal()
        disk.illnesses = []
        one.seal()
        one.append(b"2\n")
        one.seal()
        assert contents(one) == [b"1\n", b"2\n"]


def test_a_torn_write_that_cannot_be_taken_back_ends_the_segment() -> None:
    """Nothing is written behind it; when the disk is sound again, what is whole is sealed, and the rest is rejected."""
    disk = SimDisk()
    with Spool(Mount(disk), Clock()) as one:
        one.append(LINE)
        disk.illnesses = ["broken"]
        with pytest.raises(SpoolError):
            one.append(LINE)
        disk.illnesses = []
        one.append(LINE)
        one.seal()
        second, first = sorted(contents(one), key=len)
    assert second == LINE and first.startswith(LINE)
    assert [line["event_type"] for line in read(first)] == ["update", "rejected"]
