"""A lake in an S3 bucket, or in a store that speaks S3.

A request whose answer is lost may have been done. All of ours may be sent again: a PUT writes the same bytes, and a
conditional one looks whether the object that is in its way is its own.
"""

from __future__ import annotations

import os
import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stream.errors import LakeError
from stream.lake import PARALLEL, Stored, in_parallel
from stream.settings import LakeSettings

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import ListObjectsV2OutputTypeDef

_T = TypeVar("_T")
_R = TypeVar("_R")

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
"""Wall seconds of silence after which a request counts as lost."""
_ATTEMPTS = 5
"""So often at most the same is asked."""
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired")
_UNKNOWN = ("InvalidAccessKeyId", "InvalidClientTokenId", "SignatureDoesNotMatch")
_RENEWABLE = (*_EXPIRED, *_UNKNOWN)
"""What a store answers when other credentials than ours are valid now."""


class S3Lake:
    """Objects of one bucket, under a prefix. Credentials come from the AWS chain."""

    def __init__(self, settings: LakeSettings) -> None:
        self.root = settings.root.rstrip("/")
        self._settings = settings
        bucket, _, prefix = self.root.removeprefix("s3://").partition("/")
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._clients: dict[int, S3Client] = {}
        self._lock = threading.Lock()

    def put(self, key: str, data: bytes) -> None:
        """One PUT."""
        self._ask(
            f"write {key}", lambda client: client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)
        )

    def create(self, key: str, data: bytes) -> bool:
        """A PUT on the condition that there is no such object."""
        return self._ask(f"write {key}", lambda client: self._create(client, key, data))

    def put_file(self, key: str, path: Path) -> None:
        """One PUT, read from the file."""

        def put(client: S3Client) -> None:
            with path.open("rb") as file:
                client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=file)

        self._ask(f"write {key}", put)

    def get(self, key: str) -> bytes:
        """One GET."""
        return self._ask(f"read {key}", lambda client: self._read(client, key))

    def tail(self, key: str, size: int) -> bytes | None:
        """One GET of a range that is counted from the end."""
        from botocore.exceptions import ClientError

        def read(client: S3Client) -> bytes | None:
            try:
                return self._read(client, key, Range=f"bytes=-{size}")
            except ClientError as error:
                if _code(error) == "NoSuchKey":
                    return None
                raise

        return self._ask(f"read {key}", read)

    def objects(self, prefix: str) -> list[Stored]:
        """Pages of 1,000 keys."""
        return [
            Stored(one["Key"].removeprefix(self._prefix), one["Size"])
            for page in self._pages(prefix)
            for one in page.get("Contents", [])
        ]

    def folders(self, prefix: str) -> list[str]:
        """The common prefixes one level down."""
        return [
            one["Prefix"].rstrip("/").rpartition("/")[2]
            for page in self._pages(prefix, Delimiter="/")
            for one in page.get("CommonPrefixes", [])
        ]

    def delete(self, key: str) -> None:
        """One DELETE."""
        self._ask(f"delete {key}", lambda client: client.delete_object(Bucket=self._bucket, Key=self._prefix + key))

    def each(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """Several at a time."""
        return in_parallel(function, items)

    read_each = each

    @contextmanager
    def local(self, keys: list[str]) -> Iterator[list[Path]]:
        """Downloads, several at a time, and removes the copies afterwards."""
        with tempfile.TemporaryDirectory(prefix="klines-") as folder:
            paths = [Path(folder) / f"{n:06d}-{key.rpartition('/')[2]}" for n, key in enumerate(keys)]
            in_parallel(lambda pair: pair[0].write_bytes(self.get(pair[1])), zip(paths, keys, strict=True))
            yield paths

    def _create(self, client: S3Client, key: str, data: bytes) -> bool:
        from botocore.exceptions import ClientError

        for attempt in range(_ATTEMPTS):
            try:
                client.put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                retried = error.response.get("ResponseMetadata", {}).get("RetryAttempts")
                if _status(error) == 412:
                    # Sent more than once: the object that is in the way may be ours, and its answer was lost.
                    return bool(attempt or retried) and self._read(client, key) == data
                if _status(error) != 409 or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(random.uniform(0, 2**attempt / 10))  # noqa: S311  # two at once: neither has won yet
            else:
                return True
        raise AssertionError("the last attempt returns or raises")

    def _read(self, client: S3Client, key: str, **part: Any) -> bytes:
        """A GET; again where the answer broke off, which the library leaves to us."""
        from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

        for attempt in range(_ATTEMPTS):
            body = client.get_object(Bucket=self._bucket, Key=self._prefix + key, **part)["Body"]
            try:
                return body.read()
            except (FlexibleChecksumError, HTTPClientError, IncompleteReadError):
                if attempt == _ATTEMPTS - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _pages(self, prefix: str, **more: Any) -> list[ListObjectsV2OutputTypeDef]:
        """All pages, or LakeError: a listing without its end would look like evidence that does not exist."""

        def read(client: S3Client) -> list[ListObjectsV2OutputTypeDef]:
            pages = client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._prefix + prefix, **more
            )
            return list(pages)

        pages = self._ask(f"list {prefix}", read)
        if any(page.get("IsTruncated") is not (page is not pages[-1]) for page in pages):
            raise LakeError(
                f"{self.root} gave a listing of {prefix} without its end. It may pass; "
                "otherwise check what stands between here and [lake] s3_endpoint."
            )
        return pages

    def _ask(self, doing: str, request: Callable[[S3Client], _R]) -> _R:
        """The request; once more where the store wants other credentials and the AWS chain may have renewed them."""
        from botocore.exceptions import ClientError, NoCredentialsError, PartialCredentialsError

        with self._errors(doing):
            for again in (True, False):
                client = self._client()
                try:
                    return request(client)
                except (ClientError, NoCredentialsError, PartialCredentialsError) as error:
                    if isinstance(error, ClientError) and _code(error) not in _RENEWABLE:
                        raise
                    self._forget(client)
                    if not again:
                        raise
            raise AssertionError("the last attempt returns or raises")

    def _client(self) -> S3Client:
        """One client a process: a client's sockets must not be shared across a fork."""
        with self._lock:
            pid = os.getpid()
            if pid not in self._clients:
                import boto3
                from botocore.config import Config

                # A session of its own: the library's common one keeps the credentials that it once found.
                self._clients[pid] = boto3.Session().client(
                    "s3",
                    endpoint_url=self._settings.s3_endpoint or None,
                    region_name=self._settings.s3_region or None,
                    config=Config(
                        max_pool_connections=PARALLEL,
                        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
                        connect_timeout=_CONNECT_SECONDS,
                        read_timeout=_ANSWER_SECONDS,
                        s3={"addressing_style": "path"} if self._settings.s3_endpoint else {},
                    ),
                )
            return self._clients[pid]

    def _forget(self, client: S3Client) -> None:
        """The next request looks for credentials anew."""
        with self._lock:
            if self._clients.get(os.getpid()) is client:
                del self._clients[os.getpid()]

    @contextmanager
    def _errors(self, doing: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        try:
            yield
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise LakeError(
                f"No credentials for {self.root} were found while trying to {doing}. "
                "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or an instance role."
            ) from error
        except ClientError as error:
            raise self._refused(doing, error) from error
        except BotoCoreError as error:
            raise LakeError(
                f"{self.root} could not be reached while trying to {doing}: {error}. "
                "Check [lake] s3_endpoint, s3_region and the network."
            ) from error

    def _refused(self, doing: str, error: ClientError) -> LakeError:
        code, message = _code(error), error.response.get("Error", {}).get("Message")
        remedy = {
            "NoSuchBucket": f"Create the bucket {self._bucket!r} or correct [lake] root.",
            "AccessDenied": "The credentials may not do this; check the policy of the user or role.",
            **dict.fromkeys(_EXPIRED, "Renew the credentials; those of a file or a role are then found by themselves."),
            "InvalidAccessKeyId": "The access key is unknown there; check the credentials in the environment.",
            "SignatureDoesNotMatch": "The secret key does not fit; check the credentials in the environment.",
        }.get(code, "It may pass; otherwise check [lake] root, s3_region and the bucket's policy.")
        return LakeError(f"{self.root} refused to {doing}: {code} ({message}). {remedy}")


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def _code(error: ClientError) -> str:
    return error.response.get("Error", {}).get("Code", "")
