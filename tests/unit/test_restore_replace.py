"""Single tables and replacing what is there, on a real group of one: the old is aside, and comes back on failure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mysql_group import ROOT, Server, mysql_group
from test_restore_server import SUMS, VECTOR, Killed, flip, with_manifest

from steps.backup import load_aside, load_objects, load_rows, load_run, load_state
from steps.backup.load_rows import Target
from steps.backup.load_run import Restored, restore_from
from steps.backup.load_scope import Scope, existing
from steps.backup.load_stream import DamagedChunk
from steps.backup.source import FolderSource
from steps.errors import BadParameters, Refused, StepError
from steps.mysql.connection import query, session

ADDRESS = f"127.83.{os.getpid() % 250 + 1}.11"
CODE, ORDERS, CUSTOMER = ("shop", "code"), ("shop", "orders"), ("shop", "customer")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as servers:
        yield servers[0]


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    with session(ADDRESS, 3306, ROOT) as opened:
        query(opened, "SET foreign_key_checks=0")
        system = ("mysql", "sys", "information_schema", "performance_schema")
        for row in query(opened, "SHOW DATABASES"):
            if row[0] not in system:
                query(opened, f"DROP SCHEMA `{row[0]}`")
        query(opened, "DROP USER IF EXISTS shopper")
        query(opened, "SET foreign_key_checks=1")
        yield opened


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    return Path(shutil.copytree(VECTOR, tmp_path / "dump"))


def restore(folder: Path = VECTOR, **options: Any) -> Restored:
    options = {"name": "vector", "only": [], "parallel": 2, **options}
    return restore_from(FolderSource(folder), Target(ADDRESS, ROOT), **options)


def sums(connection: Any, *tables: str) -> dict[str, int]:
    return {str(name): value for name, value in query(connection, f"CHECKSUM TABLE {', '.join(tables or SUMS)}")}


def names(connection: Any, sql: str) -> set[str]:
    return {str(row[0]) for row in query(connection, sql)}


def everything(connection: Any) -> dict[str, Any]:
    """Return all that is in the schema shop: definitions and checksums."""
    found: dict[str, Any] = {}
    for name, kind in query(connection, "SHOW FULL TABLES IN shop"):
        found[name] = query(connection, f"SHOW CREATE TABLE shop.`{name}`")[0][1]
        if kind == "BASE TABLE":
            found[f"{name} rows"] = sums(connection, f"shop.`{name}`")
    for kind in ("FUNCTION", "PROCEDURE"):
        for row in query(connection, f"SHOW {kind} STATUS WHERE db = 'shop'"):
            found[row[1]] = query(connection, f"SHOW CREATE {kind} shop.`{row[1]}`")[0][:5]
    for row in query(connection, "SHOW EVENTS IN shop"):
        found[row[1]] = query(connection, f"SHOW CREATE EVENT shop.`{row[1]}`")[0][:4]
    for row in query(connection, "SHOW TRIGGERS IN shop"):
        found[row[0]] = query(connection, f"SHOW CREATE TRIGGER shop.`{row[0]}`")[0][:5]
    found["schema"] = query(connection, "SHOW CREATE DATABASE shop")[0]
    return found


def lived_in(connection: Any) -> dict[str, Any]:
    """Restore the vector, let people work with it, and return all that is in it then."""
    restore()
    for statement in (
        "USE shop",
        "DELETE FROM orders WHERE no < 3",
        "UPDATE customer SET name = CONCAT('x', name) WHERE id < 100",
        "DELETE FROM code",
        "CREATE TABLE extra (id INT PRIMARY KEY, c INT UNSIGNED, FOREIGN KEY (c) REFERENCES customer (id))",
        "CREATE VIEW a_first AS SELECT * FROM z_last",
    ):
        if "a_first" in statement:
            query(connection, "CREATE VIEW z_last AS SELECT id FROM rich")
        query(connection, statement)
    query(connection, "ALTER DATABASE shop CHARACTER SET latin1")
    return everything(connection)


def old_schema(connection: Any) -> str:
    return next(each for each in names(connection, "SHOW DATABASES") if each.startswith("shop__before_"))


def test_single_tables_come_with_their_triggers_and_nothing_else(connection: Any) -> None:
    done = restore(tables=[CODE, ORDERS])
    assert names(connection, "SHOW TABLES IN shop") == {"code", "orders"}
    tables = ["shop.code", "shop.orders"]
    assert sums(connection, *tables) == {table: SUMS[table] for table in tables}
    assert names(connection, "SHOW TRIGGERS IN shop") == {"code_bi"}
    assert not query(connection, "SHOW EVENTS IN shop") and not query(
        connection, "SHOW FUNCTION STATUS WHERE db='shop'"
    )
    assert not query(connection, "SELECT 1 FROM mysql.user WHERE user='shopper'")
    assert (done.gtids_taken, done.aside) == ("not-new", "")


def test_a_table_that_is_there_is_refused_and_one_beside_it_is_not(connection: Any) -> None:
    query(connection, "CREATE SCHEMA shop")
    query(connection, "CREATE TABLE shop.code (mine INT PRIMARY KEY)")
    with pytest.raises(Refused, match=r"has shop.code already: nothing was changed.*replace=true"):
        restore(tables=[CODE, ORDERS])
    restore(tables=[ORDERS])
    assert query(connection, "SHOW CREATE TABLE shop.code")[0][1].count("mine") == 2


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (("shop", "shoes"), "no table shop.shoes; schema shop has code"),
        (("shop", "rich"), "rich: a view"),
        (("x", "y"), "no schema x"),
    ],
)
def test_a_table_that_the_backup_does_not_have_is_named(connection: Any, table: tuple[str, str], said: str) -> None:
    with pytest.raises(BadParameters, match=said):
        restore(tables=[table])
    assert "tiphys" not in names(connection, "SHOW DATABASES")


def test_a_whole_schema_is_replaced_and_the_old_rows_are_aside(connection: Any) -> None:
    old = lived_in(connection)
    done = restore(only=["shop"], replace=True)
    aside = old_schema(connection)
    assert done.aside == aside
    assert sums(connection) == SUMS
    assert names(connection, "SHOW TABLES IN shop") == {*(name.partition(".")[2] for name in SUMS), "rich"}
    assert query(connection, "SHOW CREATE DATABASE shop")[0][1].count("utf8mb4"), "as the backup has it"
    for table in ("orders", "customer", "code", "extra"):
        assert sums(connection, f"{aside}.{table}").popitem()[1] == old[f"{table} rows"][f"shop.{table}"]
    kept = "SELECT kind FROM tiphys.restore_aside WHERE back LIKE '%CREATE%' AND kind <> 'schema'"
    assert {"view", "trigger", "function", "procedure", "event"} <= names(connection, kept)
    query(connection, f"DROP SCHEMA {aside}")
    assert sums(connection) == SUMS, "nothing refers to the old tables"


def test_a_table_is_replaced_and_the_old_one_does_not_hold_up_live_ones(connection: Any) -> None:
    lived_in(connection)
    query(connection, "ALTER TABLE shop.extra DROP FOREIGN KEY extra_ibfk_1")
    restore(tables=[ORDERS], replace=True)
    assert sums(connection, "shop.orders") == {"shop.orders": SUMS["shop.orders"]}
    query(connection, "DELETE FROM shop.orders")
    query(connection, "DELETE FROM shop.customer")
    assert query(connection, f"SELECT COUNT(*) > 0 FROM {old_schema(connection)}.orders") == [(1,)]


def test_tables_that_others_refer_to_are_not_taken_from_under_them(connection: Any) -> None:
    before = lived_in(connection)
    with pytest.raises(Refused, match=r"Foreign keys of shop.extra, shop.orders refer"):
        restore(tables=[CUSTOMER], replace=True)
    assert everything(connection) == before


def damaged(dump: Path) -> Path:
    with_manifest(dump)
    flip(dump / "shop@orders@@0.tsv.zst", 4000)
    return dump


@pytest.mark.parametrize("options", [{"only": ["shop"]}, {"tables": [ORDERS, CODE]}], ids=["schema", "tables"])
def test_a_restore_that_fails_puts_everything_back(connection: Any, dump: Path, options: dict[str, Any]) -> None:
    before = lived_in(connection)
    with pytest.raises(DamagedChunk, match=r"shop@orders@@0.*What had been moved aside is back where it was"):
        restore(damaged(dump), replace=True, **options)
    assert everything(connection) == before
    assert not [name for name in names(connection, "SHOW DATABASES") if "__before_" in name]
    assert query(connection, "SELECT phase FROM tiphys.restores ORDER BY started DESC LIMIT 1") == [("undone",)]
    restore(replace=True, **options)
    assert sums(connection, "shop.orders") == {"shop.orders": SUMS["shop.orders"]}


def test_what_people_wrote_meanwhile_is_not_dropped(
    connection: Any, dump: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived_in(connection)
    load = load_rows.load_chunk

    def slow(*arguments: Any) -> None:
        if "orders" in arguments[3].file:
            query(connection, "INSERT INTO shop.vacant VALUES (77)")
        load(*arguments)

    monkeypatch.setattr(load_rows, "load_chunk", slow)
    with pytest.raises(DamagedChunk, match=r"stays there .*shop.vacant has 1 rows, 0 were loaded"):
        restore(damaged(dump), only=["shop"], replace=True)
    assert query(connection, "SELECT id FROM shop.vacant") == [(77,)]
    assert query(connection, f"SELECT COUNT(*) > 0 FROM {old_schema(connection)}.customer") == [(1,)]


@pytest.mark.parametrize("after", range(1, 11, 2))
def test_killed_at_any_statement_on_the_way_there_it_goes_on(
    connection: Any, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    lived_in(connection)
    with monkeypatch.context() as patch:
        die_at(patch, load_aside, after)
        with pytest.raises(Killed):
            restore(only=["shop"], replace=True)
    done = restore(only=["shop"], replace=True)
    assert sums(connection) == SUMS and done.aside == old_schema(connection)
    assert names(connection, f"SHOW TABLES IN {done.aside}") == {
        "code",
        "customer",
        "extra",
        "log_unique",
        "orders",
        "vacant",
    }


def die_at(patch: pytest.MonkeyPatch, module: Any, after: int) -> None:
    """Let this process die at one of the statements that change something."""
    left = [after]
    run = query

    def mortal(connection: Any, sql: str, parameters: Any = ()) -> Any:
        if not sql.lstrip().startswith(("SELECT", "SHOW", "USE", "SET")):
            left[0] -= 1
            if not left[0]:
                raise Killed
        return run(connection, sql, parameters)

    patch.setattr(module, "query", mortal)


@pytest.mark.parametrize("after", range(1, 30, 4))
def test_killed_at_any_statement_on_the_way_back_it_goes_on(
    connection: Any, dump: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    before = lived_in(connection)
    damaged(dump)
    put_back = load_aside.put_back
    died = []

    def dies(target: Target, work: Any) -> None:
        with monkeypatch.context() as patch:
            die_at(patch, load_aside, after)
            patch.setattr(load_objects, "query", load_aside.query)
            try:
                put_back(target, work)
            except Killed:
                died.append(after)
                raise

    with monkeypatch.context() as patch:
        patch.setattr(load_run.load_aside, "put_back", dies)
        with pytest.raises((Killed, DamagedChunk)):
            restore(dump, only=["shop"], replace=True)
    if died:
        with pytest.raises(StepError, match=r"orders@@0.*What had been moved aside is back where it was"):
            restore(dump, only=["shop"], replace=True)
    else:
        assert after > 20, "there are at least so many statements"
    assert everything(connection) == before
    assert query(connection, "SELECT phase FROM tiphys.restores ORDER BY started DESC LIMIT 1") == [
        (load_state.UNDONE,)
    ]


LONG = "orders_that_a_framework_has_named_customer_id_c564eba6_fk_id"
"""A foreign key's name, as long as frameworks make them up."""


