"""The kinds of PATCH: merge (RFC 7386), JSON patch (RFC 6902) and Kubernetes' strategic merge."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import jsonpointer

from tiphys.local.apiserver.errors import bad as bad_field
from tiphys.local.apiserver.errors import bad_request, invalid, unsupported_media
from tiphys.local.apiserver.strategic import strategic_merge
from tiphys.local.registry import Kind

MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


def patched(kind: Kind, obj: dict[str, Any], media: str, patch: Any) -> dict[str, Any]:
    """Return a changed copy of an object.

    Raises:
        ApiError: 400 or 422 if the patch does not fit, 415 if the kind does not take this sort of patch.
    """
    if media == JSON:
        return _json_patch(kind, obj, patch)
    if not isinstance(patch, dict):
        raise bad_request(f"a {media} body must be an object, not {type(patch).__name__}")
    if media == MERGE:
        merged: dict[str, Any] = merge(obj, patch)
        return merged
    if media == STRATEGIC and not kind.custom:
        return strategic_merge(obj, patch)
    raise unsupported_media(media, [JSON, MERGE, APPLY] if kind.custom else [JSON, MERGE, STRATEGIC, APPLY])


def merge(target: Any, patch: Any) -> Any:
    """Return what a JSON merge patch makes of `target`, which is not changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


def _json_patch(kind: Kind, obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    if not isinstance(patch, list):
        raise bad_request(f"a {JSON} body must be a list of operations, not {type(patch).__name__}")
    name = obj["metadata"]["name"]
    try:
        changed = jsonpatch.JsonPatch(patch).apply(obj)
    except (jsonpatch.JsonPatchConflict, jsonpatch.JsonPatchTestFailed, jsonpointer.JsonPointerException) as error:
        # As in Kubernetes: a patch that is well formed and does not fit this object is 422.
        raise invalid(kind, name, [bad_field("patch", "", f"the JSON patch does not apply: {error}")]) from error
    except (jsonpatch.JsonPatchException, TypeError, KeyError, ValueError) as error:
        raise bad_request(f"not a JSON patch: {error}") from error
    if not isinstance(changed, dict) or not isinstance(changed.get("metadata"), dict):
        raise bad_request("the JSON patch leaves no object with metadata")
    return changed
