"""Loading rows: chunks over several connections by ``LOAD DATA LOCAL``, fed from the dump's streams without files."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

from steps.backup import layout, load_state
from steps.backup.ddl import create_table, enums_without_empty
from steps.backup.layout import BadLayout
from steps.backup.load_plan import ChunkFile, Plan, TablePlan
from steps.backup.load_state import Restore
from steps.backup.load_stream import ChunkRows, DamagedChunk, Pieces
from steps.backup.source import Source
from steps.errors import StepError
from steps.log import Progress, log
from steps.mysql.connection import EVERY_ROW, SERVER_PORT, Credentials, query, quoted, session

PIECE = 16 * 1024 * 1024
"""Bytes of rows in one transaction: as binary rows they are several times as large at most, below a group's limit."""

SMALLEST_PIECE = 64 * 1024
"""Below this a transaction that is refused as too large is refused for another reason."""

DECODERS = ("FROM_BASE64", "UNHEX", "STRING_TO_VECTOR")
SQL_MODE = "NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES"
"""Takes every value that a table can hold: zero and invalid dates, and 0 in AUTO_INCREMENT columns."""

_CUT, _DEPRECATED = 1265, 1287
"""Warnings: a value was cut; a statement uses what will go some day (assigning a variable in an expression)."""

_COUNTER = "@tiphys_empty"
_MOST_WARNINGS = 65_535
"""The protocol counts no more."""

_TOO_LARGE = 3100
"""A hook of the group refused the commit: a transaction above group_replication_transaction_size_limit."""


@dataclass(frozen=True)
class Target:
    """Where rows go.

    Attributes:
        host: address of the primary.
        credentials: its administrator.
        port: of the server.
    """

    host: str
    credentials: Credentials
    port: int = SERVER_PORT

    @contextmanager
    def session(self, patience: float = 900) -> Iterator[Any]:
        """Open a session that is fit to load a dump: foreign keys unchecked, times in UTC, any table allowed.

        Args:
            patience: seconds that one statement may take.
        """
        with session(
            self.host, self.port, self.credentials, what="the primary", read_timeout=patience, local_infile=True
        ) as connection:
            query(
                connection,
                f"SET SESSION foreign_key_checks=0, time_zone='+00:00', sql_mode='{SQL_MODE}',"
                " innodb_lock_wait_timeout=120, sql_require_primary_key=0, sql_generate_invisible_primary_key=0,"
                " net_read_timeout=900, net_write_timeout=900,"
                # What a server sets for all its clients must hide nothing that is in a restore's way.
                f" {EVERY_ROW}, sql_big_selects=1",
            )
            yield connection


class _TooLarge(Exception):
    """The group takes only smaller transactions."""


class _EmptyEnum(Exception):
    """Warnings that may come from ENUM columns' error value, which is written as the empty string."""


@dataclass(frozen=True)
class Statement:
    """How a table's chunks are loaded.

    Attributes:
        strict: the LOAD DATA statement; any warning is an error.
        counting: the same, but it counts the empty strings that go into ENUM columns without such a value: each is
            worth one warning. Slower; empty for a table that has no such column.
    """

    strict: str
    counting: str = ""


def statement_of(table: TablePlan) -> Statement:
    """Return how a table's chunks are loaded.

    Raises:
        BadLayout: its rows are in a form that is not read here.
    """
    enums = [name for name in enums_without_empty(create_table(table.ddl) or "") if name in table.meta.columns]
    return Statement(load_statement(table.meta), load_statement(table.meta, enums) if enums else "")


