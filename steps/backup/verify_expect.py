"""What an answer to a user's query is expected to be, and whether it is. Pure.

========================  ==============================================================================
``42``, ``text``, ``null``  one row with one value, equal to this
``[]``                    no row at all
``[[1, a], [2, b]]``      these rows, in this order; ``[1, 2]`` are two rows of one value each
``">= 100"``              one value, compared: ``>= > <= < = !=`` with a number, or with a time
``newer than 1d``         one time, at most so long before the moment that the backup holds
``older than 1d``         one time, at least so long before it
``any rows``              at least one row
========================  ==============================================================================
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from steps.errors import BadParameters
from steps.parameters import Text

DURATION = Text("a length of time such as 90s, 15m, 12h or 2d", "0-9smhd", 12, first="0-9", last="smhd")

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_COMPARED = re.compile(r"\s*(>=|<=|==|!=|<>|=|>|<)\s*(.+?)\s*", re.DOTALL)
_AGED = re.compile(r"\s*(newer|older)\s+than\s+(\S+)\s*", re.IGNORECASE)
_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<>": operator.ne,
}
SHOWN = 200
"""Characters of an answer that a report shows."""


def duration(text: str) -> float:
    """Return the seconds of a length of time: ``90s``, ``15m``, ``1h30m``, ``2d``.

    Raises:
        BadParameters: it is none.
    """
    if not re.fullmatch(r"(\d+[smhd])+", text):
        raise BadParameters(f"{text[:30]!r} is no length of time: give a number with s, m, h or d, such as 90s or 2d")
    return float(sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", text)))


def check(expect: Any) -> None:
    """Check that an expectation can be judged at all.

    Raises:
        BadParameters: it cannot; the message says why.
    """
    if isinstance(expect, dict):
        raise BadParameters("expect is a map: give one value, a list of rows, or a comparison such as '>= 100'")
    if isinstance(expect, list):
        widths = {len(row) if isinstance(row, list) else 1 for row in expect}
        if len(widths) > 1:
            raise BadParameters(f"expect lists rows of different lengths ({sorted(widths)} values): give all columns")
    if isinstance(expect, str) and (aged := _AGED.fullmatch(expect)):
        duration(aged[2])
    elif isinstance(expect, str) and (compared := _COMPARED.fullmatch(expect)):
        _bound(compared[2])


def mismatch(expect: Any, rows: Sequence[Sequence[Any]], moment: datetime) -> str:
    """Return in what an answer is not as expected; empty where it is.

    Args:
        expect: from the user's list.
        rows: the answer.
        moment: what the backup holds; with a time zone. Times without one are taken for UTC.
    """
    if isinstance(expect, list):
        return _rows_differ([row if isinstance(row, list) else [row] for row in expect], rows)
    if isinstance(expect, str) and expect.strip().lower() == "any rows":
        return "" if rows else "there is no row"
    if len(rows) != 1 or len(rows[0]) != 1:
        shape = f"{len(rows)} rows" if len(rows) != 1 else f"a row of {len(rows[0])} values"
        return f"the answer is {shape}; one value was expected"
    value = rows[0][0]
    if isinstance(expect, str) and (aged := _AGED.fullmatch(expect)):
        return _age_differs(value, aged[1].lower(), duration(aged[2]), moment)
    if isinstance(expect, str) and (compared := _COMPARED.fullmatch(expect)):
        return _compare(value, compared[1], compared[2])
    return "" if same(expect, value) else f"the value is {shown(value)}"


def same(expect: Any, value: Any) -> bool:
    """Tell whether a value of YAML and one of MySQL are the same: numbers by value, times by moment, else as text."""
    if expect is None or value is None:
        return expect is None and value is None
    if isinstance(expect, bool):
        return bool(value == int(expect))
    if isinstance(expect, (int, float)) and isinstance(value, (int, float, Decimal)):
        if isinstance(expect, float) or isinstance(value, float):
            return math.isclose(float(expect), float(value), rel_tol=1e-9)
        return Decimal(expect) == Decimal(value)
    if isinstance(value, (datetime, date)):
        wanted = _time(expect)
        return wanted is not None and wanted == _time(value)
    if isinstance(value, (int, float, Decimal)):
        try:
            return Decimal(str(expect)) == Decimal(str(value))
        except InvalidOperation:
            return False
    return str(expect) == text_of(value)


def text_of(value: Any) -> str:
    """Return a value of MySQL as text: bytes that are no text in hex."""
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError:
            return "0x" + bytes(value).hex().upper()
    return str(value)


def shown(value: Any) -> str:
    """Return a value for people, cut where it is long."""
    text = "NULL" if value is None else text_of(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"


def answer(rows: Sequence[Sequence[Any]]) -> str:
    """Return an answer for people: one value, or the first rows."""
    if not rows:
        return "no row"
    if len(rows) == 1 and len(rows[0]) == 1:
        return shown(rows[0][0])
    lines = ["(" + ", ".join(shown(value) for value in row) + ")" for row in rows[:3]]
    more = f" and {len(rows) - 3} more rows" if len(rows) > 3 else ""
    text = ", ".join(lines)
    return (text if len(text) <= 2 * SHOWN else text[: 2 * SHOWN] + "…") + more


def expectation(expect: Any) -> str:
    """Return what is expected for people: rows as `answer` shows them."""
    if isinstance(expect, list):
        return answer([row if isinstance(row, list) else [row] for row in expect]) if expect else "no row"
    return shown(expect)


def _rows_differ(expect: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]) -> str:
    for number, (wanted, seen) in enumerate(zip(expect, rows, strict=False), 1):
        if len(wanted) != len(seen):
            return f"row {number} has {len(seen)} values, {len(wanted)} were expected"
        for column, (one, other) in enumerate(zip(wanted, seen, strict=True), 1):
            if not same(one, other):
                return f"row {number}, column {column} is {shown(other)}, {shown(one)} was expected"
    return "" if len(expect) == len(rows) else f"the answer has {len(rows)} rows, {len(expect)} were expected"


def _compare(value: Any, sign: str, bound: str) -> str:
    if value is None:
        return f"the value is NULL, which is not {sign} {bound}"
    wanted = _bound(bound)
    seen: Any
    if isinstance(wanted, datetime):
        seen = _time(value)
    else:
        try:
            seen = Decimal(text_of(value))
        except InvalidOperation:
            seen = None
    if seen is None:
        return f"the value {shown(value)} cannot be compared with {bound}"
    return "" if _OPERATORS[sign](seen, wanted) else f"the value is {shown(value)}"


def _bound(text: str) -> Decimal | datetime:
    try:
        number = Decimal(text.replace("_", ""))
        if number.is_finite():
            return number
    except InvalidOperation:
        pass
    if (moment := _time(text)) is not None:
        return moment
    raise BadParameters(
        f"expect compares with {text[:40]!r}, which is neither a number nor a time (2026-11-21 or 2026-11-21T03:00:00)"
    )


def _age_differs(value: Any, which: str, seconds: float, moment: datetime) -> str:
    at = _time(value)
    if at is None:
        return f"the value {shown(value)} is no time"
    limit = moment - timedelta(seconds=seconds)
    if (at > limit) if which == "newer" else (at < limit):
        return ""
    return f"the value is {shown(value)}, that is {(moment - at).total_seconds():.0f} s before the backup's moment"


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, str):
        try:
            return _time(datetime.fromisoformat(value.strip()))
        except ValueError:
            return None
    return None
