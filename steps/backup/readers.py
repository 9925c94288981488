"""Who reads a backup now: an object in S3 for each reader, written again while it reads, so that nobody removes it.

The objects lie outside the backup's folder (``readers/NAME/…``). A reader notes itself first and then looks whether
the backup is there; who removes one takes its ``tiphys.json`` away first and then looks for readers. Whatever the
order, one of the two sees the other.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

from steps.backup.inventory import stored
from steps.backup.objects import Bucket
from steps.errors import StepError
from steps.log import log

FOLDER = "readers"
BEAT_SECONDS = 60.0
DEAD_AFTER = timedelta(hours=1)
"""A reader that has not written for so long was killed, or has ended and let its note stand."""


@contextmanager
def reading(
    bucket: Bucket, name: str, run: str = "", *, lingers: bool = False, beat_seconds: float = BEAT_SECONDS
) -> Iterator[None]:
    """Keep a backup from being removed while the block runs.

    Enter it before the backup's files are listed.

    Args:
        bucket: the bucket.
        name: of the backup.
        run: who reads, for people: the workflow's name.
        lingers: let the note stand at the end, since a later step of the run reads on within DEAD_AFTER; not where
            the block fails.
        beat_seconds: how often to say that one is still there.

    Raises:
        Temporary: S3 is away when it begins; later, that is logged and tried again.
    """
    run = re.sub(r"[^A-Za-z0-9.-]", "-", run or socket.gethostname())[:100]
    key = f"{FOLDER}/{name}/{run}.{'lingers' if lingers else f'{os.getpid()}-{secrets.token_hex(4)}'}"
    content = json.dumps({"backup": name, "run": run}).encode()
    bucket.put(key, content)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(beat_seconds):
            try:
                bucket.put(key, content)
            except StepError as error:
                log("reader-not-noted", backup=name, why=str(error))

    thread = threading.Thread(target=beat, name=f"reading {name}", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        lingers = False  # the run ends here, or Argo tries the step again, which notes itself anew
        raise
    finally:
        ended.set()
        thread.join()
        if not lingers:
            with suppress(StepError):
                bucket.delete(key)


def readers(bucket: Bucket, at: datetime, name: str | None = None) -> tuple[dict[str, list[str]], list[str]]:
    """Return who reads what now, and the keys of readers that died.

    Args:
        bucket: the bucket.
        at: now, by the S3 server's clock.
        name: look for this backup's only.

    Returns:
        Backup's name to its readers' runs, and keys.
    """
    alive: dict[str, list[str]] = {}
    dead = []
    for one in stored(bucket, f"{FOLDER}/{name}/" if name else f"{FOLDER}/"):
        parts = one.key.split("/")
        if at - one.modified > DEAD_AFTER:
            dead.append(one.key)
        elif len(parts) == 3:
            alive.setdefault(parts[1], []).append(parts[2].rpartition(".")[0])
    return alive, dead
