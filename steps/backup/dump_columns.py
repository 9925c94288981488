r"""How the server writes a table's rows: one SQL expression a column, the row joined in the server. Pure.

The rows are what ``LOAD DATA`` reads with its defaults: fields end with a tab, lines with a newline, a backslash
escapes all three, NULL is ``\N``. Binary columns are written in Base64, which ``Table.decode`` tells the loader.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from steps.mysql.connection import quoted

_BINARY = frozenset(
    {
        "binary",
        "varbinary",
        "tinyblob",
        "blob",
        "mediumblob",
        "longblob",
        "bit",
        "geometry",
        "point",
        "linestring",
        "polygon",
        "multipoint",
        "multilinestring",
        "multipolygon",
        "geomcollection",
        "geometrycollection",
        "vector",
    }
)
_TEXT = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set"})
_INTEGER = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})

COLUMNS_SQL = (
    "SELECT column_name, data_type, is_nullable = 'YES', generation_expression <> ''"
    " AND extra NOT LIKE '%%DEFAULT_GENERATED%%', COALESCE(character_set_name, '') FROM information_schema.columns"
    " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position"
)
"""The columns of a table, invisible ones too. A default that is an expression is no generated column."""

KEY_SQL = (
    "SELECT column_name FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s"
    " AND index_name = 'PRIMARY' ORDER BY seq_in_index"
)
"""The columns of a table's primary key, in its order."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    nullable: bool
    generated: bool
    charset: str = ""

    @property
    def binary(self) -> bool:
        """Whether its values are bytes, not text."""
        return self.type.lower() in _BINARY

    @property
    def integer(self) -> bool:
        """Whether its values are whole numbers."""
        return self.type.lower() in _INTEGER

    @property
    def expression(self) -> str:
        r"""SQL that gives its value as a field of a line; ``\N`` for NULL."""
        name, kind = quoted(self.name), self.type.lower()
        if self.binary:
            # The server breaks Base64 into lines of 76.
            written = rf"REPLACE(TO_BASE64({name}), '\n', '\\n')"
        elif kind in _TEXT:
            written = _escaped(f"CONVERT({name} USING utf8mb4) COLLATE utf8mb4_bin")
        elif kind == "json":
            written = _escaped(f"CAST({name} AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin")
        elif kind == "float":
            # The server shows 6 digits of a FLOAT. Where these do not name the same number, all of it is written.
            written = f"IF(CAST(CONCAT({name}) AS FLOAT) = {name}, {name}, CAST({name} AS DOUBLE))"
        elif self.integer or kind in ("decimal", "double", "date", "datetime", "timestamp", "time", "year"):
            written = name
        else:
            raise ValueError(f"column {self.name} has type {self.type}, of which nothing is known here")
        # Not IFNULL: an expression that fails for another reason must not look like a NULL.
        return rf"IF({name} IS NULL, '\\N', {written})" if self.nullable else written


def _escaped(text: str) -> str:
    return rf"REPLACE(REPLACE(REPLACE({text}, '\\', '\\\\'), '\t', '\\t'), '\n', '\\n')"


def line(columns: list[Column]) -> str:
    """Return the arguments of CONCAT or GROUP_CONCAT that make a line with its end."""
    return r", '\t', ".join(column.expression for column in columns) + r", '\n'"


def encoded(columns: list[Column]) -> dict[str, str]:
    """Return the columns that the loader must decode, and by which function."""
    return {column.name: "FROM_BASE64" for column in columns if column.binary}


def columns_of(rows: Iterable[Sequence[Any]]) -> list[Column]:
    """Return the columns that COLUMNS_SQL found."""
    return [Column(str(n), _str(kind), bool(null), bool(made), _str(charset)) for n, kind, null, made, charset in rows]


def _str(value: Any) -> str:
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)
