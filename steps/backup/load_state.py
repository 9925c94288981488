"""How far a restore has come, kept on the cluster itself, so that no rows are ever loaded twice.

The table of chunks is written in the same transaction as the rows that it tells of: whatever is killed, the two
agree. A restore is whole when its phase is ``done``, and only then.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from steps.backup.load_plan import ChunkFile, Plan
from steps.errors import Refused, StepError
from steps.mysql.connection import query

SCHEMA = "tiphys"
"""Schema of the two tables; drills keep their ledger there, and drop the schema only when nothing else is in it."""

PHASES = ("tables", "rows", "objects", "done")
"""Making schemas and tables; loading rows; making views, routines, triggers, events and grants; whole."""

DAMAGED = "damaged"
"""Phase of a restore in which rows were committed that later turned out to be wrong."""

_TABLES = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA} CHARACTER SET utf8mb4",
    f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.restores (
        id CHAR(32) CHARACTER SET ascii PRIMARY KEY,
        backup VARCHAR(500) NOT NULL,
        fingerprint CHAR(64) CHARACTER SET ascii NOT NULL,
        names JSON NOT NULL COMMENT 'schemas that it loads',
        invisible_key BOOL NOT NULL,
        accounts JSON NULL COMMENT 'accounts that were missing when it began',
        phase VARCHAR(20) NOT NULL,
        workflow VARCHAR(255) NOT NULL,
        local_infile VARCHAR(36) NULL COMMENT 'server on which it was switched on for the load',
        started TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
        finished TIMESTAMP(3) NULL)""",
    f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.restore_chunks (
        restore_id CHAR(32) CHARACTER SET ascii,
        file VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
        loaded_bytes BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'before compression',
        loaded_rows BIGINT UNSIGNED NOT NULL DEFAULT 0,
        done BOOL NOT NULL DEFAULT FALSE,
        PRIMARY KEY (restore_id, file))""",
)


@dataclass
class Restore:
    """One restore, as its row says.

    Attributes:
        id: made up at its start.
        backup: where the dump lies.
        fingerprint: of the dump.
        schemas: that it loads.
        invisible_key: whether tables without a key get one.
        accounts: that were missing at the start, None where accounts were not looked at yet.
        phase: one of PHASES, or DAMAGED.
        workflow: that began it.
        seconds: since it began, by the server's clock; until its end once it is done.
    """

    id: str
    backup: str
    fingerprint: str
    schemas: list[str]
    invisible_key: bool
    accounts: list[str] | None
    phase: str
    workflow: str
    seconds: float = field(default=0.0)


def restores(connection: Any) -> list[Restore]:
    """Return all restores that the cluster knows of, the newest first."""
    there = query(
        connection,
        "SELECT 1 FROM information_schema.tables WHERE table_schema=%s AND table_name='restores'",
        [SCHEMA],
    )
    if not there:
        return []
    rows = query(
        connection,
        "SELECT id, backup, fingerprint, names, invisible_key, accounts, phase, workflow,"
        " TIMESTAMPDIFF(MICROSECOND, started, COALESCE(finished, CURRENT_TIMESTAMP(3))) / 1000000"
        f" FROM {SCHEMA}.restores ORDER BY started DESC, id",
    )
    return [
        Restore(
            id=str(row[0]),
            backup=str(row[1]),
            fingerprint=str(row[2]),
            schemas=[str(name) for name in json.loads(row[3])],
            invisible_key=bool(row[4]),
            accounts=None if row[5] is None else [str(name) for name in json.loads(row[5])],
            phase=str(row[6]),
            workflow=str(row[7]),
            seconds=float(row[8]),
        )
        for row in rows
    ]


def decide(found: list[Restore], existing: set[str], plan: Plan, workflow: str, invisible_key: bool) -> Restore | None:
    """Return the restore to go on with (or that is done already, by this same run); None where a new one begins.

    Args:
        found: restores that the cluster knows of, the newest first.
        existing: the cluster's schemas.
        plan: what is to be loaded.
        workflow: this run's name; empty by hand.
        invisible_key: whether tables without a key are to get one.

    Raises:
        Refused: schemas are in the way, whole or half-restored.
    """
    wanted = [schema.name for schema in plan.schemas]
    in_the_way = sorted(set(wanted) & existing)
    mine = [r for r in found if r.fingerprint == plan.fingerprint and sorted(r.schemas) == sorted(wanted)]
    if mine and workflow and mine[0].workflow == workflow and mine[0].phase == "done":
        return mine[0]
    # A half-restored schema that somebody has dropped is nobody's any more.
    for other in found:
        if other.phase == "done" or not set(other.schemas) & existing & set(wanted):
            continue
        drop = f"drop the schemas {', '.join(sorted(set(other.schemas) & existing))} and run the restore again"
        if other.phase == DAMAGED:
            raise Refused(f"The restore of {other.backup} that began here loaded damaged rows: {drop}.")
        if other not in mine or other.invisible_key != invisible_key:
            raise Refused(
                f"A restore of {other.backup} with other parameters began here and is not finished (phase "
                f"{other.phase}): run that one to its end, or {drop}."
            )
        return other
    if in_the_way:
        raise Refused(
            f"The cluster has the schema{'s' * (len(in_the_way) > 1)} {', '.join(in_the_way)} already: nothing was "
            "changed. Restore into an empty cluster, name other schemas (schemas=a,b), or drop them first."
        )
    return None


def begin(connection: Any, plan: Plan, workflow: str, invisible_key: bool, accounts: list[str] | None) -> Restore:
    """Note a new restore and its chunks, before anything else is changed."""
    for statement in _TABLES:
        query(connection, statement)
    names = [schema.name for schema in plan.schemas]
    made = Restore(uuid.uuid4().hex, plan.place, plan.fingerprint, names, invisible_key, accounts, PHASES[0], workflow)
    query(connection, "START TRANSACTION")
    # Restores whose schemas were dropped half-way end here; their chunks are of no more use.
    query(
        connection,
        f"DELETE FROM {SCHEMA}.restores WHERE phase <> 'done' AND JSON_OVERLAPS(names, CAST(%s AS JSON))",
        [json.dumps(names)],
    )
    query(connection, f"DELETE FROM {SCHEMA}.restore_chunks WHERE restore_id NOT IN (SELECT id FROM {SCHEMA}.restores)")
    query(
        connection,
        f"INSERT INTO {SCHEMA}.restores (id, backup, fingerprint, names, invisible_key, accounts, phase, workflow)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        [
            made.id,
            made.backup,
            made.fingerprint,
            json.dumps(names),
            invisible_key,
            None if accounts is None else json.dumps(accounts),
            made.phase,
            workflow,
        ],
    )
    files = [chunk.file for chunk in plan.chunks]
    for start in range(0, len(files), 1000):
        part = files[start : start + 1000]
        values = ",".join(["(%s, %s)"] * len(part))
        parameters = [value for file in part for value in (made.id, file)]
        query(connection, f"INSERT INTO {SCHEMA}.restore_chunks (restore_id, file) VALUES {values}", parameters)
    query(connection, "COMMIT")
    return made


def enter(connection: Any, restore: Restore, phase: str) -> None:
    """Note that a restore has come to a phase."""
    ended = ", finished = CURRENT_TIMESTAMP(3)" if phase == "done" else ""
    query(connection, f"UPDATE {SCHEMA}.restores SET phase = %s{ended} WHERE id = %s", [phase, restore.id])
    restore.phase = phase


def is_past(restore: Restore, phase: str) -> bool:
    """Return whether a restore has left a phase behind."""
    return PHASES.index(restore.phase) > PHASES.index(phase)


def unfinished(connection: Any, restore: Restore) -> dict[str, int]:
    """Return the chunks that are not loaded yet, and how many bytes of each are."""
    rows = query(
        connection,
        f"SELECT file, loaded_bytes FROM {SCHEMA}.restore_chunks WHERE restore_id = %s AND NOT done",
        [restore.id],
    )
    return {str(file): int(done) for file, done in rows}


def loaded_rows(connection: Any, restore: Restore) -> dict[str, int]:
    """Return how many rows of each chunk were loaded."""
    rows = query(
        connection, f"SELECT file, loaded_rows FROM {SCHEMA}.restore_chunks WHERE restore_id = %s", [restore.id]
    )
    return {str(file): int(count) for file, count in rows}


def lock(connection: Any, restore: Restore, chunk: ChunkFile) -> tuple[int, int, bool]:
    """Lock a chunk's row in the open transaction; return its loaded bytes, its rows, and whether it is done.

    A process that was killed may have left a commit on its way: this waits for it and sees what it did.

    Raises:
        StepError: there is no such row: the restore was ended by another one.
    """
    rows = query(
        connection,
        f"SELECT loaded_bytes, loaded_rows, done FROM {SCHEMA}.restore_chunks"
        " WHERE restore_id = %s AND file = %s FOR UPDATE",
        [restore.id, chunk.file],
    )
    if not rows:
        raise StepError(
            f"{SCHEMA}.restore_chunks no longer knows {chunk.file} of this restore: another restore has begun here"
        )
    return int(rows[0][0]), int(rows[0][1]), bool(rows[0][2])


def advance(connection: Any, restore: Restore, chunk: ChunkFile, size: int, rows: int, done: bool) -> None:
    """Note in the open transaction what it has loaded of a chunk, in all."""
    query(
        connection,
        f"UPDATE {SCHEMA}.restore_chunks SET loaded_bytes = %s, loaded_rows = %s, done = %s"
        " WHERE restore_id = %s AND file = %s",
        [size, rows, done, restore.id, chunk.file],
    )


@contextmanager
def local_infile(connection: Any, restore: Restore) -> Iterator[None]:
    """Let the server take ``LOAD DATA LOCAL`` in this block, and put it back as it was, also after an earlier crash."""
    where = [restore.id]
    if not query(connection, "SELECT @@global.local_infile")[0][0]:
        # Noted before it is done: whoever goes on after a crash knows to switch it off.
        query(connection, f"UPDATE {SCHEMA}.restores SET local_infile = @@server_uuid WHERE id = %s", where)
        query(connection, "SET GLOBAL local_infile = ON")
    try:
        yield
    finally:
        ours = query(connection, f"SELECT local_infile = @@server_uuid FROM {SCHEMA}.restores WHERE id = %s", where)
        if ours and ours[0][0]:
            query(connection, "SET GLOBAL local_infile = OFF")
            query(connection, f"UPDATE {SCHEMA}.restores SET local_infile = NULL WHERE id = %s", where)
