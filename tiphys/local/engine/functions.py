"""Functions that expressions may call: Argo's own (asInt, asFloat, string, toJson) and a part of expr-lang's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any


def to_text(value: Any) -> str:
    """Return `value` as Argo writes it into a parameter: strings as they are, everything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _as_int(value: Any) -> int:
    return int(value.strip()) if isinstance(value, str) else int(value)


def _as_float(value: Any) -> float:
    return float(value.strip()) if isinstance(value, str) else float(value)


def _length(value: Any) -> int:
    return len(value)


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator) if separator else list(text)


def _join(items: list[str], separator: str = "") -> str:
    return separator.join(items)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "asInt": _as_int,
    "asFloat": _as_float,
    "int": _as_int,
    "float": _as_float,
    "string": to_text,
    "toJson": lambda value: json.dumps(value, separators=(",", ":"), ensure_ascii=False),
    "toJSON": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    "fromJSON": lambda text: json.loads(text),
    "len": _length,
    "split": _split,
    "join": _join,
    "trim": lambda text: text.strip(),
    "trimPrefix": lambda text, prefix: text.removeprefix(prefix),
    "trimSuffix": lambda text, suffix: text.removesuffix(suffix),
    "upper": lambda text: text.upper(),
    "lower": lambda text: text.lower(),
    "replace": lambda text, old, new: text.replace(old, new),
    "hasPrefix": lambda text, prefix: text.startswith(prefix),
    "hasSuffix": lambda text, suffix: text.endswith(suffix),
    "indexOf": lambda text, part: text.find(part),
    "abs": abs,
    "ceil": lambda value: float(math.ceil(value)),
    "floor": lambda value: float(math.floor(value)),
    "round": lambda value: float(math.floor(value + 0.5)),
    "min": lambda *values: min(values),
    "max": lambda *values: max(values),
    "first": lambda items: items[0] if items else None,
    "last": lambda items: items[-1] if items else None,
    "keys": lambda value: list(value.keys()),
    "values": lambda value: list(value.values()),
}
"""Name to function. A wrong argument's TypeError or ValueError becomes an ExpressionError that shows the call."""