def load_statement(table: layout.Table, counted: Collection[str] = ()) -> str:
    """Return the LOAD DATA statement for a table's chunks.

    Args:
        table: its metadata.
        counted: columns whose empty strings are counted in a variable of the session.

    Raises:
        BadLayout: its rows are in a form that is not read here.
    """
    if table.dialect != (known := layout.Table("", "", []).dialect):
        raise BadLayout(f"Rows of {table.schema}.{table.table} are written as {table.dialect}; only {known} is read.")
    variables = {name: f"@v{number}" for number, name in enumerate(table.columns) if name in table.decode}
    for name, decoder in table.decode.items():
        if decoder not in DECODERS or name not in variables:
            raise BadLayout(f"Column {name} of {table.schema}.{table.table} is encoded for {decoder}: unknown here.")
    if not table.charset.isidentifier():
        raise BadLayout(f"Rows of {table.schema}.{table.table} are in the character set {table.charset!r:.60}")
    sources = {name: f"{table.decode[name]}({used})" for name, used in variables.items()}
    for number, name in enumerate(table.columns):
        if name in counted:
            used = variables[name] = f"@v{number}"
            sources[name] = f"IF({used} = '' AND ({_COUNTER} := {_COUNTER} + 1), {used}, {used})"
    columns = ", ".join(variables.get(name) or quoted(name) for name in table.columns)
    decoded = ", ".join(f"{quoted(name)} = {source}" for name, source in sources.items())
    return (
        f"LOAD DATA LOCAL INFILE 'rows' INTO TABLE {quoted(table.schema)}.{quoted(table.table)}"
        f" CHARACTER SET {table.charset} FIELDS TERMINATED BY '\\t' ENCLOSED BY '' ESCAPED BY '\\\\'"
        f" LINES STARTING BY '' TERMINATED BY '\\n' ({columns})" + (f" SET {decoded}" if decoded else "")
    )


