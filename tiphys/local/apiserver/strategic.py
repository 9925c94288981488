"""Strategic merge patch: a merge patch that knows which lists are maps in disguise, and by which key.

Keys and directives are those of Kubernetes' API types (`patchMergeKey`): ``$patch: delete|replace|merge``,
``$deleteFromPrimitiveList/FIELD``, ``$retainKeys`` and ``$setElementOrder/FIELD``.
"""

from __future__ import annotations

import copy
from typing import Any

from tiphys.local.apiserver.errors import bad_request

_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "port"),
    "conditions": ("type",),
    "addresses": ("type",),
    "ownerReferences": ("uid",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey",),
    "resourceClaims": ("name",),
    "secrets": ("name",),
    "readinessGates": (),
}
"""Merge keys by field name; of several candidates the first that the items have. () replaces the list."""

_SETS = frozenset(("finalizers",))
"""Lists of plain values that are merged as sets."""


def merge_key(field: str, *lists: object) -> str | None:
    """Return the key by which the items of this field are told apart, or None if the list is one value."""
    candidates = _KEYS.get(field, ())
    items = [item for found in lists if isinstance(found, list) for item in found]
    if not items or not all(isinstance(item, dict) for item in items):
        return None
    named = [item for item in items if item != {"$patch": "replace"}]
    return next((key for key in candidates if all(key in item for item in named)), None)


def strategic_merge(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """Return what a strategic merge patch makes of `target`, which is not changed.

    Raises:
        ApiError: 400 for a directive that is not known.
    """
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown $patch directive {directive!r}; known: delete, merge, replace")
    merged = dict(target)
    if "$retainKeys" in patch:
        kept = set(patch["$retainKeys"])
        merged = {key: value for key, value in merged.items() if key in kept}
    for key, value in patch.items():
        if key in ("$patch", "$retainKeys") or key.startswith("$setElementOrder/"):
            continue
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.split("/", 1)[1]
            merged[field] = [item for item in merged.get(field) or [] if item not in value]
        elif key.startswith("$"):
            raise bad_request(f"unknown directive {key!r} in a strategic merge patch")
        elif value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            old = merged.get(key)
            merged[key] = strategic_merge(old if isinstance(old, dict) else {}, value)
        elif isinstance(value, list):
            merged[key] = _merge_list(key, merged.get(key), value)
        else:
            merged[key] = value
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            _reorder(merged, key.split("/", 1)[1], order)
    return merged


def _merge_list(field: str, old: Any, patch: list[Any]) -> list[Any]:
    merged: list[Any] = list(old) if isinstance(old, list) else []
    if {"$patch": "replace"} in patch:
        return [copy.deepcopy(item) for item in patch if item != {"$patch": "replace"}]
    if field in _SETS:
        return merged + [item for item in patch if item not in merged]
    key = merge_key(field, merged, patch)
    if key is None:
        return copy.deepcopy(patch)
    for item in patch:
        at = next((index for index, known in enumerate(merged) if known.get(key) == item.get(key)), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del merged[at]
        elif at is None:
            merged.append(strategic_merge({}, item))
        else:
            merged[at] = strategic_merge(merged[at], item)
    return merged


def _reorder(merged: dict[str, Any], field: str, order: list[Any]) -> None:
    """Sort a list as the patch's author sees it; what the author does not know keeps its place behind."""
    items = merged.get(field)
    if not isinstance(items, list):
        return
    key = merge_key(field, items, [entry for entry in order if isinstance(entry, dict)])
    if key is None:
        places = {value: place for place, value in enumerate(order) if isinstance(value, str)}
        merged[field] = sorted(items, key=lambda item: places.get(item, len(places)) if isinstance(item, str) else 0)
        return
    ranks = {entry[key]: place for place, entry in enumerate(order) if key in entry}
    merged[field] = sorted(items, key=lambda item: ranks.get(item[key], len(ranks)))
