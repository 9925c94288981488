"""Compares restored data with its backup: every chunk's bytes, every table's rows, every object's name."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

from steps.backup import layout
from steps.backup.ddl import statements
from steps.backup.load_objects import missing_accounts
from steps.backup.load_plan import Plan, TablePlan
from steps.backup.load_rows import Target
from steps.backup.manifest import File, Manifest
from steps.backup.reread import reread
from steps.backup.source import Source, read_all
from steps.backup.verify_record import Kind, Table
from steps.errors import StepError, Temporary
from steps.log import Progress, log
from steps.mysql.connection import EVERY_ROW, query, quoted, session, translated

PATIENCE = 4 * 3600.0
"""Seconds that one answer may take: CHECK TABLE says nothing until it has read the whole table."""

LISTED = 20
"""Names that one finding lists at most."""


@dataclass
class _Found:
    """What is known of one table so far; several threads add to it."""

    rows: int = -1
    same: int = 0
    uncompared: int = 0
    check: str = ""
    bad: list[str] = field(default_factory=list)
    seconds: float = 0.0


@dataclass(frozen=True)
class _Task:
    """One piece of work: a name for messages, its size for the order, and what to do with a connection."""

    table: str
    size: int
    work: Callable[[Any, _Found], None]


def compare_tables(target: Target, plan: Plan, manifest: Manifest, parallel: int) -> list[Table]:
    """Compare every table with the backup: chunk by chunk, by number of rows, and with CHECK TABLE.

    Args:
        target: the restored server.
        plan: of the backup.
        manifest: of the same.
        parallel: number of connections.

    Raises:
        Temporary: the server went away.
    """
    found = {table.name: _Found() for table in plan.tables}
    lock = threading.Lock()
    bar = Progress("tables", sum(chunk.data_bytes for chunk in plan.chunks), "bytes")

    def advance(size: int) -> None:
        with lock:
            bar.advance(size)

    tasks = [task for table in plan.tables for task in _tasks(table, manifest, lock, advance)]
    # The largest first: no connection is left alone with a large one at the end.
    tasks.sort(key=lambda task: task.size, reverse=True)
    stopped = threading.Event()

    def run(task: _Task) -> None:
        if stopped.is_set():
            return
        try:
            _run(target, task, found[task.table], lock)
        except BaseException:
            stopped.set()
            raise

    with ThreadPoolExecutor(parallel) as pool:
        jobs = [pool.submit(run, task) for task in tasks]
        wait(jobs, return_when=FIRST_EXCEPTION)
        for job in jobs:
            job.result()
    bar.finish()
    return [_judged(table, found[table.name]) for table in plan.tables]


def _tasks(
    table: TablePlan, manifest: Manifest, lock: threading.Lock, advance: Callable[[int], None]
) -> Iterable[_Task]:
    name = f"{quoted(table.meta.schema)}.{quoted(table.meta.table)}"
    size = sum(chunk.data_bytes for chunk in table.chunks)

    def count(connection: Any, found: _Found) -> None:
        found.rows = int(query(connection, f"SELECT COUNT(*) FROM {name}")[0][0])

    def check(connection: Any, found: _Found) -> None:
        said = [(str(row[2]), str(row[3])) for row in query(connection, f"CHECK TABLE {name}")]
        found.check = said[-1][1] if said else "nothing"
        if wrong := [text for kind, text in said if kind not in ("status", "note") or (kind, text) == ("status", "")]:
            with lock:
                found.bad.append(f"CHECK TABLE says: {'; '.join(wrong[:3])}")
        elif found.check != "OK":
            with lock:
                found.bad.append(f"CHECK TABLE ends with {found.check}, not with OK")

    yield _Task(table.name, size // 4, count)
    yield _Task(table.name, size // 2, check)
    for chunk in table.chunks:
        file = manifest.files[chunk.file]
        if file.data_sha256 is None or file.keys is None:
            yield _Task(table.name, 0, _uncompared(lock))
        else:
            yield _Task(table.name, chunk.data_bytes, _compared(table, chunk.file, file, lock, advance))


def _uncompared(lock: threading.Lock) -> Callable[[Any, _Found], None]:
    def work(_: Any, found: _Found) -> None:
        with lock:
            found.uncompared += 1

    return work


def _compared(
    table: TablePlan, name: str, file: File, lock: threading.Lock, advance: Callable[[int], None]
) -> Callable[[Any, _Found], None]:
    def work(connection: Any, found: _Found) -> None:
        sha256, size = hashlib.sha256(), 0
        for part in reread(connection, table.meta.schema, table.meta.table, file):
            sha256.update(part)
            size += len(part)
            advance(len(part))
        with lock:
            if sha256.hexdigest() == file.data_sha256:
                found.same += 1
            elif size != file.data_bytes:
                found.bad.append(f"the rows of {name} are {size} bytes, in the backup they were {file.data_bytes}")
            else:
                found.bad.append(f"the rows of {name} are others than in the backup, of the same length")

    return work


def _run(target: Target, task: _Task, found: _Found, lock: threading.Lock) -> None:
    """Do one task on a connection of its own; what the server refuses is the table's fault, unless it went away."""
    import mysql.connector

    started = time.monotonic()
    what = "the scratch cluster"
    with session(target.host, target.port, target.credentials, what=what, read_timeout=PATIENCE) as connection:
        query(connection, f"SET SESSION {EVERY_ROW}")
        try:
            task.work(connection, found)
        except (mysql.connector.Error, StepError) as error:
            meant = error if isinstance(error, StepError) else translated(error, what, target.credentials.user)
            if isinstance(meant, Temporary):
                raise
            with lock:
                found.bad.append(f"cannot be read: {error}")
    with lock:
        found.seconds += time.monotonic() - started


