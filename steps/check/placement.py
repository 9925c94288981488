"""Judging what Kubernetes holds of a cluster: nodes, disruption budgets, notes left behind, roles, Router versions."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from steps.check.finding import OK, WARNING, Finding, unknown
from steps.drill import multi_primary as multi_primary_note
from steps.kube.client import Object
from steps.kube.cordon import Cordon
from steps.kube.placing import matches
from steps.kube.pods import name_of
from steps.mysql.topology import Topology

ROLE_LABEL = "mysql.oracle.com/cluster-role"


@dataclass(frozen=True)
class Note:
    """What a drill or runbook has noted, and whether it still runs.

    Attributes:
        where: it stands: on the cluster, on a node, in the book.
        workflow: that wrote it; empty where it cannot be read.
        what: it does.
        since: ISO time.
        state: the workflow's phase, ``gone`` where there is none, ``by hand`` where it was none.
        over: whether nobody will take it back any more by itself.
    """

    where: str
    workflow: str
    what: str
    since: str
    state: str
    over: bool


@dataclass(frozen=True)
class Place:
    """What Kubernetes holds of a cluster.

    Attributes:
        servers: pods of its servers.
        routers: pods of its Routers.
        budgets: disruption budgets of the namespace; None where they could not be read.
        notes: of drills and runbooks.
        cordoned: nodes that carry a note of ours, or hold a server; None where nodes could not be read.
        unread: why something could not be read.
    """

    servers: Sequence[Object]
    routers: Sequence[Object]
    budgets: Sequence[Object] | None
    notes: Sequence[Note] = ()
    cordoned: Mapping[str, Cordon | None] | None = field(default_factory=dict)
    unread: str = ""


def judge_spread(place: Place, topology: Topology) -> list[Finding]:
    """Return the nodes that hold more than one server, and servers on nodes that take no pods."""
    at: dict[str, list[str]] = defaultdict(list)
    for pod in place.servers:
        if node := (pod.get("spec") or {}).get("nodeName"):
            at[str(node)].append(name_of(pod))
    found = []
    for node, pods in sorted(at.items()):
        if len(pods) < 2:
            continue
        left = topology.expected - len(pods)
        lost = "its quorum" if left < topology.expected // 2 + 1 else f"{len(pods)} members at once"
        found.append(
            Finding(
                "spread",
                WARNING,
                f"{' and '.join(pods)} are on one node, {node}",
                f"with that node the cluster loses {lost}",
                "add a node, or make room on another; then delete one of the pods, secondaries first",
            )
        )
    if len(place.servers) > 1 and not found:
        found.append(Finding("spread", OK, f"{len(at)} nodes for {len(place.servers)} servers"))
    return found


def judge_budget(place: Place, topology: Topology) -> list[Finding]:
    """Return what is wrong with the disruption budget that keeps drains from taking the quorum."""
    if place.budgets is None:
        return [unknown("disruption budget", place.unread, "kubectl get pdb")]
    if not place.servers or topology.expected < 2:
        return []
    mine = [
        budget
        for budget in place.budgets
        if any(
            matches(budget["spec"].get("selector") or {}, pod["metadata"].get("labels") or {}) for pod in place.servers
        )
    ]
    if not mine:
        means = "a drain of nodes may take all servers at once"
        run = "the operator makes NAME-pdb: look at its log; until then drain one node at a time"
        return [Finding("disruption budget", WARNING, "none holds the servers", means, run)]
    found, servers = [], topology.expected
    if len(mine) > 1:
        seen = f"{len(mine)} hold the servers: {', '.join(name_of(budget) for budget in mine)}"
        means = "Kubernetes refuses every eviction of a pod with two budgets: no node can be drained"
        found.append(
            Finding("disruption budget", WARNING, seen, means, "delete the one that the operator did not make")
        )
    for budget in mine:
        away, spare = _may_go(budget, servers), (servers - 1) // 2
        seen = f"{name_of(budget)} lets {away} of {servers} go"
        if away == 0:
            means, run = "no node with a server on it can be drained", "set its maxUnavailable to 1"
            found.append(Finding("disruption budget", WARNING, seen, means, run))
        elif away > spare > 0:
            means, run = "a drain of nodes may take the quorum", "set its maxUnavailable to 1"
            found.append(Finding("disruption budget", WARNING, seen, means, run))
        elif len(mine) == 1:
            found.append(Finding("disruption budget", OK, seen))
    return found


def _may_go(budget: Object, servers: int) -> int:
    spec: dict[str, Any] = budget["spec"]
    if spec.get("minAvailable") is not None:
        return max(0, servers - _number(spec["minAvailable"], servers))
    return min(servers, _number(spec.get("maxUnavailable", 0), servers))


def _number(value: Any, servers: int) -> int:
    text = str(value)
    return math.ceil(servers * int(text[:-1]) / 100) if text.endswith("%") else int(text)


def judge_notes(place: Place, multi_primary: bool = False) -> list[Finding]:
    """Return the notes of drills and runbooks whose workflow is gone.

    Args:
        place: with the notes.
        multi_primary: whether the group is in that mode; then the note that says so stays after its workflow.
    """
    found = []
    for note in place.notes:
        seen = f"{note.what or 'something'} of {note.workflow or 'somebody unknown'} on {note.where}, {note.state}"
        if not note.over or (multi_primary and note.what == multi_primary_note.NAME):
            found.append(Finding("notes", OK, f"{seen}, since {note.since}"))
            continue
        found.append(
            Finding(
                "notes",
                WARNING,
                f"left behind: {seen}",
                "no drill or runbook starts while it stands, and what it changed may not be put back",
                "the CronWorkflow reap clears it within minutes; else: step drill-undo --namespace "
                "NAMESPACE --cluster CLUSTER --workflow " + (note.workflow or "NAME"),
            )
        )
    return found or [Finding("notes", OK, "none of a drill or runbook")]


def judge_cordons(place: Place) -> list[Finding]:
    """Return the nodes under this cluster that take no pods and carry no note of ours."""
    if place.cordoned is None:
        return [unknown("cordoned nodes", place.unread, "kubectl get nodes")]
    foreign = sorted(node for node, note in place.cordoned.items() if note is None)
    if not foreign:
        return []
    means = "a server that stops there finds no place to start again where its volume is bound to the node"
    return [
        Finding(
            "cordoned nodes", WARNING, f"{node}, with a server on it", means, f"kubectl uncordon {node}, or drain it"
        )
        for node in foreign
    ]


def judge_labels(place: Place, topology: Topology) -> list[Finding]:
    """Hold the role labels, by which others find the primary, against the members."""
    if topology.primary is None:
        return []
    wrong = []
    for pod in place.servers:
        member = topology.of_pod(name_of(pod))
        label = (pod["metadata"].get("labels") or {}).get(ROLE_LABEL)
        if member is not None and label is not None and label != member.role:
            wrong.append(f"{name_of(pod)} is labelled {label} and is {member.role or member.state}")
    if not wrong:
        return []
    means = "what looks for the primary by label finds the wrong pod"
    run = "look at the operator's pod if this stays for minutes"
    return [Finding("role labels", WARNING, "; ".join(wrong), means, run)]


def judge_router_versions(place: Place, topology: Topology) -> list[Finding]:
    """Return Routers that differ from each other, or are older than the servers."""
    tags = {name_of(pod): version for pod in place.routers if (version := _version(pod))}
    servers = sorted({member.version for member in topology.members}, key=_parts)
    if not tags or not servers:
        return []
    seen = ", ".join(f"{pod} {tag}" for pod, tag in sorted(tags.items()))
    if len(set(tags.values())) > 1:
        means, run = "fine during an upgrade only", "finish the upgrade: upgrade-cluster"
        return [Finding("router versions", WARNING, f"Routers differ: {seen}", means, run)]
    if _parts(next(iter(tags.values())))[:2] < _parts(servers[-1])[:2]:
        means, run = "a Router has to be as new as the servers it leads to", "upgrade-cluster upgrades Routers first"
        return [Finding("router versions", WARNING, f"{seen}; servers {servers[-1]}", means, run)]
    return [Finding("router versions", OK, f"{next(iter(tags.values()))}, servers {servers[-1]}")]


def _version(pod: Object) -> str:
    for container in (pod.get("spec") or {}).get("containers") or []:
        tag = str(container.get("image", "")).rpartition(":")[2]
        if "router" in str(container.get("image", "")) and _parts(tag):
            return tag
    return ""


def _parts(version: str) -> tuple[int, ...]:
    numbers = version.partition("-")[0].split(".")
    return tuple(int(part) for part in numbers) if all(part.isdigit() for part in numbers) else ()
