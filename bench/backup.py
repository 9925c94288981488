"""How fast is a backup, next to `mysqldump | zstd -1 | upload` and to the floor, what any reader of the rows needs?

All three read the same rows of the same server in turns, and two of them write to the same S3 server, all on this
machine. The floor is two `mysql --quick` that each read a half of every table and write it to nowhere. Nobody's start
is counted: the clients of MySQL start in no time, and our process imports what it needs before its clock runs.

With ``--linear 1000000,10000000`` it measures our backup alone, at several numbers of rows.

Usage: ``python bench/backup.py [--rows 3700000] [--rounds 3] [--parallel 4] [--memory 256]``. Prints one JSON line; it
needs neither a platform nor a cluster: it makes a server and an S3 server of its own, and ends them.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "unit"))

from backup_server import alone, lone_server
from mysql_group import ROOT
from restore import BUCKET, s3_server

from steps.backup.backup import back_up
from steps.backup.dump_catalog import Selection
from steps.backup.objects import Bucket
from steps.mysql.connection import query, session
from steps.mysql.load_sample_data import fill
from steps.mysql.sample_data import TABLES
from steps.mysql.sample_load import DataSet, count_rows
from tiphys.local import mysql_packages

ADDRESS = f"127.82.{os.getpid() % 250 + 1}.9"
SCHEMA = "employees"
CUT = [table for table in TABLES if table != "departments"]
"""Tables whose key begins with emp_no."""
FILLED = 1_000_000
"""So many rows load-sample-data makes; the server makes the others out of them, which is faster."""


def client(program: str, *words: str) -> tuple[list[str], dict[str, str]]:
    """Return the command and environment of one of MySQL's own clients."""
    mysql = mysql_packages.find()
    command = mysql.command(program, "--no-defaults", "-h", ADDRESS, "-u", ROOT.user, *words)
    return command, {**os.environ, **mysql.environment, "MYSQL_PWD": ROOT.password}


def floor(middle: int) -> None:
    """Read everything once, over two connections, and throw it away."""
    halves = [[f"SELECT * FROM {SCHEMA}.{t} WHERE emp_no {side} {middle}" for t in CUT] for side in ("<=", ">")]
    halves[0].append(f"SELECT * FROM {SCHEMA}.departments")
    command, environment = client("mysql", "--quick", "-N", "-B")
    readers = []
    for half in halves:
        reader = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        assert reader.stdin is not None
        reader.stdin.write(";".join(half).encode())
        reader.stdin.close()
        readers.append(reader)
    if any(reader.wait() for reader in readers):
        raise click.ClickException("a reader of the floor failed")


def mysqldump(s3: Any) -> None:
    """Dump, compress and upload, as people do it with the tools that they have."""
    command, environment = client("mysqldump", "--single-transaction", "--set-gtid-purged=OFF", "--databases", SCHEMA)
    dump = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    zstd = subprocess.Popen(["zstd", "-1", "-q", "-c"], stdin=dump.stdout, stdout=subprocess.PIPE)
    assert dump.stdout is not None and zstd.stdout is not None
    dump.stdout.close()
    s3.upload_fileobj(zstd.stdout, BUCKET, "mysqldump.sql.zst")
    if dump.wait() or zstd.wait():
        raise click.ClickException("mysqldump or zstd failed")


