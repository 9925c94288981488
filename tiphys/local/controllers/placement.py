"""Where a pod goes: the scheduler's filters and preferences as a function of what is in the API.

Volumes do not bind a pod to a node: all nodes of the local platform share one disk, so a claim's data is
there wherever the pod goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.local.controllers.podstate import (
    condition,
    controller_of,
    is_deleted,
    is_finished,
    labels,
)
from tiphys.local.controllers.selecting import requirement_met, selects

Object = Mapping[str, Any]
HOSTNAME = "kubernetes.io/hostname"
_EFFECTS = ("NoSchedule", "NoExecute")


@dataclass(frozen=True)
class Decision:
    """Where a pod goes, or why nowhere.

    Attributes:
        node: name of the node, None if there is none for it.
        message: as Kubernetes words it, when there is none.
    """

    node: str | None
    message: str = ""


def place(pod: Object, nodes: Sequence[Object], pods: Iterable[Object], claims: Mapping[str, Object]) -> Decision:
    """Choose a node for `pod`.

    Args:
        pod: the pod.
        nodes: all nodes.
        pods: all pods that are bound to a node (their ``spec.nodeName`` is set).
        claims: the PersistentVolumeClaims of the pod's namespace, by name.
    """
    problem = _claims_problem(pod, claims)
    if problem:
        return Decision(None, f"0/{len(nodes)} nodes are available: {problem}")
    running = [other for other in pods if not is_finished(other)]
    reasons: Counter[str] = Counter()
    candidates = []
    for node in nodes:
        reason = _refusal(pod, node, nodes, running)
        if reason:
            reasons[reason] += 1
        else:
            candidates.append(node)
    if not candidates:
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        return Decision(None, f"0/{len(nodes)} nodes are available: {why or 'there are none'}.")
    return Decision(min(candidates, key=lambda node: _rank(pod, node, nodes, running))["metadata"]["name"])


def tolerates(pod: Object, taint: Object) -> bool:
    """Whether a pod tolerates a taint."""
    for item in pod["spec"].get("tolerations") or []:
        if item.get("effect") and item["effect"] != taint.get("effect"):
            continue
        exists = item.get("operator", "Equal") == "Exists"
        if not item.get("key"):
            if exists:
                return True
        elif item["key"] == taint["key"] and (exists or item.get("value", "") == taint.get("value", "")):
            return True
    return False


def _claims_problem(pod: Object, claims: Mapping[str, Object]) -> str:
    for volume in pod["spec"].get("volumes") or []:
        name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if not name:
            continue
        if name not in claims:
            return f'persistentvolumeclaim "{name}" not found.'
        if is_deleted(claims[name]):
            return f'persistentvolumeclaim "{name}" is being deleted.'
        if (claims[name].get("status") or {}).get("phase") != "Bound":
            return "pod has unbound immediate PersistentVolumeClaims."
    return ""


def _refusal(pod: Object, node: Object, nodes: Sequence[Object], running: Sequence[Object]) -> str:
    """Return why `node` cannot take `pod`, empty if it can."""
    cordon = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    if (node.get("spec") or {}).get("unschedulable") and not tolerates(pod, cordon):
        return "node(s) were unschedulable"
    if condition(node, "Ready").get("status") != "True":
        return "node(s) were not ready"
    for taint in (node.get("spec") or {}).get("taints") or []:
        # A cordon is shown as this taint, too, and was looked at above.
        if taint.get("effect") in _EFFECTS and taint["key"] != cordon["key"] and not tolerates(pod, taint):
            return f"node(s) had untolerated taint {{{taint['key']}: {taint.get('value', '')}}}"
    if not _node_matches(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    here = [other for other in running if other["spec"]["nodeName"] == node["metadata"]["name"]]
    if len(here) >= int((node.get("status") or {}).get("allocatable", {}).get("pods", 110)):
        return "Too many pods"
    return _affinity_refusal(pod, node, nodes, running)


def _node_matches(pod: Object, node: Object) -> bool:
    wanted = pod["spec"].get("nodeSelector") or {}
    own = labels(node)
    if any(own.get(key) != value for key, value in wanted.items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(_term_matches(term, node) for term in required["nodeSelectorTerms"])


def _term_matches(term: Object, node: Object) -> bool:
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not fields:
        return False
    name = {"metadata.name": node["metadata"]["name"]}
    return all(requirement_met(item, labels(node)) for item in expressions) and all(
        requirement_met(item, name) for item in fields
    )


def _affinity_refusal(pod: Object, node: Object, nodes: Sequence[Object], running: Sequence[Object]) -> str:
    domain = _Domains(nodes)
    for term in _terms(pod, "podAffinity"):
        matching = [other for other in running if _term_selects(term, pod, other)]
        # The first pod of a group that wants to be together must be allowed to begin somewhere.
        alone = not matching and _term_selects(term, pod, pod)
        if not alone and not any(domain.same(term["topologyKey"], node, other) for other in matching):
            return "node(s) didn't match pod affinity rules"
    for term in _terms(pod, "podAntiAffinity"):
        for other in running:
            if _term_selects(term, pod, other) and domain.same(term["topologyKey"], node, other):
                return "node(s) didn't match pod anti-affinity rules"
    for other in running:
        for term in _terms(other, "podAntiAffinity"):
            if _term_selects(term, other, pod) and domain.same(term["topologyKey"], node, other):
                return "node(s) didn't satisfy existing pods anti-affinity rules"
    for spread in pod["spec"].get("topologySpreadConstraints") or []:
        if spread.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule":
            key = spread["topologyKey"]
            if key not in labels(node):
                return "node(s) didn't match pod topology spread constraints (missing required label)"
            counts = domain.counts(key, [other for other in running if _spread_counts(spread, pod, other)])
            if counts[labels(node)[key]] + 1 - min(counts.values()) > int(spread["maxSkew"]):
                return "node(s) didn't match pod topology spread constraints"
    return ""


def _rank(pod: Object, node: Object, nodes: Sequence[Object], running: Sequence[Object]) -> tuple[Any, ...]:
    """Return what orders the nodes that can take the pod: the smallest is the best."""
    wish = -_preference(pod, node, nodes, running)
    here = [other for other in running if other["spec"]["nodeName"] == node["metadata"]["name"]]
    owner = controller_of(pod)
    siblings = [other for other in here if owner and (controller_of(other) or {}).get("uid") == owner["uid"]]
    return wish, len(siblings), len(here), node["metadata"]["name"]


def _preference(pod: Object, node: Object, nodes: Sequence[Object], running: Sequence[Object]) -> int:
    affinity = pod["spec"].get("affinity") or {}
    key = "preferredDuringSchedulingIgnoredDuringExecution"
    total = 0
    for item in (affinity.get("nodeAffinity") or {}).get(key) or []:
        if _term_matches(item["preference"], node):
            total += int(item["weight"])
    domain = _Domains(nodes)
    for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
        for item in (affinity.get(kind) or {}).get(key) or []:
            term = item["podAffinityTerm"]
            near = [
                other
                for other in running
                if _term_selects(term, pod, other) and domain.same(term["topologyKey"], node, other)
            ]
            total += sign * int(item["weight"]) * len(near)
    for spread in pod["spec"].get("topologySpreadConstraints") or []:
        if spread.get("whenUnsatisfiable") == "ScheduleAnyway" and spread["topologyKey"] in labels(node):
            counted = [other for other in running if _spread_counts(spread, pod, other)]
            total -= domain.counts(spread["topologyKey"], counted)[labels(node)[spread["topologyKey"]]]
    return total


def _terms(pod: Object, kind: str) -> list[Object]:
    affinity = (pod["spec"].get("affinity") or {}).get(kind) or {}
    return list(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or [])


def _term_selects(term: Object, owner: Object, other: Object) -> bool:
    """Whether `other` is among the pods that a term of `owner` speaks of."""
    spaces = term.get("namespaces") or []
    everywhere = term.get("namespaceSelector") == {}
    if not everywhere and other["metadata"]["namespace"] not in (spaces or [owner["metadata"]["namespace"]]):
        return False
    return selects(term.get("labelSelector"), labels(other))


def _spread_counts(spread: Object, pod: Object, other: Object) -> bool:
    same = other["metadata"]["namespace"] == pod["metadata"]["namespace"]
    return same and not is_deleted(other) and selects(spread.get("labelSelector"), labels(other))


class _Domains:
    """Topology domains: nodes with the same value of a label."""

    def __init__(self, nodes: Sequence[Object]):
        self._labels = {node["metadata"]["name"]: labels(node) for node in nodes}

    def same(self, key: str, node: Object, pod: Object) -> bool:
        """Whether `pod` runs in the domain of `node`."""
        value = labels(node).get(key)
        return value is not None and self._labels.get(pod["spec"]["nodeName"], {}).get(key) == value

    def counts(self, key: str, pods: Iterable[Object]) -> Counter[str]:
        """Return the number of pods in each domain, the empty ones included."""
        counted = Counter({found[key]: 0 for found in self._labels.values() if key in found})
        for pod in pods:
            value = self._labels.get(pod["spec"]["nodeName"], {}).get(key)
            if value is not None:
                counted[value] += 1
        return counted
