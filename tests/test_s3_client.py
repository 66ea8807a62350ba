"""A lake on S3 on bad days: whatever happens to a request, there is an answer or an error, never no data."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from stream.errors import LakeError
from stream.lake.s3 import S3Lake
from stream.settings import LakeSettings
from tests.boundaries.s3_proxy import BUCKET, Fault, Proxy, Store, store

_numbers = itertools.count()
FOREVER = 1000


@pytest.fixture(scope="module")
def s3() -> Iterator[Store]:
    """An S3 server that proxies stand before."""
    with store() as found:
        yield found


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's waits between attempts are not what is tested."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only credentials there are: a file, which somebody renews."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    renew(file, "first")
    return file


def renew(file: Path, token: str) -> None:
    """Writes credentials with this session token."""
    file.write_text(f"[default]\naws_access_key_id = test\naws_secret_access_key = test\naws_session_token = {token}\n")


@pytest.fixture
def proxy(s3: Store) -> Proxy:
    """A proxy of the test's own, which lists two objects a page."""
    return s3.proxy(f"p{next(_numbers)}", token="first", page=2)  # noqa: S106


@pytest.fixture
def lake(proxy: Proxy, credentials: Path) -> S3Lake:
    """A lake with three objects."""
    found = S3Lake(LakeSettings(root=f"s3://{BUCKET}/lake-{next(_numbers)}", s3_endpoint=proxy.endpoint))
    for key in ("a/", "a/1", "a/2"):
        found.put(key, key.encode() * 1000)
    return found


@pytest.mark.parametrize("kind", ["cut", "slow down", "internal", "truncated", "half"])
def test_what_passes_is_not_noticed(lake: S3Lake, proxy: Proxy, kind: str) -> None:
    """Reading and listing go on over faults that strike once."""
    proxy.set(Fault(kind, times=1))
    assert lake.get("a/1") == b"a/1" * 1000
    proxy.set(Fault(kind, part="continuation-token", times=1))
    assert len(lake.objects("a/")) == 3
    assert proxy.struck()[kind] == 2


@pytest.mark.parametrize("kind", ["slow down", "truncated", "half", "empty"])
def test_what_stays_is_an_error_and_never_no_data(lake: S3Lake, proxy: Proxy, kind: str) -> None:
    """An answer that breaks off, or has no body, is neither a short object nor the end of a listing."""
    proxy.set(Fault(kind, times=FOREVER))
    for ask in (lake.get, lake.objects, lake.folders):
        with pytest.raises(LakeError, match=rf"{lake.root} .*a/"):
            ask("a/")
    proxy.set(Fault(kind, part="continuation-token", times=FOREVER))
    with pytest.raises(LakeError, match=rf"{lake.root} .*list"):
        lake.objects("a/")


@pytest.mark.parametrize("kind", ["lost answer", "late answer"])
def test_who_created_an_object_knows_it_although_the_answer_was_lost(
    lake: S3Lake, proxy: Proxy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second attempt meets the first one's object: ours. Somebody else's is not ours, also then."""
    monkeypatch.setattr("stream.lake.s3._ANSWER_SECONDS", 0.5)
    impatient = S3Lake(LakeSettings(root=lake.root, s3_endpoint=proxy.endpoint))
    proxy.set(Fault(kind, method="PUT", times=1))
    assert impatient.create("b/1", b"ours")
    proxy.set(Fault(kind, method="PUT", times=1))
    assert not impatient.create("b/1", b"other")
    assert proxy.struck()[kind] == 2
    assert lake.get("b/1") == b"ours"


def test_a_conflict_is_not_somebody_elses_object(lake: S3Lake, proxy: Proxy) -> None:
    """Of two at once neither may have won: it is tried again; when that does not end, it is an error."""
    proxy.set(Fault("conflict", times=2))
    assert lake.create("b/1", b"ours")
    proxy.set(Fault("conflict", times=FOREVER))
    with pytest.raises(LakeError, match="ConditionalRequestConflict"):
        lake.create("b/2", b"ours")
    proxy.set()
    assert lake.get("b/1") == b"ours"
    assert [one.key for one in lake.objects("b/")] == ["b/1"]


def test_renewed_credentials_are_picked_up(lake: S3Lake, proxy: Proxy, credentials: Path) -> None:
    """Without a restart; until they are there, the error says what is wrong."""
    proxy.accept("second")
    with pytest.raises(LakeError, match=r"ExpiredToken .*Renew the credentials"):
        lake.put("a/4", b"x")
    renew(credentials, "second")
    lake.put("a/4", b"x")
    credentials.unlink()
    proxy.accept("third")
    with pytest.raises(LakeError, match="No credentials"):
        lake.get("a/4")
    renew(credentials, "third")
    assert lake.get("a/4") == b"x"
