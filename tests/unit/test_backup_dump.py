"""Dumping a real server into a real S3 server, against a dump that MySQL Shell wrote of the same data."""

from __future__ import annotations

import io
import json
import os
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

from steps.backup.backup import back_up
from steps.backup.dump_catalog import Selection
from steps.backup.layout import prefix
from steps.backup.manifest import FILE, Manifest
from steps.backup.objects import Bucket
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
                (tmp_path / "rows").write_bytes(rows_of(files[chunk]))
                query(
                    connection,
                    f"LOAD DATA LOCAL INFILE '{tmp_path}/rows' INTO TABLE {quoted(schema['schema'])}.{quoted(table)}"
                    f" CHARACTER SET utf8mb4 ({', '.join(fields)})" + (" SET " + ", ".join(setting) if setting else ""),
                )
                assert query(connection, "SHOW WARNINGS") == []
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
        query(connection, "ALTER EVENT shop.yearly DISABLE ON REPLICA")
        for statement in statements((VECTOR / "@.users.sql").read_text()):
            query(connection, statement)
        query(connection, "ANALYZE TABLE shop.customer, shop.orders, shop.code, shop.log_unique, shop.vacant")
    return dumped(bucket, "shop")


def test_the_vector_itself_loads_to_its_checksums(shop: tuple[Manifest, dict[str, bytes]], connection: Any) -> None:
    assert {t: query(connection, f"CHECKSUM TABLE shop.{t}")[0][1] for t in SUMS} == SUMS


def test_the_files_are_those_that_mysql_shell_writes(shop: tuple[Manifest, dict[str, bytes]]) -> None:
    manifest, files = shop
    assert set(files) - {FILE} == {file.name for file in VECTOR.iterdir()} - {"README.md"}
    assert Manifest.parse(files[FILE]) == manifest


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
