"""Bodies of webhooks: read within a limit, parsed strictly."""

from __future__ import annotations

import json
import math
from typing import Any

from aiohttp import StreamReader

DEPTH = 16
"""How deep objects and lists may nest; the pack's bodies are flat."""


class BadBody(Exception):
    """A body that is not taken: the HTTP status, and a sentence for the caller."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


async def read(stream: StreamReader, limit: int, announced: int | None) -> bytes:
    """Return a body of at most `limit` bytes, without taking in more than that.

    Args:
        stream: the request's content, in chunks or not.
        limit: bytes.
        announced: what Content-Length says, if it says it.

    Raises:
        BadBody: 413 if it is larger.
    """
    if announced is None or announced <= limit:
        taken = bytearray()
        async for chunk in stream.iter_chunked(64 * 1024):
            taken += chunk
            if len(taken) > limit:
                break
        else:
            return bytes(taken)
    raise BadBody(413, f"the body is larger than {limit} bytes; send only the runbook's parameters")


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object that a body holds.

    Raises:
        BadBody: 400 if it is not one: no JSON, another value, a name twice, NaN, too deep, broken Unicode.
    """
    example = 'expected a JSON object such as {"cluster": "demo"}'
    if not body.strip():
        raise BadBody(400, f"the body is empty; {example}")
    try:
        value = json.loads(body.decode(), object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float)
        json.dumps(value, ensure_ascii=False).encode()
        deep = _depth(value)
    except RecursionError:
        deep = DEPTH + 1
    except UnicodeError as error:
        raise BadBody(400, "the body is not UTF-8 text; send JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        raise BadBody(
            400, f"the body is not JSON: {error.msg} at line {error.lineno} column {error.colno}; {example}"
        ) from error
    except (ValueError, OverflowError) as error:
        raise BadBody(400, f"the body cannot be taken: {error}") from error
    if deep > DEPTH:
        raise BadBody(400, f"the body nests deeper than {DEPTH} levels; {example}")
    if not isinstance(value, dict):
        seen = {list: "a list", str: "a text", bool: "a boolean", type(None): "null"}.get(type(value), "a number")
        raise BadBody(400, f"the body is {seen}; {example}")
    return value


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice[:60]!r} is named twice; name each parameter once")
    return made


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON; send a number")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text[:30]} is too large")
    return number


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    if isinstance(value, int):
        float(value)  # Lua and Argo have only floating-point numbers; OverflowError where it does not fit
    return 0
