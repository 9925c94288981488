"""Where a pod may run, as far as the API tells: functions of objects.

Looked at are cordons, readiness, taints, the pod's node selector and required node affinity, and the node affinity of
the volumes that its claims are bound to. Room (requests), affinity to other pods and a driver's own limits are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.kube.client import Object
from steps.kube.cordon import is_cordoned

_KEEPS_OUT = ("NoSchedule", "NoExecute")
CORDON_TAINT = "node.kubernetes.io/unschedulable"


@dataclass(frozen=True)
class Volumes:
    """The claims and volumes of a cluster of nodes.

    Attributes:
        claims: namespace and name of each claim, to the name of its volume.
        volumes: by name.
    """

    claims: Mapping[tuple[str, str], str]
    volumes: Mapping[str, Object]

    @classmethod
    def of(cls, claims: Sequence[Object], volumes: Sequence[Object]) -> Volumes:
        """Return them as a lookup."""
        bound = {
            (str(one["metadata"].get("namespace")), str(one["metadata"]["name"])): str(
                (one.get("spec") or {}).get("volumeName") or ""
            )
            for one in claims
        }
        return cls(bound, {str(one["metadata"]["name"]): one for one in volumes})

    def of_pod(self, pod: Object) -> list[tuple[str, Object]]:
        """Return the claims of a pod with the volume of each that has one."""
        namespace = str(pod["metadata"].get("namespace"))
        found = []
        for volume in pod["spec"].get("volumes") or []:
            claim = str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "")
            bound = self.volumes.get(self.claims.get((namespace, claim), ""))
            if claim and bound is not None:
                found.append((claim, bound))
        return found


def pinned(pod: Object, nodes: Sequence[Object], volumes: Volumes) -> list[str]:
    """Return the claims of a pod whose volumes can be reached from none of `nodes`."""
    return [
        claim
        for claim, volume in volumes.of_pod(pod)
        if not any(_required((volume["spec"].get("nodeAffinity") or {}).get("required"), node) for node in nodes)
    ]


def takers(pod: Object, nodes: Sequence[Object], volumes: Volumes) -> list[str]:
    """Return the names of those nodes that may take a pod."""
    return [str(node["metadata"]["name"]) for node in nodes if _may_take(pod, node, volumes)]


def is_open(node: Object) -> bool:
    """Tell whether a node takes pods at all: ready, and not cordoned."""
    conditions = (node.get("status") or {}).get("conditions") or []
    ready = any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)
    return ready and not is_cordoned(node)


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector matches labels, as Kubernetes does it."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_met(one, labels) for one in selector.get("matchExpressions") or [])


def _may_take(pod: Object, node: Object, volumes: Volumes) -> bool:
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (pod["spec"].get("nodeSelector") or {}).items()):
        return False
    for taint in (node.get("spec") or {}).get("taints") or []:
        if taint.get("effect") in _KEEPS_OUT and taint["key"] != CORDON_TAINT and not _tolerates(pod, taint):
            return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    wanted = [affinity.get("requiredDuringSchedulingIgnoredDuringExecution")]
    wanted += [(volume["spec"].get("nodeAffinity") or {}).get("required") for _, volume in volumes.of_pod(pod)]
    return all(_required(one, node) for one in wanted)


def _required(selector: Object | None, node: Object) -> bool:
    """Tell whether one of a node selector's terms fits; an absent selector asks for nothing."""
    if not selector:
        return True
    labels = node["metadata"].get("labels") or {}
    name = {"metadata.name": str(node["metadata"]["name"])}
    for term in selector.get("nodeSelectorTerms") or []:
        expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
        if not expressions and not fields:
            continue  # an empty term fits no node
        if all(_met(one, labels) for one in expressions) and all(_met(one, name) for one in fields):
            return True
    return False


def _met(one: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = one["key"], one.get("values") or []
    match one["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case "Gt" | "Lt" as way:
            try:
                has, limit = int(labels[key]), int(values[0])
            except (KeyError, ValueError, IndexError):
                return False
            return has > limit if way == "Gt" else has < limit
        case _:
            return False


def _tolerates(pod: Object, taint: Object) -> bool:
    for one in pod["spec"].get("tolerations") or []:
        if one.get("effect") and one["effect"] != taint.get("effect"):
            continue
        exists = one.get("operator", "Equal") == "Exists"
        if not one.get("key"):
            if exists:
                return True
        elif one["key"] == taint["key"] and (exists or one.get("value", "") == taint.get("value", "")):
            return True
    return False
