"""Step `verify-objects`: every file that tiphys.json names is in the bucket, with its size and its SHA-256."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from steps.backup.layout import prefix
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.manifest import File, Manifest
from steps.backup.object_stream import ObjectStream
from steps.backup.objects import Bucket, NoObject
from steps.backup.readers import reading
from steps.backup.verify_record import OBJECTS, ORDER, Damage, Objects, Order, dump, load
from steps.declare import artifact, input_file, outputs_folder, parameter, step
from steps.log import Progress, log

PART = 1024 * 1024
"""Bytes that are read at a time: memory is this for each object that is read at the same time."""


@dataclass(frozen=True)
class ObjectsChecked:
    """What was found."""

    sound: bool = parameter("Whether every file is there, as it was written.")
    objects: Path = artifact("What is missing or damaged.", OBJECTS)


@step("verify-objects")
@input_file("--order", ORDER, "The order of verify-prepare.")
def verify_objects(order: Path) -> ObjectsChecked:
    """Read every object of the backup and compare it with tiphys.json. Needs no server, and writes nothing."""
    given = load(Order, order)
    path = outputs_folder() / OBJECTS
    if given.problem:
        found = Objects(0, 0, 0.0, (Damage(MANIFEST, given.problem),))
    else:
        bucket = Bucket.from_environment(connections=given.parallel + 4)
        try:
            with reading(bucket, given.backup, given.run, lingers=True):
                manifest = Manifest.parse(bucket.get(prefix(given.backup) + MANIFEST))
                found = check_objects(bucket, prefix(given.backup), manifest, given.parallel)
        finally:
            bucket.close()
    path.write_bytes(dump(found))
    for damage in found.damaged:
        log("damaged", file=damage.what, why=damage.why)
    log("objects checked", files=found.files, bytes=found.bytes, damaged=len(found.damaged), seconds=found.seconds)
    return ObjectsChecked(not found.damaged, path)


def check_objects(bucket: Bucket, folder: str, manifest: Manifest, parallel: int) -> Objects:
    """Compare a backup's objects with its manifest.

    Args:
        bucket: where it lies.
        folder: its key prefix, with the slash.
        manifest: what must be there.
        parallel: objects that are read at the same time.

    Raises:
        Temporary: S3 does not answer.
    """
    started = time.monotonic()
    there = {key.removeprefix(folder): size for key, size in bucket.keys(folder).items()}
    bar, lock = Progress("objects", manifest.size, "bytes"), threading.Lock()

    def advance(size: int) -> None:
        with lock:
            bar.advance(size)

    def look(name: str) -> Damage | None:
        return check_object(bucket, folder, name, manifest.files[name], there.get(name), advance)

    # The largest first: no connection is left alone with a large one at the end.
    names = sorted(manifest.files, key=lambda name: manifest.files[name].size, reverse=True)
    with ThreadPoolExecutor(parallel) as pool:
        damaged = [damage for damage in pool.map(look, names) if damage]
    bar.finish()
    strangers = sorted(set(there) - set(manifest.files) - {MANIFEST})
    took = round(time.monotonic() - started, 3)
    return Objects(len(names), bar.done, took, tuple(sorted(damaged, key=lambda d: d.what)), tuple(strangers))


def check_object(
    bucket: Bucket, folder: str, name: str, expected: File, size: int | None, advance: Callable[[int], None]
) -> Damage | None:
    """Read one object to its end; return what is wrong with it, or None.

    Args:
        bucket: where it lies.
        folder: key prefix.
        name: of the file.
        expected: what it must be.
        size: as S3 lists it, None where it is not listed.
        advance: told of the bytes that were read.
    """
    if size is None:
        return Damage(name, f"is missing in the bucket; {MANIFEST} says {expected.size} bytes")
    if size != expected.size:
        return Damage(name, f"has {size} bytes, {MANIFEST} says {expected.size}")
    sha256, read = hashlib.sha256(), 0
    stream = ObjectStream(bucket, folder + name)
    try:
        while part := stream.read(PART):
            sha256.update(part)
            read += len(part)
            advance(len(part))
    except NoObject:
        return Damage(name, "was removed while it was read")
    finally:
        stream.close()
    if read != expected.size:
        return Damage(name, f"gave {read} bytes, {MANIFEST} says {expected.size}")
    if sha256.hexdigest() != expected.sha256:
        return Damage(
            name,
            f"is not what was written: its SHA-256 is {sha256.hexdigest()[:12]}… instead of {expected.sha256[:12]}…",
        )
    return None
