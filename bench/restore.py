"""How fast does a restore load a three-member group, next to ``mysql`` fed with mysqldump's file of the same data?

Both load the same employees-shaped rows into the same group, in turns, and each is timed until its last statement has
ended and until every member has applied it. ``mysql`` reads its dump from a file; the restore reads its backup from an
S3 server on this machine.

Usage: ``python bench/restore.py [--rows 3700000] [--rounds 2] [--parallel 4]``. Prints one JSON line; it needs neither
a platform nor a cluster: it makes a group and an S3 server of its own, and ends them.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import click

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))

from mysql_group import ROOT, Server, free_ports, mysql_group

from steps.backup.backup import back_up
from steps.backup.dump_catalog import Selection
from steps.backup.layout import prefix
from steps.backup.load_rows import Target
from steps.backup.objects import Bucket
from steps.backup.restore import restore_from
from steps.backup.source import S3Source
from steps.mysql.connection import query, session
from steps.mysql.load_sample_data import fill
from steps.mysql.sample_data import TABLES
from steps.mysql.sample_load import DataSet
from steps.mysql.topology import judge, read_views
from tiphys.local import mysql_packages
from tiphys.local.s3.programs import versitygw_there

ADDRESSES = [f"127.83.{os.getpid() % 250 + 1}.{n}" for n in (1, 2, 3)]
SCHEMA = "employees"
BUCKET = "bench"


@contextmanager
def s3_server(folder: Path) -> Iterator[Bucket]:
    """Run versitygw over a folder, and give a bucket of it."""
    program = versitygw_there()
    if program is None:
        raise click.ClickException("No versitygw: run `tiphys up` once, which builds it, or put it on PATH.")
    (folder / "s3" / BUCKET).mkdir(parents=True)
    (folder / "meta").mkdir()
    address = f"127.0.0.1:{free_ports(1)[0]}"
    key, secret = "bench", "only-for-the-bench"
    words = ["--port", address, "--region", "us-east-1", "--quiet", "--keep-alive", "posix"]
    process = subprocess.Popen(
        [program.path, *words, "--sidecar", folder / "meta", folder / "s3"],
        env={"ROOT_ACCESS_KEY": key, "ROOT_SECRET_KEY": secret, "PATH": os.environ["PATH"]},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://{address}", **keys)
    try:
        for _ in range(100):
            try:
                client.list_objects_v2(Bucket=BUCKET)
                break
            except Exception:
                time.sleep(0.1)
        yield Bucket(client, BUCKET)
    finally:
        client.close()
        process.terminate()
        process.wait()


def dump_with_mysqldump(file: Path) -> None:
    """Write mysqldump's file of the sample schema, as people do."""
    mysql = mysql_packages.find()
    words = ["--no-defaults", "-h", ADDRESSES[0], "-u", ROOT.user, "--single-transaction", "--set-gtid-purged=OFF"]
    environment = {**os.environ, **mysql.environment, "MYSQL_PWD": ROOT.password}
    with file.open("wb") as out:
        subprocess.run(
            mysql.command("mysqldump", *words, "--databases", SCHEMA), env=environment, stdout=out, check=True
        )


def load_with_mysql(file: Path) -> None:
    """Feed the dump to ``mysql``."""
    mysql = mysql_packages.find()
    words = ["--no-defaults", "-h", ADDRESSES[0], "-u", ROOT.user]
    environment = {**os.environ, **mysql.environment, "MYSQL_PWD": ROOT.password}
    with file.open("rb") as rows:
        subprocess.run(mysql.command("mysql", *words), env=environment, stdin=rows, check=True)


def wait_for_all() -> None:
    """Wait until every member has applied what the primary has."""
    with session(ADDRESSES[0], 3306, ROOT) as connection:
        gtids = str(query(connection, "SELECT @@global.gtid_executed")[0][0])
    for address in ADDRESSES[1:]:
        with session(address, 3306, ROOT, read_timeout=900) as connection:
            query(connection, f"SELECT WAIT_FOR_EXECUTED_GTID_SET('{gtids}', 800)")


def sums() -> list[dict[str, int]]:
    """Return every table's checksum on every member."""
    found = []
    names = ", ".join(f"{SCHEMA}.{table}" for table in TABLES)
    for address in ADDRESSES:
        with session(address, 3306, ROOT, read_timeout=300) as connection:
            found.append({str(name): int(value) for name, value in query(connection, f"CHECKSUM TABLE {names}")})
    return found


def empty() -> None:
    """Drop the schema on the whole group, and let the servers come to rest."""
    with session(ADDRESSES[0], 3306, ROOT, read_timeout=300) as connection:
        query(connection, f"DROP SCHEMA IF EXISTS {SCHEMA}")
    wait_for_all()
    for address in ADDRESSES:
        with session(address, 3306, ROOT, read_timeout=300) as connection:
            query(connection, "FLUSH BINARY LOGS")


def used(servers: list[Server]) -> float:
    """Return the CPU seconds that the servers have used so far, in all."""
    total = 0
    for server in servers:
        assert server.process is not None
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def timed(load: Callable[[], Any], servers: list[Server]) -> dict[str, float]:
    """Load once; return seconds until the load ended, until all had applied it, and the servers' CPU seconds."""
    empty()
    before, started = used(servers), time.monotonic()
    load()
    ended = time.monotonic() - started
    wait_for_all()
    took = {
        "seconds": ended,
        "applied_seconds": time.monotonic() - started,
        "server_cpu_seconds": used(servers) - before,
    }
    return {key: round(value, 2) for key, value in took.items()}


@click.command()
@click.option("--rows", default=3_700_000, help="Rows in all tables.")
@click.option("--rounds", default=2, help="How often each side loads, in turns.")
@click.option("--parallel", default=4, help="Connections of the restore.")
def main(rows: int, rounds: int, parallel: int) -> None:
    """Measure both sides."""
    with tempfile.TemporaryDirectory(prefix="tiphys-bench-") as name:
        folder = Path(name)
        with mysql_group(folder, ADDRESSES) as servers, s3_server(folder) as bucket:
            topology = judge("bench", 3, *read_views({f"bench-{n}": each for n, each in enumerate(ADDRESSES)}, ROOT))
            fill(topology, ROOT, SCHEMA, DataSet(rows, 1), parallel=3, replace=False)
            with session(ADDRESSES[0], 3306, ROOT) as connection:
                query(connection, f"DROP TABLE {SCHEMA}.tiphys_sample_data")
            wait_for_all()
            before = sums()
            file = folder / "dump.sql"
            dump_with_mysqldump(file)
            made, _ = back_up(topology, ROOT, bucket, "tiphys", Selection((), (), ("root", "repl")), parallel=2)

            def ours() -> None:
                target = Target(ADDRESSES[0], ROOT)
                restore_from(S3Source(bucket, prefix(made.name)), target, name=made.name, only=[], parallel=parallel)

            mine, theirs = [], []
            for _ in range(rounds):
                theirs.append(timed(lambda: load_with_mysql(file), servers))
                assert sums() == before, "mysql's load differs from what was dumped"
                mine.append(timed(ours, servers))
                assert sums() == before, "the restore differs from what was backed up"
            sizes = {"dump_bytes": file.stat().st_size, "backup_bytes": made.size}
    ratio = {
        key: round(statistics.median(t[key] for t in theirs) / statistics.median(t[key] for t in mine), 2)
        for key in mine[0]
    }
    told = {"bench": "restore", "rows": rows, "members": 3, "parallel": parallel, **sizes}
    print(json.dumps({**told, "mysql": theirs, "restore": mine, "ratio": ratio}))


if __name__ == "__main__":
    main()
