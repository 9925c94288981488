"""Stretches of a key: which rows of a table a chunk holds, as SQL and as JSON for ``tiphys.json``. Pure.

A value is an ``int`` of an integer column, or a ``str``: the bytes in hex of a text or binary column (in the column's
own character set, so nothing is converted on the way), the server's text of a decimal or a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steps.backup.dump_columns import Column
from steps.backup.layout import BadLayout
from steps.mysql.connection import quoted

Value = int | str

_BYTES = frozenset({"char", "varchar", "binary", "varbinary"})
_TIMES = frozenset({"date", "datetime", "timestamp", "time"})
_HEX, _DECIMAL, _TIME = re.compile(r"(?:[0-9A-F]{2})*"), re.compile(r"-?[0-9]+(\.[0-9]+)?"), re.compile(r"[0-9:. -]+")


def cuttable(column: Column) -> bool:
    """Whether a table can be cut by this column: its order is known, and its values can be written exactly."""
    kind = column.type.lower()
    return not column.generated and (column.integer or kind in _BYTES or kind in _TIMES or kind == "decimal")


def written(column: Column) -> str:
    """Return the SQL that gives a column's value in the form of :data:`Value`."""
    name = quoted(column.name)
    return f"HEX({name})" if column.type.lower() in _BYTES else f"CAST({name} AS CHAR)"


def read(column: Column, text: str) -> Value:
    """Return what the server answered to `written` as a value."""
    return int(text) if column.integer else text


def literal(column: Column, value: Value) -> str:
    """Return a value in SQL, so that the column's index serves the comparison.

    Raises:
        BadLayout: the value is none of this column's.
    """
    kind = column.type.lower()
    if column.integer and isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        if kind in _BYTES and _HEX.fullmatch(value):
            return f"_{column.charset or 'binary'} X'{value}'"
        if kind == "decimal" and _DECIMAL.fullmatch(value):
            return value
        if kind in _TIMES and _TIME.fullmatch(value):
            return f"'{value}'"
    raise BadLayout(f"{value!r:.60} is no value of column {column.name} ({column.type}): tiphys.json is damaged.")


@dataclass(frozen=True)
class Keys:
    """A stretch of a table's primary key, in the key's order.

    Attributes:
        low: values of the first columns of the key, where it begins; empty: at the first row.
        high: where it ends; empty: at the last row.
        inclusive: whether a row at `high` is in it; one at `low` always is.
        partition: only its rows; empty for all.
        offset: rows to leave out at the beginning, for a table that is not cut by its key.
    """

    low: tuple[Value, ...] = ()
    high: tuple[Value, ...] = ()
    inclusive: bool = True
    partition: str = ""
    offset: int = 0

    def condition(self, columns: Sequence[Column]) -> str:
        """Return the condition on the first columns of the key, empty where all rows are in it."""
        parts = []
        if self.low and self.high:
            # Says no more than what follows; but of this the optimizer makes one stretch of the index.
            first, last = literal(columns[0], self.low[0]), literal(columns[0], self.high[0])
            parts.append(f"{quoted(columns[0].name)} BETWEEN {first} AND {last}")
        if self.low and not (self.high and len(self.low) == 1):
            parts.append(_beyond(columns, self.low, ">", True))
        if self.high and not (self.low and len(self.high) == 1 and self.inclusive):
            parts.append(_beyond(columns, self.high, "<", self.inclusive))
        return " AND ".join(parts)

    def described(self) -> dict[str, Any]:
        """Return it as the field ``keys`` of a chunk in ``tiphys.json``."""
        made: dict[str, Any] = {}
        if self.partition:
            made["partition"] = self.partition
        if self.low:
            made["from"] = list(self.low)
        if self.high:
            made["to" if self.inclusive else "below"] = list(self.high)
        if self.offset:
            made["offset"] = self.offset
        return made

    @classmethod
    def parse(cls, made: dict[str, Any]) -> Keys:
        """Read the field ``keys``."""
        high = made.get("to", made.get("below", ()))
        return cls(
            tuple(made.get("from", ())),
            tuple(high),
            "below" not in made,
            str(made.get("partition", "")),
            int(made.get("offset", 0)),
        )


def _beyond(columns: Sequence[Column], values: tuple[Value, ...], sign: str, inclusive: bool) -> str:
    """Compare (a, b, ...) with values: written out, since the server uses no index for a comparison of rows."""
    name, value = quoted(columns[0].name), literal(columns[0], values[0])
    if len(values) == 1:
        return f"{name} {sign}{'=' if inclusive else ''} {value}"
    return f"({name} {sign} {value} OR ({name} = {value} AND {_beyond(columns[1:], values[1:], sign, inclusive)}))"
