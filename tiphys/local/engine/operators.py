"""What the operators of the expression languages do, strict about types as expr-lang is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tiphys.local.engine.tokens import ExpressionError


def truth(value: Any, where: str) -> bool:
    """Return `value` if it is a boolean; expr-lang has no other truth."""
    if not isinstance(value, bool):
        raise ExpressionError(f"{where} needs true or false, got {value!r}")
    return value


def same(left: Any, right: Any) -> bool:
    """Equality without Python's mixing of booleans with numbers."""
    if isinstance(left, bool) != isinstance(right, bool):
        return False
    return bool(left == right)


def _numbers(left: Any, right: Any, what: str) -> None:
    for value in (left, right):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ExpressionError(f"{what} needs numbers, got {left!r} and {right!r}")


def _ordered(left: Any, right: Any, what: str) -> None:
    if not (isinstance(left, str) and isinstance(right, str)):
        _numbers(left, right, what)


def _texts(left: Any, right: Any, what: str) -> None:
    if not (isinstance(left, str) and isinstance(right, str)):
        raise ExpressionError(f"{what} needs strings, got {left!r} and {right!r}")


def _add(left: Any, right: Any) -> Any:
    if not (isinstance(left, str) and isinstance(right, str)):
        _numbers(left, right, "+")
    return left + right


def _divide(left: Any, right: Any) -> Any:
    _numbers(left, right, "/")
    if right == 0:
        raise ExpressionError("division by zero")
    return float(left) / right


def _modulo(left: Any, right: Any) -> Any:
    _numbers(left, right, "%")
    if right == 0:
        raise ExpressionError("division by zero")
    remainder = abs(left) % abs(right)
    return -remainder if left < 0 else remainder


def _contained(left: Any, right: Any) -> bool:
    if right is None:
        return False
    if isinstance(right, dict):
        return left in right
    if isinstance(right, list):
        return any(same(left, item) for item in right)
    raise ExpressionError(f"in needs a list or a map on its right, got {right!r}")


def _matches(left: Any, right: Any) -> bool:
    _texts(left, right, "matches")
    try:
        return re.search(right, left) is not None
    except re.error as error:
        raise ExpressionError(f"{right!r} is no regular expression: {error}") from error


def _checked(check: Callable[[Any, Any, str], None], name: str, run: Callable[[Any, Any], Any]) -> Any:
    def apply(left: Any, right: Any) -> Any:
        check(left, right, name)
        return run(left, right)

    return apply


APPLY: dict[str, Callable[[Any, Any], Any]] = {
    "==": same,
    "!=": lambda a, b: not same(a, b),
    "<": _checked(_ordered, "<", lambda a, b: a < b),
    "<=": _checked(_ordered, "<=", lambda a, b: a <= b),
    ">": _checked(_ordered, ">", lambda a, b: a > b),
    ">=": _checked(_ordered, ">=", lambda a, b: a >= b),
    "in": _contained,
    "contains": _checked(_texts, "contains", lambda a, b: b in a),
    "startsWith": _checked(_texts, "startsWith", lambda a, b: a.startswith(b)),
    "endsWith": _checked(_texts, "endsWith", lambda a, b: a.endswith(b)),
    "matches": _matches,
    "+": _add,
    "-": _checked(_numbers, "-", lambda a, b: a - b),
    "*": _checked(_numbers, "*", lambda a, b: a * b),
    "/": _divide,
    "%": _modulo,
    "**": _checked(_numbers, "**", lambda a, b: float(a) ** b),
}
"""What a binary operator does once both its sides are known."""
