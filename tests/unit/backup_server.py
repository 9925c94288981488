"""One real mysqld and one real versitygw for tests of backups: what is written on the one is read back from the other.

The server is in no group, so that it also takes rows of tables without a key, and keeps nothing safe from a crash.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
from botocore.config import Config
from mysql_group import ROOT, SETTINGS, Server, free_ports

from steps.backup.objects import Bucket
from steps.mysql.connection import query, session
from steps.mysql.topology import Member, Topology
from tiphys.local import mysql_packages
from tiphys.local.s3.programs import keeps_attributes, versitygw_there

QUICK = """
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=OFF
innodb_flush_method=nosync
sync_binlog=0
innodb_buffer_pool_size=64M
"""


def test_address(network: int, last: int) -> str:
    """Return an address of this test process's own."""
    return f"127.{network}.{os.getpid() % 250 + 1}.{last}"


test_address.__test__ = False  # type: ignore[attr-defined]


@contextmanager
def lone_server(folder: Path, address: str) -> Iterator[Server]:
    """Run one server outside of any group."""
    mysql_packages.ensure()
    (place := folder / "mysqld").mkdir(parents=True)
    ports = free_ports(1)
    server = Server(place, address, 7, ports, ports[0])
    (place / "my.cnf").write_text(SETTINGS + QUICK)
    try:
        server.start()
        server.wait()
        server.prepare()
        yield server
    finally:
        server.stop()


@contextmanager
def versity_bucket(folder: Path, address: str) -> Iterator[Bucket]:
    """Run versitygw over a folder, with one empty bucket."""
    program = versitygw_there()
    assert program is not None, "ask for the fixture versitygw"
    (root := folder / "objects").mkdir(parents=True)
    (sidecar := folder / "attributes").mkdir()
    (port,) = free_ports(1)
    words = [str(program.path), "--port", f"{address}:{port}", "--quiet", "--keep-alive", "posix"]
    words += [] if keeps_attributes(root) else ["--sidecar", str(sidecar)]
    keys = {"ROOT_ACCESS_KEY": "key", "ROOT_SECRET_KEY": "secret-of-tests"}
    process = subprocess.Popen([*words, str(root)], env={**os.environ, **keys}, stdout=subprocess.DEVNULL)
    try:
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{address}:{port}",
            aws_access_key_id=keys["ROOT_ACCESS_KEY"],
            aws_secret_access_key=keys["ROOT_SECRET_KEY"],
            region_name="us-east-1",
            config=Config(max_pool_connections=40, s3={"addressing_style": "path"}),
        )
        _make_bucket(client, process)
        made = Bucket(client, "tests")
        yield made
        made.close()
    finally:
        process.terminate()
        process.wait()


def _make_bucket(client: Any, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        assert process.poll() is None, "versitygw ended by itself"
        try:
            client.create_bucket(Bucket="tests")
            return
        except botocore.exceptions.EndpointConnectionError:
            time.sleep(0.1)
    raise AssertionError("versitygw never answered")


def alone(address: str, cluster: str = "demo") -> Topology:
    """Return the topology of a cluster whose one member is the server at `address`."""
    with session(address, 3306, ROOT) as connection:
        uuid = str(query(connection, "SELECT @@server_uuid")[0][0])
    member = Member(uuid, address, 3306, "ONLINE", "PRIMARY", "9.7.4", f"{cluster}-0", address)
    return Topology(cluster, 1, (member,), member, True)
