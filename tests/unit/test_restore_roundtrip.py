"""What `backup` writes to S3, `restore` brings back: every table's checksum and definition, on a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from mysql_group import ROOT, Server, mysql_group

from steps.backup.backup import back_up
from steps.backup.catalogue import find
from steps.backup.dump_catalog import Selection
from steps.backup.load_rows import Target
from steps.backup.load_stream import DamagedChunk
from steps.backup.objects import Bucket
from steps.backup.restore import restore_from
from steps.mysql.connection import query, quoted, session
from steps.mysql.topology import judge, read_views

ADDRESS = f"127.98.{os.getpid() % 250 + 1}.3"
ODD = "odd `n@me`.tsv%20ü漢"

MADE = (
    f"CREATE SCHEMA {quoted(ODD)} CHARACTER SET latin1",
    "CREATE SCHEMA second",
    f"USE {quoted(ODD)}",
    """CREATE TABLE types (
        id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, tiny TINYINT, d DECIMAL(65,30), f FLOAT, g DOUBLE, b BIT(64),
        day DATE, moment DATETIME(6), stamp TIMESTAMP(6) NULL, t TIME(6), y YEAR, c CHAR(5), bin BINARY(5),
        vb VARBINARY(300), tx LONGTEXT, bl LONGBLOB, l1 VARCHAR(50) CHARACTER SET latin1,
        u16 VARCHAR(50) CHARACTER SET utf16, sj VARCHAR(50) CHARACTER SET sjis, e ENUM('a','b,c','d''e'),
        s SET('x','y'), j JSON, geo GEOMETRY SRID 4326, v VECTOR(3), low INT GENERATED ALWAYS AS (tiny + 1) STORED,
        high INT GENERATED ALWAYS AS (tiny + 2) VIRTUAL, hidden INT INVISIBLE DEFAULT 7,
        KEY (tiny), KEY ((tiny * 2)))""",
    "SET SESSION sql_mode='NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone='+00:00'",
    r"""INSERT INTO types (id, tiny, d, f, g, b, day, moment, stamp, t, y, c, bin, vb, tx, bl, l1, u16, sj, e, s, j,
        geo, v, hidden) VALUES
        (0, -128, -99999999999999999999999999999999999.999999999999999999999999999999, -3.402823466e38,
         1.7976931348623157e308, b'1', '0000-00-00', '2026-02-31 00:00:00', '1970-01-01 00:00:01.000001',
         '-838:59:59', 1901, 'a', 0x00, 0x00FF0A0D09, 'tab	line
back\\slash \\N NULL', '', 'é', 'ü😀', 'ｱ漢', 'b,c', 'x,y', '{"a": [1, null, "\\n"]}',
         ST_GeomFromText('POINT(1 2)', 4326), STRING_TO_VECTOR('[1,2.5,-3e-10]'), NULL),
        (18446744073709551614, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
         NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1),
        (5, 0, 0, 1e-38, 4.9e-324, b'0', '9999-12-31', '9999-12-31 23:59:59.999999', NULL, '00:00:00.000001', 0, '',
         '', '', '', 0x5C4E, '', '', '', NULL, '', 'null', ST_GeomFromText('GEOMETRYCOLLECTION EMPTY', 4326),
         STRING_TO_VECTOR('[0,0,0]'), 0)""",
    f"CREATE TABLE {quoted(ODD)} (`a,b` INT, `c``d` VARCHAR(20) NOT NULL, PRIMARY KEY (`c``d`, `a,b`))"
    " COMMENT='NOT; --'",
    f"INSERT INTO {quoted(ODD)} SELECT n, CONCAT('ä', n) FROM (WITH RECURSIVE r AS (SELECT 1 n UNION ALL"
    " SELECT n + 1 FROM r WHERE n < 999) SELECT n FROM r) made",
    "CREATE TABLE parts (id INT PRIMARY KEY, note VARCHAR(200)) PARTITION BY RANGE (id)"
    " (PARTITION p0 VALUES LESS THAN (500), PARTITION `odd@p` VALUES LESS THAN MAXVALUE)",
    f"INSERT INTO parts SELECT `a,b`, REPEAT('x', 100) FROM {quoted(ODD)}",
    "CREATE TABLE mother (id INT PRIMARY KEY, c INT)",
    f"CREATE TABLE second.child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES {quoted(ODD)}.mother (id))",
    "ALTER TABLE mother ADD FOREIGN KEY (c) REFERENCES second.child (id)",
    "INSERT INTO mother VALUES (1, NULL)",
    "INSERT INTO second.child VALUES (1, 1)",
    "UPDATE mother SET c = 1",
    "CREATE FUNCTION plus(x INT) RETURNS INT DETERMINISTIC RETURN x + 1 -- don't; stop",
    "CREATE VIEW z AS SELECT id, plus(id) AS more FROM mother",
    f"CREATE VIEW second.a AS SELECT * FROM {quoted(ODD)}.z",
    "CREATE VIEW a AS SELECT * FROM second.a",
    "CREATE TRIGGER loud BEFORE INSERT ON mother FOR EACH ROW BEGIN SET NEW.c = NEW.c; SET @x = ';;'; END",
    "CREATE EVENT never ON SCHEDULE EVERY 1 YEAR STARTS '2099-01-01' DISABLE DO BEGIN DELETE FROM parts; END",
    "CREATE USER IF NOT EXISTS 'o''dd'@'10.%' IDENTIFIED BY 'secret'",
    f"GRANT SELECT ON {quoted(ODD)}.types TO 'o''dd'@'10.%'",
    f"GRANT EXECUTE ON FUNCTION {quoted(ODD)}.plus TO 'o''dd'@'10.%'",
)
TABLES = [f"{quoted(ODD)}.{name}" for name in ("types", quoted(ODD), "parts", "mother")] + ["second.child"]
OTHERS = [f"VIEW {quoted(ODD)}.a", "VIEW second.a", f"FUNCTION {quoted(ODD)}.plus", f"TRIGGER {quoted(ODD)}.loud"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as servers:
        yield servers[0]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    s3 = ThreadedMotoServer(f"127.98.{os.getpid() % 250 + 1}.4", port=0)
    s3.start()
    host, port = s3.get_host_and_port()
    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **keys)
    client.create_bucket(Bucket="roundtrip")
    made = Bucket(client, "roundtrip")
    yield made
    made.close()
    s3.stop()


def seen(connection: Any) -> dict[str, Any]:
    """Return all that must come back, with every name in full."""
    query(connection, "USE mysql")
    found: dict[str, Any] = {table: query(connection, f"CHECKSUM TABLE {table}")[0][1] for table in TABLES}
    for thing in [f"TABLE {table}" for table in TABLES] + OTHERS + [f"EVENT {quoted(ODD)}.never"]:
        row = query(connection, f"SHOW CREATE {thing}")[0]
        # A trigger's last field is when it was made.
        found[thing] = row[:3] if thing.startswith("TRIGGER") else row
    found["a"] = query(connection, f"SELECT * FROM {quoted(ODD)}.a")
    found["grants"] = sorted(row[0] for row in query(connection, "SHOW GRANTS FOR 'o''dd'@'10.%'"))
    return found


def test_all_of_it_comes_back(server: Server, bucket: Bucket) -> None:
    with session(ADDRESS, 3306, ROOT) as connection:
        for statement in MADE:
            query(connection, statement)
        before = seen(connection)
        assert all(isinstance(before[table], int) and before[table] for table in TABLES)
        topology = judge("demo", 1, *read_views({"demo-0": ADDRESS}, ROOT))
        made, _ = back_up(
            topology, ROOT, bucket, "tiphys", Selection((), (), ("root",)), parallel=2, bytes_per_chunk=20_000
        )
        assert len(made.files) > 15
        for schema in (quoted(ODD), "second"):
            query(connection, "SET foreign_key_checks=0")
            query(connection, f"DROP SCHEMA {schema}")
        query(connection, "DROP USER 'o''dd'@'10.%'")
        damaged = next(name for name, file in made.files.items() if name.startswith("odd") and (file.rows or 0) > 50)
        key = f"backups/{made.name}/{damaged}"
        whole = bucket.get(key)
        bucket.put(key, whole[:50] + bytes([whole[50] ^ 1]) + whole[51:])
        source = find(bucket, "latest", "demo", "tiphys")
        with pytest.raises(DamagedChunk):
            restore_from(source, Target(ADDRESS, ROOT), name=made.name, only=[])
        assert query(connection, "SELECT phase FROM tiphys.restores") == [("rows",)]
        bucket.put(key, whole)
        done = restore_from(source, Target(ADDRESS, ROOT), name=made.name, only=[], parallel=3)
        assert (done.rows, done.gtid) == (made.rows, made.gtid_executed)
        after = seen(connection)
    assert {key for key in before if before[key] != after[key]} == set(), [
        (before[key], after[key]) for key in before if before[key] != after[key]
    ]
