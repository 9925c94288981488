"""Pruning in a real S3 server: what goes, what stays, what a kill leaves behind, and who may be reading."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from s3_real import own_s3

from steps.backup import prune
from steps.backup.catalogue import read_catalogue
from steps.backup.inventory import abort, clock, uploads
from steps.backup.manifest import File, Manifest
from steps.backup.objects import Bucket
from steps.backup.prune import Plan, carry_out, check_known, finish_removals, make_plan, remove, rules_of
from steps.backup.readers import readers, reading
from steps.backup.retention import Rules
from steps.errors import BadParameters, Temporary

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def server(versitygw: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Bucket, Path, dict[str, str]]]:
    folder = tmp_path_factory.mktemp("s3")
    with own_s3(folder, 85) as (bucket, keys):
        environment = {
            "S3_ENDPOINT": keys.endpoint,
            "S3_REGION": keys.region,
            "S3_BUCKET": keys.bucket,
            "AWS_ACCESS_KEY_ID": keys.access_key,
            "AWS_SECRET_ACCESS_KEY": keys.secret_key,
        }
        yield bucket, folder / "s3" / "tiphys", environment


@pytest.fixture
def bucket(server: tuple[Bucket, Path, dict[str, str]]) -> Bucket:
    found = server[0]
    for key in found.keys(""):
        found.delete(key)
    for upload in uploads(found, ""):
        abort(found, upload)
    return found


@pytest.fixture
def age(server: tuple[Bucket, Path, dict[str, str]]) -> Callable[..., None]:
    """Give a function that makes objects (or uploads) look older than they are."""

    def make_older(prefix: str, **by: float) -> None:
        at = (datetime.now(UTC) - timedelta(**by)).timestamp()
        for path in [server[1] / prefix, *(server[1] / prefix).rglob("*")]:
            os.utime(path, (at, at))

    return make_older


def name_of(days: float, cluster: str = "demo") -> str:
    return f"{cluster}-{NOW - timedelta(days=days):%Y%m%d-%H%M%S}"


def put(bucket: Bucket, days: float, *, cluster: str = "demo", namespace: str = "tiphys", **more: Any) -> str:
    """Put a finished backup that is so many days old into the bucket."""
    name, begin = name_of(days, cluster), (NOW - timedelta(days=days)).isoformat(timespec="seconds")
    files = {file: b"x" * 10 for file in ("@.json", "@.done.json", "shop@orders@@0.tsv.zst", "shop.sql")}
    described = {file: File(len(content), "0" * 64) for file, content in files.items()}
    texts = {"server": "s", "pod": "p", "server_version": "9.7.4", "gtid_executed": "u:1-5", "begin": begin}
    made = Manifest(
        name=name, cluster=cluster, namespace=namespace, end=begin, tables={}, files=described, **texts, **more
    )
    for file, content in files.items():
        bucket.put(f"backups/{name}/{file}", content)
    bucket.put(f"backups/{name}/tiphys.json", made.dump())
    return name


def verified(bucket: Bucket, name: str, verdict: str, run: str = "v") -> None:
    document = {"backup": name, "verdict": verdict, "at": NOW.isoformat(), "rtoSeconds": 1, "rpoSeconds": 1}
    bucket.put(f"verifications/{name}/{run}.json", json.dumps(document).encode())


def planned(bucket: Bucket) -> Plan:
    return make_plan(bucket, read_catalogue(bucket), "demo", "tiphys", Rules(1, 0, 0, 0))


def folders(bucket: Bucket) -> set[str]:
    return set(bucket.folders("backups/"))


def test_what_no_rule_keeps_goes_and_the_rest_stays(bucket: Bucket) -> None:
    names = [put(bucket, days) for days in range(5)]
    verified(bucket, names[3], "PASS")
    other = put(bucket, 9, cluster="demo-two")
    elsewhere = put(bucket, 8, namespace="elsewhere")
    plan = planned(bucket)
    assert plan.removed == [names[4], names[2], names[1]]
    assert carry_out(bucket, plan) == []
    assert folders(bucket) == {names[0], names[3], other, elsewhere}
    assert len(bucket.keys(f"backups/{names[3]}/")) == 5
    assert bucket.keys("removing/") == {}


def test_a_copy_of_one_table_pushes_no_copy_of_everything_out(bucket: Bucket) -> None:
    whole = [put(bucket, days) for days in (4, 5)]
    parts = [put(bucket, days, include=("shop.orders",)) for days in (1, 2, 3)]
    plan = planned(bucket)
    assert plan.removed == [whole[1], parts[2], parts[1]]


def test_encrypted_ones_and_those_of_the_operator_are_treated_alike(bucket: Bucket) -> None:
    names = [
        put(bucket, 1),
        put(bucket, 2, encryption={"scheme": "x", "fingerprint": "y"}),
        put(bucket, 3, method="operator"),
    ]
    plan = planned(bucket)
    carry_out(bucket, plan)
    assert folders(bucket) == {names[0]}


def test_what_killed_backups_left_goes_after_a_day(bucket: Bucket, age: Callable[..., None]) -> None:
    good = put(bucket, 0.5)
    old, young, shell = name_of(3), name_of(2), name_of(4)
    for name in (old, young):
        bucket.put(f"backups/{name}/shop@orders@0.tsv.zst", b"12345")
    bucket.put(f"backups/{shell}/@.json", b'{"dumper": "mysqlsh Ver 9.7.4"}')
    bucket.put("backups/my-files/letter.txt", b"dear")
    bucket.put(f"backups/{name_of(6, 'demo-two')}/a.tsv.zst", b"of another cluster")
    bucket.put(f"backups/{name_of(7)}/tiphys.json", b"{")
    asked = name_of(5)
    bucket.put(f"backups/{asked}/@.json", b'{"dumper": "mysqlsh Ver 9.7.4"}')
    bucket.put(f"backups/{asked}/@.done.json", b"{}")
    for name in (asked, good):
        bucket.put(f"asked/{name}", b"")
    for folder in ("backups", f"backups/{old}"):
        age(folder, hours=25)
    age(f"backups/{young}", hours=23)
    plan = planned(bucket)
    assert sorted(one.name for one in plan.leftovers) == sorted([old, asked])
    assert plan.objects == [f"asked/{good}"]
    assert [note.split(":")[0] for note in plan.notes] == [young, shell, name_of(7)]
    before = folders(bucket)
    carry_out(bucket, plan)
    assert folders(bucket) == before - {old, asked} and good in before
    assert bucket.keys("asked/") == {}


def test_lost_uploads_go_after_a_day(bucket: Bucket, age: Callable[..., None]) -> None:
    good = put(bucket, 0.5)

    def begin(key: str) -> str:
        return str(bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)["UploadId"])

    begin(f"backups/{good}/again.tsv.zst")
    begin(f"backups/{name_of(3)}/only.tsv.zst")
    bucket.put(f"backups/{name_of(4)}/a.tsv.zst", b"old, but an upload of today")
    age("backups", days=3)
    age(".sgwtmp", days=3)
    young = {begin(f"backups/{name_of(4)}/b.tsv.zst"), begin(f"backups/{good}/c.tsv.zst")}
    kept = begin(f"backups/{name_of(3, 'demo-two')}/x.tsv.zst")
    plan = planned(bucket)
    assert [one.name for one in plan.leftovers] == [name_of(3)] and len(plan.uploads) == 1
    carry_out(bucket, plan)
    assert {one.id for one in uploads(bucket, "backups/")} == {*young, kept}
    assert len(bucket.keys(f"backups/{good}/")) == 5


def test_old_records_of_verifications_go_once_their_backup_is_gone(bucket: Bucket, age: Callable[..., None]) -> None:
    there = put(bucket, 1)
    for name in (there, name_of(200), name_of(300), name_of(200, "demo-two")):
        verified(bucket, name, "PASS")
    for name in (there, name_of(300), name_of(200, "demo-two")):
        age(f"verifications/{name}", days=91)
    plan = planned(bucket)
    assert plan.objects == [f"verifications/{name_of(300)}/v.json"]


def test_one_that_is_read_stays_until_its_reader_ends_or_dies(bucket: Bucket, age: Callable[..., None]) -> None:
    names = [put(bucket, days) for days in range(3)]
    with reading(bucket, names[1], "restore-x/1"):
        assert planned(bucket).removed == [names[2]]
        assert readers(bucket, clock(bucket))[0] == {names[1]: ["restore-x-1"]}
        assert not remove(bucket, names[1]) and len(bucket.keys(f"backups/{names[1]}/")) == 5
    assert planned(bucket).removed == [names[2], names[1]]
    with reading(bucket, names[1], "verify", lingers=True):
        pass
    assert planned(bucket).removed == [names[2]], "a later step of the run reads on"
    with pytest.raises(BadParameters), reading(bucket, names[1], "verify", lingers=True):
        raise BadParameters("another key")
    assert planned(bucket).removed == [names[2], names[1]], "no later step comes"
    bucket.put(f"readers/{names[1]}/killed.1-ab", b"{}")
    assert planned(bucket).removed == [names[2]]
    age("readers", minutes=61)
    plan = planned(bucket)
    assert plan.removed == [names[2], names[1]] and plan.objects == [f"readers/{names[1]}/killed.1-ab"]


def test_a_mistyped_cluster_is_refused_and_one_that_is_gone_is_not(bucket: Bucket) -> None:
    seen = read_catalogue(bucket)
    with pytest.raises(BadParameters, match="no InnoDBCluster 'dmeo'.*backups of: none"):
        check_known(make_plan(bucket, seen, "dmeo", "tiphys", Rules()), seen, "dmeo", "tiphys")
    put(bucket, 1)
    seen = read_catalogue(bucket)
    check_known(make_plan(bucket, seen, "demo", "tiphys", Rules()), seen, "demo", "tiphys")
    with pytest.raises(BadParameters, match="backups of: demo"):
        check_known(make_plan(bucket, seen, "dmeo", "tiphys", Rules()), seen, "dmeo", "tiphys")


def test_a_reader_says_again_that_it_is_there(bucket: Bucket, age: Callable[..., None]) -> None:
    name = put(bucket, 1)
    with reading(bucket, name, "r", beat_seconds=0.05):
        for _ in range(2):
            age("readers", minutes=61)
            for _ in range(200):
                if readers(bucket, clock(bucket), name)[0]:
                    break
                threading.Event().wait(0.05)
            assert readers(bucket, clock(bucket), name)[0] == {name: ["r"]}
    assert bucket.keys("readers/") == {}


class Meddling:
    """The real client, but for one thing that happens right after a request."""

    def __init__(self, client: Any, after: Callable[[str, str], None]) -> None:
        self._client, self._after = client, after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        if name not in ("delete_object", "put_object"):
            return real

        def call(**what: Any) -> Any:
            answer = real(**what)
            self._after(name, what["Key"])
            return answer

        return call


def test_who_begins_to_read_while_it_is_removed_gets_all_of_it_back(bucket: Bucket) -> None:
    put(bucket, 0)
    name = put(bucket, 1)
    before = bucket.keys(f"backups/{name}/")

    def read_now(request: str, key: str) -> None:
        if request == "delete_object" and key.endswith("tiphys.json"):
            bucket.put(f"readers/{name}/late.1-ab", b"{}")

    plan = planned(bucket)
    assert carry_out(Bucket(Meddling(bucket.client, read_now), bucket.name), plan) == [name]
    assert bucket.keys(f"backups/{name}/") == before and bucket.keys("removing/") == {}


@pytest.mark.parametrize("method", ["tiphys", "operator"])
def test_a_removal_that_breaks_off_anywhere_leaves_a_whole_backup_or_none(bucket: Bucket, method: str) -> None:
    newest = put(bucket, 0)
    step = 0
    while True:
        name = put(bucket, 1, method=method)
        whole, left = bucket.keys(f"backups/{name}/"), step

        def lose(request: str, key: str) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed

        try:
            remove(Bucket(Meddling(bucket.client, lose), bucket.name), name)
            break
        except Killed:
            pass
        listed = {one.name for one in read_catalogue(bucket).backups}
        assert listed == ({newest, name} if bucket.keys(f"backups/{name}/") == whole else {newest}), step
        finish_removals(bucket, "demo", "tiphys", dry_run=True)
        finish_removals(bucket, "other", "tiphys", dry_run=False)
        finish_removals(bucket, "demo", "tiphys", dry_run=False)
        assert bucket.keys("removing/") == {}
        assert bucket.keys(f"backups/{name}/") in ({}, whole), step
        step += 1
    assert step >= 7 and bucket.keys(f"backups/{name}/") == {}


def test_what_is_half_removed_never_looks_whole_again_though_somebody_tries_to_read_it(bucket: Bucket) -> None:
    put(bucket, 0)
    name = put(bucket, 1)
    content = bucket.get(f"backups/{name}/tiphys.json")
    bucket.put(f"removing/{name}", content)
    for gone in ("tiphys.json", "@.done.json", "@.json", "shop.sql"):
        bucket.delete(f"backups/{name}/{gone}")
    bucket.put(f"readers/{name}/late.1-ab", b"{}")
    finish_removals(bucket, "demo", "tiphys", dry_run=False)
    assert name not in {one.name for one in read_catalogue(bucket).backups}
    assert bucket.keys(f"backups/{name}/") == {} == bucket.keys("removing/")


class Killed(BaseException):
    """Ends a removal as a kill does: nothing of it may catch this."""


def test_rules_come_from_the_parameters_then_the_cluster_then_the_defaults() -> None:
    cluster = {"metadata": {"annotations": {prune.ANNOTATION: "keep-daily=14 keep-monthly=0"}}}
    nothing = dict.fromkeys(("keep_last", "keep_daily", "max_count"))
    assert rules_of(None, nothing) == Rules() == rules_of({"metadata": {}}, nothing)
    assert rules_of(cluster, nothing) == Rules(3, 14, 4, 0)
    assert rules_of(cluster, {**nothing, "keep_daily": 0, "max_count": 5}) == Rules(3, 0, 4, 0, 0, 5)
    with pytest.raises(BadParameters, match=r"tiphys.dev/prune-backups has 'keep-dayly=1'.*Nothing was removed"):
        rules_of({"metadata": {"annotations": {prune.ANNOTATION: "keep-dayly=1"}}}, nothing)
    assert Temporary.exit_code == 75
