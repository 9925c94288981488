"""Indexes that are added after the rows: sorting all keys at once is faster than finding a place for each.

Only secondary indexes wait, and the foreign keys that use them. Keys that the table needs meanwhile stay: primary and
unique ones (a group asks for one, and they find rows that came twice), the one of an AUTO_INCREMENT column, and those
that foreign keys of other tables refer to. Full-text indexes stay, too: each would be a rebuild of the table, one after
the other on every member, and took a fifth more of the servers' time than keeping them up to date (bench/restore.py's
group, 400,000 rows of twelve words). The order of a table's indexes stays as it was: where two would
do, the optimizer takes the first.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from steps.backup.ddl import Statement, create_table, statements
from steps.backup.load_plan import Plan, TablePlan
from steps.backup.load_rows import Target
from steps.log import log
from steps.mysql.connection import query, quoted

_KEY = re.compile(r"\s*(SPATIAL )?KEY (`(?:[^`]|``)*`) \((?:(`(?:[^`]|``)*`)|\()")
_KEPT = re.compile(r"\s*(?:PRIMARY KEY|UNIQUE KEY `(?:[^`]|``)*`) \((`(?:[^`]|``)*`)")
_FOREIGN = re.compile(
    r"\s*CONSTRAINT (`(?:[^`]|``)*`) FOREIGN KEY \((`(?:[^`]|``)*`).*? REFERENCES (?:(`(?:[^`]|``)*`)\.)?"
    r"(`(?:[^`]|``)*`) \((`(?:[^`]|``)*`)"
)
_COLUMN = re.compile(r"\s*(`(?:[^`]|``)*`) .* AUTO_INCREMENT")

PATIENCE = 24 * 3600.0
"""Seconds that adding the indexes of one table may take."""

SMALLEST = 8 * 1024 * 1024
"""Bytes of rows: below this a table's indexes are made with it, since a statement of their own costs more."""


@dataclass(frozen=True)
class Split:
    """A CREATE TABLE statement in two parts.

    Attributes:
        create: the statement without what waits.
        keys: definition of each index that waits, by its name.
        foreign: the same of the foreign keys that use these indexes.
    """

    create: str
    keys: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)


def split(sql: str, referenced: Collection[str] = ()) -> Split:
    """Take the indexes that can wait out of a CREATE TABLE statement.

    Args:
        sql: as ``SHOW CREATE TABLE`` writes it: one column or key a line.
        referenced: columns (quoted) that foreign keys of other tables refer to.
    """
    lines = sql.split("\n")
    unique = {found.group(1) for line in lines if (found := _KEPT.match(line))}
    needed = {found.group(1) for line in lines if (found := _COLUMN.match(line))} | set(referenced)
    keys = [(number, found) for number, line in enumerate(lines) if (found := _KEY.match(line))]
    staying = [number for number, key in keys if key.group(3) in needed - unique]
    # What comes before one that stays would come behind it.
    waiting = {number: key for number, key in keys if number > max(staying, default=-1)}
    columns = {key.group(3) for key in waiting.values()}
    foreign = {
        number: found
        for number, line in enumerate(lines)
        if (found := _FOREIGN.match(line)) and found.group(2) in columns - unique
    }
    if not waiting:
        return Split(sql)
    left = [line for number, line in enumerate(lines) if number not in waiting and number not in foreign]
    # The last definition before the closing parenthesis has no comma behind it.
    end = max(number for number, line in enumerate(left) if line.startswith(")"))
    left[end - 1] = left[end - 1].rstrip(",")
    return Split(
        "\n".join(left),
        {key.group(2): lines[number].strip().rstrip(",") for number, key in waiting.items()},
        {key.group(1): lines[number].strip().rstrip(",") for number, key in foreign.items()},
    )


class Indexes:
    """Which indexes of a plan wait for the rows."""

    def __init__(self, plan: Plan, *, smallest: int = SMALLEST) -> None:
        self._referenced: dict[tuple[str, str], set[str]] = {}
        self._smallest = smallest
        for table in plan.tables:
            for line in (create_table(table.ddl) or "").split("\n"):
                if found := _FOREIGN.match(line):
                    schema = _plain(found.group(3)) if found.group(3) else table.meta.schema
                    self._referenced.setdefault((schema, _plain(found.group(4))), set()).add(found.group(5))

    def of(self, table: TablePlan) -> Split:
        """Return what of a table waits."""
        sql = create_table(table.ddl) or ""
        if sum(chunk.data_bytes for chunk in table.chunks) < self._smallest:
            return Split(sql)
        return split(sql, self._referenced.get((table.meta.schema, table.meta.table), ()))

    def without(self, table: TablePlan) -> list[Statement]:
        """Return the statements of a table's file, with what waits taken out of its CREATE TABLE."""
        whole, less = create_table(table.ddl), self.of(table).create
        return [replace(each, sql=less) if each.sql == whole else each for each in statements(table.ddl)]


def _plain(name: str) -> str:
    return name[1:-1].replace("``", "`")


def add(target: Target, plan: Plan, indexes: Indexes, parallel: int) -> None:
    """Add the indexes that have waited and are not there yet, several tables at a time; then the foreign keys.

    Raises:
        StepError: the server refuses one.
    """
    todo = [(table, waiting) for table in plan.tables if (waiting := indexes.of(table)).keys]
    # The largest first: no connection is left alone with a large one at the end.
    todo.sort(key=lambda pair: sum(chunk.data_bytes for chunk in pair[0].chunks), reverse=True)
    if not todo:
        return
    with ThreadPoolExecutor(parallel) as pool:
        added = sum(pool.map(lambda pair: _add_keys(target, pair[0], pair[1].keys), todo))
    # One after the other: each locks the table that it refers to as well.
    foreign = sum(_add_foreign(target, table, waiting.foreign) for table, waiting in todo)
    log("indexes added", tables=len(todo), indexes=added, foreign_keys=foreign)


def _add_keys(target: Target, table: TablePlan, waiting: dict[str, str]) -> int:
    there = "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s"
    with target.session(PATIENCE) as connection:
        missing = _missing(connection, there, table, waiting)
        if missing:
            _alter(connection, table, missing)
    return len(missing)


def _add_foreign(target: Target, table: TablePlan, waiting: dict[str, str]) -> int:
    there = (
        "SELECT constraint_name FROM information_schema.referential_constraints"
        " WHERE constraint_schema = %s AND table_name = %s"
    )
    with target.session(PATIENCE) as connection:
        if missing := _missing(connection, there, table, waiting):
            _alter(connection, table, missing)
    return len(missing)


def _alter(connection: Any, table: TablePlan, definitions: list[str]) -> None:
    query(connection, f"USE {quoted(table.meta.schema)}")
    added = ", ".join(f"ADD {definition}" for definition in definitions)
    query(connection, f"ALTER TABLE {quoted(table.meta.table)} {added}")


def _missing(connection: Any, there: str, table: TablePlan, waiting: dict[str, str]) -> list[str]:
    found = {str(row[0]).lower() for row in query(connection, there, [table.meta.schema, table.meta.table])}
    return [definition for name, definition in waiting.items() if _plain(name).lower() not in found]
