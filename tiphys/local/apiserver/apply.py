"""Server-side apply: an object's intent, merged into what is there, with its fields remembered by manager.

As in Kubernetes: what a manager applied before and leaves out now is removed unless another manager applies it
too; a different value for a field that another manager applies is a conflict unless `force` is set.
Different from Kubernetes: only applies own fields. What an update or another patch wrote (a controller, `kubectl
scale`) belongs to nobody, so an apply takes it back without a conflict. Lists of built-in kinds are merged by one
key (ports by containerPort alone); lists of custom kinds are one value.
"""

from __future__ import annotations

import copy
from typing import Any

from tiphys.local.apiserver.errors import Cause, bad_request, conflict
from tiphys.local.apiserver.fields import IDENTITY, Path, fields_of, pack, remove_at, shown, unpack, value_at
from tiphys.local.apiserver.metadata import now
from tiphys.local.apiserver.patches import merge
from tiphys.local.apiserver.strategic import strategic_merge
from tiphys.local.kube_errors import ApiError
from tiphys.local.registry import Kind


def applied(
    kind: Kind, live: dict[str, Any] | None, wanted: dict[str, Any], manager: str, force: bool
) -> dict[str, Any]:
    """Return the object that an apply leads to.

    Args:
        kind: the object's kind.
        live: the stored object (not changed), or None if there is none yet.
        wanted: what the manager wants, complete.
        manager: the name of who applies.
        force: whether to take fields from other managers.

    Raises:
        ApiError: 400 without a manager or with managedFields, 409 if another manager's fields differ.
    """
    if not manager:
        raise bad_request("fieldManager is required for apply patch")
    meta = wanted.get("metadata") or {}
    if not isinstance(meta, dict):
        raise bad_request(f"metadata must be an object, not {type(meta).__name__}")
    if meta.get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    wanted = {**wanted, "metadata": {key: value for key, value in meta.items() if key != "managedFields"}}
    fields = fields_of(wanted, keyed=not kind.custom)
    entries = copy.deepcopy((live or {}).get("metadata", {}).get("managedFields") or [])
    mine = next((entry for entry in entries if _is(entry, manager)), None)
    others = [entry for entry in entries if entry is not mine]
    owned = {id(entry): unpack(entry.get("fieldsV1") or {}) for entry in others}
    if live is not None:
        _settle(kind, live, wanted, fields, [(entry["manager"], owned[id(entry)]) for entry in others], force)
    merged = _merged(kind, live, wanted)
    if mine is not None:
        kept = set().union(*owned.values()) | fields
        before = unpack(mine.get("fieldsV1") or {})
        # Shortest first: an item of a list goes whole, found by its key while that is still in it.
        for path in sorted(before - fields - IDENTITY, key=len):
            if not any(other[: len(path)] == path for other in kept):
                remove_at(merged, path)
    packed = pack(fields)
    if mine is None or mine.get("fieldsV1") != packed:
        fresh = {
            "manager": manager,
            "operation": "Apply",
            "apiVersion": kind.api_version,
            "time": now(),
            "fieldsType": "FieldsV1",
            "fieldsV1": packed,
        }
        others.append(fresh)
    else:
        others.append(mine)
    for entry in others[:-1]:
        entry["fieldsV1"] = pack(owned[id(entry)])
    merged["metadata"]["managedFields"] = [entry for entry in others if entry.get("fieldsV1")]
    return merged


def _is(entry: dict[str, Any], manager: str) -> bool:
    return entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource")


def _settle(
    kind: Kind,
    live: dict[str, Any],
    wanted: dict[str, Any],
    fields: set[Path],
    others: list[tuple[str, set[Path]]],
    force: bool,
) -> None:
    """Find the fields that differ from another manager's; with `force` take them, else refuse."""
    found: list[tuple[str, Path]] = []
    for manager, paths in others:
        for path in sorted(fields & paths):
            if value_at(wanted, path) != value_at(live, path) and not path[-1].startswith("k:"):
                found.append((manager, path))
                if force:
                    paths.discard(path)
    if not found or force:
        return
    causes = [Cause(shown(path), "FieldManagerConflict", f'conflict with "{manager}"') for manager, path in found]
    told = ", ".join(f"{cause.message}: {cause.field}" for cause in causes)
    plural = "conflict" if len(causes) == 1 else "conflicts"
    error = conflict(kind, live["metadata"]["name"])
    details = error.details | {
        "causes": [{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes]
    }
    message = f"Apply failed with {len(causes)} {plural}: {told}"
    raise ApiError(409, "Conflict", message, details)


def _merged(kind: Kind, live: dict[str, Any] | None, wanted: dict[str, Any]) -> dict[str, Any]:
    if live is None:
        return copy.deepcopy(wanted)
    if kind.custom:
        made: dict[str, Any] = merge(live, wanted)
        return made
    return copy.deepcopy(strategic_merge(live, wanted))
