"""Where a dump is read from: a folder, or a prefix in S3; both give names, sizes and streams."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from steps.backup.layout import FOLDER, prefix
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.manifest import Manifest
from steps.errors import BadParameters, StepError, Temporary
from steps.log import log

ATTEMPTS = 6
"""How often a read is tried before it is given up; the waits in between double from 0.5 s."""


class Stream(Protocol):
    """Bytes that are read once, in order."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; nothing at the end."""
        ...

    def close(self) -> None:
        """Let the file or connection go."""
        ...


class Source(Protocol):
    """One dump. Threads may share it."""

    place: str
    """For people: a folder's path, or ``s3://bucket/prefix``."""

    def files(self) -> Mapping[str, int]:
        """Return the dump's files and their sizes in bytes."""
        ...

    def open(self, name: str) -> Stream:
        """Open one file."""
        ...


def read_all(source: Source, name: str) -> bytes:
    """Return the whole content of one (small) file."""
    stream = source.open(name)
    try:
        parts = []
        while part := stream.read(1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        stream.close()


class FolderSource:
    """A dump in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, str(folder)

    def files(self) -> Mapping[str, int]:
        """Return the folder's files and their sizes."""
        if not self.folder.is_dir():
            raise StepError(f"There is no folder {self.folder}: name a folder that holds a dump")
        return {each.name: each.stat().st_size for each in self.folder.iterdir() if each.is_file()}

    def open(self, name: str) -> Stream:
        """Open one file."""
        try:
            return (self.folder / name).open("rb")
        except FileNotFoundError:
            raise missing(self.place, name) from None


class S3Source:
    """A dump below a prefix of a bucket.

    Args:
        client: of boto3; its clients may be shared by threads.
        bucket: name of the bucket.
        prefix: with or without the slash at its end.
    """

    def __init__(self, client: Any, bucket: str, prefix: str) -> None:
        self.client, self.bucket, self.prefix = client, bucket, prefix.rstrip("/") + "/"
        self.place = f"s3://{bucket}/{self.prefix}"

    def files(self) -> Mapping[str, int]:
        """List the objects right below the prefix.

        Raises:
            StepError: the bucket is missing, or the keys are wrong.
            Temporary: S3 does not answer.
        """
        found: dict[str, int] = {}
        with translated(self.place):
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
            for page in pages:
                for item in page.get("Contents", []):
                    found[str(item["Key"]).removeprefix(self.prefix)] = int(item["Size"])
        return {name: size for name, size in found.items() if "/" not in name and name}

    def open(self, name: str) -> Stream:
        """Open one object; a connection that breaks off is taken up again where it broke."""
        return ObjectStream(self.client, self.bucket, self.prefix + name)


class ObjectStream:
    """The bytes of one object, whatever happens to the connection; the object must stay the same meanwhile."""

    def __init__(self, client: Any, bucket: str, key: str) -> None:
        self.client, self.bucket, self.key = client, bucket, key
        self.offset, self.size, self.etag = 0, -1, ""
        self._body: Any = None

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, nothing at the end.

        Raises:
            StepError: no such object, no right to read it, or it has been replaced while it was read.
            Temporary: S3 does not deliver it, after several tries.
        """
        place = f"s3://{self.bucket}/{self.key}"
        for attempt in range(ATTEMPTS):
            with translated(place, last=attempt == ATTEMPTS - 1):
                if self._body is None and self.offset != self.size:
                    self._open()
                if self.offset == self.size:
                    return b""
                part: bytes = self._body.read(size)
                if not part:
                    raise ConnectionError(f"it ended after {self.offset} of {self.size} bytes")
                self.offset += len(part)
                return part
            self.close()
            time.sleep(0.5 * 2**attempt)
        raise AssertionError("the last attempt raises")

    def _open(self) -> None:
        resumed = {"Range": f"bytes={self.offset}-", "IfMatch": self.etag} if self.offset else {}
        answer = self.client.get_object(Bucket=self.bucket, Key=self.key, **resumed)
        if not self.offset:
            self.size, self.etag = int(answer["ContentLength"]), str(answer["ETag"])
        self._body = answer["Body"]

    def close(self) -> None:
        """Let the connection go."""
        if self._body is not None:
            self._body.close()
            self._body = None


class translated:  # noqa: N801
    """Turns boto3's errors into the steps' own; with ``last=False`` those worth another try are only logged."""

    def __init__(self, place: str, *, last: bool = True) -> None:
        self.place, self.last = place, last

    def __enter__(self) -> None:
        """Nothing is needed."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        """Raise what the error means, or swallow it where it is tried again."""
        if error is None or isinstance(error, StepError) or not isinstance(error, Exception):
            return False
        meant = meaning(error, self.place)
        if meant is None:
            return False
        if isinstance(meant, Temporary) and not self.last:
            log("read is tried again", place=self.place, reason=str(error))
            return True
        raise meant from error


def meaning(error: Exception, place: str) -> StepError | None:
    """Return the step's own error for an error of boto3, urllib3 or the network; None for anything else."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from urllib3.exceptions import HTTPError

    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "NoSuchBucket":
            return StepError(f"{place}: there is no such bucket. Compare the Secret tiphys-s3 (bucket, endpoint).")
        if status == 404:
            return StepError(f"{place} is missing: somebody has removed it, or the backup was never finished")
        if status == 412:
            return StepError(f"{place} was replaced while it was read: run the restore again")
        if status in (400, 401, 403):
            return StepError(f"S3 does not let us read {place}: {code}. Compare the Secret tiphys-s3 (accessKey).")
        return Temporary(f"S3 could not give {place}: {code or status}")
    if isinstance(error, NoCredentialsError):
        return StepError("There are no S3 credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if isinstance(error, BotoCoreError | HTTPError | OSError):
        return Temporary(f"S3 did not answer for {place}: {error}")
    return None


def missing(place: str, name: str) -> StepError:
    """Return the error for a file that a dump should have."""
    return StepError(f"{place} has no {name}: the dump is not whole. Restore another one (backup=NAME).")


def bucket() -> tuple[Any, str]:
    """Return a boto3 client and the bucket's name, from the variables that the templates set.

    ``S3_ENDPOINT`` (empty for Amazon's own), ``S3_REGION``, ``S3_BUCKET``; credentials as boto3 finds them.

    Raises:
        BadParameters: no bucket is named.
    """
    import boto3
    from botocore.config import Config

    name = os.environ.get("S3_BUCKET", "")
    if not name:
        raise BadParameters("No bucket is named: set S3_BUCKET (in a workflow: key bucket of the Secret tiphys-s3)")
    endpoint = os.environ.get("S3_ENDPOINT") or None
    settings = Config(
        s3={"addressing_style": "path" if endpoint else "auto"},
        connect_timeout=10,
        read_timeout=60,
        retries={"max_attempts": 5, "mode": "standard"},
        max_pool_connections=32,
    )
    region = os.environ.get("S3_REGION") or None
    return boto3.client("s3", endpoint_url=endpoint, region_name=region, config=settings), name


def find(client: Any, bucket: str, backup: str, cluster: str, namespace: str) -> S3Source:
    """Return the source of a backup by its name, or of a cluster's newest one for ``latest``.

    Raises:
        StepError: there is none.
    """
    if backup != "latest":
        return S3Source(client, bucket, prefix(backup))
    ended: list[tuple[Any, str]] = []
    with translated(f"s3://{bucket}/{FOLDER}/"):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{FOLDER}/"):
            keys = ((item["LastModified"], str(item["Key"])) for item in page.get("Contents", []))
            ended += [(when, key) for when, key in keys if key.count("/") == 2 and key.endswith(f"/{MANIFEST}")]
    for _, key in sorted(ended, reverse=True):
        source = S3Source(client, bucket, key.rpartition("/")[0])
        made = Manifest.parse(read_all(source, MANIFEST))
        if (made.cluster, made.namespace) == (cluster, namespace):
            return source
    raise StepError(
        f"s3://{bucket}/{FOLDER}/ holds no finished backup of {namespace}/{cluster} (of any cluster: {len(ended)}). "
        "Name a backup of another cluster (backup=NAME), or make one."
    )
