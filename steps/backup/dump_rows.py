"""Reading rows off one connection as blocks of finished lines.

The server joins many rows into one value (``GROUP_CONCAT``), so that Python moves blocks and never sees a row; many
such statements go out at once, so that the server never waits for the next. Where there is no integer key to cut blocks
by, each row is one value.

The server cuts a joined value that is too long, and leaves out a row whose line is NULL or too long. Neither can hide:
each block comes with its COUNT(*), and each line ends with a newline, which occurs nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from steps.backup.chunks import KeyRange
from steps.backup.dump_columns import Column, line
from steps.errors import StepError
from steps.mysql.connection import quoted

STATEMENTS = 16
"""So many blocks are asked for at once."""
ROWS_AT_ONCE = 2000
LONGEST_LINE = 1_000_000
"""Characters of a line that is joined; a longer one is read by itself. The server joins nothing where four times this
are more than its max_allowed_packet."""
LONGEST_BLOCK = 16 * 1024 * 1024
"""Limit of a joined value (``group_concat_max_len``), in bytes: a block above it is asked for in halves."""

SESSION_SQL = (
    "SET SESSION sql_mode = '', time_zone = '+00:00', net_write_timeout = 1800, wait_timeout = 86400,"
    f" max_execution_time = 0, group_concat_max_len = {LONGEST_BLOCK}"
)
"""Every connection of a dump begins with this; `read` relies on it."""


@dataclass(frozen=True)
class Block:
    """Finished lines."""

    data: bytes
    rows: int


@dataclass(frozen=True)
class Source:
    """A table, or one partition of it.

    Attributes:
        schema: its schema.
        table: its name.
        columns: those that are written.
        key: the column by which it is cut into chunks and blocks, or None.
        partition: its name, empty for the whole table.
        ordered_by: columns of the primary key, in whose order rows are read; empty without one.
    """

    schema: str
    table: str
    columns: list[Column]
    key: str | None = None
    partition: str = ""
    ordered_by: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The table or partition in SQL."""
        name = f"{quoted(self.schema)}.{quoted(self.table)}"
        return f"{name} PARTITION ({quoted(self.partition)})" if self.partition else name

    @property
    def origin(self) -> str:
        """What stands after FROM where rows are read: in the order of the primary key, as InnoDB keeps them."""
        return f"{self.name} FORCE INDEX (PRIMARY)" if self.ordered_by else self.name

    @property
    def order(self) -> str:
        """What stands at the end of a statement that gives rows one by one."""
        return f" ORDER BY {', '.join(map(quoted, self.ordered_by))}" if self.ordered_by else ""

    @property
    def title(self) -> str:
        """Name for messages."""
        return f"{self.schema}.{self.table}" + (f" partition {self.partition}" if self.partition else "")

    def where(self, keys: KeyRange | None) -> str:
        """Return the condition that keeps to a range of the key, or nothing."""
        return f" WHERE {quoted(self.key)} BETWEEN {keys.low} AND {keys.high}" if self.key and keys else ""


def read_blocks(connection: Any, source: Source, ranges: Iterator[KeyRange]) -> Iterator[Block]:
    """Yield the rows of a table by ranges of its key.

    Raises:
        StepError: a row is too long for the server to give as one line.
    """
    batch: list[KeyRange] = []
    for keys in ranges:
        batch.append(keys)
        if len(batch) == STATEMENTS:
            yield from _read_batch(connection, source, batch)
            batch = []
    if batch:
        yield from _read_batch(connection, source, batch)


def _read_batch(connection: Any, source: Source, ranges: list[KeyRange]) -> Iterator[Block]:
    # The server keeps what it joins in a column as wide as it thinks the text can be, and cuts there: a REPLACE that
    # makes an ENUM longer, a DOUBLE of 23 characters. So the line is one value, and declared wide.
    joined = (
        f"SELECT GROUP_CONCAT(CAST(CONCAT({line(source.columns)}) AS CHAR({LONGEST_LINE}) CHARACTER SET utf8mb4)"
        f" SEPARATOR ''), COUNT(*) FROM {source.origin}"
    )
    statements = ";".join(joined + source.where(keys) for keys in ranges)
    again: list[KeyRange] = []
    for keys, _ in zip(ranges, connection.cmd_query_iter(statements), strict=True):
        found, _ = connection.get_rows(raw=True)
        data, rows = bytes(found[0][0] or b""), int(found[0][1])
        if again or data.count(b"\n") != rows or not data.endswith(b"\n"[:rows]):
            # What follows one that failed is asked for again as well: to keep it until then would cost memory.
            again.append(keys)
        elif rows:
            yield Block(data, rows)
    if again:
        if again[0].span == 1:
            yield from read_rows(connection, source, again[0])
        else:
            yield from _read_batch(connection, source, again[0].halves())
        for first in range(1, len(again), 2):
            yield from _read_batch(connection, source, again[first : first + 2])


def read_rows(connection: Any, source: Source, keys: KeyRange | None = None) -> Iterator[Block]:
    """Yield all rows of a table, or those of a range of its key, each as one value of the server's.

    Raises:
        StepError: a row is too long for the server to give as one line.
    """
    lines_sql = f"SELECT CONCAT({line(source.columns)}) FROM {source.origin}"
    yield from row_blocks(connection, f"{lines_sql}{source.where(keys)}{source.order}", source.title)


def row_blocks(connection: Any, sql: str, title: str) -> Iterator[Block]:
    """Yield what a statement gives as lines, one in each row.

    Raises:
        StepError: a row is too long for the server to give as one line.
    """
    connection.cmd_query(sql)
    eof = None
    while not eof:
        rows, eof = connection.get_rows(count=ROWS_AT_ONCE, raw=True)
        lines = [row[0] for row in rows]
        if None in lines:
            raise StepError(
                f"A row of {title} is longer as text than the server's max_allowed_packet, so it cannot be "
                "read: raise it on the servers (at most 1 GiB)."
            )
        if lines:
            yield Block(b"".join(lines), len(lines))
