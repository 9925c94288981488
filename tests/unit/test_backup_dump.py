"""Dumping a real server into a real S3 server, against a dump that MySQL Shell wrote of the same data."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import mysql.connector
import pytest
import zstandard
from moto.server import ThreadedMotoServer
from mysql_group import ROOT, Server, mysql_group

from steps.backup import dump_ddl as ddl
from steps.backup import layout
from steps.backup.backup import back_up
from steps.backup.dump_catalog import Selection
from steps.backup.layout import prefix
from steps.backup.manifest import FILE, Manifest
from steps.backup.objects import Bucket
from steps.backup.reread import reread
from steps.mysql.connection import query, quoted
from steps.mysql.topology import judge, read_views

VECTOR = Path(__file__).parents[1] / "data" / "mysqlsh-dump"
ADDRESS = f"127.97.{os.getpid() % 250 + 1}.1"
SUMS = {"customer": 2820272405, "orders": 3656933838, "log_unique": 2899731556, "code": 3554093661, "vacant": 0}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mysql_group(tmp_path_factory.mktemp("group"), [ADDRESS]) as servers:
        yield servers[0]


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    s3 = ThreadedMotoServer(f"127.97.{os.getpid() % 250 + 1}.2", port=0)
    s3.start()
    host, port = s3.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="tiphys")
    made = Bucket(client, "tiphys")
    yield made
    made.close()
    s3.stop()


@contextmanager
def plain() -> Iterator[Any]:
    """Yield a connection that reads local files, as a stranger to this project's own loader would."""
    with mysql.connector.connect(
        host=ADDRESS, user=ROOT.user, password=ROOT.password, use_pure=True, autocommit=True, allow_local_infile=True
    ) as opened:
        yield opened


@pytest.fixture
def connection(server: Server) -> Iterator[Any]:
    with plain() as opened:
        yield opened


def statements(text: str) -> Iterator[str]:
    """Yield the statements of an SQL file, with the delimiter changed on the way."""
    delimiter, lines = ";", list[str]()
    for line in text.splitlines():
        if line.startswith("DELIMITER "):
            delimiter = line.split()[1]
        elif line.startswith("--") or not (line.strip() or lines):
            continue
        else:
            lines.append(line)
            if line.rstrip().endswith(delimiter):
                yield "\n".join(lines).rstrip().removesuffix(delimiter)
                lines = []
    assert not "".join(lines).strip()


def rows_of(content: bytes) -> bytes:
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content), read_across_frames=True) as reader:
        return reader.read()


def fill_from(connection: Any, files: dict[str, bytes], tmp_path: Path) -> None:
    """Load a dump as plainly as possible: definitions, rows, triggers, views."""
    query(connection, "SET SESSION sql_mode='NO_AUTO_VALUE_ON_ZERO', foreign_key_checks=0, time_zone='+00:00'")
    for schema_file in [name for name in files if "@" not in name and name.endswith(".json") and name != FILE]:
        schema = json.loads(files[schema_file])
        base = schema_file.removesuffix(".json")
        for name in [f"{base}.sql", *(f"{schema['basenames'][t]}.sql" for t in schema["tables"])]:
            for statement in statements(files[name].decode()):
                query(connection, statement)
        for table in schema["tables"]:
            described = json.loads(files[f"{schema['basenames'][table]}.json"])["options"]
            decode = described.get("decodeColumns", {})
            fields = [f"@{i}" if c in decode else quoted(c) for i, c in enumerate(described["columns"])]
            setting = [f"{quoted(c)} = {decode[c]}(@{i})" for i, c in enumerate(described["columns"]) if c in decode]
            for chunk in [n for n in files if n.startswith(schema["basenames"][table] + "@") and n.endswith(".zst")]:
                rows = rows_of(files[chunk])
                if not rows:
                    continue
                (tmp_path / "rows").write_bytes(rows)
                query(
                    connection,
                    f"LOAD DATA LOCAL INFILE '{tmp_path}/rows' INTO TABLE {quoted(schema['schema'])}.{quoted(table)}"
                    f" CHARACTER SET utf8mb4 ({', '.join(fields)})" + (" SET " + ", ".join(setting) if setting else ""),
                )
                # An ENUM of the value '' that is none of its own warns, and is the same.
                assert [row for row in query(connection, "SHOW WARNINGS") if "column 'en'" not in row[2]] == []
        for name in sorted(files):
            if name.startswith(base + "@") and name.endswith(".triggers.sql"):
                for statement in statements(files[name].decode()):
                    query(connection, statement)
        for part in ("pre.sql", "sql"):
            for view in schema.get("views", []):
                for statement in statements(files[f"{schema['basenames'][view]}.{part}"].decode()):
                    query(connection, statement)


