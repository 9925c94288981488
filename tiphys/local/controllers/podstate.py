"""Questions that every controller asks about a pod, and how a pod is made from a template."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]


def labels(obj: Object) -> dict[str, str]:
    """Return an object's labels."""
    return dict(obj["metadata"].get("labels") or {})


def is_finished(pod: Object) -> bool:
    """Whether the pod has ended for good: it takes no place on its node any more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def is_deleted(obj: Object) -> bool:
    """Whether the object's deletion was asked for."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def is_ready(pod: Object) -> bool:
    """Whether the pod's Ready condition is true."""
    return condition(pod, "Ready").get("status") == "True"


def is_active(pod: Object) -> bool:
    """Whether the pod counts as a replica: neither finished nor being deleted."""
    return not is_finished(pod) and not is_deleted(pod)


def condition(obj: Object, kind: str) -> Object:
    """Return a condition of an object's status, empty when it has none of that type."""
    for item in (obj.get("status") or {}).get("conditions") or []:
        if item["type"] == kind:
            found: Object = item
            return found
    return {}


def controller_of(obj: Object) -> Object | None:
    """Return the owner reference of an object's controller, if it has one."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            found: Object = owner
            return found
    return None


def owned_by(obj: Object, owner: Object) -> bool:
    """Whether `owner` is the controller of `obj`."""
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def owner_reference(owner: Object) -> dict[str, Any]:
    """Return the reference by which `owner` controls another object."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def template_hash(template: Object) -> str:
    """Return a short name for a pod template: the same for the same content."""
    text = json.dumps(template, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def pod_from_template(template: Object, owner: Object, more_labels: Mapping[str, str]) -> dict[str, Any]:
    """Return a pod without a name, made from `template` for `owner`."""
    meta = template.get("metadata") or {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": owner["metadata"]["namespace"],
            "labels": {**(meta.get("labels") or {}), **more_labels},
            "annotations": dict(meta.get("annotations") or {}),
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": json.loads(json.dumps(template["spec"])),
    }


def now() -> str:
    """Return the present time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def with_condition(
    conditions: list[dict[str, Any]], kind: str, good: bool, reason: str, message: str = ""
) -> list[dict[str, Any]]:
    """Return `conditions` with one of them set; its transition time moves only when its status does."""
    old = next((item for item in conditions if item["type"] == kind), {})
    status = "True" if good else "False"
    since = old.get("lastTransitionTime") if old.get("status") == status else None
    new = {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since or now(),
    }
    return [item for item in conditions if item["type"] != kind] + [new]
