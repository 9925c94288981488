"""Where a dump is read from: a folder, or a prefix in S3; both give names, sizes and streams."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from steps.backup.encryption import Cipher, Keyring
from steps.backup.layout import loads
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.object_stream import ObjectStream as ObjectStream
from steps.backup.objects import Bucket, NoObject
from steps.errors import StepError
from steps.log import log


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
        """Return the dump's files and their sizes in bytes, as they are stored."""
        ...

    def open(self, name: str) -> Stream:
        """Open one file; an encrypted one is decrypted and checked as it is read."""
        ...


def read_all(source: Source, name: str) -> bytes:
    """Return the whole content of one (small) file."""
    return _drained(source.open(name))


def _drained(stream: Stream) -> bytes:
    try:
        parts = []
        while part := stream.read(1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        stream.close()


class _Dump:
    """What every source does alike: files are decrypted as they are read, where the dump is encrypted."""

    place: str

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._manifest: bytes | None = None
        self._cipher: Cipher | None = None

    def open(self, name: str) -> Stream:
        """Open one file, decrypted.

        Raises:
            StepError: there is no such file, or the dump is encrypted with a key that is not given.
        """
        manifest, cipher = self._opened()
        if name == MANIFEST and manifest:
            return io.BytesIO(manifest)
        stored = self._open(name)
        return stored if cipher is None else cipher.open(name, stored)

    def _open(self, name: str) -> Stream:
        raise NotImplementedError

    def _opened(self) -> tuple[bytes, Cipher | None]:
        """Return ``tiphys.json`` (empty where there is none) and what decrypts the files (None where they are not)."""
        with self._lock:
            if self._manifest is None:
                self._manifest, self._cipher = self._read_manifest()
            return self._manifest, self._cipher

    def _read_manifest(self) -> tuple[bytes, Cipher | None]:
        try:
            content = _drained(self._open(MANIFEST))
        except NoObject:
            return b"", None
        keyring, document = Keyring.read(os.environ), loads(MANIFEST, content)
        if not document.get("encryption"):
            if keyring:
                log("backup is not encrypted", place=self.place, meaning="the key is not used")
            return content, None
        cipher = Cipher.of(document, keyring)
        return cipher.open_manifest(content), cipher


class FolderSource(_Dump):
    """A dump in a folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.place = folder, str(folder)

    def files(self) -> Mapping[str, int]:
        """Return the folder's files and their sizes, as they are stored."""
        if not self.folder.is_dir():
            raise StepError(f"There is no folder {self.folder}: name a folder that holds a dump")
        return {each.name: each.stat().st_size for each in self.folder.iterdir() if each.is_file()}

    def _open(self, name: str) -> Stream:
        try:
            return (self.folder / name).open("rb")
        except FileNotFoundError:
            raise NoObject(str(missing(self.place, name))) from None


class S3Source(_Dump):
    """A dump below a prefix of a bucket.

    Args:
        bucket: the bucket.
        prefix: of the dump's objects, with the slash at its end.
    """

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        super().__init__()
        self.bucket, self.prefix = bucket, prefix
        self.place = f"s3://{bucket.name}/{prefix}"

    def files(self) -> Mapping[str, int]:
        """List the objects right below the prefix, with their sizes as they are stored.

        Raises:
            StepError: the bucket is missing, or the keys are wrong.
            Temporary: S3 does not answer.
        """
        found = {key.removeprefix(self.prefix): size for key, size in self.bucket.keys(self.prefix).items()}
        return {name: size for name, size in found.items() if name and "/" not in name}

    def _open(self, name: str) -> Stream:
        return ObjectStream(self.bucket, self.prefix + name)


def missing(place: str, name: str) -> StepError:
    """Return the error for a file that a dump should have."""
    return StepError(f"{place} has no {name}: the dump is not whole. Restore another one (backup=NAME).")
