r"""How a table's rows are asked for: one SQL expression a column, and how its values are written. Pure.

The rows are what ``LOAD DATA`` reads with its defaults: fields end with a tab, lines with a newline, a backslash
escapes all three, NULL is ``\N``. Binary columns are written in Base64, which ``Table.decode`` tells the loader, and so
is text in character sets that UTF-8 does not give back: a backslash of ``sjis`` would come back as another character.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from steps.backup.wire_rows import BASE64, ESCAPED, PLAIN
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
_TEXT = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
_EXACT = frozenset(
    {"utf8mb4", "utf8mb3", "utf16", "utf16le", "utf32", "ascii", "latin1", "latin2", "latin5", "latin7", "macce"}
    | {"cp850", "cp852", "cp866", "keybcs2", "koi8r", "koi8u", "macroman"}
)
"""Character sets whose every string comes back from UTF-8 as the same bytes (a server was asked for all of them). The
others have characters that Unicode does not have, or two for one of Unicode's."""
_WIDE = frozenset({"ucs2", "utf16", "utf16le", "utf32"})
"""Here the server takes the number of an ENUM's label only as bytes."""
_PLAIN = frozenset({"decimal", "double", "float", "date", "datetime", "timestamp", "time", "year"})
_INTEGER = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})

_LABEL = re.compile(r"'((?:[^'\\]|''|\\.)*)'", re.DOTALL)
_ESCAPED = re.compile(r"''|\\(.)", re.DOTALL)
_MEANT = {"n": "\n", "r": "\r", "0": "\0", None: "'"}
_DIGITS = re.compile(r"(?:float|double)\((\d+),(\d+)\)")

COLUMNS_SQL = (
    "SELECT column_name, data_type, is_nullable = 'YES', generation_expression <> ''"
    " AND extra NOT LIKE '%%DEFAULT_GENERATED%%', COALESCE(character_set_name, ''), column_type"
    " FROM information_schema.columns"
    " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position"
)
"""The columns of a table, invisible ones too. A default that is an expression is no generated column."""

KEY_SQL = (
    "SELECT column_name, sub_part, collation FROM information_schema.statistics"
    " WHERE table_schema = %s AND table_name = %s AND index_name = 'PRIMARY' ORDER BY seq_in_index"
)
"""The columns of a table's primary key, in its order; the length where only the beginning counts; A(scending) or D."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    nullable: bool
    generated: bool
    charset: str = ""
    definition: str = ""
    """The whole type, as information_schema writes it."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of an ENUM or SET."""
        if self.type.lower() not in ("enum", "set"):
            return ()
        return tuple(
            _ESCAPED.sub(lambda one: _MEANT.get(one[1], one[1]), each) for each in _LABEL.findall(self.definition)
        )

    @property
    def most(self) -> str:
        """The largest value of a FLOAT or DOUBLE that has a number of digits, else nothing."""
        found = _DIGITS.match(self.definition.lower())
        digits, scale = (int(found[1]), int(found[2])) if found else (0, 0)
        return f"{'9' * (digits - scale) or '0'}.{'9' * scale}" if found else ""

    @property
    def encoded(self) -> bool:
        """Whether its values are written in Base64."""
        kind = self.type.lower()
        if kind in ("enum", "set"):
            return self.charset in _WIDE
        return kind in _BINARY or (kind in _TEXT and self.charset not in _EXACT)

    @property
    def integer(self) -> bool:
        """Whether its values are whole numbers."""
        return self.type.lower() in _INTEGER

    @property
    def form(self) -> int:
        """How its values are written, for `wire_rows`.

        Raises:
            ValueError: nothing is known of the type.
        """
        kind = self.type.lower()
        if self.encoded:
            return BASE64
        if kind in _TEXT or kind in ("enum", "set", "json"):
            return ESCAPED
        if self.integer or kind in _PLAIN:
            return PLAIN
        raise ValueError(f"column {self.name} has type {self.type}, of which nothing is known here")

    @property
    def selected(self) -> str:
        """SQL that gives its value as the server's text, or its bytes where they are written in Base64."""
        name, kind = quoted(self.name), self.type.lower()
        value = f"CAST({name} AS BINARY)" if self.encoded and kind not in _BINARY else name
        if kind == "float":
            # The server shows 6 digits of a FLOAT. Where these do not name the same number, all of it is written.
            value = f"CONCAT(IF(CAST(CONCAT({name}) AS FLOAT) = {name}, {name}, CAST({name} AS DOUBLE)))"
        if self.most:
            # The number next to the largest may be beyond it, and the server would not take it again.
            return f"IF(ABS({name}) > {self.most}, CONCAT(IF({name} < 0, '-', ''), '{self.most}'), CONCAT({value}))"
        if kind == "enum":
            # What was none of its labels when it was written has the number 0 and reads as ''; a label may as well.
            return f"IF({name} = 0, {self._zero}, {value})"
        if kind == "set" and "" in self.labels:
            # One with this label reads like one without it. 20 digits are no label, and characters of any width.
            number = f"CAST({name} AS UNSIGNED)"
            digits = f"LPAD({number}, 20, '0')"
            written = f"CAST({digits} AS BINARY)" if self.encoded else digits
            return f"IF({number} & {1 << self.labels.index('')}, {written}, {value})"
        return value

    @property
    def _zero(self) -> str:
        """The number 0 as LOAD DATA takes it for an ENUM: in digits that are none of its labels."""
        if self.encoded:
            # As many as one of its characters is wide, or a multiple: else the server makes characters of them.
            return "_binary'0000'"
        return next((f"'{'0' * digits}'" for digits in range(1, 6) if "0" * digits not in self.labels), "''")


def encoded(columns: list[Column]) -> dict[str, str]:
    """Return the columns that the loader must decode, and by which function."""
    return {column.name: "FROM_BASE64" for column in columns if column.encoded}


def key_of(rows: Iterable[Sequence[Any]], columns: Sequence[Column]) -> tuple[Column, ...]:
    """Return the columns of the primary key that KEY_SQL found, in whose order rows can be read; empty where none can.

    The order is not that of the columns' values where the key has only the beginnings of them, or directions change.
    """
    found = list(rows)
    if any(part for _, part, _ in found) or len({text_of(direction) for _, _, direction in found}) != 1:
        return ()
    by_name = {column.name: column for column in columns}
    return tuple(by_name[str(name)] for name, _, _ in found)


def columns_of(rows: Iterable[Sequence[Any]]) -> list[Column]:
    """Return the columns that COLUMNS_SQL found."""
    return [
        Column(str(name), text_of(kind), bool(null), bool(made), text_of(charset), text_of(definition))
        for name, kind, null, made, charset, definition in rows
    ]


def text_of(value: Any) -> str:
    """Return what a catalog table answered, which the driver sometimes gives as bytes."""
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)
