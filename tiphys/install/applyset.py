"""Which objects are ours: an ApplySet, as `kubectl apply --applyset` keeps one (Kubernetes KEP-3659).

Every object carries a label with the set's id, and a ConfigMap, the set's parent, says in which kinds to look for
them. Nothing lists the objects themselves, so no list can lag behind the objects, whenever an install was killed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from typing import Any

Object = dict[str, Any]

MANAGED_BY = "app.kubernetes.io/managed-by"
TOOL = "tiphys"
PART_OF = "applyset.kubernetes.io/part-of"
ID = "applyset.kubernetes.io/id"
TOOLING = "applyset.kubernetes.io/tooling"
KINDS = "applyset.kubernetes.io/contains-group-kinds"
PARENT = "tiphys-install"
"""Name of the ConfigMap that is the set's parent."""

GroupKind = tuple[str, str]
"""API group ("" for the core one) and kind."""


def set_id(namespace: str, name: str = PARENT, kind: str = "ConfigMap") -> str:
    """Return the id of the set whose parent is in `namespace`, by the specification's formula."""
    whole = f"{name}.{namespace}.{kind}."
    digest = base64.urlsafe_b64encode(hashlib.sha256(whole.encode()).digest()).rstrip(b"=").decode()
    return f"applyset-{digest}-v1"


def labels(namespace: str) -> dict[str, str]:
    """Return the labels of a member."""
    return {MANAGED_BY: TOOL, PART_OF: set_id(namespace)}


def member(one: Object, namespace: str) -> Object:
    """Return an object with the labels of a member."""
    meta = one["metadata"]
    return {**one, "metadata": {**meta, "labels": {**(meta.get("labels") or {}), **labels(namespace)}}}


def owner(live: Object) -> str:
    """Return the id of the set that an object belongs to, or ""."""
    return str((live["metadata"].get("labels") or {}).get(PART_OF, ""))


def is_member(live: Object, namespace: str) -> bool:
    """Tell whether an object was made by an install into `namespace`.

    Argo Events copies an EventBus' labels to the Secrets and the ConfigMap that it makes for it. Those have an owner,
    and go with it.
    """
    return owner(live) == set_id(namespace) and not live["metadata"].get("ownerReferences")


def group_kind(one: Object) -> GroupKind:
    """Return an object's group and kind."""
    return str(one["apiVersion"]).rpartition("/")[0], str(one["kind"])


def parent(namespace: str, kinds: Iterable[GroupKind], remembered: dict[str, str]) -> Object:
    """Return the set's parent.

    Args:
        namespace: of the installation.
        kinds: in which there are members, or may be.
        remembered: what the next install should know: version and options, nothing secret.
    """
    named = sorted({f"{kind}.{group}" if group else kind for group, kind in kinds})
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": PARENT,
            "namespace": namespace,
            "labels": {MANAGED_BY: TOOL, "app.kubernetes.io/part-of": TOOL, ID: set_id(namespace)},
            "annotations": {TOOLING: "tiphys/v1", KINDS: ",".join(named)},
        },
        "data": dict(remembered),
    }


def kinds_of(parent: Object | None) -> set[GroupKind]:
    """Return the kinds in which a live parent says that there are members."""
    annotations = (parent or {}).get("metadata", {}).get("annotations") or {}
    named = [one for one in str(annotations.get(KINDS, "")).split(",") if one]
    return {(group, kind) for kind, _, group in (one.partition(".") for one in named)}
