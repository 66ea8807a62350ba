"""The same jobs with the S3 client as it is: each request to a real S3 server goes wrong in turn, on its way."""

from __future__ import annotations

import functools
import itertools
from contextlib import suppress

import pytest
from botocore.loaders import create_loader

from stream.errors import LakeError
from stream.lake.s3 import S3Lake
from stream.settings import LakeSettings
from tests.boundaries.calls import Job, again
from tests.boundaries.s3_proxy import BUCKET, Fault, Proxy, Store
from tests.sim.judge import Violation
from tests.sim.store import Objects

KINDS = {
    "cut": "the connection ends in place of an answer",
    "lost answer": "it is done, then the connection ends",
    "truncated": "the answer breaks off",
    "empty": "the answer has no body",
    "slow down": "503 SlowDown",
    "internal": "500 InternalError",
    "conflict": "409 ConditionalRequestConflict",
    "expired": "the credentials have expired",
    "stale": "a listing without its last object",
}
"""Kinds of `Fault`, in words."""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}

_numbers = itertools.count(1)


def hasty(patch: pytest.MonkeyPatch) -> None:
    """The library's waits between two attempts are over at once; it has credentials, and reads its own files once."""
    patch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    patch.setattr("botocore.session.create_loader", functools.cache(create_loader))
    for name, value in CREDENTIALS.items():
        patch.setenv(name, value)


def count(job: Job, server: Store, proxy: Proxy) -> int:
    """How many requests it makes."""
    before = proxy.struck()["requests"]
    proxy.set()
    job.do(_lakes(job, server, proxy)[1])
    return proxy.struck()["requests"] - before


def interrupted(job: Job, server: Store, proxy: Proxy, nth: int, kind: str) -> list[Violation] | None:
    """What is wrong when that request, counted from 0, goes wrong, and the job is then done again.

    The S3 client tries again by itself; where that is not enough, the job fails. None: the request cannot go wrong so.
    """
    sound, disturbed = _lakes(job, server, proxy)
    before = proxy.struck()[kind]
    proxy.set(Fault(kind, skip=nth, times=1))
    with suppress(LakeError):
        job.do(disturbed)
    struck = proxy.struck()[kind] - before
    wrong = again(job, sound) or list(job.wrong(Objects({one.key: sound.get(one.key) for one in sound.objects("")})))
    return wrong if struck else None


def _lakes(job: Job, server: Store, proxy: Proxy) -> tuple[S3Lake, S3Lake]:
    """The store with what the job finds there, and the same through the proxy."""
    root = f"s3://{BUCKET}/{next(_numbers)}"
    sound = S3Lake(LakeSettings(root=root, s3_endpoint=server.endpoint))
    for key, data in job.objects.items():
        sound.put(key, data)
    return sound, S3Lake(LakeSettings(root=root, s3_endpoint=proxy.endpoint))
