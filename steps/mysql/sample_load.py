"""Loading sample rows into a server: blocks of rows in parallel, each one transaction, so a broken load can go on.

Rows go in as large multi-row INSERTs: unlike LOAD DATA LOCAL they need no change of the server's settings. Each
block leaves its mark in a table of the schema itself, within its own transaction; so the marks say exactly what is
there, and that this program made the schema.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any

from steps.errors import Refused
from steps.log import Progress
from steps.mysql.connection import SERVER_PORT, Credentials, query, quoted, session
from steps.mysql.sample_data import DDL, GENERATION, TABLES, Block, blocks, make

MARKS = "tiphys_sample_data"
"""Table that says what was loaded: one row a block, number -1 for what was asked for."""

STATEMENT_BYTES = 1_000_000
"""Size of one INSERT at most; far below max_allowed_packet (64 MiB) and a group transaction's limit (143 MB)."""


@dataclass(frozen=True)
class DataSet:
    """What is to be in a schema.

    Attributes:
        rows: in all tables together.
        seed: of the random numbers.
        generation: of the program that makes the rows.
    """

    rows: int
    seed: int
    generation: int = GENERATION


@dataclass(frozen=True)
class Found:
    """What is in a schema before a load.

    Attributes:
        exists: whether the schema is there.
        tables: its tables and views.
        asked: the data set that was loaded into it, None where it is not ours.
        done: numbers of the blocks that are in it.
    """

    exists: bool
    tables: frozenset[str] = frozenset()
    asked: DataSet | None = None
    done: frozenset[int] = frozenset()

    @property
    def is_ours(self) -> bool:
        """Whether everything in it is this program's."""
        return self.asked is not None and self.tables <= {*TABLES, MARKS}


def examine(connection: Any, schema: str) -> Found:
    """Look at what a schema holds."""
    if not query(connection, "SELECT 1 FROM information_schema.schemata WHERE schema_name=%s", [schema]):
        return Found(False)
    names = query(connection, "SELECT table_name FROM information_schema.tables WHERE table_schema=%s", [schema])
    tables = frozenset(str(row[0]) for row in names)
    if MARKS not in tables:
        return Found(True, tables)
    marks = dict(query(connection, f"SELECT number, note FROM {quoted(schema)}.{MARKS}"))
    if -1 not in marks:
        return Found(True, tables)
    return Found(True, tables, DataSet(**json.loads(marks[-1])), frozenset(marks) - {-1})


def decide(found: Found, schema: str, wanted: DataSet, replace: bool) -> str:
    """Return what to do with what was found: nothing, resume or make.

    Raises:
        Refused: the schema holds what this program did not make, and `replace` is not set.
    """
    if found.asked == wanted and {block.number for block in blocks(wanted.rows)} <= found.done and not replace:
        return "nothing"
    if found.asked == wanted and found.tables >= set(TABLES) and not replace:
        return "resume"
    # An empty schema holds nothing to lose; one of ours can be made again from its seed.
    if found.exists and found.tables and not found.is_ours and not replace:
        others = sorted(found.tables - {*TABLES, MARKS}) or sorted(found.tables)
        raise Refused(
            f"Schema {schema} holds what load-sample-data did not make ({', '.join(others[:5])}): nothing was changed. "
            "Name another schema, or set replace=true to DROP this one with all it holds."
        )
    return "make"


def prepare(connection: Any, schema: str, wanted: DataSet) -> None:
    """Drop the schema, make it anew with empty tables, and mark it as ours."""
    name = quoted(schema)
    query(connection, f"DROP SCHEMA IF EXISTS {name}")
    query(connection, f"CREATE SCHEMA {name} CHARACTER SET utf8mb4")
    query(connection, f"CREATE TABLE {name}.{MARKS} (number INT PRIMARY KEY, note VARCHAR(500) NOT NULL)")
    query(connection, f"INSERT INTO {name}.{MARKS} VALUES (-1, %s)", [json.dumps(asdict(wanted))])
    query(connection, f"USE {name}")
    for table in TABLES:
        query(connection, f"CREATE TABLE {table} ({DDL[table]})")


def load(
    host: str,
    credentials: Credentials,
    schema: str,
    wanted: DataSet,
    todo: list[Block],
    *,
    parallel: int,
    progress: Progress,
) -> None:
    """Write blocks over `parallel` connections; the first error stops all of them.

    Raises:
        StepError: as `session` translates the server's errors; blocks that are whole stay.
    """
    queue: SimpleQueue[Block] = SimpleQueue()
    for block in todo:
        queue.put(block)
    failed: list[bool] = []
    counting = Lock()

    def work() -> None:
        try:
            with session(host, SERVER_PORT, credentials, what="the primary", read_timeout=300) as connection:
                _speed_up(connection, schema)
                for block in _drain(queue, failed):
                    write_block(connection, wanted.seed, block)
                    with counting:
                        progress.advance(block.rows)
        except BaseException:
            failed.append(True)
            raise

    with ThreadPoolExecutor(max_workers=parallel) as pool:
        workers = [pool.submit(work) for _ in range(min(parallel, len(todo)))]
        wait(workers, return_when=FIRST_EXCEPTION)
        for worker in workers:
            worker.result()


def _drain(queue: SimpleQueue[Block], failed: list[bool]) -> Iterator[Block]:
    while not failed:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _speed_up(connection: Any, schema: str) -> None:
    """Spare the server checks whose outcome is known: the rows' keys fit each other by construction."""
    query(connection, f"USE {quoted(schema)}")
    query(connection, "SET SESSION foreign_key_checks=0, unique_checks=0, innodb_lock_wait_timeout=60")


def write_block(connection: Any, seed: int, block: Block) -> None:
    """Write one block and its mark in one transaction."""
    made = make(seed, block)
    query(connection, "START TRANSACTION")
    for table in TABLES:
        for values in batches(made[table]):
            query(connection, f"INSERT INTO {table} VALUES {values}")
    query(connection, f"INSERT INTO {MARKS} VALUES (%s, %s)", [block.number, f"{block.rows} rows"])
    query(connection, "COMMIT")


def batches(rows: list[str], limit: int = STATEMENT_BYTES) -> Iterator[str]:
    """Yield rows joined by commas, at most about `limit` characters at a time."""
    if not rows:
        return
    most = max(1, limit // (max(map(len, rows[:50])) + 8))
    for start in range(0, len(rows), most):
        yield ",".join(rows[start : start + most])


def count_rows(connection: Any, schema: str) -> int:
    """Return the number of rows in the sample's tables."""
    counts = " + ".join(f"(SELECT COUNT(*) FROM {quoted(schema)}.{table})" for table in TABLES)
    return int(query(connection, f"SELECT {counts}")[0][0])
