"""Where a dump is read from: a folder, or a prefix in S3; both give names, sizes and streams."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from steps.backup.objects import Bucket, told
from steps.errors import StepError, Temporary
from steps.log import log

WAITS = (0.5, 1, 2, 4, 8)
"""Seconds before each new try of a read; boto3 has tried several times by then."""


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
        bucket: the bucket.
        prefix: of the dump's objects, with the slash at its end.
    """

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket, self.prefix = bucket, prefix
        self.place = f"s3://{bucket.name}/{prefix}"

    def files(self) -> Mapping[str, int]:
        """List the objects right below the prefix.

        Raises:
            StepError: the bucket is missing, or the keys are wrong.
            Temporary: S3 does not answer.
        """
        found = {key.removeprefix(self.prefix): size for key, size in self.bucket.keys(self.prefix).items()}
        return {name: size for name, size in found.items() if name and "/" not in name}

    def open(self, name: str) -> Stream:
        """Open one object; a connection that breaks off is taken up again where it broke."""
        return ObjectStream(self.bucket, self.prefix + name)


class ObjectStream:
    """The bytes of one object, whatever happens to the connection; the object must stay the same meanwhile."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self.bucket, self.key = bucket, key
        self.offset, self.size, self.etag = 0, -1, ""
        self._body: Any = None

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, nothing at the end.

        Raises:
            StepError: no such object, no right to read it, or it has been replaced while it was read.
            Temporary: S3 does not deliver it, after several tries.
        """
        for wait in (*WAITS, None):
            try:
                with told(f"read {self.key} (at byte {self.offset})", self.bucket.name):
                    return self._read(size)
            except Temporary as error:
                self.close()
                if wait is None:
                    raise
                log("reading again", key=self.key, offset=self.offset, in_seconds=wait, reason=str(error))
                time.sleep(wait)
        raise AssertionError("the last attempt raises")

    def _read(self, size: int) -> bytes:
        if self.offset == self.size:
            return b""
        if self._body is None:
            rest = {"Range": f"bytes={self.offset}-", "IfMatch": self.etag} if self.offset else {}
            answer = self.bucket.client.get_object(Bucket=self.bucket.name, Key=self.key, **rest)
            if not self.offset:
                self.size, self.etag = int(answer["ContentLength"]), str(answer["ETag"])
            self._body = answer["Body"]
            if not self.size:
                return b""
        part: bytes = self._body.read(size)
        if not part:
            raise Temporary(f"{self.key} ended after {self.offset} of {self.size} bytes")
        self.offset += len(part)
        return part

    def close(self) -> None:
        """Let the connection go."""
        if self._body is not None:
            self._body.close()
            self._body = None


def missing(place: str, name: str) -> StepError:
    """Return the error for a file that a dump should have."""
    return StepError(f"{place} has no {name}: the dump is not whole. Restore another one (backup=NAME).")
