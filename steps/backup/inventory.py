"""What lies in the bucket, with its age: objects, and uploads that nobody finished. Ages are by the server's clock."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from steps.backup.objects import Bucket
from steps.backup.s3_errors import patiently

AT_ONCE = 16
"""Requests at the same time, at most."""


@dataclass(frozen=True)
class Stored:
    """One object: its key, its bytes, and when it was written."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class LostUpload:
    """A multipart upload that was begun and neither finished nor aborted: its parts cost storage and are no object."""

    key: str
    id: str
    begun: datetime


def stored(bucket: Bucket, prefix: str) -> list[Stored]:
    """Return the objects whose keys begin with `prefix`, by key."""

    def act() -> list[Stored]:
        pages = bucket.client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix=prefix)
        found = [one for page in pages for one in page.get("Contents", [])]
        return [Stored(str(one["Key"]), int(one["Size"]), one["LastModified"]) for one in found]

    return patiently(f"list {prefix}", bucket.name, act)


def clock(bucket: Bucket) -> datetime:
    """Return the time by the S3 server's clock, to compare the times of objects with."""
    answer = patiently("list", bucket.name, lambda: bucket.client.list_objects_v2(Bucket=bucket.name, MaxKeys=1))
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def uploads(bucket: Bucket, prefix: str) -> list[LostUpload]:
    """Return the multipart uploads that are open below `prefix`: lost ones, and those of backups that are written."""

    def act() -> list[LostUpload]:
        pages = bucket.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket.name, Prefix=prefix)
        found = [one for page in pages for one in page.get("Uploads", [])]
        return [LostUpload(str(one["Key"]), str(one["UploadId"]), one["Initiated"]) for one in found]

    return patiently(f"list uploads of {prefix}", bucket.name, act)


def abort(bucket: Bucket, upload: LostUpload) -> None:
    """Throw an open upload's parts away; one that is gone already is no error."""
    from botocore.exceptions import ClientError

    def act() -> None:
        try:
            bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=upload.key, UploadId=upload.id)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") not in ("NoSuchUpload", "404"):
                raise

    patiently(f"abort the upload of {upload.key}", bucket.name, act)


def delete_all(bucket: Bucket, keys: Iterable[str]) -> None:
    """Delete objects, several at a time; one that is gone already is no error.

    One request each: not every S3 server knows how to delete many at once.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(bucket.delete, keys))
