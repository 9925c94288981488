"""Verifying against a real server and a real S3 server: the server holds what was backed up, until a test harms it.

Comparing a backup with its own source asks the same as comparing it with a restored copy: is every byte there?
"""

from __future__ import annotations

import base64
import dataclasses
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mysql_group import ROOT, Server, mysql_group
from s3_real import own_s3

from steps.backup.backup import back_up
from steps.backup.dump_catalog import Selection
from steps.backup.encryption import Keyring
from steps.backup.layout import prefix
from steps.backup.load_rows import Target
from steps.backup.manifest import FILE, Manifest
from steps.backup.objects import Bucket
from steps.backup.source import S3Source
from steps.backup.verify_checks import check_all
from steps.backup.verify_objects import check_objects
from steps.backup.verify_prepare import described, moment_of, read_manifest
from steps.backup.verify_queries import Question, ask_all
from steps.backup.verify_record import ORDER, Checks, Order, Table, dump
from steps.backup.verify_report import late_report, read_result
from steps.errors import BadParameters, StepError
from steps.mysql.connection import query, session
from steps.mysql.topology import judge, read_views

ADDRESS = f"127.184.{os.getpid() % 250 + 1}.1"
SCHEMA = "shop @1"
MADE = (
    f"CREATE SCHEMA `{SCHEMA}`",
    f"USE `{SCHEMA}`",
    "CREATE TABLE orders (id INT PRIMARY KEY, what VARCHAR(60), at DATETIME)",
    "SET SESSION cte_max_recursion_depth=10000",
    "INSERT INTO orders SELECT n, CONCAT('order ', LPAD(n, 50, 'x')), '2026-11-20' + INTERVAL n SECOND FROM (WITH"
    " RECURSIVE r AS (SELECT 1 n UNION ALL SELECT n + 1 FROM r WHERE n < 3000) SELECT n FROM r) made",
    "CREATE TABLE parts (a VARCHAR(10), b INT, v VARBINARY(20), PRIMARY KEY (a, b)) PARTITION BY KEY (a) PARTITIONS 3",
    "INSERT INTO parts SELECT CHAR(65 + id % 26), id, UNHEX(LEFT(SHA2(id, 256), 20)) FROM orders",
    "CREATE TABLE vacant (id INT PRIMARY KEY)",
    "CREATE VIEW late AS SELECT * FROM orders WHERE id > 2990",
    "CREATE FUNCTION plus(x INT) RETURNS INT DETERMINISTIC RETURN x + 1",
    "CREATE PROCEDURE nothing() SELECT 1",
    "CREATE TRIGGER loud BEFORE INSERT ON vacant FOR EACH ROW SET NEW.id = NEW.id + 1",
    "CREATE EVENT never ON SCHEDULE EVERY 1 YEAR STARTS '2099-01-01' DO SELECT 1",
    "CREATE USER 'o''dd'@'10.%' IDENTIFIED BY 'secret'",
)

THREE = f"`{SCHEMA}`.orders a, `{SCHEMA}`.orders b, `{SCHEMA}`.orders c"


@dataclass
class World:
    """A server, its backup, and the bucket that it lies in."""

    bucket: Bucket
    manifest: Manifest
    order: Order
    folder: str

    def objects(self) -> dict[str, str]:
        found = check_objects(self.bucket, self.folder, self.manifest, 3)
        return {damage.what: damage.why for damage in found.damaged}

    def checks(self) -> Checks:
        return check_all(self.order, S3Source(self.bucket, self.folder), Target(ADDRESS, ROOT))

    def bad_tables(self) -> dict[str, tuple[str, ...]]:
        return {table.name.rpartition(".")[2]: table.bad for table in self.checks().tables if table.bad}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as servers:
        yield servers[0]


