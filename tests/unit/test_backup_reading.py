"""Reading a real server for a backup: keys of every kind, memory, and what happens when something dies under it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mysql.connector
import pytest
import zstandard
from backup_server import alone, lone_server, test_address, versity_bucket
from mysql_group import ROOT, Server

from steps.backup import dump_run, dump_snapshot, layout
from steps.backup.backup import back_up
from steps.backup.budget import FIXED_MIB
from steps.backup.catalogue import finished
from steps.backup.dump_catalog import Selection
from steps.backup.dump_snapshot import snapshot
from steps.backup.layout import prefix
from steps.backup.load_rows import Target
from steps.backup.load_scope import existing
from steps.backup.manifest import FILE, Manifest
from steps.backup.objects import Bucket
from steps.backup.reread import reread
from steps.errors import BadParameters, StepError, Temporary
from steps.mysql.connection import query, session

ADDRESS = test_address(82, 21)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with lone_server(tmp_path_factory.mktemp("server"), ADDRESS) as one:
        yield one


@pytest.fixture(scope="module")
def bucket(versitygw: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with versity_bucket(tmp_path_factory.mktemp("s3"), test_address(82, 22)) as made:
        yield made


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    with session(ADDRESS, 3306, ROOT, read_timeout=120) as opened:
        yield opened


def next_second() -> None:
    """Wait until the second that the last backup's name has is over."""
    time.sleep(1 - time.time() % 1)


def backed_up(bucket: Bucket, schema: str, **options: Any) -> Manifest:
    selection = Selection((schema,), exclude_users=("*",))
    next_second()
    made, _ = back_up(alone(ADDRESS), ROOT, bucket, "tiphys", selection, **({"parallel": 3} | options))
    return made


def lines(bucket: Bucket, manifest: Manifest, base: str) -> list[list[bytes]]:
    """Return the lines of each chunk of a table, in order."""
    found = []
    for name in manifest.chunks(base):
        with zstandard.ZstdDecompressor().stream_reader(
            io.BytesIO(bucket.get(prefix(manifest.name) + name)), read_across_frames=True
        ) as reader:
            found.append(reader.read().splitlines(keepends=True))
    return found


TEXT = "CONCAT(ELT(1 + n MOD 6, 'a', 'B', 'é', 'Ωx', '漢', ''), LPAD(n, 5, '0'), ELT(1 + n MOD 3, '', '  .', '''\\\\'))"
DAY = "TIMESTAMPADD(MICROSECOND, n * 777777777777, '0001-01-01')"
KEYS = {
    "words": ("k VARCHAR(60) COLLATE utf8mb4_0900_ai_ci", "k", TEXT),
    "latin": ("k CHAR(40) CHARACTER SET latin1", "k", "CONCAT(ELT(1 + n MOD 3, 'é', 'E', 'ÿ'), n)"),
    "uuids": ("k BINARY(16)", "k", "UNHEX(LEFT(SHA2(n, 256), 32))"),
    "bytes": ("k VARBINARY(9)", "k", "UNHEX(LEFT(SHA2(n, 256), 2 + 2 * (n MOD 5) + 8))"),
    "money": ("k DECIMAL(40,10)", "k", "(n - 3000) * 1234567890123456789.0000000001"),
    "days": ("k DATETIME(6)", "k", DAY),
    "times": ("k TIME(3)", "k", "SEC_TO_TIME(n * 7.25 - 20000)"),
    "stamps": ("k TIMESTAMP(3)", "k", "FROM_UNIXTIME(1 + n * 123456.789)"),
    "few": ("k INT, l VARCHAR(30), m DATE", "k, l, m", f"n MOD 2, {TEXT}, DATE '2020-01-01'"),
    "many": ("k BIGINT UNSIGNED, l INT", "k, l", "18446744073709551615 - n DIV 3, n MOD 3"),
    "down": ("k VARCHAR(60)", "k DESC", TEXT),
}
"""Tables whose rows are cut by their key: columns, key, and values of row n."""
UNCUT = {
    "labels": ("k ENUM('a','b'), l INT", "PRIMARY KEY (k, l)", "1 + n MOD 2, n"),
    "starts": ("k VARCHAR(60)", "PRIMARY KEY (k(10))", f"CONCAT(LPAD(n, 5, '0'), {TEXT})"),
    "mixed": ("k INT, l INT", "PRIMARY KEY (k, l DESC)", "n MOD 7, n"),
    "keyless": ("k INT", "KEY (k)", "n MOD 7"),
}
ROWS = 6000


