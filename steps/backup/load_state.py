"""How far a restore has come, kept on the cluster itself, so that no rows are ever loaded twice.

The table of chunks is written in the same transaction as the rows that it tells of: whatever is killed, the two
agree. A restore is whole when its phase is ``done``, and only then.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from steps.backup.load_plan import ChunkFile, Plan
from steps.backup.load_scope import Existing, Scope
from steps.errors import Refused, StepError
from steps.mysql.connection import query

SCHEMA = "tiphys"
"""Schema of the two tables; drills keep their ledger there, and drop the schema only when nothing else is in it."""

PHASES = ("aside", "tables", "rows", "indexes", "objects", "done")
"""Moving aside what is replaced; making schemas and tables; loading rows; adding the indexes that waited for them;
making views, routines, triggers, events and grants; whole."""

RETREAT, UNDONE = "retreat", "undone"
"""Phases of a restore that failed: what it had moved aside is being put back; all of that is back."""

OVER = ("done", UNDONE)

DAMAGED = "damaged"
"""Phase of a restore in which rows were committed that later turned out to be wrong."""

_TABLES = (
    f"CREATE SCHEMA IF NOT EXISTS {SCHEMA} CHARACTER SET utf8mb4",
    f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.restores (
        id CHAR(32) CHARACTER SET ascii PRIMARY KEY,
        backup VARCHAR(500) NOT NULL,
        fingerprint CHAR(64) CHARACTER SET ascii NOT NULL,
        names JSON NOT NULL COMMENT 'schemas that it loads',
        tables JSON NOT NULL COMMENT 'single tables that it loads, as [schema, table]',
        invisible_key BOOL NOT NULL,
        accounts JSON NULL COMMENT 'accounts that were missing when it began',
        phase VARCHAR(20) NOT NULL,
        workflow VARCHAR(255) NOT NULL,
        local_infile VARCHAR(36) NULL COMMENT 'server on which it was switched on for the load',
        gtids VARCHAR(20) NOT NULL COMMENT 'whether the cluster takes over the GTIDs of the backup',
        failure TEXT NULL COMMENT 'why what was moved aside is put back',
        started TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
        finished TIMESTAMP(3) NULL)""",
    f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.restore_chunks (
        restore_id CHAR(32) CHARACTER SET ascii,
        file VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
        loaded_bytes BIGINT UNSIGNED NOT NULL DEFAULT 0 COMMENT 'before compression',
        loaded_rows BIGINT UNSIGNED NOT NULL DEFAULT 0,
        done BOOL NOT NULL DEFAULT FALSE,
        PRIMARY KEY (restore_id, file))""",
    f"""CREATE TABLE IF NOT EXISTS {SCHEMA}.restore_aside (
        restore_id CHAR(32) CHARACTER SET ascii,
        number INT,
        kind VARCHAR(20) NOT NULL,
        schema_name VARCHAR(64) NOT NULL,
        name TEXT NOT NULL COMMENT 'of a key as JSON with its table',
        away LONGTEXT NOT NULL COMMENT 'what moves or drops it',
        back LONGTEXT NOT NULL COMMENT 'what brings it back',
        PRIMARY KEY (restore_id, number))""",
)


@dataclass
class Restore:
    """One restore, as its row says.

    Attributes:
        id: made up at its start.
        backup: where the dump lies.
        fingerprint: of the dump.
        scope: what it loads.
        invisible_key: whether tables without a key get one.
        accounts: that were missing at the start, None where accounts were not looked at yet.
        phase: one of PHASES, or DAMAGED.
        workflow: that began it.
        gtids: "wanted" where the cluster is to take over the backup's GTIDs, else what came of it.
        failure: why it is being undone.
        seconds: since it began, by the server's clock; until its end once it is done.
    """

    id: str
    backup: str
    fingerprint: str
    scope: Scope
    invisible_key: bool
    accounts: list[str] | None
    phase: str
    workflow: str
    gtids: str = ""
    failure: str = ""
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
        "SELECT id, backup, fingerprint, names, tables, invisible_key, accounts, phase, workflow, gtids, failure,"
        " TIMESTAMPDIFF(MICROSECOND, started, COALESCE(finished, CURRENT_TIMESTAMP(3))) / 1000000"
        f" FROM {SCHEMA}.restores ORDER BY started DESC, id",
    )
    return [
        Restore(
            id=str(row[0]),
            backup=str(row[1]),
            fingerprint=str(row[2]),
            scope=Scope(frozenset(json.loads(row[3])), frozenset((s, t) for s, t in json.loads(row[4]))),
            invisible_key=bool(row[5]),
            accounts=None if row[6] is None else [str(name) for name in json.loads(row[6])],
            phase=str(row[7]),
            workflow=str(row[8]),
            gtids=str(row[9]),
            failure=str(row[10] or ""),
            seconds=float(row[11]),
        )
        for row in rows
    ]


def decide(
    found: list[Restore], there: Existing, plan: Plan, workflow: str, invisible_key: bool, replace: bool = False
) -> Restore | None:
    """Return the restore to go on with (or that is done already, by this same run); None where a new one begins.

    Args:
        found: restores that the cluster knows of, the newest first.
        there: the cluster's schemas and tables.
        plan: what is to be loaded.
        workflow: this run's name; empty by hand.
        invisible_key: whether tables without a key are to get one.
        replace: whether what is there may be moved aside.

    Raises:
        Refused: schemas or tables are in the way, whole or half-restored.
    """
    wanted = plan.scope
    in_the_way = wanted.in_the_way(there)
    mine = [r for r in found if r.fingerprint == plan.fingerprint and r.scope == wanted]
    # A workflow's name may come again, and what its first run brought may be gone by then.
    present = all((table.meta.schema, table.meta.table) in there.tables for table in plan.tables)
    present = present and wanted.schemas <= there.schemas
    if mine and workflow and mine[0].workflow == workflow and mine[0].phase == "done" and present:
        return mine[0]
    for other in found:
        if other.phase in OVER or not other.scope.overlaps(wanted):
            continue
        left = other.scope.in_the_way(there)
        if other.phase == RETREAT and other in mine:
            return other
        # What somebody has dropped half-restored is nobody's any more; but what was moved aside waits.
        if not left and other.phase not in ("aside", RETREAT):
            continue
        drop = f"drop {', '.join(left)} and run the restore again" if left else "run it again"
        if other.phase == DAMAGED:
            raise Refused(f"The restore of {other.backup} that began here loaded damaged rows: {drop}.")
        if other not in mine or other.invisible_key != invisible_key:
            raise Refused(
                f"A restore of {other.backup} ({other.scope}) with other parameters began here and is not finished "
                f"(phase {other.phase}): run that one to its end, or {drop}."
            )
        return other
    if in_the_way and not replace:
        raise Refused(
            f"The cluster has {', '.join(in_the_way[:20])} already: nothing was changed. Restore into an empty "
            "cluster, name other schemas or tables (schemas=a,b tables=c.d), or set replace=true, which moves what is "
            "there aside first."
        )
    return None


def begin(
    connection: Any,
    plan: Plan,
    workflow: str,
    invisible_key: bool,
    accounts: list[str] | None,
    *,
    gtids: str = "",
    aside: Iterable[Sequence[str]] = (),
    restore_id: str = "",
) -> Restore:
    """Note a new restore, its chunks and what it moves aside, before anything else is changed.

    Args:
        connection: to the primary.
        plan: the dump.
        workflow: this run's name.
        invisible_key: whether tables without a key get one.
        accounts: that are missing now.
        gtids: "wanted" where the cluster takes over the backup's GTIDs.
        aside: kind, schema, name, away and back of each thing that is in the way (`load_aside.Move`).
        restore_id: made up here where empty.
    """
    prepare(connection)
    moves = [tuple(move) for move in aside]
    made = Restore(
        restore_id or uuid.uuid4().hex,
        plan.place,
        plan.fingerprint,
        plan.scope,
        invisible_key,
        accounts,
        PHASES[0 if moves else 1],
        workflow,
        gtids,
    )
    forgotten = [each.id for each in restores(connection) if each.phase not in OVER and each.scope.overlaps(made.scope)]
    query(connection, "START TRANSACTION")
    # Restores whose schemas were dropped half-way end here; their chunks are of no more use. A server on which a killed
    # one had switched local_infile on is this one's to put back.
    left = f"SELECT local_infile FROM {SCHEMA}.restores WHERE id = %s AND local_infile = @@server_uuid"
    switched = [str(row[0]) for each in forgotten for row in query(connection, left, [each])]
    for each in forgotten:
        query(connection, f"DELETE FROM {SCHEMA}.restores WHERE id = %s", [each])
    query(connection, f"DELETE FROM {SCHEMA}.restore_chunks WHERE restore_id NOT IN (SELECT id FROM {SCHEMA}.restores)")
    query(
        connection,
        f"INSERT INTO {SCHEMA}.restores"
        " (id, backup, fingerprint, names, tables, invisible_key, accounts, phase, workflow, gtids, local_infile)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            made.id,
            made.backup,
            made.fingerprint,
            json.dumps(sorted(made.scope.schemas)),
            json.dumps(sorted(made.scope.tables)),
            invisible_key,
            None if accounts is None else json.dumps(accounts),
            made.phase,
            workflow,
            gtids,
            switched[0] if switched else None,
        ],
    )
    for number, move in enumerate(moves):
        query(
            connection,
            f"INSERT INTO {SCHEMA}.restore_aside (restore_id, number, kind, schema_name, name, away, back)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [made.id, number, *move],
        )
    files = [chunk.file for chunk in plan.chunks]
    for start in range(0, len(files), 1000):
        part = files[start : start + 1000]
        values = ",".join(["(%s, %s)"] * len(part))
        parameters = [value for file in part for value in (made.id, file)]
        query(connection, f"INSERT INTO {SCHEMA}.restore_chunks (restore_id, file) VALUES {values}", parameters)
    query(connection, "COMMIT")
    return made


def prepare(connection: Any) -> None:
    """Make the state's tables where they are missing."""
    for statement in _TABLES:
        query(connection, statement)


def note(connection: Any, restore: Restore, column: str, value: str) -> None:
    """Note what came of a part of a restore (`column`: gtids or failure)."""
    query(connection, f"UPDATE {SCHEMA}.restores SET {column} = %s WHERE id = %s", [value, restore.id])
    setattr(restore, column, value)


def enter(connection: Any, restore: Restore, phase: str) -> None:
    """Note that a restore has come to a phase."""
    ended = ", finished = CURRENT_TIMESTAMP(3)" if phase in OVER else ""
    query(connection, f"UPDATE {SCHEMA}.restores SET phase = %s{ended} WHERE id = %s", [phase, restore.id])
    restore.phase = phase


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
