"""Objects in the S3 bucket: read, list, write, and write as a stream without a file or the whole in memory.

Every request is tried again where that may help (`steps.backup.s3_errors`), and every write carries its CRC-32, so
that the server refuses what was damaged on its way.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from steps.backup.object_stream import ObjectStream
from steps.backup.s3_errors import NoObject, patiently, told
from steps.backup.s3_settings import Settings
from steps.errors import StepError, Temporary
from steps.log import log

__all__ = ["AlreadyThere", "Bucket", "NoObject", "Sealer", "Upload", "told"]

PART_BYTES = 8 * 1024 * 1024
LARGEST_PART = 5 * 1024**3
MOST_PARTS = 10_000
"""S3 takes no more parts than this in an object, each of 5 MiB at least but the last."""

SEND_BYTES = 256 * 1024
"""Sent at a time, and so what the network has to take within the connection's timeout."""


class AlreadyThere(StepError):
    """There is another object of this name, which is not to be overwritten."""


class Bucket:
    """One bucket. Threads may share it.

    Args:
        client: of boto3.
        name: of the bucket.
        write: arguments of every write, such as ServerSideEncryption.
        checksum: whether writes carry their CRC-32.

    Attributes:
        part_bytes: size of the first parts of an upload.
    """

    def __init__(
        self, client: Any, name: str, *, write: Mapping[str, str] | None = None, checksum: bool = True
    ) -> None:
        self.client, self.name = client, name
        self.write, self.checksum = dict(write or {}), checksum
        self.part_bytes = PART_BYTES

    @classmethod
    def from_environment(cls, *, connections: int = 32) -> Bucket:
        """Return the bucket that the environment names (`steps.backup.s3_settings.VARIABLES`).

        Raises:
            BadParameters: a setting is missing or cannot be right.
        """
        settings = Settings.read(os.environ)
        return cls(settings.client(connections), settings.bucket, write=settings.write, checksum=settings.checksum)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def put(self, key: str, content: bytes) -> None:
        """Write one object as a whole."""
        patiently(f"write {key}", self.name, lambda: self._put(key, content))

    def put_new(self, key: str, content: bytes) -> None:
        """Write one object that must not be there yet, as far as the server can promise that.

        Raises:
            AlreadyThere: there is another one of this name.
        """
        from botocore.exceptions import ClientError

        def act() -> None:
            try:
                self._put(key, content, IfNoneMatch="*")
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "NotImplemented":
                    log("written without a condition", key=key, reason="the S3 server does not know If-None-Match")
                    self._put(key, content)
                elif code not in ("PreconditionFailed", "412"):
                    raise
                # An earlier try of ours may have got there, and only its answer was lost.
                elif self.get(key) != content:
                    raise AlreadyThere(
                        f"S3 bucket {self.name} has another {key} already; expected none. Somebody else writes there: "
                        "let them end, and run this again."
                    ) from error

        patiently(f"write {key}", self.name, act)

    def _put(self, key: str, content: bytes, **condition: str) -> None:
        sum_ = self.sum(content)
        answer = self.client.put_object(
            Bucket=self.name, Key=key, Body=_Body(content), **self.write, **sum_, **condition
        )
        check_sum(key, sum_, answer)

    def sum(self, content: bytes) -> dict[str, str]:
        """Return the argument that gives a write's CRC-32 to the server; none where checksums are off."""
        if not self.checksum:
            return {}
        return {"ChecksumCRC32": base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode()}

    def get(self, key: str) -> bytes:
        """Return an object's content.

        Raises:
            NoObject: there is none.
        """

        def act() -> bytes:
            content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
            return content

        return patiently(f"read {key}", self.name, act)

    def stream(self, key: str, size: int = 1024 * 1024) -> Iterator[bytes]:
        """Yield an object's content in pieces of at most `size` bytes.

        Raises:
            NoObject: there is none.
        """
        stream = ObjectStream(self, key)
        try:
            while part := stream.read(size):
                yield part
        finally:
            stream.close()

    def keys(self, prefix: str, *, after: str = "") -> dict[str, int]:
        """Return the keys that begin with `prefix`, and their sizes in bytes; only those after `after` in order."""
        found: dict[str, int] = {}
        for page in self._pages(prefix, **({"StartAfter": after} if after else {})):
            found |= {str(item["Key"]): int(item["Size"]) for item in page.get("Contents", [])}
        return found

    def folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right below `prefix`, which ends with a slash."""
        names: list[str] = []
        for page in self._pages(prefix, Delimiter="/"):
            names += [str(item["Prefix"])[len(prefix) :].rstrip("/") for item in page.get("CommonPrefixes", [])]
        return names

    def _pages(self, prefix: str, **more: str) -> Iterator[Any]:
        """Yield the pages of a listing; each is asked for again by itself where S3 fails."""

        def act() -> Any:
            return self.client.list_objects_v2(Bucket=self.name, Prefix=prefix, **more)

        while True:
            page = patiently(f"list {prefix}", self.name, act)
            yield page
            if not page.get("IsTruncated"):
                return
            more["ContinuationToken"] = page["NextContinuationToken"]

    def delete(self, key: str) -> None:
        """Delete an object; none there is no error."""
        patiently(f"delete {key}", self.name, lambda: self.client.delete_object(Bucket=self.name, Key=key))


class Sealer(Protocol):
    """Encrypts an object's content on its way out."""

    def seal(self, content: bytes, last: bool) -> bytes:
        """Return what is stored of the next piece; `last` ends the object."""
        ...


