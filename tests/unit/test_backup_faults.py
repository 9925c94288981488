"""Whole backups and restores through an S3 that fails: survived, or a clear error and nothing that looks whole."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mysql_group import ROOT, Server, mysql_group
from s3_faults import ALWAYS, Fault, Proxy, bucket_of, faulty_s3, retries
from s3_faults import Server as S3Server

from steps.backup import s3_errors
from steps.backup.backup import back_up
from steps.backup.budget import budget
from steps.backup.decrypt import FolderTarget, PrefixTarget, copy_plain
from steps.backup.dump_catalog import Selection
from steps.backup.encryption import Keyring
from steps.backup.layout import prefix
from steps.backup.load_plan import read_plan
from steps.backup.load_rows import Target
from steps.backup.load_run import restore_from
from steps.backup.manifest import FILE, Manifest
from steps.backup.objects import Bucket
from steps.backup.source import FolderSource, S3Source, Source
from steps.backup.verify_objects import check_objects
from steps.errors import BadParameters, Refused, StepError, Temporary
from steps.mysql.connection import query
from steps.mysql.topology import judge, read_views

HOST = f"127.86.{os.getpid() % 250 + 1}"
TABLES = ("shop.large", "shop.small")


def least_memory() -> int:
    """Return the MiB that give two readers the smallest parts: small chunks are uploads of several parts then."""
    for memory in range(1, 1000):
        with suppress(BadParameters):
            if budget(memory, 2).readers == 2:
                return memory
    raise AssertionError("two readers need more than 1000 MiB")


MEMORY = least_memory()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [f"{HOST}.1"]) as servers:
        connection = servers[0].connect()
        for statement in (
            "CREATE SCHEMA shop",
            "CREATE TABLE shop.large (id INT PRIMARY KEY, b LONGBLOB)",
            "CREATE TABLE shop.small (id INT PRIMARY KEY, note VARCHAR(50))",
            "INSERT INTO shop.small SELECT n, CONCAT('note ', n) FROM (WITH RECURSIVE r AS (SELECT 1 n UNION ALL"
            " SELECT n + 1 FROM r WHERE n < 500) SELECT n FROM r) made",
        ):
            query(connection, statement)
        # Each a chunk of its own, and more than one part of an upload.
        for number in range(2):
            query(connection, "INSERT INTO shop.large VALUES (%s, %s)", [number, os.urandom(9_500_000)])
        connection.close()
        yield servers[0]


@pytest.fixture(scope="module")
def sums(server: Server) -> dict[str, int]:
    return checksums(server)


def checksums(server: Server) -> dict[str, int]:
    connection = server.connect()
    found = {name: int(query(connection, f"CHECKSUM TABLE {name}")[0][1] or 0) for name in TABLES}
    connection.close()
    return found


@pytest.fixture(scope="module")
def s3(versitygw: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Server, Proxy]]:
    with faulty_s3(tmp_path_factory.mktemp("s3"), f"{HOST}.2") as both:
        yield both


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_errors, "WAITS", (0.01, 0.02, 0.03))
    monkeypatch.delenv("TIPHYS_BACKUP_KEY", raising=False)


@pytest.fixture
def direct(s3: tuple[S3Server, Proxy]) -> Iterator[Bucket]:
    """The bucket with no proxy before it."""
    made = bucket_of(s3[0].environment())
    yield made
    made.close()


@pytest.fixture
def faulty(s3: tuple[S3Server, Proxy]) -> Iterator[Bucket]:
    s3[1].meet()
    made = bucket_of(s3[0].environment(S3_ENDPOINT=s3[1].url, S3_TIMEOUT_SECONDS="8"))
    yield made
    made.close()


@pytest.fixture
def empty(direct: Bucket) -> None:
    """No backup is there."""
    for key in direct.keys("backups/"):
        direct.delete(key)


def backup(server: Server, bucket: Bucket, keyring: Keyring | None = None) -> Manifest:
    views, unreachable = read_views({"demo-0": server.address}, ROOT)
    topology = judge("demo", 1, views, unreachable)
    selection = Selection(("shop",), exclude_users=("root", "repl"))
    return back_up(topology, ROOT, bucket, "tiphys", selection, parallel=2, keyring=keyring, memory=MEMORY)[0]


@pytest.fixture(scope="module")
def made(server: Server, s3: tuple[S3Server, Proxy]) -> Manifest:
    """A sound backup, and its objects."""
    bucket = bucket_of(s3[0].environment())
    made = backup(server, bucket)
    # Out of the way of the tests that count backups.
    for key in bucket.keys(prefix(made.name)):
        bucket.put(f"sound/{key.rpartition('/')[2]}", bucket.get(key))
        bucket.delete(key)
    bucket.close()
    return made


def restore(server: Server, source: Source, name: str) -> Any:
    return restore_from(source, Target(server.address, ROOT), name=name, only=["shop"], parallel=2)


def drop(server: Server) -> None:
    connection = server.connect()
    query(connection, "DROP SCHEMA IF EXISTS shop")
    connection.close()


def phases(server: Server) -> list[str]:
    connection = server.connect()
    found = [str(row[0]) for row in query(connection, "SELECT phase FROM tiphys.restores ORDER BY started DESC")]
    connection.close()
    return found


@pytest.fixture
def target(server: Server, sums: dict[str, int], made: Manifest, direct: Bucket) -> Iterator[Server]:
    """The server without the schema; it has it again afterwards."""
    drop(server)
    yield server
    if checksums_or_none(server) != sums:
        drop(server)
        restore(server, S3Source(direct, "sound/"), made.name)


def checksums_or_none(server: Server) -> dict[str, int] | None:
    try:
        return checksums(server)
    except StepError:
        return None


def sound(bucket: Bucket, name: str) -> None:
    manifest = Manifest.parse(bucket.get(prefix(name) + FILE))
    found = check_objects(bucket, prefix(name), manifest, 4)
    assert not found.damaged and not found.strangers and found.files == len(manifest.files)
    assert manifest.tables == {"shop": {"large": 2, "small": 500}}
    assert not bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads")


PART, END = "large.*partNumber=1", "tiphys.json"
PASSING = {
    "a part is not taken": Fault("PUT", PART, answer=(500, "InternalError")),
    "slow down": Fault("PUT", "small", times=3, answer=(503, "SlowDown")),
    "a part is never answered": Fault("PUT", PART, hang=True),
    "cut in a part": Fault("PUT", PART, cut_request=3_000_000),
    "a part changed on its way": Fault("PUT", PART, flip_request=3_000_000),
    "the end of an upload is not heard of": Fault("POST", "large.*uploadId", lose_answer=True),
    "the end mark is not heard of": Fault("PUT", END, lose_answer=True),
    "no listing": Fault("GET", "list-type", answer=(500, "InternalError")),
}


@pytest.mark.usefixtures("empty", "sums")
@pytest.mark.parametrize("fault", PASSING)
def test_a_backup_outlives_a_fault(
    server: Server, faulty: Bucket, direct: Bucket, s3: tuple[S3Server, Proxy], fault: str, capsys: Any
) -> None:
    met = Fault(**{**vars(PASSING[fault]), "hits": 0})
    s3[1].meet(met)
    done = backup(server, faulty)
    assert met.hits > 0 and retries(capsys)
    sound(direct, done.name)


STAYING = {
    "no part is taken": [Fault("PUT", PART, times=ALWAYS, answer=(503, "SlowDown"))],
    "every part is cut": [Fault("PUT", PART, times=ALWAYS, cut_request=2_000_000)],
    "no end mark is taken": [Fault("PUT", END, times=ALWAYS, answer=(503, "SlowDown"))],
    "no end mark is heard of": [
        Fault("PUT", END, times=ALWAYS, lose_answer=True),
        Fault("GET", END, times=99, answer=(500, "")),
    ],
    "nothing works any more": [Fault("", "", skip=12, times=ALWAYS, answer=(503, "SlowDown"))],
    "the end mark is not heard of, nor its deletion": [
        Fault("PUT", END, times=ALWAYS, lose_answer=True),
        Fault("GET", END, times=ALWAYS, answer=(500, "")),
        Fault("DELETE", END, times=ALWAYS, answer=(503, "SlowDown")),
    ],
    "the server is gone": [
        Fault("PUT", "", skip=4, times=ALWAYS, cut_request=0),
        Fault("", "", skip=20, times=ALWAYS, cut_request=0),
    ],
}


@pytest.mark.usefixtures("empty", "sums")
@pytest.mark.parametrize("fault", STAYING)
def test_a_backup_that_cannot_be_finished_never_looks_whole(
    server: Server, faulty: Bucket, direct: Bucket, s3: tuple[S3Server, Proxy], fault: str, capsys: Any
) -> None:
    s3[1].meet(*(Fault(**{**vars(each), "hits": 0}) for each in STAYING[fault]))
    with pytest.raises(Temporary, match="S3 bucket tiphys.*tried 4 times") as caught:
        backup(server, faulty)
    assert caught.value.exit_code == 75
    left = direct.keys("backups/")
    ended = [key for key in left if key.endswith(END)]
    if fault == "the end mark is not heard of, nor its deletion":
        # It is whole, although nobody could tell: so nothing of it may be missing.
        sound(direct, ended[0].split("/")[1])
        assert "files left behind" in capsys.readouterr().err
    else:
        assert not ended
        assert not left or fault in ("nothing works any more", "the server is gone"), "they could be deleted"
    for one in direct.client.list_multipart_uploads(Bucket=direct.name).get("Uploads", []):
        direct.client.abort_multipart_upload(Bucket=direct.name, Key=one["Key"], UploadId=one["UploadId"])


WRONG = {
    "secret key": ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch.*Compare secretKey"),
    "bucket": ({"S3_BUCKET": "elsewhere"}, r"NoSuchBucket.*[^.]\. Make the bucket"),
    "rights": ({}, "AccessDenied.*rights"),
}


@pytest.mark.usefixtures("empty", "sums")
@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_credentials_and_a_missing_bucket_are_told_at_once(
    server: Server, s3: tuple[S3Server, Proxy], direct: Bucket, wrong: str, capsys: Any
) -> None:
    changed, said = WRONG[wrong]
    if wrong == "rights":
        changed = {"AWS_ACCESS_KEY_ID": "stranger", "AWS_SECRET_ACCESS_KEY": s3[0].user("stranger")}
    bucket = bucket_of(s3[0].environment(**changed))
    for act in (lambda: backup(server, bucket), lambda: read_plan(S3Source(bucket, "sound/"))):
        with pytest.raises(StepError, match=said) as caught:
            act()
        assert caught.value.exit_code == 1
    bucket.close()
    assert not retries(capsys) and not direct.keys("backups/")


CHUNK = "sound/shop@large@.*zst"
READING = {
    "500": Fault("GET", CHUNK, answer=(500, "InternalError")),
    "slow down": Fault("GET", "sound/", skip=3, times=3, answer=(503, "SlowDown")),
    "never answered": Fault("GET", CHUNK, hang=True),
    "cut in a chunk": Fault("GET", CHUNK, cut_answer=4_000_000),
    "no listing": Fault("GET", "list-type", answer=(500, "InternalError")),
    "a slow line": Fault("GET", CHUNK, drip=200_000),
}


@pytest.mark.parametrize("fault", READING)
def test_a_restore_outlives_a_fault(
    target: Server,
    sums: dict[str, int],
    faulty: Bucket,
    s3: tuple[S3Server, Proxy],
    fault: str,
    made: Manifest,
    capsys: Any,
) -> None:
    met = Fault(**{**vars(READING[fault]), "hits": 0})
    s3[1].meet(met)
    restore(target, S3Source(faulty, "sound/"), made.name)
    assert met.hits > 0 and (retries(capsys) or met.drip)
    assert checksums(target) == sums


def test_a_restore_that_s3_leaves_goes_on_later_and_never_looks_whole(
    target: Server, sums: dict[str, int], faulty: Bucket, s3: tuple[S3Server, Proxy], made: Manifest
) -> None:
    s3[1].meet(Fault("GET", CHUNK, times=ALWAYS, cut_answer=0))
    with pytest.raises(Temporary, match=r"S3 bucket tiphys: cannot read sound/shop@large.*tried 4 times") as caught:
        restore(target, S3Source(faulty, "sound/"), made.name)
    assert caught.value.exit_code == 75 and phases(target)[0] == "rows"
    s3[1].meet()
    restore(target, S3Source(faulty, "sound/"), made.name)
    assert phases(target)[0] == "done" and checksums(target) == sums


def looks_whole(server: Server) -> bool:
    connection = server.connect()
    there = query(connection, "SELECT 1 FROM information_schema.schemata WHERE schema_name = 'shop'")
    connection.close()
    return bool(there) and phases(server)[0] == "done"


def flipped(content: bytes) -> bytes:
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def other_version(content: bytes, **changed: Any) -> bytes:
    return json.dumps({**json.loads(content), **changed}).encode()


DAMAGE = {
    "a flipped byte in a chunk": ("shop@large@@0.tsv.zst", flipped, "shop@large@@0.tsv.zst"),
    "a flipped byte in a definition": ("shop@small.sql", flipped, "shop@small.sql"),
    "a missing chunk": ("shop@large@@0.tsv.zst", lambda content: None, "has no shop@large@@0.tsv.zst"),
    "a truncated object": ("shop@large@@0.tsv.zst", lambda content: content[:-1], "has .* bytes, tiphys.json says"),
    "a newer version": (FILE, lambda content: other_version(content, format=2), "format 2, this program reads 1"),
    "no JSON": (FILE, lambda content: content[:100], "tiphys.json is no JSON"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_backup_is_refused_by_name(
    target: Server, direct: Bucket, damage: str, made: Manifest, request: pytest.FixtureRequest
) -> None:
    name, change, said = DAMAGE[damage]
    large = next(file for file in made.files if file.startswith("shop@large@") and file.endswith(".zst"))
    name, said = name.replace("shop@large@@0.tsv.zst", large), said.replace("shop@large@@0.tsv.zst", large)
    content = direct.get(f"sound/{name}")
    changed = change(content)
    if changed is None:
        direct.delete(f"sound/{name}")
    else:
        direct.put(f"sound/{name}", changed)
    try:
        with pytest.raises(StepError, match=said) as caught:
            restore(target, S3Source(direct, "sound/"), made.name)
    finally:
        direct.put(f"sound/{name}", content)
    assert not isinstance(caught.value, Temporary)
    assert not looks_whole(target)


@pytest.mark.parametrize("file", ["shop@large@.*zst", "shop@small.sql", "shop@small@.*zst$"])
def test_wrong_bytes_of_the_right_length_are_noticed(
    target: Server, faulty: Bucket, s3: tuple[S3Server, Proxy], made: Manifest, file: str
) -> None:
    s3[1].meet(Fault("GET", f"sound/{file}", times=ALWAYS, flip_answer=-9))
    with pytest.raises(StepError, match=file.rstrip("$")) as caught:
        restore(target, S3Source(faulty, "sound/"), made.name)
    assert not isinstance(caught.value, Temporary)
    assert not looks_whole(target)


def fresh() -> str:
    return base64.b64encode(os.urandom(32)).decode()


@pytest.mark.usefixtures("empty")
def test_an_encrypted_backup_comes_back_with_its_key_only(
    target: Server,
    sums: dict[str, int],
    made: Manifest,
    direct: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restore(target, S3Source(direct, "sound/"), made.name)
    key = fresh()
    monkeypatch.setenv("TIPHYS_BACKUP_KEY", key)
    done = backup(target, direct, Keyring.read(os.environ))
    sound(direct, done.name)
    folder = prefix(done.name)
    stored = {each: direct.get(each) for each in direct.keys(folder)}
    for each, content in stored.items():
        assert each.endswith(FILE) == (not content.startswith(b"tiphys\x00\x01")), each
        assert b"note" not in content and b"CREATE" not in content, each
    drop(target)
    for wrong, said in (("", "no key is given; expected the key of fingerprint"), (fresh(), "the Secret .* has")):
        monkeypatch.setenv("TIPHYS_BACKUP_KEY", wrong)
        with pytest.raises(StepError, match=said):
            restore(target, S3Source(direct, folder), done.name)
    connection = target.connect()
    assert not query(connection, "SELECT 1 FROM information_schema.schemata WHERE schema_name = 'shop'")
    connection.close()
    # A chunk that is not what was encrypted; the key that was in use then is among the previous ones.
    monkeypatch.setenv("TIPHYS_BACKUP_KEY", fresh())
    monkeypatch.setenv("TIPHYS_BACKUP_KEYS_PREVIOUS", f"{fresh()} {key}")
    chunk = next(each for each in stored if "large@" in each and each.endswith(".zst"))
    direct.put(chunk, flipped(stored[chunk]))
    with pytest.raises(StepError, match=r"large.*cannot be decrypted at segment"):
        restore(target, S3Source(direct, folder), done.name)
    direct.put(chunk, stored[chunk])
    drop(target)
    restore(target, S3Source(direct, folder), done.name)
    assert checksums(target) == sums
    # In the clear again, for other programs: loads as any dump does, without a key.
    source = S3Source(direct, folder)
    with pytest.raises(BadParameters, match="among the backups"):
        PrefixTarget(direct, "backups/x/")
    copy_plain(source, PrefixTarget(direct, "plain/demo/"))
    copy_plain(source, FolderTarget(tmp_path / "plain"))
    with pytest.raises(Refused, match="not empty"):
        copy_plain(source, FolderTarget(tmp_path / "plain"))
    monkeypatch.delenv("TIPHYS_BACKUP_KEY")
    monkeypatch.delenv("TIPHYS_BACKUP_KEYS_PREVIOUS")
    with pytest.raises(StepError, match="is not encrypted"):
        copy_plain(S3Source(direct, "plain/demo/"), FolderTarget(tmp_path / "other"))
    assert {each.name for each in (tmp_path / "plain").iterdir()} == {each.rpartition("/")[2] for each in stored}
    for plain in (FolderSource(tmp_path / "plain"), S3Source(direct, "plain/demo/")):
        drop(target)
        restore(target, plain, done.name)
        assert checksums(target) == sums
