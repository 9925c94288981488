"""Reading a dump from a real S3 server, also one that breaks off."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from steps.backup import s3_errors
from steps.backup.load_plan import read_plan
from steps.backup.object_stream import ObjectStream
from steps.backup.objects import Bucket
from steps.backup.source import S3Source, read_all
from steps.errors import StepError, Temporary

VECTOR = Path(__file__).parents[1] / "data" / "mysqlsh-dump"


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    server = ThreadedMotoServer(f"127.98.{os.getpid() % 250 + 1}.2", port=0)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    # Servers of one process share their buckets.
    client.create_bucket(Bucket="sources")
    made = Bucket(client, "sources")
    yield made
    made.close()
    server.stop()


def test_a_dump_in_s3_reads_as_the_folder_does(bucket: Bucket) -> None:
    for file in VECTOR.iterdir():
        bucket.put(f"backups/vector/{file.name}", file.read_bytes())
    bucket.put("backups/vector/deeper/x.json", b"{}")
    found = S3Source(bucket, "backups/vector/")
    assert found.files() == {file.name: file.stat().st_size for file in VECTOR.iterdir()}
    for file in VECTOR.iterdir():
        assert read_all(found, file.name) == file.read_bytes()
    plan = read_plan(found)
    assert len(plan.chunks) == 9 and sum(table.rows or 0 for table in plan.tables) == 9100


class Breaking:
    """A client whose connections break after some bytes, or end early; the rest is real."""

    def __init__(self, client: Any, kind: str, tagged: bool = True) -> None:
        self.client, self.kind, self.asked, self.tagged = client, kind, list[str](), tagged

    def get_object(self, **what: Any) -> Any:
        answer = self.client.get_object(**what)
        self.asked.append(what.get("Range", "all"))
        body, kind = answer["Body"], self.kind

        class Body:
            given = 0

            def read(self, size: int) -> bytes:
                if self.given >= 3000:
                    if kind == "cut":
                        raise ConnectionResetError("by the test")
                    return b""
                part: bytes = body.read(min(size, 1000))
                self.given += len(part)
                return part

            def close(self) -> None:
                body.close()

        return {key: value for key, value in answer.items() if self.tagged or key != "ETag"} | {"Body": Body()}


@pytest.mark.parametrize(("kind", "tagged"), [("cut", True), ("short", True), ("cut", False)])
def test_a_connection_that_breaks_is_taken_up_where_it_broke(
    bucket: Bucket, kind: str, tagged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_errors, "WAITS", (0, 0))
    content = bytes(range(256)) * 40
    bucket.put("x", content)
    client = Breaking(bucket.client, kind, tagged)
    stream, seen = ObjectStream(Bucket(client, "sources"), "x"), b""
    while part := stream.read(4096):
        seen += part
    assert seen == content
    assert client.asked == ["all", "bytes=3000-", "bytes=6000-", "bytes=9000-"]


@pytest.mark.parametrize("tagged", [True, False])
def test_an_object_that_changes_meanwhile_is_not_mixed(
    bucket: Bucket, tagged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_errors, "WAITS", (0,))
    bucket.put("x", b"a" * 9000)
    stream = ObjectStream(Bucket(Breaking(bucket.client, "cut", tagged), "sources"), "x")
    for _ in range(3):
        stream.read(1000)
    time.sleep(0 if tagged else 1.1)  # times of objects are whole seconds
    bucket.put("x", b"b" * 9000)
    with pytest.raises(StepError, match="412|Precondition"):
        stream.read(1000)


def test_what_is_not_there_is_told_apart(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_errors, "WAITS", (0,))
    with pytest.raises(StepError, match="nothing") as caught:
        read_all(S3Source(bucket, "backups/nothing/"), "@.json")
    assert not isinstance(caught.value, Temporary)
    with pytest.raises(StepError, match="no backup at all"):
        read_plan(S3Source(bucket, "backups/nothing/"))
    with pytest.raises(StepError, match="NoSuchBucket|bucket"):
        read_plan(S3Source(Bucket(bucket.client, "elsewhere"), "backups/vector/"))
    bucket.put("empty", b"")
    assert ObjectStream(bucket, "empty").read(10) == b""