def _judged(table: TablePlan, found: _Found) -> Table:
    bad = list(found.bad)
    if table.rows is not None and found.rows not in (-1, table.rows):
        bad.insert(0, f"{found.rows:,} rows are there, {table.rows:,} were in the backup")
    return Table(
        name=table.name,
        rows=max(found.rows, 0),
        expected=table.rows,
        chunks=len(table.chunks),
        same=found.same,
        uncompared=found.uncompared,
        check=found.check,
        bad=tuple(bad),
        seconds=round(found.seconds, 3),
    )


FOUND_SQL = {
    "tables": "SELECT table_name FROM information_schema.tables WHERE table_schema=%s AND table_type='BASE TABLE'",
    "views": "SELECT table_name FROM information_schema.tables WHERE table_schema=%s AND table_type='VIEW'",
    "routines": "SELECT CONCAT(LOWER(routine_type), ' ', routine_name) FROM information_schema.routines"
    " WHERE routine_schema=%s",
    "triggers": "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema=%s",
    "events": "SELECT event_name FROM information_schema.events WHERE event_schema=%s",
}
"""Kind of object to the query for the names of one schema."""


def compare_kinds(connection: Any, plan: Plan, source: Source) -> list[Kind]:
    """Compare the names of all tables, views, routines, triggers, events and accounts with the dump's."""
    expected = {kind: set[str]() for kind in FOUND_SQL}
    found = {kind: set[str]() for kind in FOUND_SQL}
    for schema in plan.schemas:
        base = plan.instance.basenames.get(schema.name, layout.escape(schema.name))
        about = layout.Schema.parse(f"{base}.json", read_all(source, f"{base}.json"))
        named = {
            "tables": about.tables,
            "views": about.views,
            "routines": [f"function {name}" for name in about.functions]
            + [f"procedure {name}" for name in about.procedures],
            "triggers": [name for table in schema.tables for name in table.meta.triggers],
            "events": about.events,
        }
        for kind, sql in FOUND_SQL.items():
            expected[kind] |= {f"{schema.name}: {name}" for name in named[kind]}
            found[kind] |= {f"{schema.name}: {row[0]}" for row in query(connection, sql, [schema.name])}
    schemas = {schema.name for schema in plan.schemas}
    there = {str(row[0]) for row in query(connection, "SELECT schema_name FROM information_schema.schemata")}
    accounts = {s.name for s in statements(plan.users) if s.kind == "user"}
    lost = set(missing_accounts(connection, plan))
    kinds = [_kind("schemas", schemas, schemas & there)]
    kinds += [_kind(kind, expected[kind], found[kind]) for kind in FOUND_SQL]
    kinds.append(_kind("accounts", accounts, accounts - lost))
    for one in kinds:
        log("names compared", kind=one.kind, expected=one.expected, found=one.found, bad=list(one.bad))
    return kinds


def _kind(kind: str, expected: set[str], found: set[str]) -> Kind:
    bad = []
    if missing := sorted(expected - found):
        bad.append(f"{kind} of the backup that are not there: {listed(missing)}")
    if more := sorted(found - expected):
        bad.append(f"{kind} that are not in the backup: {listed(more)}")
    return Kind(kind, len(expected), len(found), tuple(bad))


def listed(names: Sequence[str], most: int = LISTED) -> str:
    """Return names for people, the first few of many."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
