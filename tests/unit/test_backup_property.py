"""Random tables with random rows: what `backup` writes of them to S3, `restore` brings back, to the last bit.

``TIPHYS_EXAMPLES=2000 pytest tests/unit/test_backup_property.py`` tries more of them than CI does.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import mysql.connector
import pytest
from backup_server import alone, lone_server, test_address, versity_bucket
from hypothesis import HealthCheck, Phase, given, settings
from mysql_group import ROOT, Server
from random_tables import INTEGERS, Table, numbered, quoted, table

from steps.backup.backup import back_up
from steps.backup.dump_catalog import Selection
from steps.backup.layout import escape, prefix
from steps.backup.load_rows import Target
from steps.backup.manifest import Manifest
from steps.backup.objects import Bucket
from steps.backup.restore import restore_from
from steps.backup.source import S3Source
from steps.errors import StepError
from steps.mysql.connection import query, session

ADDRESS = test_address(88, 11)
EXAMPLES = int(os.environ.get("TIPHYS_EXAMPLES", "100"))
BATCH = 50
SCHEMAS = ["plain", "odd `n@me`.%s ü漢'\"", "x" * 64, "tab\tback\\slash%20@1.tsv"]
KINDS = {
    *INTEGERS,
    "DECIMAL",
    "FLOAT",
    "DOUBLE",
    "BIT",
    "CHAR",
    "VARCHAR",
    "LONGTEXT",
    "BINARY",
    "VARBINARY",
    "LONGBLOB",
}
KINDS |= {
    "FOREIGN",
    "ENUM",
    "SET",
    "JSON",
    "DATE",
    "DATETIME",
    "TIMESTAMP",
    "TIME",
    "YEAR",
    "GEOMETRY",
    "POINT",
    "VECTOR",
}
LAX = "SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone = '+00:00', foreign_key_checks = 0"
SETTINGS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="TIPHYS_EXAMPLES" not in os.environ,
    # The tables are looked at after all of them are made, and a failure names those that differ.
    phases=[Phase.explicit, Phase.generate],
    database=None,
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with lone_server(tmp_path_factory.mktemp("server"), ADDRESS) as running:
        yield running


@pytest.fixture(scope="module")
def bucket(versitygw: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with versity_bucket(tmp_path_factory.mktemp("s3"), test_address(88, 12)) as made:
        yield made


@pytest.fixture(scope="module")
def connection(server: Server) -> Iterator[Any]:
    with session(ADDRESS, 3306, ROOT, read_timeout=120) as opened:
        query(opened, LAX)
        yield opened


@pytest.fixture(scope="module")
def collations(connection: Any) -> tuple[tuple[str, str], ...]:
    """Every character set with each of its collations; sets of which there are many have no more weight for it."""
    rows = query(
        connection,
        "SELECT character_set_name, collation_name FROM information_schema.collations"
        " WHERE character_set_name <> 'binary' ORDER BY 1, 2",
    )
    of: dict[str, list[str]] = {}
    for charset, collation in rows:
        of.setdefault(str(charset), []).append(str(collation))
    return tuple((charset, each) for charset, found in of.items() for each in (found * 4)[:4] + found[4:])


def seen(connection: Any, tables: list[Table]) -> dict[str, Any]:
    """Return all that must come back of some tables of the default schema."""
    found: dict[str, Any] = {}
    for each in tables:
        name = quoted(each.name)
        found[each.name] = {
            "checksum": query(connection, f"CHECKSUM TABLE {name} EXTENDED")[0][1],
            "definition": query(connection, f"SHOW CREATE TABLE {name}")[0][1],
            "rows": sorted(query(connection, each.select), key=repr),
        }
    return found


def clear(connection: Any) -> None:
    for (name,) in query(connection, "SELECT schema_name FROM information_schema.schemata"):
        if name not in ("mysql", "sys", "information_schema", "performance_schema"):
            query(connection, f"DROP SCHEMA {quoted(str(name))}")


def round_trip(connection: Any, bucket: Bucket, *, chunk: int, parallel: int, invisible_key: bool = False) -> Manifest:
    """Back up the whole server, drop every schema, restore."""
    selection = Selection(exclude_users=("root", "repl"))
    made, _ = back_up(alone(ADDRESS), ROOT, bucket, "tiphys", selection, parallel=parallel, bytes_per_chunk=chunk)
    clear(connection)
    source = S3Source(bucket, prefix(made.name))
    done = restore_from(
        source, Target(ADDRESS, ROOT), name=made.name, only=[], parallel=parallel, invisible_key=invisible_key
    )
    assert done.rows == made.rows
    for key in bucket.keys("backups/"):
        bucket.delete(key)
    return made


def make(connection: Any, schema: str, wanted: list[Table]) -> list[Table]:
    """Make a schema with those of the tables that the server takes."""
    query(connection, f"CREATE SCHEMA {quoted(schema)}")
    query(connection, f"USE {quoted(schema)}")
    made = []
    for each in wanted:
        try:
            query(connection, each.create)
            if each.rows:
                query(connection, each.insert)
        except mysql.connector.Error as error:
            REFUSED[f"{error.errno} {error.msg[:70]}"] += 1
            query(connection, f"DROP TABLE IF EXISTS {quoted(each.name)}")
        else:
            made.append(each)
    refer(connection, made)
    TAKEN.update(kind.split("(")[0].split()[0] for each in made for kind in (c.kind.sql for c in each.columns))
    return made


def refer(connection: Any, tables: list[Table]) -> None:
    """Let tables with primary keys of the same type refer to one another in a circle; nobody checks their rows."""
    alike: dict[str, list[tuple[str, str]]] = {}
    for each in tables:
        for column in each.columns:
            if "PARTITION" not in each.options and each.keys[:1] == [f"PRIMARY KEY ({quoted(column.name)})"]:
                alike.setdefault(column.kind.sql, []).append((quoted(each.name), quoted(column.name)))
    for found in alike.values():
        for (child, key), (parent, other) in zip(found, [*found[1:], found[0]], strict=True):
            action = ACTIONS[len(child) % len(ACTIONS)]
            # Some types are no foreign key of the server's.
            with suppress(mysql.connector.Error):
                query(connection, f"ALTER TABLE {child} ADD FOREIGN KEY ({key}) REFERENCES {parent} ({other}) {action}")
                TAKEN["FOREIGN"] += 1


ACTIONS = ("", "ON DELETE CASCADE", "ON DELETE RESTRICT ON UPDATE NO ACTION")
REFUSED: Counter[str] = Counter()
TAKEN: Counter[str] = Counter()


def drawn(collations: tuple[tuple[str, str], ...]) -> list[Table]:
    """Return random tables: hypothesis makes them, and a batch of them goes through one backup."""
    found: list[Table] = []

    @SETTINGS
    @given(table(collations))
    def collect(one: Table) -> None:
        found.append(one)

    collect()
    return found


def test_random_tables_come_back_the_same(
    connection: Any, bucket: Bucket, collations: tuple[tuple[str, str], ...]
) -> None:
    tables = [dataclasses.replace(each, name=numbered(each.name, at)) for at, each in enumerate(drawn(collations), 1)]
    wrong = []
    for first in range(0, len(tables), BATCH):
        wrong += differing(connection, bucket, tables[first : first + BATCH], first // BATCH)
    print({"taken": dict(TAKEN), "refused": dict(REFUSED.most_common(12))})
    assert not wrong, "\n\n".join(wrong[:8])
    # A few random tables do not have every type, many do; and next to none is one that no server takes.
    assert len(KINDS - set(TAKEN)) <= (0 if len(tables) >= 1000 else 8), TAKEN
    assert REFUSED.total() < len(tables) / 5, REFUSED


def differing(connection: Any, bucket: Bucket, tables: list[Table], number: int) -> list[str]:
    """Return the tables of one round trip that did not come back the same, each with all that made it."""
    clear(connection)
    schema = SCHEMAS[number % len(SCHEMAS)]
    made = make(connection, schema, tables)
    # A group takes no rows without a key: those tables get one that nobody sees, so only their rows are the same.
    keyless = {str(name) for (name,) in query(connection, KEYLESS, [schema])}
    before = seen(connection, made)
    chunk, parallel = [100, 5000, 64_000_000][number % 3], number % 3 + 1
    try:
        round_trip(connection, bucket, chunk=chunk, parallel=parallel, invisible_key=bool(keyless))
    except StepError as error:
        meant = [each for each in made if f"@{escape(each.name)}@" in str(error)]
        return [f"{error}: {each.create};\n{each.insert if each.rows else ''}" for each in meant or made]
    query(connection, f"USE {quoted(schema)}")
    after = seen(connection, made)
    found = []
    for each in made:
        was, now = before[each.name], after[each.name]
        differs = [what for what in was if was[what] != now[what] and (what == "rows" or each.name not in keyless)]
        if differs:
            shown = "".join(f"\n{what}: {was[what]!r:.2000}\n{what}: {now[what]!r:.2000}" for what in differs)
            found.append(f"{each.create};\n{each.insert if each.rows else ''}{shown}")
    return found


KEYLESS = (
    "SELECT t.table_name FROM information_schema.tables t WHERE t.table_schema = %s AND NOT EXISTS"
    " (SELECT 1 FROM information_schema.columns c WHERE c.table_schema = t.table_schema"
    " AND c.table_name = t.table_name AND c.column_key = 'PRI')"
)
"""A table whose unique key is NOT NULL shows it as PRI, unless a part of it is a prefix."""

MADE_ONCE = {
    "a backslash of sjis, which UTF-8 gives back as another": (
        "CREATE TABLE `{}` (id INT PRIMARY KEY, c VARCHAR(9) CHARACTER SET sjis)",
        "INSERT INTO `{}` VALUES (1, X'5C'), (2, X'815F'), (3, X'F040')",
    ),
    "characters that share one of Unicode's": (
        "CREATE TABLE `{}` (c VARCHAR(9) CHARACTER SET cp932 COLLATE cp932_bin PRIMARY KEY, t TEXT CHARACTER SET gbk)",
        "INSERT INTO `{}` VALUES (X'8790', X'A140'), (X'81E0', X'A1A1'), (X'FA54', NULL)",
    ),
    "a half of a surrogate pair in ucs2": (
        "CREATE TABLE `{}` (id INT PRIMARY KEY, c CHAR(9) CHARACTER SET ucs2)",
        "INSERT INTO `{}` VALUES (1, X'D830'), (2, X'0041')",
    ),
    "an ENUM's value that is none of its labels": (
        "CREATE TABLE `{}` (id INT PRIMARY KEY, e ENUM('a', 'b'))",
        "INSERT INTO `{}` VALUES (1, ''), (2, 'a'), (3, NULL)",
    ),
    "an ENUM's empty label, and no label, and labels of digits": (
        "CREATE TABLE `{}` (id INT PRIMARY KEY, e ENUM('a', '', '0', '00'), f ENUM('', '2') CHARACTER SET utf16)",
        "INSERT INTO `{}` VALUES (1, 0, 0), (2, 1, 1), (3, 2, 2), (4, 3, 1), (5, 4, 1), (6, NULL, 0)",
    ),
    "a SET with the empty label and others beyond ASCII": (
        "CREATE TABLE `{}` (id INT PRIMARY KEY, s SET('ü', '', '漢'), e ENUM('漢')) CHARACTER SET gbk",
        "INSERT INTO `{}` VALUES (1, 4, 1), (2, 6, 0), (3, 0, NULL)",
    ),
    "a SET with the empty label, alone and before others": (
        "CREATE TABLE `{}` (id INT PRIMARY KEY, s SET('a', '', '2', '4'), u SET('', 'a', 'b') CHARACTER SET utf32)",
        "INSERT INTO `{}` VALUES (1, 0, 0), (2, 2, 1), (3, 4, 2), (4, 3, 3), (5, 15, 7), (6, NULL, NULL)",
    ),
    "a FLOAT of so many digits that the number next to its limit is beyond it": (
        "CREATE TABLE `{}` (id INT PRIMARY KEY, f FLOAT(9,3), d DOUBLE(20,4))",
        "INSERT INTO `{}` VALUES (1, 999999.999, 9999999999999999.9999), (2, -999999.999, -9999999999999999.9999)",
    ),
    "a key of dates that are none": (
        "CREATE TABLE `{}` (at DATETIME PRIMARY KEY)",
        "INSERT INTO `{}` VALUES ('2026-02-31 12:30:00'), ('0000-00-00 00:00:00'), ('2026-00-01 00:00:00'),"
        " ('2026-02-31 12:30:01'), ('2026-02-31 12:30:02'), ('2026-02-31 12:30:03'), ('2026-02-31 12:30:04')",
    ),
}
"""What random tables brought to light once: each is a table that did not come back as it was."""


def one(connection: Any, number: int) -> list[Any]:
    query(connection, f"USE once{number}")
    return [query(connection, f"CHECKSUM TABLE `{number}`"), query(connection, f"SHOW CREATE TABLE `{number}`")]


@pytest.fixture(scope="module")
def once(connection: Any, bucket: Bucket) -> Iterator[tuple[S3Source, list[Any]]]:
    """A backup of every table of MADE_ONCE, each in a schema of its own, and what they were; they are gone."""
    clear(connection)
    before = []
    for number, statements in enumerate(MADE_ONCE.values()):
        query(connection, f"CREATE SCHEMA once{number}")
        query(connection, f"USE once{number}")
        for statement in statements:
            query(connection, statement.format(number))
        before.append(one(connection, number))
    selection = Selection(exclude_users=("root", "repl"))
    made, _ = back_up(alone(ADDRESS), ROOT, bucket, "tiphys", selection, parallel=2, bytes_per_chunk=20)
    clear(connection)
    yield S3Source(bucket, prefix(made.name)), before
    clear(connection)


@pytest.mark.parametrize("what", MADE_ONCE)
def test_what_was_lost_once_comes_back(connection: Any, once: tuple[S3Source, list[Any]], what: str) -> None:
    source, before = once
    number = list(MADE_ONCE).index(what)
    restore_from(source, Target(ADDRESS, ROOT), name="once", only=[f"once{number}"])
    assert one(connection, number) == before[number] and before[number][0][0][1]


def test_labels_that_the_server_does_not_show_are_an_error_and_leave_no_backup(connection: Any, bucket: Bucket) -> None:
    clear(connection)
    query(connection, "CREATE SCHEMA labels")
    query(connection, "CREATE TABLE labels.t (id INT PRIMARY KEY, e ENUM('why?', '😀'), s SET('?'))")
    query(connection, "INSERT INTO labels.t VALUES (1, 'why?', '?')")
    round_trip(connection, bucket, chunk=64_000_000, parallel=1)
    assert query(connection, "SELECT * FROM labels.t") == [(1, "why?", {"?"})]
    query(connection, "DROP TABLE labels.t")
    query(connection, "CREATE TABLE labels.t (id INT PRIMARY KEY, e ENUM('why?', '😀'))")
    query(connection, "INSERT INTO labels.t VALUES (1, '😀')")
    with pytest.raises(StepError, match=r"Column `e` of labels.t has a label .* exclude=labels.t"):
        round_trip(connection, bucket, chunk=64_000_000, parallel=1)
    assert not [key for key in bucket.keys("backups/") if key.endswith("tiphys.json")]