def load_rows(target: Target, source: Source, plan: Plan, restore: Restore, *, parallel: int) -> None:
    """Load every chunk that is not loaded yet; the first error stops all connections.

    Raises:
        DamagedChunk: a chunk is not what was written.
        StepError: as `session` translates the server's errors. What was committed stays, and is not loaded again.
    """
    statements = {(t.meta.schema, t.meta.table): statement_of(t) for t in plan.tables}
    with target.session() as connection:
        left = load_state.unfinished(connection, restore)
        limit = int(query(connection, "SELECT @@group_replication_transaction_size_limit")[0][0] or 2**31)
    todo = [chunk for chunk in plan.chunks if chunk.file in left]
    # The largest first: no connection is left alone with a large one at the end.
    todo.sort(key=lambda chunk: chunk.data_bytes, reverse=True)
    queue: SimpleQueue[ChunkFile] = SimpleQueue()
    for chunk in todo:
        queue.put(chunk)
    log("loading rows", chunks=len(todo), of=len(plan.chunks), connections=parallel)
    bar = _Bar(plan, left)
    failed = threading.Event()

    def work() -> None:
        try:
            with target.session() as connection:
                while not failed.is_set():
                    try:
                        chunk = queue.get_nowait()
                    except Empty:
                        return
                    statement = statements[chunk.schema, chunk.table]
                    try:
                        load_chunk(connection, source, restore, chunk, statement, min(PIECE, limit // 8), bar.advance)
                    except DamagedChunk:
                        _taint(target, restore, chunk)
                        raise
        except BaseException:
            failed.set()
            raise

    if todo:
        with ThreadPoolExecutor(parallel) as pool:
            workers = [pool.submit(work) for _ in range(min(parallel, len(todo)))]
            wait(workers, return_when=FIRST_EXCEPTION)
            for worker in workers:
                worker.result()
    bar.finish()


def _taint(target: Target, restore: Restore, chunk: ChunkFile) -> None:
    """Note that rows of a damaged chunk are committed, if any are: they must never pass for whole."""
    with target.session() as connection:
        if load_state.unfinished(connection, restore).get(chunk.file):
            load_state.enter(connection, restore, load_state.DAMAGED)


class _Bar:
    """A progress bar that threads share."""

    def __init__(self, plan: Plan, left: Mapping[str, int]) -> None:
        self._bar = Progress("rows", sum(chunk.data_bytes for chunk in plan.chunks), "bytes")
        self._bar.done = sum(left.get(chunk.file, chunk.data_bytes) for chunk in plan.chunks)
        self._lock = threading.Lock()
        self.finish = self._bar.finish

    def advance(self, size: int) -> None:
        """Count `size` more bytes."""
        with self._lock:
            self._bar.advance(size)


def load_chunk(
    connection: Any,
    source: Source,
    restore: Restore,
    chunk: ChunkFile,
    statement: Statement,
    limit: int,
    advance: Callable[[int], None],
) -> None:
    """Load what is still missing of one chunk, in as many transactions as it takes.

    Args:
        connection: from `Target.session`.
        source: the dump.
        restore: whose state is kept.
        chunk: the file.
        statement: from `statement_of`.
        limit: bytes of rows in one transaction; lowered where the group finds it too large.
        advance: told of each commit's bytes.

    Raises:
        DamagedChunk: it is not what was written; what is not committed by then never is.
        StepError: rows did not go in as they were.
    """
    while True:
        try:
            return _load(connection, source, restore, chunk, statement, limit, advance)
        except _TooLarge:
            limit = limit // 4
            log("smaller transactions", file=chunk.file, bytes=limit)
        except _EmptyEnum:
            query(connection, "ROLLBACK")
            statement = Statement(statement.counting)
            log("counting the error values of ENUM columns", file=chunk.file)


def _load(
    connection: Any,
    source: Source,
    restore: Restore,
    chunk: ChunkFile,
    statement: Statement,
    limit: int,
    advance: Callable[[int], None],
) -> None:
    query(connection, "START TRANSACTION")
    size, count, done = load_state.lock(connection, restore, chunk)
    if done:
        query(connection, "ROLLBACK")
        return
    stream = source.open(chunk.file)
    try:
        rows = ChunkRows(chunk, stream)
        rows.skip(size)
        pieces = Pieces(rows)
        more = pieces.next_piece(limit)
        while True:
            added = 0
            if more:
                count += load_piece(connection, chunk.file, statement, pieces)
                added = pieces.size
                size += added
                # This finds the stream's end, and so a damaged file, before its last piece is committed.
                more = pieces.next_piece(limit)
            if not more and chunk.rows is not None and count != chunk.rows:
                raise DamagedChunk(f"{chunk.file} brought {count} rows, the backup says {chunk.rows}.")
            load_state.advance(connection, restore, chunk, size, count, not more)
            _commit(connection, limit)
            advance(added)
            if not more:
                return
            query(connection, "START TRANSACTION")
            if load_state.lock(connection, restore, chunk) != (size, count, False):
                raise StepError(f"Somebody else loads {chunk.file} at the same time: let only one restore run")
    finally:
        stream.close()


def load_piece(connection: Any, file: str, statement: Statement, pieces: Pieces) -> int:
    """Load one piece in the open transaction, and return its number of rows.

    ``LOAD DATA LOCAL`` turns errors into warnings, skips rows and cuts values to fit; so any warning is an error here.
    The one exception: the error value of an ENUM column, an empty string, is stored as it was, with a warning.
    """
    query(connection, f"SET {_COUNTER} = 0")
    connection.local_data = pieces
    cursor = connection.cursor()
    try:
        cursor.execute(statement.strict)
        rows, warned = int(cursor.rowcount), int(cursor.warning_count)
    finally:
        cursor.close()
    if warned:
        shown = query(connection, "SHOW WARNINGS LIMIT 1000")
        said = [f"{row[2]} ({row[1]})" for row in shown if row[0] != "Note" and row[1] != _DEPRECATED]
        cut = [row for row in shown if row[1] == _CUT]
        if said and len(cut) == len(said):
            if statement.counting:
                raise _EmptyEnum
            counted = _COUNTER in statement.strict
            if counted and warned >= _MOST_WARNINGS:
                query(connection, "ROLLBACK")
                raise _TooLarge
            # Every warning that is not one of an empty ENUM value makes these two differ, be it shown or not.
            others = len(shown) - len(cut)  # deprecation warnings and notes: they come first
            if counted and warned - others == int(query(connection, f"SELECT {_COUNTER}")[0][0]):
                return rows
        if said:
            raise StepError(f"Rows of {file} do not go in as they are, and are not committed: {'; '.join(said[:5])}")
    return rows


def _commit(connection: Any, limit: int) -> None:
    import mysql.connector

    try:
        query(connection, "COMMIT")
    except mysql.connector.Error as error:
        if error.errno != _TOO_LARGE or limit // 4 < SMALLEST_PIECE:
            raise
        query(connection, "ROLLBACK")
        raise _TooLarge from error
