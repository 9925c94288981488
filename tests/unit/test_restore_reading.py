"""The pure parts of a restore: SQL files as statements, keys of tables, rows cut into pieces, what to go on with."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest
import zstandard

from steps.backup import layout, restore
from steps.backup.ddl import create_table, statements, table_shape
from steps.backup.layout import BadLayout
from steps.backup.load_objects import _account
from steps.backup.load_plan import ChunkFile, read_plan
from steps.backup.load_rows import load_statement
from steps.backup.load_stream import ChunkRows, DamagedChunk, Pieces
from steps.backup.source import FolderSource
from steps.errors import Temporary
from steps.mysql.connection import Credentials
from steps.mysql.topology import Member, Topology, View

VECTOR = Path(__file__).parents[1] / "data" / "mysqlsh-dump"


def texts(sql: str) -> list[str]:
    return [statement.sql for statement in statements(sql)]


def test_delimiters_are_the_clients_own() -> None:
    sql = "SELECT 1;\nDELIMITER ;;\nCREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END ;;\nDELIMITER ;\nSELECT 3"
    assert texts(sql) == ["SELECT 1", "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END", "SELECT 3"]


@pytest.mark.parametrize(
    ("sql", "seen"),
    [
        ("SELECT ';', \";\", `;`; X", ["SELECT ';', \";\", `;`", "X"]),
        ("SELECT 'it''s;', 'a\\';b'; X", ["SELECT 'it''s;', 'a\\';b'", "X"]),
        ("-- a comment's end;\n# another's;\n/* third's; */ X;", ["X"]),
        ("BEGIN -- don't;\n Y; Z", ["BEGIN -- don't;\n Y", "Z"]),
        ("/*!50003 SET @a = ';' */; X", ["/*!50003 SET @a = ';' */", "X"]),
        ("SELECT 5-3, 6--2, 8/2; X", ["SELECT 5-3, 6--2, 8/2", "X"]),
        ("SELECT 'DELIMITER ;;\n'; X", ["SELECT 'DELIMITER ;;\n'", "X"]),
        (";;  ;\n", []),
        ("", []),
        ("SELECT 1 --", ["SELECT 1 --"]),
        ("DELIMITER ;;\nRETURN 1 -- don't ;;\nDELIMITER ;\nX;", ["RETURN 1 -- don't", "X"]),
    ],
)
def test_statements_end_where_mysql_ends_them(sql: str, seen: list[str]) -> None:
    assert texts(sql) == seen


def test_where_a_literal_ends_depends_on_the_mode_that_was_set_before() -> None:
    plain, usual = "/*!50003 SET sql_mode = 'PIPES_AS_CONCAT,NO_BACKSLASH_ESCAPES' */", "SET sql_mode = @saved"
    assert texts(f"{plain}; RETURN 'back\\'; X; {usual}; SELECT 'a\\'; X'") == [
        plain,
        "RETURN 'back\\'",
        "X",
        usual,
        "SELECT 'a\\'; X'",
    ]
    ansi = "SET SESSION sql_mode = 'ANSI_QUOTES'"
    assert texts(f"""{ansi}; SELECT "a\\"; SELECT 'b\\'; c'""") == [ansi, 'SELECT "a\\"', "SELECT 'b\\'; c'"]


def test_statements_know_what_part_of_the_file_they_stand_in() -> None:
    schema = list(statements((VECTOR / "shop.sql").read_text()))
    created = {(s.kind, s.name) for s in schema if "DEFINER" in s.sql}
    assert created == {
        ("event", "`shop`.`yearly`"),
        ("function", "`shop`.`twice`"),
        ("procedure", "`shop`.`greet`"),
    }
    assert next(s.kind for s in schema if s.sql.startswith("CREATE DATABASE")) == ""
    users = [(s.kind, s.name, s.sql.split()[0]) for s in statements((VECTOR / "@.users.sql").read_text())]
    name = "'shopper'@'%'"
    assert users == [("user", name, "CREATE"), ("grants", name, "GRANT"), ("grants", name, "GRANT")]