def test_a_foreign_key_with_a_long_name_goes_aside(connection: Any) -> None:
    lived_in(connection)
    query(connection, "ALTER TABLE shop.extra DROP FOREIGN KEY extra_ibfk_1")
    query(connection, "CREATE TABLE shop.other (id INT UNSIGNED PRIMARY KEY)")
    key = f"ADD CONSTRAINT {LONG} FOREIGN KEY (c) REFERENCES shop.other (id)"
    query(connection, f"ALTER TABLE shop.orders ADD c INT UNSIGNED, {key}")
    restore(tables=[ORDERS], replace=True)
    assert sums(connection, "shop.orders") == {"shop.orders": SUMS["shop.orders"]}
    query(connection, f"SELECT c FROM {old_schema(connection)}.orders")
    query(connection, "DROP TABLE shop.other")


def test_schemas_whose_names_only_differ_at_their_ends_go_to_different_places(connection: Any) -> None:
    stem = "a_tenant_with_a_name_of_more_than_forty_eight_characters_"
    schemas = [f"{stem}{number}" for number in range(3)]
    for schema in schemas:
        query(connection, f"CREATE SCHEMA {schema}")
        query(connection, f"CREATE TABLE {schema}.t (id INT PRIMARY KEY)")
    moves = load_aside.find(connection, Scope(frozenset(schemas)), existing(connection), "0" * 32)
    places = [move.name for move in moves if move.kind == "schema"]
    assert len(set(places)) == 3 and max(map(len, places)) <= 64
    assert all("__before_00000000" in place for place in places)