def dumped(bucket: Bucket, include: str, bytes_per_chunk: int = 512_000) -> tuple[Manifest, dict[str, bytes]]:
    views, unreachable = read_views({"demo-0": ADDRESS}, ROOT)
    topology = judge("demo", 1, views, unreachable)
    selection = Selection((include,), exclude_users=("root", "repl"))
    made, _ = back_up(topology, ROOT, bucket, "tiphys", selection, parallel=2, bytes_per_chunk=bytes_per_chunk)
    where = prefix(made.name)
    return made, {key.removeprefix(where): bucket.get(key) for key in bucket.keys(where)}


@pytest.fixture(scope="module")
def shop(server: Server, bucket: Bucket, tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, dict[str, bytes]]:
    with plain() as connection:
        fill_from(connection, {file.name: file.read_bytes() for file in VECTOR.iterdir()}, tmp_path_factory.mktemp("v"))
        for statement in statements((VECTOR / "@.users.sql").read_text()):
            query(connection, statement)
        query(connection, "ANALYZE TABLE shop.customer, shop.orders, shop.code, shop.log_unique, shop.vacant")
    return dumped(bucket, "shop")


def test_the_vector_itself_loads_to_its_checksums(shop: tuple[Manifest, dict[str, bytes]], connection: Any) -> None:
    assert {t: query(connection, f"CHECKSUM TABLE shop.{t}")[0][1] for t in SUMS} == SUMS


def test_the_files_are_those_that_mysql_shell_writes(shop: tuple[Manifest, dict[str, bytes]]) -> None:
    manifest, files = shop
    assert set(files) - {FILE} == {file.name for file in VECTOR.iterdir()} - {"README.md"}
    assert Manifest.parse(files[FILE]) == manifest and manifest.include == ("shop",)


