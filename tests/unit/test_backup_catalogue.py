"""Which backups there are, in a real S3 server: finished, unfinished, unreadable, verified; and which is latest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from s3_real import own_s3

from steps.backup.catalogue import HEAD, find, finished, read_catalogue
from steps.backup.inventory import abort, uploads
from steps.backup.json_head import head_of
from steps.backup.manifest import File, Manifest
from steps.backup.objects import Bucket
from steps.errors import BadParameters, StepError


@pytest.fixture(scope="module")
def server(versitygw: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with own_s3(tmp_path_factory.mktemp("s3"), 85) as (bucket, _):
        yield bucket


@pytest.fixture
def bucket(server: Bucket) -> Bucket:
    for key in server.keys(""):
        server.delete(key)
    for upload in uploads(server, ""):
        abort(server, upload)
    return server


def put(
    bucket: Bucket, name: str, cluster: str = "demo", begin: str = "2026-01-01T00:00:00+00:00", **more: Any
) -> None:
    """Put a finished backup of one table into the bucket."""
    values = {"namespace": "tiphys", "end": begin, "files": {"@.json": File(2, "0" * 64)}, **more}
    made = Manifest(
        name=name,
        cluster=cluster,
        server="s",
        pod="p",
        server_version="9.7.4",
        gtid_executed="u:1-5",
        begin=begin,
        tables={"shop": {"orders": 7}},
        **values,
    )
    bucket.put(f"backups/{name}/@.json", b"{}")
    bucket.put(f"backups/{name}/tiphys.json", made.dump())


def verified(bucket: Bucket, name: str, run: str, verdict: str, at: str, **more: Any) -> None:
    document = {"backup": name, "verdict": verdict, "at": at, "rtoSeconds": 41.2, "rpoSeconds": 60, "run": run}
    bucket.put(
        f"verifications/{name}/{run}.json", json.dumps({**document, "report": f"runs/{run}/r.html", **more}).encode()
    )


def test_latest_is_no_copy_of_one_table_where_there_is_another(bucket: Bucket) -> None:
    put(bucket, "part", begin="2026-01-09T00:00:00+00:00", include=("shop.orders", "shop.b"), exclude=("x",))
    assert find(bucket, "latest", "demo", "tiphys").prefix == "backups/part/"
    put(bucket, "less", begin="2026-01-06T00:00:00+00:00", exclude=("logs.*",))
    put(bucket, "whole", begin="2026-01-05T00:00:00+00:00")
    assert find(bucket, "latest", "demo", "tiphys").prefix == "backups/less/"
    told = {one.name: one.selection for one in finished(bucket)}
    assert told == {"part": "include=shop.b,shop.orders exclude=x", "less": "exclude=logs.*", "whole": ""}


def test_a_list_needs_the_heads_only(bucket: Bucket) -> None:
    many = {f"shop@orders@{number}.tsv.zst": File(1, "0" * 64, 1, 1) for number in range(20_000)}
    put(bucket, "big", files=many, begin="2026-01-05T00:00:00+00:00")
    put(bucket, "small", begin="2026-01-06T00:00:00+00:00")
    read, real = list[int](), bucket.client.get_object

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(bucket.client, name)

        def get_object(self, **what: Any) -> Any:
            answer = real(**what)
            read.append(answer["ContentLength"])
            return answer

    made = finished(Bucket(Counting(), bucket.name))
    assert [(one.name, one.rows, one.size) for one in made] == [("small", 7, 2), ("big", 7, 20_000)]
    assert bucket.keys("backups/big/")["backups/big/tiphys.json"] > 100 * HEAD
    assert sum(read) <= 2 * HEAD


def test_a_head_may_be_cut_anywhere() -> None:
    whole = {"a": 12, "b": 'x"},{', "c": None, "d": [1, {"e": 2}], "ü": 1.5, "f": {}}
    text = json.dumps(whole, indent=4, ensure_ascii=False).encode()
    for end in range(len(text)):
        seen = head_of(text[:end])
        assert list(seen.items()) == list(whole.items())[: len(seen)], end
    assert head_of(text) == whole
    for wrong in (b"", b"[1]", b'{"a" 1}', b'{"a": 1 "b": 2}', b"\xff\xfe"):
        assert head_of(wrong) == {}


def test_a_head_that_is_too_short_is_read_whole(bucket: Bucket) -> None:
    put(bucket, "long")
    key = "backups/long/tiphys.json"
    document = json.loads(bucket.get(key)) | {"gtidExecuted": "u:" + "1-5:" * HEAD}
    bucket.put(key, json.dumps(document).encode())
    assert [one.name for one in finished(bucket)] == ["long"]


def test_latest_is_the_newest_moment_of_the_same_cluster_and_namespace(bucket: Bucket) -> None:
    with pytest.raises(StepError, match="no finished backup of tiphys/demo"):
        find(bucket, "latest", "demo", "tiphys")
    # The one with the newest moment is neither the last by name nor the one that ended last.
    put(bucket, "b", begin="2026-01-02T00:00:00+00:00", end="2026-01-09T00:00:00+00:00")
    put(bucket, "a", begin="2026-01-03T00:00:00+02:00")
    put(bucket, "c", cluster="other", begin="2026-01-04T00:00:00+00:00")
    put(bucket, "d", namespace="elsewhere", begin="2026-01-05T00:00:00+00:00")
    bucket.put("backups/z/@.json", b"{}")
    bucket.put("backups/y/tiphys.json", b"{")
    assert find(bucket, "latest", "demo", "tiphys").prefix == "backups/a/"
    assert find(bucket, "b", "demo", "tiphys").prefix == "backups/b/"


def test_a_name_that_is_not_there_is_told_with_those_that_are(bucket: Bucket) -> None:
    put(bucket, "demo-20260101-000000")
    with pytest.raises(BadParameters, match=r"no backup demo-1\. The newest of tiphys/demo: demo-20260101-000000"):
        find(bucket, "demo-1", "demo", "tiphys")
    with pytest.raises(BadParameters, match="tiphys/new has no finished one; the newest of all: demo-20260101"):
        find(bucket, "demo-1", "new", "tiphys")


def test_a_backup_of_ours_that_was_never_finished_does_not_exist(bucket: Bucket) -> None:
    """Killed between MySQL Shell's end mark and our own, or half deleted: whole in MySQL Shell's eyes."""
    bucket.put("backups/ours/@.json", b'{"dumper": "tiphys 0.1.0"}')
    bucket.put("backups/ours/@.done.json", b"{}")
    bucket.put("backups/demo-20260101-000000/shop@orders@0.tsv.zst", b"x")
    for name in ("ours", "demo-20260101-000000"):
        with pytest.raises(StepError, match="never finished"):
            find(bucket, name, "demo", "tiphys")
    # A dump that MySQL Shell or the operator wrote there is restored all the same.
    bucket.put("backups/shell/@.json", b'{"dumper": "mysqlsh Ver 9.7.4"}')
    bucket.put("backups/shell/@.done.json", b"{}")
    assert find(bucket, "shell", "demo", "tiphys").prefix == "backups/shell/"


def test_what_is_unfinished_or_unreadable_is_told_apart(bucket: Bucket) -> None:
    put(bucket, "good")
    bucket.put("backups/ours/@.json", b'{"dumper": "tiphys 0.1.0"}')
    bucket.put("backups/shell/@.json", b'{"dumper": "mysqlsh Ver 9.7.4"}')
    bucket.put("backups/shell/@.done.json", b"{}")
    bucket.put("backups/demo-20260101-000000/shop@orders@0.tsv.zst", b"12345")
    bucket.put("backups/my-own-files/letter.txt", b"dear")
    lost = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="backups/demo-20260102-000000/a.tsv.zst")
    bucket.put("backups/cut/tiphys.json", b'{"format": 1, "name": "cu')
    bucket.put("backups/empty/tiphys.json", b"")
    put(bucket, "renamed")
    bucket.put("backups/other/tiphys.json", bucket.get("backups/renamed/tiphys.json"))
    bucket.put("backups/newer/tiphys.json", b'{"format": 2, "name": "newer"}')
    seen = read_catalogue(bucket)
    assert {one.name for one in seen.backups} == {"good", "renamed"}
    assert {one.name: one.ours for one in seen.unfinished} == {
        "ours": True,
        "shell": False,
        "demo-20260101-000000": True,
        "demo-20260102-000000": True,
        "my-own-files": False,
    }
    by_name = {one.name: one for one in seen.unfinished}
    assert by_name["demo-20260101-000000"].size == 5
    assert [one.id for one in by_name["demo-20260102-000000"].uploads] == [lost["UploadId"]]
    assert all(abs(one.newest - seen.at) < timedelta(hours=1) for one in seen.unfinished)
    assert set(seen.unreadable) == {"cut", "empty", "other", "newer"}
    assert "format 2" in seen.unreadable["newer"] and "renamed" in seen.unreadable["other"]


def test_the_last_verification_counts(bucket: Bucket) -> None:
    put(bucket, "a", begin="2026-01-02T00:00:00+00:00")
    put(bucket, "b", begin="2026-01-03T00:00:00+00:00")
    put(bucket, "c", begin="2026-01-04T00:00:00+00:00")
    verified(bucket, "a", "zz-first", "PASS", "2026-01-05T00:00:00+00:00")
    verified(bucket, "a", "aa-second", "FAIL", "2026-01-06T00:00:00+00:00")
    bucket.put("verifications/b/broken.json", b"{")
    c, b, a = finished(bucket)
    assert (a.verdict, b.verdict, c.verdict) == ("FAIL", "", "")
    assert a.verification and (a.verification.run, a.verification.rto_seconds) == ("aa-second", 41.2)
    assert a.verification.at == datetime(2026, 1, 6, tzinfo=UTC)


def test_an_empty_bucket_has_nothing(bucket: Bucket) -> None:
    seen = read_catalogue(bucket)
    assert (seen.backups, seen.unfinished, seen.unreadable) == ([], [], {})


def test_reading_the_files_is_no_proof_and_a_broken_budget_no_damage(bucket: Bucket) -> None:
    for name, day in (("a", 2), ("b", 3), ("c", 4)):
        put(bucket, name, begin=f"2026-01-0{day}T00:00:00+00:00")
    verified(bucket, "a", "1", "PASS", "2026-01-05T00:00:00+00:00", mode="full")
    verified(bucket, "a", "2", "PASS", "2026-01-06T00:00:00+00:00", mode="objects")
    verified(bucket, "b", "1", "PASS", "2026-01-06T00:00:00+00:00", mode="objects")
    verified(bucket, "c", "1", "FAIL", "2026-01-06T00:00:00+00:00", mode="full", sound=True)
    c, b, a = finished(bucket)
    assert (a.verdict, b.verdict, c.verdict) == ("PASS", "", "")
    assert a.verification and a.verification.run == "1"
    verified(bucket, "a", "3", "FAIL", "2026-01-07T00:00:00+00:00", mode="objects", sound=True)
    assert finished(bucket)[2].verdict == "PASS", "it was only too old, and its files are whole"
    verified(bucket, "a", "4", "FAIL", "2026-01-08T00:00:00+00:00", mode="objects", sound=False)
    assert finished(bucket)[2].verdict == "FAIL"
