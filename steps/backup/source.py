"""Where a dump is read from: a folder, or a prefix in S3; both give names, sizes and streams."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from steps.backup.object_stream import ObjectStream
from steps.backup.objects import Bucket
from steps.errors import StepError


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


def missing(place: str, name: str) -> StepError:
    """Return the error for a file that a dump should have."""
    return StepError(f"{place} has no {name}: the dump is not whole. Restore another one (backup=NAME).")