@pytest.mark.parametrize(
    ("lines", "has_key"),
    [
        (["`a` int NOT NULL", "PRIMARY KEY (`a`)"], True),
        (["`a` int NOT NULL", "`b` int", "UNIQUE KEY `u` (`a`)"], True),
        (["`a` int NOT NULL", "`b` int NOT NULL", "UNIQUE KEY `u` (`a`,`b` DESC)"], True),
        (["`a` int NOT NULL", "`b` int DEFAULT NULL", "UNIQUE KEY `u` (`a`,`b`)"], False),
        (["`a` text NOT NULL", "UNIQUE KEY `u` (`a`(10))"], False),
        (["`a` int NOT NULL", "UNIQUE KEY `u` ((`a` + 1))"], False),
        (["`a` int NOT NULL", "KEY `PRIMARY KEY` (`a`)"], False),
        (["`a` int DEFAULT NULL COMMENT 'NOT NULL'", "UNIQUE KEY `u` (`a`)"], False),
        (["`a` int DEFAULT NULL COMMENT 'PRIMARY KEY'"], False),
        (["`NOT NULL` int DEFAULT NULL", "UNIQUE KEY `u` (`NOT NULL`)"], False),
        (["`a` int GENERATED ALWAYS AS (1) VIRTUAL NOT NULL", "UNIQUE KEY `u` (`a`)"], False),
        (["`a``,` int NOT NULL", "UNIQUE KEY `u` (`a``,`)"], True),
        (["`a` int NOT NULL"], False),
    ],
)
def test_a_table_has_a_key_if_a_group_finds_one(lines: list[str], has_key: bool) -> None:
    sql = "CREATE TABLE `t` (\n  " + ",\n  ".join(lines) + "\n) ENGINE=InnoDB COMMENT='ENGINE=MyISAM'"
    assert table_shape(sql).has_key is has_key
    assert table_shape(sql).engine == "InnoDB"


def test_the_vectors_tables_all_have_keys() -> None:
    for table in ("code", "customer", "log_unique", "orders", "vacant"):
        sql = create_table((VECTOR / f"shop@{table}.sql").read_text())
        assert sql is not None and table_shape(sql).has_key, table
    assert table_shape("CREATE TABLE `t` (\n  `a` int\n) ENGINE=MyISAM").engine == "MyISAM"


def test_accounts_are_read_as_mysql_writes_them() -> None:
    assert _account("'shopper'@'%'") == ("shopper", "%")
    assert _account(r"'o''ne\'s'@'Host.EXAMPLE'") == ("o'ne's", "host.example")


def pieces_of(data: bytes, limit: int, block: int, ask: int = 131056) -> list[bytes]:
    class Small(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size if size and size > 0 else block, block))

    pieces, found = Pieces(Small(data)), []
    while pieces.next_piece(limit):
        parts = []
        while part := pieces.read(ask):
            parts.append(part)
        assert pieces.size == len(b"".join(parts)) > 0
        found.append(b"".join(parts))
    return found


def test_pieces_end_between_rows_wherever_blocks_end() -> None:
    choose = random.Random(98)
    values = [b"a", b"\\\n", b"\\\\", b"\\n", b"\\\\\\\n", b"xyz", b"\t", b"\\N"]
    for _ in range(400):
        rows = [b"".join(choose.choices(values, k=choose.randint(0, 9))) + b"\n" for _ in range(choose.randint(0, 30))]
        ends = {sum(map(len, rows[:n])) for n in range(len(rows) + 1)}
        limit, block = choose.randint(1, 60), choose.randint(1, 50)
        found = pieces_of(b"".join(rows), limit, block, choose.randint(1, 70))
        assert b"".join(found) == b"".join(rows)
        reached = 0
        for piece in found:
            reached += len(piece)
            assert reached in ends, (rows, found)
            longest = max(map(len, rows))
            assert len(piece) <= limit + longest
            assert len(piece) >= limit or piece is found[-1]