@pytest.fixture(scope="module")
def keyed(server: Server, bucket: Bucket) -> Manifest:
    with session(ADDRESS, 3306, ROOT, read_timeout=120) as connection:
        query(connection, "CREATE SCHEMA keyed")
        query(connection, "USE keyed")
        query(connection, f"SET SESSION cte_max_recursion_depth = {ROWS}, time_zone = '+00:00'")
        query(connection, "CREATE TABLE numbers (n INT PRIMARY KEY)")
        query(
            connection,
            "INSERT INTO numbers WITH RECURSIVE r (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM r"
            f" WHERE n < {ROWS - 1}) SELECT n FROM r",
        )
        tables = {name: (columns, f"PRIMARY KEY ({key})", values) for name, (columns, key, values) in KEYS.items()}
        for name, (columns, key, values) in {**tables, **UNCUT}.items():
            query(connection, f"CREATE TABLE {name} ({columns}, v VARCHAR(40), {key})")
            query(connection, f"INSERT IGNORE INTO {name} SELECT {values}, REPEAT('v', 30) FROM numbers")
        query(connection, f"ANALYZE TABLE {', '.join([*KEYS, *UNCUT, 'numbers'])}")
    return backed_up(bucket, "keyed", bytes_per_chunk=60_000)


@pytest.mark.parametrize("table", [*KEYS, *UNCUT])
def test_every_row_is_in_one_chunk(keyed: Manifest, bucket: Bucket, connection: Any, table: str) -> None:
    chunks = lines(bucket, keyed, f"keyed@{table}")
    rows = [line for chunk in chunks for line in chunk]
    count = query(connection, f"SELECT COUNT(*) FROM keyed.{table}")[0][0]
    assert len(rows) == count == keyed.tables["keyed"][table] > ROWS / 100
    if table in UNCUT and "KEY (k)" not in UNCUT[table][1]:
        assert len(set(rows)) == count
    if table in KEYS:
        assert len(set(rows)) == count
        # The row's size by the statistics is a rough one.
        assert len(chunks) >= min(3, count // 1000 + 1) and max(map(len, chunks)) < ROWS / 2
        first = "k" if len(chunks) == 1 else KEYS[table][1].split(",")[0].split()[0]
        assert first == "k"


@pytest.mark.parametrize("table", [*KEYS, "labels"])
def test_each_chunk_is_read_again_by_its_keys(keyed: Manifest, connection: Any, table: str) -> None:
    chunks = keyed.chunks(f"keyed@{table}")
    digests = [
        hashlib.sha256(b"".join(reread(connection, "keyed", table, keyed.files[name]))).hexdigest() for name in chunks
    ]
    assert digests == [keyed.files[name].data_sha256 for name in chunks]


@pytest.mark.parametrize("table", ["starts", "mixed", "keyless"])
def test_a_table_that_has_no_order_says_so(keyed: Manifest, connection: Any, table: str) -> None:
    names = keyed.chunks(f"keyed@{table}")
    assert all(keyed.files[name].keys is None for name in names)
    with pytest.raises(StepError, match="no keys"):
        list(reread(connection, "keyed", table, keyed.files[names[0]]))


@pytest.fixture
def slow(connection: Any) -> Iterator[Any]:
    """A schema of many chunks."""
    query(connection, "CREATE SCHEMA slow")
    query(connection, "CREATE TABLE slow.slow (id INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT)")
    for _ in range(20):
        query(connection, "INSERT INTO slow.slow (b) VALUES (REPEAT('x', 1000000))")
    query(connection, "ANALYZE TABLE slow.slow")
    yield connection
    query(connection, "DROP SCHEMA slow")


class Halting(Bucket):
    """A bucket whose writes wait in the middle of a backup, after its first chunks."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(bucket.client, bucket.name)
        self.middle, self.go_on = threading.Event(), threading.Event()
        self._chunks = 0

    def put(self, key: str, content: bytes) -> None:
        if key.endswith(".zst"):
            self._chunks += 1
            if self._chunks > 2:
                self.middle.set()
                assert self.go_on.wait(120)
        super().put(key, content)


def halted(bucket: Bucket) -> tuple[Halting, threading.Thread, list[Any]]:
    """Begin a backup, and return in its middle; its manifest or error will be in the list."""
    halting, result = Halting(bucket), list[Any]()

    def run() -> None:
        try:
            result.append(backed_up(halting, "slow", bytes_per_chunk=2_000_000))
        except StepError as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert halting.middle.wait(60)
    return halting, thread, result


def wait_for(what: Callable[[], Any]) -> Any:
    for _ in range(600):
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it never came")


def chunks_there(bucket: Bucket, before: set[str]) -> list[str]:
    return [key for key in bucket.keys("backups/") if key not in before and key.endswith(".zst")]


def test_definitions_wait_until_the_backup_is_done(slow: Any, bucket: Bucket) -> None:
    halting, thread, result = halted(bucket)
    query(slow, "SET SESSION lock_wait_timeout = 1")
    try:
        with pytest.raises(mysql.connector.Error, match="Lock wait timeout"):
            query(slow, "ALTER TABLE slow.slow ADD COLUMN c INT")
        query(slow, "INSERT INTO slow.slow (b) VALUES ('written meanwhile')")
    finally:
        halting.go_on.set()
        thread.join()
    assert isinstance(result[0], Manifest) and result[0].rows == 20
    query(slow, "ALTER TABLE slow.slow ADD COLUMN c INT")


def test_a_lost_lock_is_no_backup(slow: Any, bucket: Bucket) -> None:
    """Somebody kills the connection that holds the instance lock: definitions may change under the backup."""
    before = set(bucket.keys("backups/"))
    halting, thread, result = halted(bucket)
    try:
        held = query(
            slow,
            "SELECT t.processlist_id FROM performance_schema.metadata_locks l JOIN performance_schema.threads t"
            " ON t.thread_id = l.owner_thread_id WHERE l.object_type = 'BACKUP LOCK' AND l.lock_type = 'SHARED'",
        )
        assert len(held) == 1
        query(slow, f"KILL {held[0][0]}")
        query(slow, "SET SESSION lock_wait_timeout = 60")
        query(slow, "CREATE TABLE slow.later (id INT PRIMARY KEY)")
    finally:
        halting.go_on.set()
        thread.join()
    assert isinstance(result[0], Temporary), result
    assert set(bucket.keys("backups/")) == before


def test_the_lock_goes_soon_after_a_client_that_vanished(connection: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is switched off says no goodbye: its connection stays open on the server."""
    monkeypatch.setattr(dump_snapshot, "SILENCE_SECONDS", 2)
    query(connection, "SET SESSION lock_wait_timeout = 30")
    with snapshot(ADDRESS, 3306, ROOT, 1, what="demo-0") as moment:
        query(connection, "CREATE SCHEMA after_the_crash")
        with pytest.raises(Temporary, match="instance lock was lost"):
            moment.check()


def test_a_slow_backup_keeps_its_lock(slow: Any, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dump_snapshot, "SILENCE_SECONDS", 2)
    monkeypatch.setattr(dump_run, "LOOK_SECONDS", 0.5)
    made = backed_up(bucket, "slow", rate_limit=4)
    assert made.rows == 20


def test_a_step_that_is_killed_leaves_no_backup(slow: Any, bucket: Bucket) -> None:
    before, known = set(bucket.keys("backups/")), finished(bucket)
    process = start(bucket, "slow", "--rate", "1")
    try:
        wait_for(lambda: chunks_there(bucket, before))
    finally:
        process.kill()
        process.communicate()
    left = set(bucket.keys("backups/")) - before
    assert left and not [key for key in left if key.endswith(FILE)]
    assert finished(bucket) == known


CHILD = """
import json, re, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from steps.backup.backup import back_up
from steps.backup.dump_catalog import Selection
from steps.backup.objects import Bucket
from steps.kube import client
import kubernetes.client, kubernetes.dynamic
from backup_server import alone
from mysql_group import ROOT
address, schema, rate, memory, parallel = sys.argv[1:6]
made, _ = back_up(alone(address), ROOT, Bucket.from_environment(connections=40), "tiphys",
    Selection((schema,), exclude_users=("*",)), parallel=int(parallel), rate_limit=float(rate), memory=int(memory))
# Not ru_maxrss: a process that is just being made has its parent's, and the parent is a whole test run.
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
print(json.dumps([made.name, made.rows, peak]))
"""


def start(bucket: Bucket, schema: str, *words: str) -> subprocess.Popen[bytes]:
    given = dict(zip(words[::2], words[1::2], strict=True))
    environment = {
        **os.environ,
        "S3_ENDPOINT": bucket.client.meta.endpoint_url,
        "S3_BUCKET": bucket.name,
        "S3_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-of-tests",
    }
    code = CHILD.format(folder=str(Path(__file__).parent))
    values = [given.get("--rate", "0"), given.get("--memory", "256"), given.get("--parallel", "4")]
    return subprocess.Popen(
        [sys.executable, "-c", code, ADDRESS, schema, *values], env=environment, stdout=subprocess.PIPE
    )


@pytest.mark.parametrize(("memory", "parallel"), [(256, 4), (160, 16)])
def test_memory_stays_within_its_limit_whatever_the_rows(
    server: Server, bucket: Bucket, connection: Any, memory: int, parallel: int
) -> None:
    query(connection, "DROP SCHEMA IF EXISTS large")
    query(connection, "CREATE SCHEMA large")
    for table, kind, megabytes, rows in (
        ("ones", "LONGBLOB", 1, 60),
        ("texts", "LONGTEXT CHARACTER SET latin1", 1, 60),
        ("fives", "LONGBLOB", 5, 8),
        ("sixties", "LONGTEXT", 60, 2),
    ):
        query(connection, f"CREATE TABLE large.{table} (id INT PRIMARY KEY AUTO_INCREMENT, b {kind})")
        # Bytes that do not compress.
        piece = f"REPEAT(TO_BASE64(RANDOM_BYTES(1000)), {megabytes * 740})"
        for _ in range(rows):
            query(connection, f"INSERT INTO large.{table} (b) VALUES ({piece})")
    process = start(bucket, "large", "--memory", str(memory), "--parallel", str(parallel))
    out, _ = process.communicate()
    assert process.returncode == 0
    _, rows, peak = json.loads(out)
    query(connection, "DROP SCHEMA large")
    assert rows == 130
    assert FIXED_MIB / 2 < peak < memory


def test_a_server_that_dies_leaves_no_backup(slow: Any, server: Server, bucket: Bucket) -> None:
    """The last test of the file, since it takes the server away for a while."""
    before = set(bucket.keys("backups/"))
    halting, thread, result = halted(bucket)
    server.kill()
    halting.go_on.set()
    thread.join()
    server.start()
    server.wait()
    slow.reconnect()
    assert isinstance(result[0], Temporary), result
    assert set(bucket.keys("backups/")) == before


def test_a_row_that_is_longer_than_a_block_stays_in_one_chunk(server: Server, bucket: Bucket, connection: Any) -> None:
    query(connection, "CREATE SCHEMA uncut")
    query(connection, "CREATE TABLE uncut.texts (k DOUBLE PRIMARY KEY, v LONGTEXT)")
    for number in range(60):
        size = 1_300_000 if number % 20 == 5 else 70_000
        query(connection, "INSERT INTO uncut.texts VALUES (%s, REPEAT(%s, %s))", [number / 3, "v", size])
    made = backed_up(bucket, "uncut", bytes_per_chunk=600_000)
    chunks = lines(bucket, made, "uncut@texts")
    rows = [line for chunk in chunks for line in chunk]
    assert len(chunks) > 5 and len(rows) == 60
    assert all(line.endswith(b"v\n") and line.count(b"\t") == 1 for line in rows)
    names = made.chunks("uncut@texts")
    assert [made.files[name].rows for name in names] == [len(chunk) for chunk in chunks]
    for name in names:
        again = b"".join(reread(connection, "uncut", "texts", made.files[name]))
        assert hashlib.sha256(again).hexdigest() == made.files[name].data_sha256


def test_what_limits_the_clients_of_a_server_leaves_nothing_out(
    server: Server, bucket: Bucket, connection: Any
) -> None:
    query(connection, "CREATE SCHEMA bounded")
    query(connection, "SET SESSION sql_generate_invisible_primary_key = ON")
    query(connection, "CREATE TABLE bounded.hidden (v INT)")
    query(connection, "CREATE TABLE bounded.`order by` (k INT PRIMARY KEY, l INT, m INT)")
    for number in range(9):
        query(connection, "INSERT INTO bounded.hidden VALUES (%s)", [number])
        query(connection, "INSERT INTO bounded.`order by` (k) VALUES (%s)", [number])
        query(connection, f"CREATE EVENT bounded.e{number} ON SCHEDULE EVERY 1 YEAR DO SELECT 1")
    changed = (
        "sql_select_limit = 2",
        "max_join_size = 1",
        "sql_quote_show_create = OFF",
        "show_gipk_in_create_table_and_information_schema = OFF",
    )
    for each in changed:
        query(connection, f"SET GLOBAL {each}")
    try:
        made = backed_up(bucket, "bounded")
    finally:
        for each in changed:
            query(connection, f"SET GLOBAL {each.split()[0]} = DEFAULT")
    assert made.tables == {"bounded": {"hidden": 9, "order by": 9}}
    text = {name: bucket.get(prefix(made.name) + name).decode() for name in made.files if name.endswith(".sql")}
    assert "`order by`" in text["bounded@order%20by.sql"] and "`m`" in text["bounded@order%20by.sql"]
    assert "my_row_id" in text["bounded@hidden.sql"] and not made.keyless
    assert text["bounded.sql"].count(" ENABLE ") == 9


def test_a_restore_sees_all_that_is_in_its_way(server: Server, connection: Any) -> None:
    """It never overwrites: what a limit of the server hides from it would be taken for free."""
    query(connection, "CREATE SCHEMA zzz")
    query(connection, "CREATE TABLE zzz.here (k INT PRIMARY KEY)")
    query(connection, "SET GLOBAL sql_select_limit = 2")
    query(connection, "SET GLOBAL max_join_size = 1")
    try:
        with Target(ADDRESS, ROOT).session() as one:
            there = existing(one)
    finally:
        query(connection, "SET GLOBAL sql_select_limit = DEFAULT")
        query(connection, "SET GLOBAL max_join_size = DEFAULT")
    assert "zzz" in there.schemas and ("zzz", "here") in there.tables


@pytest.mark.parametrize(
    ("include", "said"),
    [
        (("keyed", "kyed.words"), "kyed.words"),
        (("keyed.wrods",), "keyed.wrods"),
        (("kyed.*", "other*"), "kyed.*, other*"),
    ],
)
def test_a_selection_of_nothing_is_no_backup(
    keyed: Manifest, bucket: Bucket, include: tuple[str, ...], said: str
) -> None:
    before = set(bucket.keys(""))
    next_second()
    with pytest.raises(BadParameters, match=re.escape(f"include names {said},")):
        back_up(alone(ADDRESS), ROOT, bucket, "tiphys", Selection(include), parallel=1)
    assert set(bucket.keys("")) == before


def test_a_pattern_may_find_nothing_yet(keyed: Manifest, bucket: Bucket) -> None:
    selection = Selection(("keyed.few", "tenant_*"), exclude_users=("*",))
    next_second()
    made, _ = back_up(alone(ADDRESS), ROOT, bucket, "tiphys", selection, parallel=1)
    assert list(made.tables["keyed"]) == ["few"]


class _Meeting(Bucket):
    """Two backups of one name, neither of which has written anything when the other looks."""

    def __init__(self, bucket: Bucket, both: threading.Barrier) -> None:
        super().__init__(bucket.client, bucket.name)
        self.both, self.met = both, False

    def keys(self, prefix: str) -> dict[str, int]:
        found = super().keys(prefix)
        if not self.met:
            self.met = True
            self.both.wait(60)
        return found


def test_two_clusters_of_one_name_never_share_a_backup(keyed: Manifest, bucket: Bucket) -> None:
    both = threading.Barrier(2)
    next_second()
    ended: dict[str, Any] = {}

    def back_up_in(namespace: str) -> None:
        selection = Selection(("keyed",), exclude_users=("*",))
        try:
            ended[namespace], _ = back_up(
                alone(ADDRESS), ROOT, _Meeting(bucket, both), namespace, selection, parallel=1
            )
        except StepError as error:
            ended[namespace] = error

    threads = [threading.Thread(target=back_up_in, args=(name,)) for name in ("red", "blue")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (made,) = (each for each in ended.values() if isinstance(each, Manifest))
    (refused,) = (each for each in ended.values() if isinstance(each, StepError))
    assert isinstance(refused, Temporary) and made.name in str(refused)
    there = bucket.keys(prefix(made.name))
    assert {prefix(made.name) + name: file.size for name, file in made.files.items()}.items() <= there.items()
    for name, file in made.files.items():
        assert hashlib.sha256(bucket.get(prefix(made.name) + name)).hexdigest() == file.sha256


def test_chunk_names_of_these_tables_are_whole(keyed: Manifest) -> None:
    bases = {chunk.base for name in keyed.files if (chunk := layout.chunk_of(name))}
    for base in bases:
        keyed.chunks(base)
    assert len(bases) == len(KEYS) + len(UNCUT) + 1