def rows_by_table(files: dict[str, bytes]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for name, content in files.items():
        if name.endswith(".zst"):
            found.setdefault(name.split("@")[1], []).extend(rows_of(content).splitlines())
    return {table: sorted(rows) for table, rows in found.items()}


def test_the_rows_are_the_same_bytes(shop: tuple[Manifest, dict[str, bytes]]) -> None:
    theirs = rows_by_table({file.name: file.read_bytes() for file in VECTOR.iterdir()})
    ours = rows_by_table(shop[1])
    assert {table: len(rows) for table, rows in ours.items()} == shop[0].tables["shop"]
    for table in theirs:
        assert ours[table] == theirs[table], table


def same_but(text: bytes, *left_out: str) -> str:
    """Return an SQL file without its head (which names the program) and lines that begin with `left_out`."""
    lines = text.decode().splitlines()
    body = lines[lines.index("-- ------------------------------------------------------") :]
    return "\n".join(line for line in body if not line.startswith(left_out)).rstrip()


def test_the_definitions_read_the_same(shop: tuple[Manifest, dict[str, bytes]]) -> None:
    for file in VECTOR.glob("*.sql"):
        if file.name != "@.users.sql":
            assert same_but(shop[1][file.name]) == same_but(file.read_bytes()), file.name


def test_the_metadata_has_the_same_fields_and_values(shop: tuple[Manifest, dict[str, bytes]]) -> None:
    manifest, files = shop
    for file in VECTOR.glob("*.json"):
        theirs, ours = json.loads(file.read_bytes()), json.loads(files[file.name])
        assert list(ours) == list(theirs), file.name
        if file.name == "@.json":
            fixed = ("version", "origin", "schemas", "basenames", "users", "defaultCharacterSet", "tzUtc", "checksum")
            fixed += ("consistent", "gtidExecutedInconsistent", "partialRevokes", "bytesPerChunk")
            assert {key: ours[key] for key in fixed} == {key: theirs[key] for key in fixed}
            assert ours["gtidExecuted"] == manifest.gtid_executed != ""
        elif file.name == "@.done.json":
            theirs.pop("end"), ours.pop("end")
            assert ours == theirs
        elif file.name == "shop.json":
            assert {k: sorted(v) for k, v in ours.items() if isinstance(v, list)} == {
                k: sorted(v) for k, v in theirs.items() if isinstance(v, list)
            }
            assert ours["basenames"] == theirs["basenames"]
        else:
            assert ours == theirs, file.name


def test_every_file_is_what_the_manifest_says(shop: tuple[Manifest, dict[str, bytes]]) -> None:
    manifest, files = shop
    assert set(files) == {*manifest.files, FILE}
    for name, described in manifest.files.items():
        content = files[name]
        assert (len(content), hashlib.sha256(content).hexdigest()) == (described.size, described.sha256)
        if name.endswith(".zst"):
            rows = rows_of(content)
            assert (len(rows), rows.count(b"\n")) == (described.data_bytes, described.rows)
            assert files[f"{name}.idx"] == layout.index_of(len(rows))
    assert manifest.rows == 9100 and manifest.keyless == []


def reread_all(connection: Any, manifest: Manifest, schema: str, names: dict[str, str]) -> dict[str, bool]:
    """Return, by chunk, whether the rows on the server are those of the backup; `names` gives base name to table."""
    same = {}
    for name, file in manifest.files.items():
        if (chunk := layout.chunk_of(name)) and file.keys is not None and chunk.base in names:
            data = b"".join(reread(connection, schema, names[chunk.base], file))
            same[name] = hashlib.sha256(data).hexdigest() == file.data_sha256
    return same


def test_the_rows_of_every_chunk_are_read_again(shop: tuple[Manifest, dict[str, bytes]], server: Server) -> None:
    manifest, _ = shop
    connection = server.connect()
    names = {f"shop@{t}": t for t in SUMS} | {f"shop@code@p{part}": "code" for part in range(3)}
    seen = reread_all(connection, manifest, "shop", names)
    assert set(seen) == {name for name in manifest.files if name.endswith(".zst") and "log_unique" not in name}
    assert all(seen.values())
    query(connection, "UPDATE shop.customer SET balance = balance + 1 WHERE id = 700")
    query(connection, "UPDATE shop.code SET v = v + 1 ORDER BY k LIMIT 1")
    try:
        changed = {name for name, same in reread_all(connection, manifest, "shop", names).items() if not same}
    finally:
        query(connection, "UPDATE shop.customer SET balance = balance - 1 WHERE id = 700")
        query(connection, "UPDATE shop.code SET v = v - 1 ORDER BY k LIMIT 1")
    assert len(changed) == 2 and "shop@customer@0.tsv.zst" in changed
    assert {name.split("@")[1] for name in changed} == {"customer", "code"}


def test_users_come_back(shop: tuple[Manifest, dict[str, bytes]], connection: Any) -> None:
    grants = query(connection, "SHOW GRANTS FOR shopper")
    created = query(connection, "SHOW CREATE USER shopper")
    query(connection, "DROP USER shopper")
    for statement in statements(shop[1]["@.users.sql"].decode()):
        query(connection, statement)
    assert query(connection, "SHOW GRANTS FOR shopper") == grants
    assert query(connection, "SHOW CREATE USER shopper") == created


AWKWARD = r"""
CREATE TABLE types (
  id BIGINT UNSIGNED PRIMARY KEY,
  b1 BIT(1), b64 BIT(64), ti TINYINT, bu BIGINT UNSIGNED, zf INT(8) UNSIGNED ZEROFILL,
  dc DECIMAL(65,30), fl FLOAT, fd FLOAT(9,3), db DOUBLE, dd DOUBLE(12,4),
  d DATE, dt DATETIME(6), ts TIMESTAMP(6) NULL, t TIME(6), y YEAR,
  c CHAR(10), vc VARCHAR(200) CHARACTER SET latin1, ci VARCHAR(50) COLLATE utf8mb4_0900_as_cs,
  sj VARCHAR(50) CHARACTER SET sjis, tx LONGTEXT CHARACTER SET utf16, en ENUM('a','b,c','d''e','x\ty'),
  st SET('a','b'), j JSON, bi BINARY(8), vb VARBINARY(300), bl LONGBLOB,
  g GEOMETRY, p POINT SRID 4326, mp MULTIPOLYGON, v VECTOR(3),
  gen INT GENERATED ALWAYS AS (ti + 1) STORED, gv INT GENERATED ALWAYS AS (ti + 2) VIRTUAL,
  inv INT DEFAULT (1 + 1) INVISIBLE, e VARCHAR(9) DEFAULT (UPPER('x')), `od``d @/ col` INT
)"""
VALUES = [
    (
        r"18446744073709551615, b'1', b'1111111111111111111111111111111111111111111111111111111111111111', -128,"
        r" 18446744073709551615, 42, -12345678901234567890123456789012345.123456789012345678901234567891, 16777217.0,"
        r" 123456.789, 1.7976931348623157e308, 12345678.9012, '0000-00-00', '9999-12-31 23:59:59.999999',"
        r" '2038-01-19 03:14:07.999999', '-838:59:59', 2155, 'pad   ', 'caf\\\t\n\r\0é', 'ÄäSs', 'あソ表', '😀\\N\t\n',"
        r" 'x\ty', 'a,b', JSON_OBJECT('k', 'a\tb\n😀', 'n', 1.5, 'd', CAST('2020-01-01' AS DATE)), UNHEX('00FF'),"
        r" UNHEX('5C090A0D00'), REPEAT(UNHEX('000102FF'), 60),"
        r" ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 2),LINESTRING(0 0,1 1))'), ST_SRID(POINT(1,2), 4326),"
        r" ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))'), STRING_TO_VECTOR('[1,2.5,-3e30]'), DEFAULT, DEFAULT,"
        r" 7, 'y', 1"
    ),
    (
        r"0, b'0', b'0', 127, 0, 0, 0, 3.4028235e38, -0.001, 2.2250738585072014e-308, -0.0, '2020-00-00',"
        r" '0000-00-00 00:00:00', '1970-01-01 00:00:01', '838:59:59', 1901, '', '', '', '', '', 'a', '', 'null', '',"
        r" '', '', ST_GeomFromText('POINT(0 0)'), ST_SRID(POINT(0,0), 4326),"
        r" ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))'), STRING_TO_VECTOR('[0,0,0]'), DEFAULT, DEFAULT,"
        r" NULL, '', NULL"
    ),
    "5" + ", NULL" * 30 + ", DEFAULT, DEFAULT, NULL, NULL, NULL",
    "6, NULL, NULL, 3, NULL, NULL, NULL, 0.1" + ", NULL" * 7 + r", 0, '\\N', 'N', '\\', NULL, '\\N', '', ''"
    r", '\"\\\\N\"', NULL, 'NULL', NULL, NULL, NULL, NULL, NULL, DEFAULT, DEFAULT, 0, '\\N', 0",
]


def test_every_type_comes_back_the_same(server: Server, bucket: Bucket, connection: Any, tmp_path: Path) -> None:
    schema = "odd @/%`ü.name"
    query(connection, "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00'")
    query(connection, f"CREATE SCHEMA {quoted(schema)} DEFAULT CHARACTER SET latin2")
    query(connection, f"USE {quoted(schema)}")
    query(connection, AWKWARD)
    names = [row[0] for row in query(connection, "SHOW COLUMNS FROM types")]
    for values in VALUES:
        query(connection, f"INSERT INTO types ({', '.join(map(quoted, names))}) VALUES ({values})")
    query(connection, "CREATE TABLE `t@ble 1/2` (`k` VARCHAR(20) PRIMARY KEY, v INT) PARTITION BY KEY (k) PARTITIONS 2")
    query(connection, "INSERT INTO `t@ble 1/2` VALUES ('a', 1), ('\\\\', 2), ('b\\n', NULL)")
    query(
        connection,
        "CREATE TABLE subs (a INT, b INT, PRIMARY KEY (a, b)) PARTITION BY RANGE (a) SUBPARTITION BY"
        " HASH (b) SUBPARTITIONS 2 (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
    )
    query(connection, "INSERT INTO subs VALUES (1, 1), (1, 2), (-5, 3), (20, 1), (21, 2)")
    query(connection, "CREATE TABLE keyless (a INT, b TEXT)")
    tables = ("types", "t@ble 1/2", "subs", "keyless")
    before = {t: query(connection, f"CHECKSUM TABLE {quoted(t)}")[0][1] for t in tables}
    created = {t: query(connection, f"SHOW CREATE TABLE {quoted(t)}") for t in tables}
    floats = query(connection, "SELECT id, CAST(fl AS DOUBLE), db, dc FROM types ORDER BY id")
    manifest, files = dumped(bucket, "odd*")
    assert manifest.keyless == [f"{schema}.keyless"]
    query(connection, f"DROP SCHEMA {quoted(schema)}")
    fill_from(connection, files, tmp_path)
    query(connection, f"USE {quoted(schema)}")
    again = query(connection, "SELECT id, CAST(fl AS DOUBLE), db, dc FROM types ORDER BY id")
    assert again == floats
    assert {t: query(connection, f"SHOW CREATE TABLE {quoted(t)}") for t in tables} == created
    assert {t: query(connection, f"CHECKSUM TABLE {quoted(t)}")[0][1] for t in tables} == before


def test_a_block_that_is_too_long_for_the_server_is_read_in_halves(
    server: Server, bucket: Bucket, connection: Any, tmp_path: Path
) -> None:
    query(connection, "CREATE SCHEMA wide")
    query(connection, "CREATE TABLE wide.wide (id INT PRIMARY KEY, n INT, b LONGBLOB)")
    # The statistics of a table that was just made promise short rows, and one key in ten thousand exists.
    for number in range(6):
        query(connection, "INSERT INTO wide.wide VALUES (%s, 1, REPEAT('x', 2500000))", [number])
    query(connection, "INSERT INTO wide.wide VALUES (2000000000, NULL, REPEAT('y', 13000000)), (-2147483648, 1, NULL)")
    before = query(connection, "CHECKSUM TABLE wide.wide")
    manifest, files = dumped(bucket, "wide")
    assert manifest.rows == 8
    query(connection, "DROP SCHEMA wide")
    fill_from(connection, files, tmp_path)
    assert query(connection, "CHECKSUM TABLE wide.wide") == before


def test_a_row_as_long_as_the_server_takes_is_written(server: Server, bucket: Bucket, connection: Any) -> None:
    limit = query(connection, "SELECT @@max_allowed_packet")[0][0]
    query(connection, "CREATE SCHEMA huge")
    query(connection, "CREATE TABLE huge.huge (id INT PRIMARY KEY, b LONGBLOB, t LONGTEXT)")
    # Rows of one packet or of several, and one that fills its packets to the last byte (headers of the fields: 1+1+4).
    exact = (1 << 24) - 1 - 6 - 1
    longest = limit - 100_000
    query(connection, f"INSERT INTO huge.huge VALUES (1, REPEAT('xyz', {longest} DIV 3), NULL)")
    query(
        connection, f"INSERT INTO huge.huge VALUES (2, '', REPEAT('t\\n', {exact} DIV 2)), (3, REPEAT('y', {exact}), 1)"
    )
    query(connection, "INSERT INTO huge.huge VALUES (4, 'last', 'one')")
    manifest, files = dumped(bucket, "huge")
    lines = b"".join(rows_of(files[n]) for n in sorted(files) if n.endswith(".zst")).split(b"\n")[:-1]
    query(connection, "DROP SCHEMA huge")
    assert manifest.rows == len(lines) == 4
    one, two, three, four = (line.split(b"\t") for line in lines)
    assert base64.b64decode(one[1].replace(b"\\n", b"")) == b"xyz" * (longest // 3) and one[2] == b"\\N"
    assert two == [b"2", b"", b"t\\n" * (exact // 2)]
    assert base64.b64decode(three[1].replace(b"\\n", b"")) == b"y" * exact and three[2] == b"1"
    assert four == [b"4", base64.b64encode(b"last"), b"one"]


def test_a_server_that_takes_no_writes_is_read_all_the_same(
    shop: tuple[Manifest, dict[str, bytes]], bucket: Bucket, connection: Any
) -> None:
    """As a secondary: and the statements that hold the moment leave no transaction of their own behind."""
    executed = query(connection, "SELECT @@gtid_executed")
    query(connection, "SET GLOBAL super_read_only = ON")
    try:
        manifest, _ = dumped(bucket, "shop")
    finally:
        query(connection, "SET GLOBAL super_read_only = OFF, read_only = OFF")
    assert manifest.rows == 9100
    assert query(connection, "SELECT @@gtid_executed") == executed
    assert manifest.gtid_executed == str(executed[0][0]).replace("\n", "")


def transactions(gtids: str) -> int:
    """Return how many transactions a GTID set holds."""
    found = re.findall(r":(\d+)(?:-(\d+))?", gtids)
    return sum(int(high or low) - int(low) + 1 for low, high in found)


def test_writes_during_the_backup_are_not_in_it(
    server: Server, bucket: Bucket, connection: Any, tmp_path: Path
) -> None:
    query(connection, "CREATE SCHEMA busy")
    for table in ("a", "b"):
        query(connection, f"CREATE TABLE busy.{table} (id INT PRIMARY KEY AUTO_INCREMENT, v INT)")
    stop = threading.Event()

    def write() -> None:
        with plain() as own:
            while not stop.is_set():
                query(own, "START TRANSACTION")
                query(own, "INSERT INTO busy.a (v) VALUES (1)")
                query(own, "INSERT INTO busy.b (v) VALUES (1)")
                query(own, "COMMIT")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        manifests = [dumped(bucket, "busy")[0]]
        time.sleep(1.1)
        manifests.append(dumped(bucket, "busy")[0])
    finally:
        stop.set()
        writer.join()
    for manifest in manifests:
        assert manifest.tables["busy"]["a"] == manifest.tables["busy"]["b"]
    assert manifests[0].rows < manifests[1].rows < 2 * query(connection, "SELECT COUNT(*) FROM busy.a")[0][0]
    # Each transaction put one row into each table, so the GTIDs between the two are as many as the rows.
    first, last = (transactions(each.gtid_executed) for each in manifests)
    assert last - first == manifests[1].tables["busy"]["a"] - manifests[0].tables["busy"]["a"]
    query(connection, "DROP SCHEMA busy")


def test_roles_and_hashes_of_any_bytes_come_back(server: Server, connection: Any) -> None:
    query(connection, "CREATE ROLE reader")
    query(
        connection, "CREATE USER 'o''brien'@'10.%' IDENTIFIED BY 'secret' DEFAULT ROLE reader REQUIRE SSL COMMENT 'x'"
    )
    query(connection, "GRANT SELECT ON shop.* TO reader")
    query(connection, "GRANT reader TO 'o''brien'@'10.%'")
    accounts = [("o'brien", "10.%"), ("reader", "%")]
    query(connection, "SET SESSION print_identified_with_as_hex = ON")

    def seen() -> list[Any]:
        found = [query(connection, f"SHOW CREATE USER {ddl.sql_account(each)}") for each in accounts]
        return found + [query(connection, f"SHOW GRANTS FOR {ddl.sql_account(each)}") for each in accounts]

    before = seen()
    text = ddl.users(connection, ddl.Header("vm", "9.7.4"), accounts)
    query(connection, "DROP USER 'o''brien'@'10.%'")
    query(connection, "DROP ROLE reader")
    for statement in statements(text):
        query(connection, statement)
    assert seen() == before


def test_an_event_that_a_secondary_shows_as_disabled_runs_again_where_it_did(
    shop: tuple[Manifest, dict[str, bytes]], connection: Any
) -> None:
    header = ddl.Header("vm", "9.7.4")
    for enabled, status in ((frozenset({"yearly"}), "ENABLE"), (frozenset[str](), "DISABLE ON REPLICA")):
        text = ddl.schema(connection, header, "shop", events=["yearly"], functions=[], procedures=[], enabled=enabled)
        assert f"ON COMPLETION NOT PRESERVE {status} DO DELETE" in text
