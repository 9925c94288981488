"""A versitygw of a test's own, with an empty bucket; the test asks for the fixture `versitygw` as well."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError

from steps.backup.objects import Bucket
from tiphys.local.s3 import programs
from tiphys.local.s3.credentials import Credentials, list_bucket, load_or_make
from tiphys.local.settings import Settings


@dataclass(frozen=True)
class OwnSettings(Settings):
    """Settings whose S3 server has an address that no other test process uses."""

    host: str = ""

    @property
    def s3_host(self) -> str:
        return self.host


@contextmanager
def own_s3(folder: Path, network: int) -> Iterator[tuple[Bucket, Credentials]]:
    """Run a versitygw over `folder`; yield its bucket and the keys."""
    program = programs.versitygw_there()
    assert program is not None
    settings = OwnSettings(folder, network=network, host=f"127.{network}.{os.getpid() % 250 + 1}.2")
    credentials = load_or_make(settings)
    process = subprocess.Popen(
        programs.command(program, settings),
        env=dict(programs.environment(program, credentials, folder)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(300):
            try:
                list_bucket(credentials)
                break
            except (BotoCoreError, ClientError):
                assert process.poll() is None, "versitygw ended"
                time.sleep(0.1)
        client = credentials.client()
        yield Bucket(client, credentials.bucket), credentials
        client.close()
    finally:
        process.terminate()
        process.wait(60)
