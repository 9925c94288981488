"""Sets of fields, as server-side apply keeps them in metadata.managedFields (the FieldsV1 format).

A field is a path of steps: ``f:NAME`` for a key of a map, ``k:{"name":"x"}`` for an item of a list that is told
apart by a key. Everything else is one value: scalars, lists without a key, empty maps.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tiphys.local.apiserver.strategic import merge_key

Path = tuple[str, ...]
IDENTITY = {("f:apiVersion",), ("f:kind",), ("f:metadata",), ("f:metadata", "f:name"), ("f:metadata", "f:namespace")}


def fields_of(obj: dict[str, Any], keyed: bool) -> set[Path]:
    """Return the fields that an applied object sets, apart from its identity.

    Args:
        obj: the object as it was sent.
        keyed: whether lists of built-in kinds are merged by their keys; those of custom kinds are one value.
    """
    return {path for path in _leaves(obj, (), "", keyed) if path not in IDENTITY}


def _leaves(value: Any, at: Path, field: str, keyed: bool) -> Iterable[Path]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*at, f"f:{name}"), name, keyed)
        return
    key = merge_key(field, value) if keyed and isinstance(value, list) else None
    if key is None:
        yield at
        return
    for item in value:
        place = (*at, item_step(key, item))
        yield place
        for name, inner in item.items():
            yield from _leaves(inner, (*place, f"f:{name}"), name, keyed)


def item_step(key: str, item: dict[str, Any]) -> str:
    """Return the step that means an item of a keyed list."""
    return "k:" + json.dumps({key: item[key]}, separators=(",", ":"))


def pack(paths: Iterable[Path]) -> dict[str, Any]:
    """Return a set of fields as FieldsV1."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for step in path:
            node = node.setdefault(step, {})
        if path and path[-1].startswith("k:"):
            node.setdefault(".", {})
    return root


def unpack(packed: dict[str, Any]) -> set[Path]:
    """Return the set of fields that FieldsV1 means."""
    found: set[Path] = set()

    def walk(node: dict[str, Any], at: Path) -> None:
        inner = [step for step in node if step != "."]
        if at and (not inner or "." in node):
            found.add(at)
        for step in inner:
            walk(node[step], (*at, step))

    walk(packed, ())
    return found


def value_at(obj: Any, path: Path) -> Any:
    """Return the value of a field, or None if there is none."""
    for step in path:
        if step.startswith("k:"):
            obj = _item(obj, step)
        elif isinstance(obj, dict):
            obj = obj.get(step.removeprefix("f:"))
        else:
            return None
    return obj


def remove_at(obj: Any, path: Path) -> None:
    """Remove a field, and the maps that it leaves empty, in place."""
    trail: list[tuple[Any, str]] = []
    for step in path:
        trail.append((obj, step))
        obj = value_at(obj, (step,))
        if obj is None:
            return
    for parent, step in reversed(trail):
        if step.startswith("f:"):
            del parent[step[2:]]
            if parent:
                return
        else:
            parent.remove(_item(parent, step))
            return


def shown(path: Path) -> str:
    """Return a field as people write it: ``.spec.containers[name="main"].image``."""
    text = ""
    for step in path:
        if step.startswith("f:"):
            text += f".{step[2:]}"
        else:
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(step[2:]).items()) + "]"
    return text


def _item(items: Any, step: str) -> Any:
    if not isinstance(items, list):
        return None
    wanted = json.loads(step[2:])
    return next((item for item in items if all(item.get(key) == value for key, value in wanted.items())), None)
