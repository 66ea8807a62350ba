"""A lake in an S3 bucket, or in a store that speaks S3."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stream.errors import LakeError
from stream.lake import PARALLEL, Stored, in_parallel
from stream.settings import LakeSettings

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client

_T = TypeVar("_T")
_R = TypeVar("_R")


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
        with self._errors(f"write {key}"):
            self._client().put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data)

    def create(self, key: str, data: bytes) -> bool:
        """A PUT on the condition that there is no such object."""
        from botocore.exceptions import ClientError

        with self._errors(f"write {key}"):
            try:
                self._client().put_object(Bucket=self._bucket, Key=self._prefix + key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("PreconditionFailed", "ConditionalRequestConflict"):
                    return False
                raise
            return True

    def put_file(self, key: str, path: Path) -> None:
        """One PUT, read from the file."""
        with self._errors(f"write {key}"), path.open("rb") as file:
            self._client().put_object(Bucket=self._bucket, Key=self._prefix + key, Body=file)

    def get(self, key: str) -> bytes:
        """One GET."""
        with self._errors(f"read {key}"):
            return self._client().get_object(Bucket=self._bucket, Key=self._prefix + key)["Body"].read()

    def tail(self, key: str, size: int) -> bytes | None:
        """One GET of a range that is counted from the end."""
        from botocore.exceptions import ClientError

        with self._errors(f"read {key}"):
            try:
                answer = self._client().get_object(Bucket=self._bucket, Key=self._prefix + key, Range=f"bytes=-{size}")
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") == "NoSuchKey":
                    return None
                raise
            return answer["Body"].read()

    def objects(self, prefix: str) -> list[Stored]:
        """Pages of 1,000 keys."""
        with self._errors(f"list {prefix}"):
            pages = (
                self._client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self._bucket, Prefix=self._prefix + prefix)
            )
            return [
                Stored(one["Key"].removeprefix(self._prefix), one["Size"])
                for page in pages
                for one in page.get("Contents", [])
            ]

    def folders(self, prefix: str) -> list[str]:
        """The common prefixes one level down."""
        with self._errors(f"list {prefix}"):
            pages = (
                self._client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self._bucket, Prefix=self._prefix + prefix, Delimiter="/")
            )
            return [
                one["Prefix"].rstrip("/").rpartition("/")[2] for page in pages for one in page.get("CommonPrefixes", [])
            ]

    def delete(self, key: str) -> None:
        """One DELETE."""
        with self._errors(f"delete {key}"):
            self._client().delete_object(Bucket=self._bucket, Key=self._prefix + key)

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

    def _client(self) -> S3Client:
        """One client a process: a client's sockets must not be shared across a fork."""
        with self._lock:
            pid = os.getpid()
            if pid not in self._clients:
                import boto3
                from botocore.config import Config

                self._clients[pid] = boto3.client(
                    "s3",
                    endpoint_url=self._settings.s3_endpoint or None,
                    region_name=self._settings.s3_region or None,
                    config=Config(
                        max_pool_connections=PARALLEL,
                        retries={"mode": "standard", "max_attempts": 4},
                        connect_timeout=10,
                        read_timeout=60,
                        s3={"addressing_style": "path"} if self._settings.s3_endpoint else {},
                    ),
                )
            return self._clients[pid]

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
            raise self._refused(doing, error.response.get("Error", {})) from error
        except BotoCoreError as error:
            raise LakeError(
                f"{self.root} could not be reached while trying to {doing}: {error}. "
                "Check [lake] s3_endpoint, s3_region and the network."
            ) from error

    def _refused(self, doing: str, error: object) -> LakeError:
        code, message = (error.get("Code"), error.get("Message")) if isinstance(error, dict) else (None, None)
        remedy = {
            "NoSuchBucket": f"Create the bucket {self._bucket!r} or correct [lake] root.",
            "AccessDenied": "The credentials may not do this; check the policy of the user or role.",
            "InvalidAccessKeyId": "The access key is unknown there; check the credentials in the environment.",
            "SignatureDoesNotMatch": "The secret key does not fit; check the credentials in the environment.",
        }.get(str(code), "It may pass; otherwise check [lake] root, s3_region and the bucket's policy.")
        return LakeError(f"{self.root} refused to {doing}: {code} ({message}). {remedy}")