def test_what_fails_before_the_old_tables_go_brings_back_what_was_dropped(
    connection: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lived_in(connection)
    find = load_aside.find

    def busy(*arguments: Any) -> Any:
        found = find(*arguments)
        # Somebody makes a trigger just now: no server moves a table with one into another schema.
        query(connection, "CREATE TRIGGER shop.late BEFORE INSERT ON shop.extra FOR EACH ROW SET NEW.c = 1")
        return found

    monkeypatch.setattr(load_aside, "find", busy)
    with pytest.raises(StepError, match=r"What had been moved aside is back where it was"):
        restore(only=["shop"], replace=True)
    query(connection, "DROP TRIGGER shop.late")
    assert everything(connection) == before
    assert not [name for name in names(connection, "SHOW DATABASES") if "__before_" in name]


@pytest.mark.parametrize("fails", [False, True])
def test_who_may_run_a_routine_may_run_the_one_that_takes_its_place(connection: Any, dump: Path, fails: bool) -> None:
    lived_in(connection)
    (routine, *_) = (row[1] for row in query(connection, "SHOW PROCEDURE STATUS WHERE db = 'shop'"))
    query(connection, "CREATE USER IF NOT EXISTS 'run''ner'@'10.%'")
    try:
        query(connection, f"GRANT EXECUTE ON PROCEDURE shop.{routine} TO 'run''ner'@'10.%' WITH GRANT OPTION")
        before = names(connection, "SHOW GRANTS FOR 'run''ner'@'10.%'")
        if fails:
            with pytest.raises(DamagedChunk, match="back where it was"):
                restore(damaged(dump), only=["shop"], replace=True)
        else:
            restore(only=["shop"], replace=True)
        assert names(connection, "SHOW GRANTS FOR 'run''ner'@'10.%'") == before
    finally:
        query(connection, "DROP USER 'run''ner'@'10.%'")
