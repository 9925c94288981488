"""Indexes that wait for the rows: which may, and that a table is the same in the end, on a real server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mysql_group import ROOT, Server, mysql_group
from test_restore_replace import die_at
from test_restore_server import SUMS, VECTOR, Killed, edit

from steps.backup import load_indexes
from steps.backup.load_indexes import Split, split
from steps.backup.load_rows import Target
from steps.backup.load_run import restore_from
from steps.backup.source import FolderSource
from steps.mysql.connection import query, session

ADDRESS = f"127.83.{os.getpid() % 250 + 1}.21"

TABLES = {
    "plain": (
        "CREATE TABLE t (id INT PRIMARY KEY, a INT, b TEXT, c VARCHAR(9) COMMENT 'KEY `x` (`a`),\\n  KEY `y` (`a`)',"
        " KEY a (a), KEY `o``dd, (` (a DESC, c(3)), KEY ((a + 1)), KEY c (c) COMMENT 'x), (' INVISIBLE,"
        " UNIQUE KEY u (c, a),"
        " FULLTEXT KEY f (b) WITH PARSER ngram, FULLTEXT KEY g (b, c))",
        {"a", "o`dd, (", "functional_index", "c"},
    ),
    "auto increment": ("CREATE TABLE t (x INT PRIMARY KEY, id INT AUTO_INCREMENT, KEY i (id), KEY x (x))", {"x"}),
    "auto increment with its own key": ("CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, KEY i (id))", {"i"}),
    "foreign keys": (
        "CREATE TABLE t (id INT PRIMARY KEY, m INT, o INT, KEY o (o), KEY m_o (m, o),"
        " FOREIGN KEY (m) REFERENCES t (id))",
        {"o", "m_o", "t_ibfk_1"},
    ),
    "one that stays, and what comes before it": (
        "CREATE TABLE t (k INT PRIMARY KEY, id INT AUTO_INCREMENT, a INT, KEY a (a), KEY id (id), KEY b (a, k))",
        {"b"},
    ),
    "spatial, multi-valued, partitions": (
        "CREATE TABLE t (id INT PRIMARY KEY, j JSON, a INT, KEY tags ((CAST(j->'$.a' AS UNSIGNED ARRAY))), KEY a (a))"
        " PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (9), PARTITION p1 VALUES LESS THAN MAXVALUE)",
        {"tags", "a"},
    ),
    "a place": ("CREATE TABLE t (id INT PRIMARY KEY, p POINT NOT NULL SRID 4326, SPATIAL KEY p (p))", {"p"}),
    "nothing waits": ("CREATE TABLE t (id INT PRIMARY KEY, u INT, UNIQUE KEY u (u))", set()),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as servers:
        yield servers[0]


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    with session(ADDRESS, 3306, ROOT) as opened:
        for schema in ("shop", "tiphys", "x"):
            query(opened, f"DROP SCHEMA IF EXISTS {schema}")
        query(opened, "DROP USER IF EXISTS shopper")
        yield opened


@pytest.mark.parametrize("what", TABLES)
def test_a_table_without_what_waits_becomes_the_same_with_it(connection: Any, what: str) -> None:
    sql, expected = TABLES[what]
    query(connection, "CREATE SCHEMA x")
    query(connection, "USE x")
    query(connection, sql)
    shown = query(connection, "SHOW CREATE TABLE t")[0][1]
    parts = split(shown)
    assert {name[1:-1].replace("``", "`") for name in parts.keys | parts.foreign} == expected
    assert (parts.create == shown) == (not expected)
    query(connection, "DROP TABLE t")
    query(connection, parts.create)
    query(connection, "SET foreign_key_checks=0")
    for definition in (*parts.keys.values(), *parts.foreign.values()):
        query(connection, f"ALTER TABLE t ADD {definition}")
    assert query(connection, "SHOW CREATE TABLE t")[0][1] == shown


def test_a_column_that_another_table_refers_to_keeps_its_index() -> None:
    sql = (
        "CREATE TABLE `p` (\n  `id` int NOT NULL,\n  `k` int,\n  PRIMARY KEY (`id`),\n  KEY `k` (`k`)\n) ENGINE=InnoDB"
    )
    assert set(split(sql).keys) == {"`k`"}
    assert split(sql, ["`k`"]) == Split(sql)


@pytest.fixture
def dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a dump with small tables whose indexes wait all the same."""
    monkeypatch.setitem(load_indexes.Indexes.__init__.__kwdefaults__, "smallest", 0)
    folder = Path(shutil.copytree(VECTOR, tmp_path / "dump"))
    edit(folder / "shop@code.sql", "PRIMARY KEY (`k`)", "PRIMARY KEY (`k`),\n  KEY `v` (`v`)")
    return folder


def restore(folder: Path) -> None:
    restore_from(FolderSource(folder), Target(ADDRESS, ROOT), name="vector", only=[], parallel=2)


def indexes(connection: Any) -> set[tuple[str, str]]:
    rows = query(
        connection, "SELECT table_name, index_name FROM information_schema.statistics WHERE table_schema='shop'"
    )
    return {(str(table), str(name)) for table, name in rows} - {("rich", "")}


WAITING = {("customer", "name"), ("code", "v")}


@pytest.mark.parametrize("after", [1, 2])
def test_killed_between_two_indexes_it_goes_on_and_the_phase_tells(
    connection: Any, dump: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    with monkeypatch.context() as patch:
        die_at(patch, load_indexes, after)
        with pytest.raises(Killed):
            restore(dump)
    assert query(connection, "SELECT phase FROM tiphys.restores") == [("indexes",)]
    assert not indexes(connection) >= WAITING, "they do wait for the rows"
    restore(dump)
    assert indexes(connection) >= WAITING
    assert query(connection, "SELECT phase FROM tiphys.restores") == [("done",)]
    found = {str(name): value for name, value in query(connection, f"CHECKSUM TABLE {', '.join(SUMS)}")}
    assert found == SUMS
