"""Reading rows off one connection as blocks of finished lines, in the order of the primary key.

The server sends the columns as they are; :mod:`steps.backup.wire_rows` makes lines of them. What else was tried, and
how fast it was, stands in docs/backup.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from steps.backup.dump_columns import Column
from steps.backup.dump_keys import Keys
from steps.backup.wire_rows import PLAIN, Block, blocks_of
from steps.mysql.connection import EVERY_ROW, quoted

__all__ = ["SESSION_SQL", "Block", "Source", "read"]

SESSION_SQL = (
    "SET SESSION sql_mode = 'ALLOW_INVALID_DATES', time_zone = '+00:00', net_write_timeout = 1800,"
    " wait_timeout = 86400, max_execution_time = 0, character_set_results = 'utf8mb4',"
    f" {EVERY_ROW}, sql_big_selects = ON, sql_quote_show_create = ON,"
    " show_gipk_in_create_table_and_information_schema = ON"
)
"""Every connection of a dump begins with this; `read` relies on it. Any date that a key holds can be compared with, and
nothing that the server sets for all its clients leaves rows, columns or quotes out."""


@dataclass(frozen=True)
class Source:
    """A table, or one partition of it.

    Attributes:
        schema: its schema.
        table: its name.
        columns: those that are written.
        key: columns of the primary key, in whose order rows are read; empty where they come in no order.
        partition: its name, empty for the whole table.
    """

    schema: str
    table: str
    columns: tuple[Column, ...]
    key: tuple[Column, ...] = ()
    partition: str = ""

    @property
    def name(self) -> str:
        """The table or partition in SQL."""
        name = f"{quoted(self.schema)}.{quoted(self.table)}"
        return f"{name} PARTITION ({quoted(self.partition)})" if self.partition else name

    @property
    def origin(self) -> str:
        """What stands after FROM where rows are read: by the primary key, which is how InnoDB keeps them."""
        return f"{self.name} FORCE INDEX (PRIMARY)" if self.key else self.name

    @property
    def order(self) -> str:
        """What stands at the end of a statement that reads rows."""
        return f" ORDER BY {', '.join(quoted(column.name) for column in self.key)}" if self.key else ""

    @property
    def title(self) -> str:
        """Name for messages."""
        return f"{self.schema}.{self.table}" + (f" partition {self.partition}" if self.partition else "")

    @property
    def whole(self) -> Keys:
        """All of its rows."""
        return Keys(partition=self.partition)

    def where(self, keys: Keys) -> str:
        """Return the condition that keeps to a stretch of the key, or nothing."""
        condition = keys.condition(self.key)
        return f" WHERE {condition}" if condition else ""


def read(connection: Any, source: Source, keys: Keys, limit: str = "") -> Iterator[Block]:
    """Yield the rows of a stretch of a table.

    Raises:
        mysql.connector.Error: the server says no, or is gone.
        StepError: what it sends are no rows.
    """
    # A table whose columns are all generated has rows all the same: empty lines.
    selected = ", ".join(column.selected for column in source.columns) or "''"
    sql = f"SELECT {selected} FROM {source.origin}{source.where(keys)}{source.order}{limit}"
    return blocks_of(connection, sql, [column.form for column in source.columns] or [PLAIN])