def part_size(first: int, number: int) -> int:
    """Return the size in bytes of an upload's part.

    Parts double every 900, so that the largest object that S3 takes (5 TiB) has no more than MOST_PARTS, and yet the
    first GB need little memory.

    Args:
        first: size of the first parts.
        number: of the part, from 0.
    """
    return min(first << (number // 900), LARGEST_PART)


class Upload:
    """Writes one object as its content comes, keeping at most one part in memory.

    The object's name is fixed when the first part is sent, so `key` may change until `begun`. Parts grow with their
    number, so that no length is too much for MOST_PARTS. An upload that is neither finished nor aborted leaves no
    object, but parts that cost storage.

    Args:
        bucket: where it goes.
        key: its name.
        sealer: makes what encrypts the content, for an object of the name that it is given.

    Attributes:
        size: bytes that were sent so far; all of them once it is finished.
    """

    def __init__(self, bucket: Bucket, key: str, sealer: Callable[[str], Sealer] | None = None) -> None:
        self.bucket, self.key = bucket, key
        self.size = 0
        self._sha256 = hashlib.sha256()
        self._buffer = bytearray()
        self._make = sealer
        self._sealer: Sealer | None = None
        self._id = ""
        self._parts: list[dict[str, Any]] = []

    @property
    def begun(self) -> bool:
        """Whether a part is sent, and the key fixed."""
        return bool(self._id)

    @property
    def sha256(self) -> str:
        """SHA-256 of what is stored, in hex, once it is finished."""
        return self._sha256.hexdigest()

    def write(self, content: bytes) -> None:
        """Append to the object."""
        self._buffer += content
        while len(self._buffer) >= (part := part_size(self.bucket.part_bytes, len(self._parts))):
            self._send(self._take(part))

    def finish(self) -> None:
        """Send the rest; the object exists after this."""
        content = self._take(len(self._buffer), last=True)
        if not self.begun:
            self.bucket.put(self.key, content)
            return
        if content:
            self._send(content)
        tried = False

        def act() -> None:
            nonlocal tried
            before, tried = tried, True
            if not (before and self._there()):
                self.bucket.client.complete_multipart_upload(
                    Bucket=self.bucket.name, Key=self.key, UploadId=self._id, MultipartUpload={"Parts": self._parts}
                )

        patiently(f"complete {self.key}", self.bucket.name, act)

    def abort(self) -> None:
        """Throw away what was sent; the object does not exist. Errors are only logged: another one is on its way."""
        if not self.begun:
            return
        try:
            with told(f"abort {self.key}", self.bucket.name):
                self.bucket.client.abort_multipart_upload(Bucket=self.bucket.name, Key=self.key, UploadId=self._id)
        except StepError as error:
            log("parts left behind", key=self.key, upload=self._id, reason=str(error))
        self._id = ""

    def _take(self, size: int, *, last: bool = False) -> bytes:
        """Take bytes out of the buffer, as they are to be stored."""
        content = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        if self._make is not None:
            if self._sealer is None:
                self._sealer = self._make(self.key)
            content = self._sealer.seal(content, last)
        self._sha256.update(content)
        self.size += len(content)
        return content

    def _send(self, content: bytes) -> None:
        bucket, client = self.bucket.name, self.bucket.client
        if not self.begun:
            kind = {"ChecksumAlgorithm": "CRC32"} if self.bucket.checksum else {}

            tries = 0

            def begin() -> str:
                nonlocal tries
                tries += 1
                made = client.create_multipart_upload(Bucket=bucket, Key=self.key, **self.bucket.write, **kind)
                return str(made["UploadId"])

            self._id = patiently(f"begin {self.key}", bucket, begin)
            if tries > 1:
                self._abort_others()
        number, sum_ = len(self._parts) + 1, self.bucket.sum(content)

        def act() -> str:
            sent = client.upload_part(
                Bucket=bucket, Key=self.key, UploadId=self._id, PartNumber=number, Body=_Body(content), **sum_
            )
            check_sum(self.key, sum_, sent)
            return str(sent["ETag"])

        etag = patiently(f"write part {number} of {self.key}", bucket, act)
        self._parts.append({"ETag": etag, "PartNumber": number, **sum_})

    def _abort_others(self) -> None:
        """Throw away what an earlier try has begun, of which only the answer was lost. Errors are only logged."""
        bucket, client = self.bucket.name, self.bucket.client
        try:
            with told(f"look for other uploads of {self.key}", bucket):
                for one in client.list_multipart_uploads(Bucket=bucket, Prefix=self.key).get("Uploads", []):
                    if one["Key"] == self.key and one["UploadId"] != self._id:
                        client.abort_multipart_upload(Bucket=bucket, Key=self.key, UploadId=one["UploadId"])
        except StepError as error:
            log("uploads left behind", key=self.key, reason=str(error))

    def _there(self) -> bool:
        """Return whether the object is there after all: a try whose answer was lost has ended the upload."""
        from botocore.exceptions import ClientError

        try:
            answer = self.bucket.client.head_object(Bucket=self.bucket.name, Key=self.key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:
                return False
            raise
        return bool(answer["ContentLength"] == self.size)


class _Body(io.BytesIO):
    """Content that goes out in large blocks: each has the timeout to itself, where bytes at once would share it."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(size if size is None or size < 0 else max(size, SEND_BYTES))


def check_sum(key: str, sent: Mapping[str, str], answer: Mapping[str, Any]) -> None:
    """Compare the CRC-32 that the server says it stored with the one of what was sent; most servers say it.

    Raises:
        Temporary: they differ.
    """
    stored = answer.get("ChecksumCRC32")
    if sent and stored and stored != sent["ChecksumCRC32"]:
        raise Temporary(f"{key} arrived damaged: its CRC-32 is {stored}, sent was {sent['ChecksumCRC32']}")
