"""One contract, both lakes: a folder, and a bucket of a real S3 server."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stream.errors import LakeError
from stream.lake import Lake, Stored, open_lake
from stream.settings import LakeSettings

_numbers = itertools.count()


@pytest.fixture(params=["folder", "s3"])
def lake(request: pytest.FixtureRequest, tmp_path: Path, s3_endpoint: str) -> Lake:
    """An empty lake."""
    if request.param == "folder":
        return open_lake(LakeSettings(root=str(tmp_path / "lake")))
    return open_lake(LakeSettings(root=f"s3://klines-rehearsal/lake-{next(_numbers)}/", s3_endpoint=s3_endpoint))


def test_an_empty_lake_has_nothing(lake: Lake) -> None:
    """Listing is not an error; a tail that is not there is None; reading what is not there is an error, not no data."""
    assert lake.objects("a/") == []
    assert lake.folders("a/") == []
    assert lake.tail("a/b", 8) is None
    lake.delete("a/b")
    with pytest.raises(LakeError, match="a/b"):
        lake.get("a/b")


def test_objects_appear_whole_and_can_be_replaced(lake: Lake) -> None:
    """What was put is read back, by its name, whole or from its end."""
    lake.put("a/b=1/c", b"first")
    lake.put("a/b=1/c", b"second")
    assert lake.get("a/b=1/c") == b"second"
    assert lake.tail("a/b=1/c", 3) == b"ond"
    assert lake.tail("a/b=1/c", 100) == b"second"
    assert lake.objects("a/") == [Stored("a/b=1/c", 6)]


def test_listing_is_by_folder_and_sorted(lake: Lake) -> None:
    """A prefix is a folder: what only begins alike is not in it."""
    for key in ("a/y/2", "a/y/1", "a/x/1", "ab/z/1"):
        lake.put(key, b"x")
    assert [one.key for one in lake.objects("a/")] == ["a/x/1", "a/y/1", "a/y/2"]
    assert [one.key for one in lake.objects("a/y/")] == ["a/y/1", "a/y/2"]
    assert lake.folders("a/") == ["x", "y"]


@pytest.fixture
def _one_put_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store decides about a PUT's condition and obeys in one step; moto leaves room for another PUT in between."""
    from moto.s3.responses import S3Response

    put, turn = S3Response.put_object, threading.Lock()

    def put_in_turn(self: S3Response) -> object:
        with turn:
            return put(self)

    monkeypatch.setattr(S3Response, "put_object", put_in_turn)


@pytest.mark.usefixtures("_one_put_at_a_time")
def test_create_lets_the_first_one_win(lake: Lake) -> None:
    """Of many that create the same object at once, one does; the others are told, and change nothing."""
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: lake.create("a/b", str(n).encode()), range(8)))
    assert won.count(True) == 1
    assert lake.get("a/b") == str(won.index(True)).encode()
    assert [one.key for one in lake.objects("a/")] == ["a/b"]


def test_files_go_in_and_local_copies_come_out(lake: Lake, tmp_path: Path) -> None:
    """From a file, and as files, in the order asked for."""
    source = tmp_path / "source"
    source.write_bytes(b"0123456789" * 300_000)
    lake.put_file("big", source)
    lake.put("small", b"s")
    with lake.local(["small", "big", "small"]) as paths:
        assert [path.read_bytes() for path in paths] == [b"s", source.read_bytes(), b"s"]


def test_each_keeps_the_order(lake: Lake) -> None:
    """Results stand where their items stood; the first error is raised."""
    for each in (lake.each, lake.read_each):
        assert each(lambda n: n * n, range(50)) == [n * n for n in range(50)]
        with pytest.raises(ZeroDivisionError):
            each(lambda n: 1 // n, [1, 0])


def test_deleting_is_final(lake: Lake) -> None:
    """And does no harm twice."""
    lake.put("a", b"x")
    lake.delete("a")
    lake.delete("a")
    assert lake.objects("") == []


def test_half_written_files_do_not_count(tmp_path: Path) -> None:
    """What a killed process left beside its place begins with a dot and is never listed."""
    lake = open_lake(LakeSettings(root=str(tmp_path)))
    lake.put("a/b", b"x")
    (tmp_path / "a" / ".c.123.0").write_bytes(b"half")
    assert [one.key for one in lake.objects("a/")] == ["a/b"]


def test_a_folder_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    """The sentence names the folder, the reason and the setting."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LakeError, match=r"(?s)file.*\[lake\] root"):
        open_lake(LakeSettings(root=str(tmp_path / "file"))).put("a/b", b"x")