def test_a_row_larger_than_a_piece_is_never_in_memory_as_a_whole() -> None:
    class Endless:
        def __init__(self) -> None:
            self.left = 400

        def read(self, size: int = -1, /) -> bytes:
            self.left -= 1
            return b"x" * 1000 if self.left > 0 else b"" if self.left else b"x\n"

    rows = Endless()
    pieces = Pieces(rows)
    assert pieces.next_piece(5000)
    for blocks in range(399, -1, -1):
        assert len(pieces.read()) in (1000, 2)
        assert rows.left >= blocks, "no more is read than is given out"
    assert pieces.read() == b"" and not pieces.next_piece(5000) and pieces.size == 0


def rows_of(packed: bytes, length: int) -> ChunkRows:
    return ChunkRows(ChunkFile("c", "s", "t", length, None, None), io.BytesIO(packed))


def drain(rows: ChunkRows) -> bytes:
    return b"".join(iter(rows.read, b""))


def test_a_chunk_of_several_frames_is_read_to_its_end() -> None:
    data = [b"a" * 200_000, b"b" * 10]
    packed = b"".join(zstandard.ZstdCompressor().compress(part) for part in data)
    assert drain(rows_of(packed, 200_010)) == b"".join(data)


@pytest.mark.parametrize("cut", [1, 10, 30, 2000, 5000])
def test_a_chunk_that_is_cut_off_is_never_read_to_its_end(cut: int) -> None:
    data = random.Random(1).randbytes(6000)
    packed = zstandard.ZstdCompressor().compress(data)
    with pytest.raises(DamagedChunk):
        drain(rows_of(packed[:-cut], 6000))


def test_a_chunk_of_another_length_or_kind_is_damaged() -> None:
    packed = zstandard.ZstdCompressor().compress(b"x" * 100)
    for length in (99, 101):
        with pytest.raises(DamagedChunk, match="cut off or replaced"):
            drain(rows_of(packed, length))
    with pytest.raises(DamagedChunk, match="cannot be decompressed"):
        drain(rows_of(b"no zstd at all", 10))


def test_rows_in_an_unknown_form_are_refused() -> None:
    table = layout.Table("s", "t", ["a", "b"], decode={"b": "UNHEX"})
    assert "(`a`, @v1) SET `b` = UNHEX(@v1)" in load_statement(table)
    with pytest.raises(BadLayout, match="SLEEP"):
        load_statement(layout.Table("s", "t", ["a"], decode={"a": "SLEEP"}))
    with pytest.raises(BadLayout, match="only"):
        load_statement(layout.Table("s", "t", ["a"], dialect={**table.dialect, "fieldsEscapedBy": ""}))
    with pytest.raises(BadLayout, match="character set"):
        load_statement(layout.Table("s", "t", ["a"], charset="utf8mb4 x"))


def test_a_plan_names_every_file_of_rows() -> None:
    plan = read_plan(FolderSource(VECTOR))
    assert [schema.name for schema in plan.schemas] == ["shop"]
    assert {chunk.file for chunk in plan.chunks} == {file.name for file in VECTOR.glob("*.zst")}
    assert {chunk.table for chunk in plan.chunks if "@p" in chunk.file} == {"code"}
    assert read_plan(FolderSource(VECTOR), ["shop"]).users == ""


def test_a_dead_primary_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    lead = Member("a", "h", 3306, "ONLINE", "PRIMARY", "9.7.4", "demo-0", "127.98.0.9")
    seen = iter(
        [
            Topology("demo", 3),
            Topology("demo", 3, (lead,), lead, True, {}, {"demo-0": "refused"}),
            Topology("demo", 3, (lead,), lead, True, {"demo-0": View("a", (lead,), False)}),
            Topology("demo", 3, (lead,), lead, True, {"demo-0": View("a", (lead,), True)}),
            Topology("demo", 3),
        ]
    )
    monkeypatch.setattr(restore, "read_topology", lambda *_, **__: next(seen))
    monkeypatch.setattr("time.sleep", lambda _: None)
    kube: Any = None
    assert restore.wait_for_primary(kube, "demo", Credentials("root", "x")) == "127.98.0.9"
    with pytest.raises(Temporary, match="no primary that takes writes"):
        restore.wait_for_primary(kube, "demo", Credentials("root", "x"), seconds=-1)
