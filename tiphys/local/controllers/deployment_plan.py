"""How a Deployment rolls from one ReplicaSet to the next: a function of the numbers.

Follows Kubernetes' deployment controller, without pausing, progress deadlines and rollback.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.local.controllers.podstate import labels, template_hash

Object = Mapping[str, Any]
HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"


@dataclass(frozen=True)
class Scale:
    """A ReplicaSet as the roll-out sees it.

    Attributes:
        name: its name.
        replicas: pods it is asked for.
        available: pods of it that are ready.
    """

    name: str
    replicas: int
    available: int


def amount(value: int | str | None, total: int, default: str, up: bool) -> int:
    """Return a number given as a count or as a percentage of `total`.

    Raises:
        ValueError: it is neither.
    """
    value = default if value is None else value
    if isinstance(value, str) and value.endswith("%"):
        share = float(value[:-1]) * total / 100
        return math.ceil(share) if up else math.floor(share)
    return int(value)


def limits(deployment: Object, replicas: int) -> tuple[int, int]:
    """Return how many pods there may be above `replicas`, and how many may be missing, during a roll-out."""
    strategy = deployment["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate":
        return 0, replicas
    rolling = strategy.get("rollingUpdate") or {}
    surge = amount(rolling.get("maxSurge"), replicas, "25%", up=True)
    missing = amount(rolling.get("maxUnavailable"), replicas, "25%", up=False)
    # Both zero could never move.
    return surge, missing if surge or missing else 1


def next_scales(replicas: int, surge: int, missing: int, new: Scale, old: Sequence[Scale]) -> dict[str, int]:
    """Return the ReplicaSets whose replicas should change now, with their new numbers.

    Args:
        replicas: pods that the Deployment asks for.
        surge: pods there may be above that.
        missing: pods that may be missing.
        new: the ReplicaSet of the present template.
        old: the others, oldest first.
    """
    changes: dict[str, int] = {}
    if new.replicas > replicas or not any(scale.replicas for scale in old):
        return {new.name: replicas} if new.replicas != replicas else {}
    total = new.replicas + sum(scale.replicas for scale in old)
    room = replicas + surge - total
    grown = min(replicas, new.replicas + max(room, 0))
    if grown != new.replicas:
        changes[new.name] = grown
    must_stay = replicas - missing
    # What of the new is still to come may not be counted as a reason to remove old pods.
    removable = total - must_stay - (new.replicas - new.available)
    available = new.available + sum(scale.available for scale in old)
    for scale in old:
        if removable <= 0:
            break
        # Pods that do not serve go first and cost nothing; serving ones go while enough others serve.
        broken = min(scale.replicas - scale.available, removable)
        serving = max(0, min(scale.available, removable - broken, available - must_stay))
        if broken + serving:
            changes[scale.name] = scale.replicas - broken - serving
            removable -= broken + serving
            available -= serving
    return changes


def recreate_scales(replicas: int, new: Scale, old: Sequence[Scale], old_pods: int) -> dict[str, int]:
    """Return the next changes under the Recreate strategy: all old pods go before the first new one."""
    if any(scale.replicas for scale in old):
        return {scale.name: 0 for scale in old if scale.replicas}
    return {new.name: replicas} if not old_pods and new.replicas != replicas else {}


def new_set(deployment: Object, revision: int) -> dict[str, Any]:
    """Return the ReplicaSet of a Deployment's present template, without pods yet."""
    meta, spec = deployment["metadata"], deployment["spec"]
    own = {HASH_LABEL: template_hash(spec["template"])}
    template_meta = spec["template"].get("metadata") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": f"{meta['name']}-{own[HASH_LABEL]}",
            "namespace": meta["namespace"],
            "labels": {**(template_meta.get("labels") or {}), **own},
            "annotations": {REVISION: str(revision)},
        },
        "spec": {
            "replicas": 0,
            "selector": {
                **spec["selector"],
                "matchLabels": {**(spec["selector"].get("matchLabels") or {}), **own},
            },
            "template": {
                **spec["template"],
                "metadata": {**template_meta, "labels": {**(template_meta.get("labels") or {}), **own}},
            },
        },
    }


def revision_of(replica_set: Object) -> int:
    """Return the revision number of a ReplicaSet."""
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION) or 0)


def is_newest(replica_set: Object, deployment: Object) -> bool:
    """Whether a ReplicaSet is that of the Deployment's present template."""
    return labels(replica_set).get(HASH_LABEL) == template_hash(deployment["spec"]["template"])