class Ours:
    """Our backup in a process of its own, which waits for the start."""

    def __init__(self, endpoint: str, parallel: int, memory: int) -> None:
        keys = {"S3_ENDPOINT": endpoint, "S3_BUCKET": BUCKET, "S3_REGION": "us-east-1"}
        keys |= {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "only-for-the-bench"}
        words = [sys.executable, __file__, "--child", "--address", ADDRESS]
        words += ["--parallel", str(parallel), "--memory", str(memory)]
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            words, env=os.environ | keys, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log
        )
        self._answer()

    def run(self) -> dict[str, float]:
        """Make a backup; return its seconds, and its process's peak of memory and time of the processors."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")
        self.process.stdin.close()
        figures: dict[str, float] = self._answer()
        self.process.wait()
        return figures

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.log.seek(0)
            raise click.ClickException(f"our backup failed: {self.log.read().decode()[-2000:]}")
        return json.loads(line)


def child(address: str, parallel: int, memory: int) -> None:
    """Be our backup: say that all is ready, wait for a line, work, say how it went."""
    topology = alone(address)
    selection = Selection((SCHEMA,), exclude_users=("*",))
    bucket = Bucket.from_environment(connections=parallel + 4)
    bucket.keys("nothing/")
    print(json.dumps("ready"), flush=True)
    sys.stdin.readline()
    before = time.process_time()
    started = time.monotonic()
    made, _ = back_up(topology, ROOT, bucket, "tiphys", selection, parallel=parallel, memory=memory)
    seconds = time.monotonic() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    figures = {"seconds": seconds, "peak_mib": peak, "cpu": time.process_time() - before, "rows": made.rows}
    print(json.dumps(figures), flush=True)


def processors(without: int) -> float:
    """Return the seconds of the processors that this process, its servers and its ended clients have taken so far.

    Our backup's process tells its own, since its imports do not count.
    """
    listed = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    alive = {int(pid) for pids in listed for pid in pids} - {without}
    ticks = 0
    for pid in alive:
        after_name = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(after_name[11]) + int(after_name[12])
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    if without:
        return ticks / os.sysconf("SC_CLK_TCK")
    return ticks / os.sysconf("SC_CLK_TCK") + ended.ru_utime + ended.ru_stime + time.process_time()


def multiply(connection: Any, times: int) -> None:
    """Make every employee `times` employees."""
    width = query(connection, f"SELECT MAX(emp_no) FROM {SCHEMA}.employees")[0][0]
    query(connection, "SET SESSION foreign_key_checks = 0, unique_checks = 0")
    for table in ("employees", "dept_emp", "titles", "salaries"):
        names = [row[0] for row in query(connection, f"SHOW COLUMNS FROM {SCHEMA}.{table}")]
        for number in range(1, times):
            rest = ", ".join(names[1:])
            query(
                connection,
                f"INSERT INTO {SCHEMA}.{table} SELECT emp_no + {number * width}, {rest} FROM {SCHEMA}.{table}"
                f" WHERE emp_no <= {width}",
            )
    query(connection, f"ANALYZE TABLE {', '.join(f'{SCHEMA}.{table}' for table in TABLES)}")


def summary(values: list[float]) -> dict[str, float]:
    return {"best": round(min(values), 2), "median": round(statistics.median(values), 2)}


@click.command()
@click.option("--rows", default=3_700_000, show_default=True, help="Rows of the sample data.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--parallel", default=4, show_default=True, help="Connections of our backup.")
@click.option("--memory", default=256, show_default=True, help="MiB that our backup may use.")
@click.option("--linear", default="", help="Numbers of rows, separated by commas: measure only our backup at each.")
@click.option("--child", "as_child", is_flag=True, hidden=True)
@click.option("--address", default="", hidden=True)
def main(rows: int, rounds: int, parallel: int, memory: int, linear: str, as_child: bool, address: str) -> None:
    """Measure, and print one JSON line."""
    if as_child:
        child(address, parallel, memory)
        return
    mysql_packages.ensure()
    figures: dict[str, Any] = {"bench": "backup", "rounds": rounds, "parallel": parallel, "memory_mib": memory}
    with tempfile.TemporaryDirectory(prefix="tiphys-bench-") as name:
        folder = Path(name)
        with lone_server(folder, ADDRESS) as server, s3_server(folder) as bucket:
            with server.connect() as connection:
                query(connection, "SET GLOBAL innodb_buffer_pool_size = 536870912")
            sizes = [int(size) for size in linear.split(",") if size] or [rows]
            measured = []
            for size in sizes:
                say(f"loading {size} rows")
                times = max(1, round(size / FILLED))
                with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
                    fill(alone(ADDRESS), ROOT, SCHEMA, DataSet(size // times, 1), parallel=2, replace=True)
                with session(ADDRESS, 3306, ROOT, read_timeout=3600) as connection:
                    multiply(connection, times)
                    size = count_rows(connection, SCHEMA)
                if linear:
                    measured.append(alone_at(bucket, size, rounds, parallel, memory))
            if linear:
                figures["linear"] = measured
                figures["seconds_per_row_last_to_first"] = round(
                    measured[-1]["best"] / measured[-1]["rows"] / (measured[0]["best"] / measured[0]["rows"]), 2
                )
            else:
                figures |= compare(bucket, size, rounds, parallel, memory)
    figures["load_average"] = [round(each, 1) for each in os.getloadavg()]
    figures["cores"] = os.cpu_count()
    print(json.dumps(figures))


def alone_at(bucket: Bucket, size: int, rounds: int, parallel: int, memory: int) -> dict[str, Any]:
    runs = [Ours(bucket.client.meta.endpoint_url, parallel, memory).run() for _ in range(rounds)]
    seconds = summary([run["seconds"] for run in runs])
    return {"rows": size, **seconds, "peak_mib": round(max(run["peak_mib"] for run in runs))}


def compare(bucket: Bucket, rows: int, rounds: int, parallel: int, memory: int) -> dict[str, Any]:
    """Measure all three in turns."""
    with session(ADDRESS, 3306, ROOT) as connection:
        # Employees have about equally many rows each, so half of them is half of every table.
        middle = query(connection, f"SELECT (MIN(emp_no) + MAX(emp_no)) DIV 2 FROM {SCHEMA}.employees")[0][0]
    times: dict[str, list[float]] = {"floor": [], "mysqldump": [], "ours": []}
    works: dict[str, list[float]] = {name: [] for name in times}
    peaks = []
    # The pages of the tables are in the server's memory for nobody or for all.
    floor(middle)
    for number in range(rounds):
        for name in times:
            ours = Ours(bucket.client.meta.endpoint_url, parallel, memory) if name == "ours" else None
            worked = processors(ours.process.pid if ours else 0)
            started = time.monotonic()
            if name == "floor":
                floor(middle)
            elif name == "mysqldump":
                mysqldump(bucket.client)
            seconds = time.monotonic() - started
            if ours:
                run = ours.run()
                seconds = run["seconds"]
                peaks.append(run["peak_mib"])
                if run["rows"] < rows:
                    raise click.ClickException(f"our backup has {run['rows']} rows, {rows} were loaded")
            works[name].append(processors(ours.process.pid if ours else 0) - worked + (run["cpu"] if ours else 0))
            times[name].append(seconds)
            say(f"round {number + 1}: {name} {seconds:.2f} s")
    best = {name: min(values) for name, values in times.items()}
    middles = {name: statistics.median(values) for name, values in times.items()}
    return {
        "rows": rows,
        **{name: summary(values) for name, values in times.items()},
        "faster_than_mysqldump": {
            "best": round(best["mysqldump"] / best["ours"], 2),
            "median": round(middles["mysqldump"] / middles["ours"], 2),
        },
        "times_the_floor": {
            "best": round(best["ours"] / best["floor"], 2),
            "median": round(middles["ours"] / middles["floor"], 2),
        },
        # Of the server, the S3 server and the clients together: other people's work changes these less.
        "cpu_seconds": {name: round(min(values), 2) for name, values in works.items()},
        "cpu_times_the_floor": round(min(works["ours"]) / min(works["floor"]), 2),
        "cpu_of_mysqldump_to_ours": round(min(works["mysqldump"]) / min(works["ours"]), 2),
        "peak_mib": round(max(peaks)),
    }


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
