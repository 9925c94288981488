"""The part of GJSON's and SJSON's paths that Sensors of the pack use: names and list positions joined by dots.

Source: github.com/tidwall/gjson SYNTAX.md. Wildcards, queries, modifiers and multipaths are refused.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

_SPECIAL = set("*?#|@!{}[]()<>=~%")


class PathError(Exception):
    """A path that is not of the simple kind, or that leads nowhere."""


def split_path(path: str) -> list[str]:
    r"""Return a path's parts; ``\.`` is a dot within a part.

    Raises:
        PathError: if the path is empty, or has a part that is no plain name or number.
    """
    parts, part, escaped = [], "", False
    for character in path:
        if escaped:
            part, escaped = part + character, False
        elif character == "\\":
            escaped = True
        elif character == ".":
            parts.append(part)
            part = ""
        elif character in _SPECIAL:
            raise PathError(f"{path!r} has {character!r}; only names and positions joined by dots are honoured")
        else:
            part += character
    parts.append(part)
    if escaped or not all(parts):
        raise PathError(f"{path!r} is no path; expected names and positions joined by dots")
    return parts


def look_up(value: Any, path: str) -> Any:
    """Return what stands at `path`.

    Raises:
        PathError: if nothing does.
    """
    for part in split_path(path):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise PathError(f"nothing at {path!r}")
    return value


def put(target: Any, path: str, value: Any) -> None:
    """Set what stands at `path`, making objects on the way; a position may be at most one past a list's end.

    Raises:
        PathError: if a position lies beyond that, or the way leads through a scalar.
    """
    *way, last = split_path(path)
    for part in way:
        if isinstance(target, dict):
            target = target.setdefault(part, {})
        elif isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        else:
            raise PathError(f"{path!r} leads through a value that is no object: {part!r}")
    if isinstance(target, dict):
        target[last] = value
    elif isinstance(target, list) and last.isdigit() and int(last) <= len(target):
        target[int(last) : int(last) + 1] = [value]
    else:
        raise PathError(f"{path!r} cannot be set")


def as_text(value: Any) -> str:
    """Return a scalar as GJSON's `String()` does: true and false, numbers without an exponent, null as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{Decimal(repr(value)):f}"
    return str(value)