@pytest.fixture(scope="module")
def world(server: Server, versitygw: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with session(ADDRESS, 3306, ROOT) as connection, own_s3(tmp_path_factory.mktemp("s3"), 184) as (bucket, _):
        for statement in MADE:
            query(connection, statement)
        topology = judge("demo", 1, *read_views({"demo-0": ADDRESS}, ROOT))
        made, _ = back_up(
            topology, ROOT, bucket, "tiphys", Selection((), (), ("root",)), parallel=2, bytes_per_chunk=40_000
        )
        questions = (
            Question("orders", f"SELECT COUNT(*) FROM `{SCHEMA}`.orders", ">= 3000"),
            Question("zone", "SELECT @@time_zone, @@transaction_read_only", [["+00:00", 1]]),
        )
        order = Order("run-1", "tiphys", "demo", made.name, "s3://x", "full", made.end, questions=questions)
        order = described(dataclasses.replace(order, parallel=3, query_seconds=1.0), made)
        yield World(bucket, made, order, prefix(made.name))


@pytest.fixture
def harm(world: World) -> Iterator[Callable[..., None]]:
    """Give a function that runs statements, and puts back afterwards what is told with each."""
    undo: list[str] = []
    with session(ADDRESS, 3306, ROOT, database=SCHEMA) as connection:

        def run(statement: str, *back: str) -> None:
            query(connection, statement)
            undo.extend(back)

        yield run
        for statement in reversed(undo):
            query(connection, statement)
    assert world.bad_tables() == {}, "the test has put everything back"


@pytest.fixture
def change(world: World) -> Iterator[Callable[[str, bytes | None], None]]:
    """Give a function that replaces an object (None deletes it); afterwards all are as they were."""
    before: dict[str, bytes] = {}

    def replace(name: str, content: bytes | None) -> None:
        before.setdefault(name, world.bucket.get(world.folder + name))
        if content is None:
            world.bucket.delete(world.folder + name)
        else:
            world.bucket.put(world.folder + name, content)

    yield replace
    for name, content in before.items():
        world.bucket.put(world.folder + name, content)


def chunk(world: World, table: str = "orders") -> str:
    """Return the file of a table's largest chunk."""
    files = {name: file for name, file in world.manifest.files.items() if f"@{table}@" in name and file.rows}
    return max(files, key=lambda name: files[name].size)


def test_everything_of_an_unharmed_backup_is_equal(world: World) -> None:
    assert world.objects() == {}
    found = world.checks()
    tables = {table.name: table for table in found.tables}
    assert {name: (table.rows, table.expected) for name, table in tables.items()} == {
        f"{SCHEMA}.orders": (3000, 3000),
        f"{SCHEMA}.parts": (3000, 3000),
        f"{SCHEMA}.vacant": (0, 0),
    }
    assert all(not table.bad and table.same == table.chunks and table.check == "OK" for table in found.tables)
    assert tables[f"{SCHEMA}.orders"].chunks > 2 and tables[f"{SCHEMA}.parts"].chunks >= 3
    kinds = {kind.kind: (kind.expected, kind.found, kind.bad) for kind in found.kinds}
    assert kinds["tables"] == (3, 3, ()) and kinds["routines"] == (2, 2, ()), kinds
    assert all(kinds[kind] == (1, 1, ()) for kind in ("schemas", "views", "triggers", "events")), kinds
    assert kinds["accounts"][0] == kinds["accounts"][1] >= 1 and not kinds["accounts"][2]
    assert [(answer.name, answer.bad) for answer in found.answers] == [("orders", ""), ("zone", "")]


def test_a_flipped_byte_is_found_by_its_file(world: World, change: Any) -> None:
    name = chunk(world)
    content = world.bucket.get(world.folder + name)
    at = len(content) // 2  # how much is in a chunk depends on the machine's pace
    change(name, content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
    assert list(world.objects()) == [name]
    assert "is not what was written" in world.objects()[name]


def test_missing_and_truncated_objects_are_found_by_their_files(world: World, change: Any) -> None:
    first, second = chunk(world), chunk(world) + ".idx"
    content = world.bucket.get(world.folder + first)
    change(first, content[:-1])
    change(second, None) if second in world.manifest.files else change("@.users.sql", None)
    found = world.objects()
    assert found.pop(first) == f"has {len(content) - 1} bytes, tiphys.json says {len(content)}"
    ((_, why),) = found.items()
    assert why.startswith("is missing in the bucket")


def test_objects_that_do_not_belong_are_told_and_harm_nothing(world: World) -> None:
    world.bucket.put(world.folder + "stranger", b"?")
    try:
        found = check_objects(world.bucket, world.folder, world.manifest, 2)
        assert (found.strangers, found.damaged) == (("stranger",), ())
    finally:
        world.bucket.delete(world.folder + "stranger")


def test_a_changed_value_of_the_same_length_is_found(world: World, harm: Any) -> None:
    harm(
        "UPDATE orders SET what = REPLACE(what, 'order', 'ordes') WHERE id = 1500",
        "UPDATE orders SET what = REPLACE(what, 'ordes', 'order') WHERE id = 1500",
    )
    bad = world.bad_tables()
    assert list(bad) == ["orders"] and len(bad["orders"]) == 1
    assert "are others than in the backup, of the same length" in bad["orders"][0]


def test_a_moved_row_is_found_though_the_number_of_rows_is_right(world: World, harm: Any) -> None:
    harm("UPDATE parts SET b = b + 100000 WHERE b = 77", "UPDATE parts SET b = 77 WHERE b = 100077")
    bad = world.bad_tables()
    assert list(bad) == ["parts"] and not any("rows are there" in why for why in bad["parts"])


def test_rows_too_few_and_too_many_are_found(world: World, harm: Any) -> None:
    harm(
        "DELETE FROM orders WHERE id = 3000",
        "INSERT INTO orders SELECT 3000, CONCAT('order ', LPAD(3000, 50, 'x')), '2026-11-20' + INTERVAL 3000 SECOND",
    )
    harm("INSERT INTO vacant VALUES (8)", "DELETE FROM vacant")
    bad = world.bad_tables()
    assert bad["orders"][0] == "2,999 rows are there, 3,000 were in the backup"
    assert bad["vacant"][0] == "1 rows are there, 0 were in the backup"


def test_a_table_that_is_gone_is_found(world: World, harm: Any) -> None:
    harm("RENAME TABLE parts TO elsewhere", "RENAME TABLE elsewhere TO parts")
    found = world.checks()
    (table,) = [table for table in found.tables if table.bad]
    assert table.name == f"{SCHEMA}.parts"
    kinds = {kind.kind: kind.bad for kind in found.kinds if kind.bad}
    assert kinds == {
        "tables": (
            f"tables of the backup that are not there: {SCHEMA}: parts",
            f"tables that are not in the backup: {SCHEMA}: elsewhere",
        )
    }


def test_each_kind_of_object_is_missed_by_name(world: World, harm: Any) -> None:
    harm("DROP VIEW late", MADE[8])
    harm("DROP PROCEDURE nothing", MADE[10])
    harm("DROP TRIGGER loud", MADE[11])
    harm("DROP EVENT never", MADE[12])
    harm("DROP USER 'o''dd'@'10.%'", MADE[13])
    lost = {kind.kind: kind.bad[0].rpartition(": ")[2] for kind in world.checks().kinds if kind.bad}
    assert lost == {
        "views": "late",
        "routines": "procedure nothing",
        "triggers": "loud",
        "events": "never",
        "accounts": r"'o\'dd'@'10.%'",
    }


def test_a_backup_that_does_not_say_which_rows_a_chunk_held_is_only_counted(world: World, harm: Any) -> None:
    files = {
        name: dataclasses.replace(file, data_sha256=None, keys=None) if "@orders@" in name else file
        for name, file in world.manifest.files.items()
    }
    content = dataclasses.replace(world.manifest, files=files).dump()
    kept = world.bucket.get(world.folder + FILE)
    world.bucket.put(world.folder + FILE, content)
    try:
        found: dict[str, Table] = {table.name: table for table in world.checks().tables}
        orders = found[f"{SCHEMA}.orders"]
        assert (orders.same, orders.uncompared, orders.bad) == (0, orders.chunks, ())
        harm(
            "DELETE FROM orders WHERE id = 3000",
            "INSERT INTO orders SELECT 3000, CONCAT('order ', LPAD(3000, 50,"
            " 'x')), '2026-11-20' + INTERVAL 3000 SECOND",
        )
        assert "2,999 rows" in world.bad_tables()["orders"][0]
    finally:
        world.bucket.put(world.folder + FILE, kept)


@pytest.mark.parametrize(
    ("sql", "expect", "said"),
    [
        ("SELECT 1", 1, ""),
        ("SELECT COUNT(*) FROM nowhere.x", 0, "the server refused it: 1049"),
        ("SELEKT 1", 0, "the server refused it: 1064"),
        (f"DELETE FROM `{SCHEMA}`.orders", 0, "READ ONLY transaction"),
        (f"DROP TABLE `{SCHEMA}`.orders", 0, "READ ONLY transaction"),
        (f"SELECT 1; DELETE FROM `{SCHEMA}`.orders", 0, "READ ONLY transaction"),
        ("SELECT 1; SELECT 1", 1, "more than one statement"),
        ("DO 1", 1, "no query: it has no rows"),
        ("SHOW SCHEMAS LIKE 'no such'", [], ""),
        ("SELECT SLEEP(30)", 0, "no answer within 1 s"),
        (f"SELECT MAX(a.what) FROM {THREE} WHERE a.what < b.what AND c.what <> a.what", 0, "no answer within 1 s"),
        (f"SELECT a.id FROM {THREE} LIMIT 100000000", [], "more than 10000 rows"),
        (f"SELECT MAX(at) FROM `{SCHEMA}`.orders", "older than 1s", ""),
    ],
)
def test_a_query_of_the_users_is_answered_in_time_and_changes_nothing(
    world: World, sql: str, expect: Any, said: str
) -> None:
    (answer,) = ask_all(Target(ADDRESS, ROOT), [Question("q", sql, expect)], moment_of(world.order), 1.0)
    assert (said in answer.bad) if said else not answer.bad, answer


def test_a_damaged_manifest_is_a_finding_and_a_newer_one_a_reason_to_stop(world: World) -> None:
    key, kept = world.folder + FILE, world.bucket.get(world.folder + FILE)
    try:
        world.bucket.put(key, kept[:-100])
        damaged = read_manifest(world.bucket, key, "b")
        assert isinstance(damaged, str) and "is no JSON" in damaged
        assert described(world.order, damaged).problem == damaged
        world.bucket.put(key, kept.replace(b'"format": 1', b'"format": 2'))
        with pytest.raises(BadParameters, match="has format 2, this program reads 1"):
            read_manifest(world.bucket, key, "b")
        world.bucket.delete(key)
        with pytest.raises(BadParameters, match="b has no tiphys.json"):
            read_manifest(world.bucket, key, "b")
    finally:
        world.bucket.put(key, kept)


def test_a_run_that_broke_off_is_reported_from_what_it_left(world: World, tmp_path: Path) -> None:
    bucket = world.bucket
    assert late_report(bucket, "runs/none", tmp_path, stopped=True).html is None
    bucket.put(f"runs/x/{ORDER}", dump(world.order))
    made = late_report(bucket, "runs/x", tmp_path, stopped=True)
    assert (made.verdict, made.report) == ("ABORTED", "runs/x/report.html")
    assert made.html is not None and "Nothing is proven" in made.html.read_text()
    assert not bucket.keys("verifications/"), "what proves nothing hides nothing that was proven"
    bucket.put("runs/x/report.json", made.json.read_bytes() if made.json else b"")
    again = late_report(bucket, "runs/x", tmp_path, stopped=True)
    assert (again.verdict, again.html) == ("ABORTED", None)
    bucket.put("runs/y/order.json", dump(dataclasses.replace(world.order, problem="is no JSON")))
    late_report(bucket, "runs/y", tmp_path, stopped=False)
    assert list(bucket.keys("verifications/")) == [f"verifications/{world.order.backup}/run-1.json"]
    assert read_result(bucket, "runs/none", stopped=False) is None


def test_an_encrypted_backup_is_compared_with_its_key_and_judged_by_its_files_without(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]
    monkeypatch.setenv("TIPHYS_BACKUP_KEY", keys[0])
    topology = judge("demo", 1, *read_views({"demo-0": ADDRESS}, ROOT))
    keyring = Keyring.read(os.environ)
    chosen = Selection((), (), ("root",))
    made, _ = back_up(topology, ROOT, world.bucket, "tiphys", chosen, parallel=2, keyring=keyring)
    folder = prefix(made.name)
    found = read_manifest(world.bucket, folder + FILE, made.name)
    assert isinstance(found, Manifest) and found.encryption
    order = described(dataclasses.replace(world.order, backup=made.name), found)
    assert order.encrypted
    checks = check_all(order, S3Source(world.bucket, folder), Target(ADDRESS, ROOT))
    assert all(not table.bad and table.same == table.chunks for table in checks.tables), checks.tables
    assert not any(kind.bad for kind in checks.kinds)
    monkeypatch.setenv("TIPHYS_BACKUP_KEY", keys[1])
    with pytest.raises(StepError, match="is encrypted with the key of fingerprint"):
        read_manifest(world.bucket, folder + FILE, made.name)
    monkeypatch.delenv("TIPHYS_BACKUP_KEY")
    locked = read_manifest(world.bucket, folder + FILE, made.name, locked=True)
    assert isinstance(locked, Manifest)
    assert check_objects(world.bucket, folder, locked, 2).damaged == ()
    monkeypatch.setenv("TIPHYS_BACKUP_KEY", keys[0])
    content = world.bucket.get(folder + FILE)
    world.bucket.put(folder + FILE, content.replace(b'"pod": "demo-0"', b'"pod": "demo-1"'))
    changed = read_manifest(world.bucket, folder + FILE, made.name)
    assert isinstance(changed, str) and "was changed after it was written" in changed
