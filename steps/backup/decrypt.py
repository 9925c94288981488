"""Step decrypt-backup: an encrypted backup as plain files, for MySQL Shell and whatever else reads its dumps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Protocol

import click

from steps.backup.layout import DONE, FOLDER, prefix
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.manifest import File, Manifest
from steps.backup.objects import Bucket, Upload
from steps.backup.source import S3Source, Source, read_all
from steps.declare import option, parameter, step
from steps.errors import BadParameters, Refused, StepError
from steps.log import progress
from steps.parameters import OBJECT_NAME, Text

PLACE = Text("a folder's path or a prefix of the bucket", "A-Za-z0-9_./~-", 500)
PIECE = 1 << 20


@dataclass(frozen=True)
class Decrypted:
    """What decrypt-backup tells."""

    place: str = parameter("Where the plain files are.")
    files: int = parameter("How many.")
    bytes: int = parameter("How large they are.")


@step("decrypt-backup")
@option("--backup", required=True, type=OBJECT_NAME, help="Name of the backup.")
@option("--to", required=True, type=PLACE, help="Where to: a prefix of the bucket, or a folder with ./ or / in front.")
@option("--parallel", type=click.IntRange(1, 32), default=4, help="Number of files at a time.")
def decrypt_backup(backup: str, to: str, parallel: int) -> Decrypted:
    """Write an encrypted backup as plain files, which MySQL Shell's util.loadDump() reads.

    Nothing removes them: whoever makes them deletes them.
    """
    bucket = Bucket.from_environment(connections=2 * parallel + 2)
    try:
        source = S3Source(bucket, prefix(backup))
        in_folder = to.startswith(("/", "./"))
        target: Target = FolderTarget(Path(to)) if in_folder else PrefixTarget(bucket, to.strip("/") + "/")
        made = copy_plain(source, target, parallel)
    finally:
        bucket.close()
    return Decrypted(target.place, len(made.files) + 1, made.size)


class Sink(Protocol):
    """One file that is being written."""

    def write(self, content: bytes, /) -> object:
        """Append."""
        ...

    def finish(self) -> None:
        """Make it exist."""
        ...

    def abort(self) -> None:
        """Throw it away."""
        ...


class Target(Protocol):
    """Where plain files go."""

    place: str

    def empty(self) -> bool:
        """Return whether nothing is there yet."""
        ...

    def file(self, name: str) -> Sink:
        """Begin a file."""
        ...


class PrefixTarget:
    """A prefix of the bucket, outside the folder of backups: a plain copy is no backup of ours."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        if prefix.startswith(f"{FOLDER}/"):
            raise BadParameters(
                f"--to names {prefix}, which is among the backups themselves; expected a prefix elsewhere, such as "
                "plain/NAME, or a folder such as ./NAME."
            )
        self.bucket, self.prefix, self.place = bucket, prefix, f"s3://{bucket.name}/{prefix}"

    def empty(self) -> bool:
        """Return whether nothing is there yet."""
        return not self.bucket.keys(self.prefix)

    def file(self, name: str) -> Sink:
        """Begin an object."""
        return Upload(self.bucket, self.prefix + name)


class FolderTarget:
    """A folder of this machine, readable to its owner only."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.place = folder, str(folder)

    def empty(self) -> bool:
        """Return whether nothing is there yet."""
        return not (self.folder.exists() and any(self.folder.iterdir()))

    def file(self, name: str) -> Sink:
        """Begin a file."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _File(self.folder / name)


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")

    def write(self, content: bytes, /) -> int:
        return self._file.write(content)

    def finish(self) -> None:
        self._file.close()

    def abort(self) -> None:
        self._file.close()
        with suppress(OSError):
            self.path.unlink()


def copy_plain(source: Source, target: Target, parallel: int = 4) -> Manifest:
    """Copy an encrypted dump without its encryption; return the manifest of the copy.

    The end marks are written last, so that a copy that broke off is taken for none.

    Raises:
        StepError: the dump is not encrypted, not whole, or its key is not given.
        Refused: there is something at the target already.
    """
    sizes = source.files()
    if MANIFEST not in sizes:
        raise StepError(f"{source.place} has no {MANIFEST}: no such backup, or it was never finished.")
    manifest = Manifest.parse(read_all(source, MANIFEST))
    if not manifest.encryption:
        raise StepError(f"{source.place} is not encrypted: MySQL Shell reads it where it is.")
    if not target.empty():
        raise Refused(f"{target.place} is not empty: nothing was written. Name another place, or empty this one.")
    names = [name for name in manifest.files if name != DONE]
    with progress(f"decrypt {manifest.name}", manifest.size, "bytes") as bar, ThreadPoolExecutor(parallel) as pool:

        def one(name: str) -> tuple[str, File]:
            made = _copy(source, target, name, manifest.files[name])
            return name, made

        files = {}
        for name, made in pool.map(one, names):
            files[name] = made
            bar.advance(manifest.files[name].size)
    if DONE in manifest.files:
        files[DONE] = _copy(source, target, DONE, manifest.files[DONE])
    plain = replace(manifest, files=files, encryption=None)
    _write(target, MANIFEST, lambda write: write(plain.dump()))
    return plain


def _copy(source: Source, target: Target, name: str, file: File) -> File:
    stream, size, sha256 = source.open(name), 0, hashlib.sha256()

    def fill(write: Callable[[bytes], object]) -> None:
        nonlocal size
        while part := stream.read(PIECE):
            write(part)
            sha256.update(part)
            size += len(part)

    try:
        _write(target, name, fill)
    finally:
        stream.close()
    return replace(file, size=size, sha256=sha256.hexdigest())


def _write(target: Target, name: str, fill: Callable[[Callable[[bytes], object]], object]) -> None:
    sink = target.file(name)
    try:
        fill(sink.write)
        sink.finish()
    except BaseException:
        sink.abort()
        raise
