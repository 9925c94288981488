"""The fault `drain-node`: the node of a member is cordoned and emptied, held so, and given back.

What is on the node is looked at before (:func:`survey`), and the guards and the dry run tell it. The cordon is noted on
the node itself, in the write that makes it; whoever undoes the drill finds it there.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steps.drill import intent
from steps.drill.evidence import Evidence, Proof, Target, first_effect, left_group, other_pod
from steps.drill.fault import Fault, Scene
from steps.drill.faults import FAULTS
from steps.errors import BadParameters, Refused, StepError
from steps.kube import cordon
from steps.kube.client import Kube
from steps.kube.eviction import FINISHED, Action, Decision, Evicted, Policy, decide, drain, patience, pods_on, stayed
from steps.mysql.topology import Member, Topology
from steps.report.outcome import count

NAME = "drain-node"
RIGHTS = (
    ("patch", "nodes", "", ""),
    ("list", "pods", "", ""),
    ("create", "pods", "eviction", ""),
    ("list", "poddisruptionbudgets", "", "policy"),
)
"""What a drain does in all namespaces: verb, resource, subresource, group."""


@dataclass(frozen=True)
class Wish:
    """What was asked for; see :mod:`steps.drill.drain_options`.

    Attributes:
        workflow: of the drill.
        target: primary, secondary or node.
        node: its name for target=node; with another target, where that target must still be. Empty for any.
        switchover_first: whether the primary is handed over before.
        eviction_seconds: how long evictions may take; 0 for what the pods' grace periods ask for.
        empty_dir: whether others' pods with an emptyDir go.
        unmanaged: whether pods without a controller go.
        expires: as in :class:`steps.drill.intent.Intent`.
    """

    workflow: str
    target: str = "primary"
    node: str = ""
    switchover_first: bool = False
    eviction_seconds: int = 0
    empty_dir: bool = False
    unmanaged: bool = False
    expires: str = ""


@dataclass(frozen=True)
class Survey:
    """What is on the node, before anything is changed.

    Attributes:
        node: its name.
        member: the member that the drill is about.
        is_primary: whether that is the primary.
        here: pods of the cluster's servers on the node.
        routers: pods of its Routers on the node.
        decisions: what becomes of every pod.
        budgets: of the pods that go: "namespace/name allows N".
        note: of a drill on the node, or None.
        cordoned: whether it is cordoned already.
        lacking: rights that this drill's account does not have.
    """

    node: str
    member: Member
    is_primary: bool
    here: Sequence[str]
    routers: Sequence[str]
    decisions: Sequence[Decision]
    budgets: Sequence[str] = ()
    note: cordon.Cordon | None = None
    cordoned: bool = False
    lacking: Sequence[str] = ()

    @property
    def going(self) -> list[Decision]:
        """The pods that are evicted."""
        return [one for one in self.decisions if one.action is Action.EVICT]


def survey(kube: Kube, cluster: str, topology: Topology, wish: Wish) -> Survey:
    """Find the node and look at what is on it. Changes nothing.

    Raises:
        BadParameters: the node does not exist, or no member of the cluster runs there.
        Refused: the target has moved from the node that it was found on before; or there is no such member.
    """
    places = {str(pod["metadata"]["name"]): str(pod["spec"].get("nodeName") or "") for pod in kube.servers(cluster)}
    member = _aim(topology, places, wish)
    node = places.get(member.pod, "")
    if wish.node and node != wish.node:
        raise Refused(
            f"The {wish.target} of {cluster} is on node {node!r} now, no longer on {wish.node!r}: start again."
        )
    found = kube.get("nodes", node)
    policy = Policy(wish.workflow, kube.namespace, cluster, wish.empty_dir, wish.unmanaged)
    pods = pods_on(kube, node)
    decisions = decide(pods, policy)
    going = {one.uid for one in decisions if one.action is Action.EVICT}
    routers = [str(pod["metadata"]["name"]) for pod in kube.routers(cluster) if pod["spec"].get("nodeName") == node]
    return Survey(
        node=node,
        member=member,
        is_primary=topology.primary is not None and topology.primary.id == member.id,
        here=sorted(name for name, place in places.items() if place == node),
        routers=routers,
        decisions=decisions,
        budgets=_headroom(kube, [pod for pod in pods if pod["metadata"].get("uid") in going]),
        note=cordon.read(found),
        cordoned=cordon.is_cordoned(found),
        lacking=[
            f"{verb} {resource}{'/' + below if below else ''}"
            for verb, resource, below, group in RIGHTS
            if not kube.may(verb, resource, subresource=below, group=group)
        ],
    )


def _aim(topology: Topology, places: dict[str, str], wish: Wish) -> Member:
    """Return the member that the drill is about: on a node by name the primary, if it is there."""
    primary = topology.primary
    if primary is None:
        raise Refused(f"Refused, nothing was changed: {topology.cluster} has no primary ({topology.summary()}).")
    if wish.target == "primary":
        return primary
    others = sorted(topology.secondaries, key=lambda member: member.pod)
    if wish.target == "secondary":
        apart = [one for one in others if places.get(one.pod) != places.get(primary.pod)]
        there = [one for one in apart if not wish.node or places.get(one.pod) == wish.node]
        if not there:
            raise Refused(
                f"Refused, nothing was changed: no ONLINE secondary is on a node without the primary: {places}"
            )
        return there[0]
    if not wish.node:
        raise BadParameters("target=node needs the parameter node: the name of the node that is to be drained.")
    here = [one for one in (primary, *others) if places.get(one.pod) == wish.node]
    if not here:
        raise BadParameters(f"No member of {topology.cluster} is on node {wish.node!r}; they are on: {places}.")
    return here[0]


def _headroom(kube: Kube, pods: Sequence[dict[str, Any]]) -> list[str]:
    """Return the disruption budgets of `pods` and how many each lets go now."""
    told = []
    for budget in kube.everywhere("poddisruptionbudgets"):
        meta = budget["metadata"]
        selector = budget["spec"].get("selector") or {}
        held = [
            pod
            for pod in pods
            if pod["metadata"].get("namespace") == meta["namespace"]
            and matches(selector, pod["metadata"].get("labels") or {})
        ]
        if held:
            allowed = int((budget.get("status") or {}).get("disruptionsAllowed") or 0)
            told.append(f"{meta['namespace']}/{meta['name']} lets {allowed} go now, {len(held)} of its pods are here")
    return sorted(told)


def matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Tell whether a label selector matches labels, as Kubernetes does it."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for one in selector.get("matchExpressions") or []:
        key, values = one["key"], one.get("values") or []
        held = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not held.get(one["operator"], False):
            return False
    return True


class DrainNode(Fault):
    """A node is emptied and comes back: what an upgrade, or the end of a spot machine, costs the clients.

    Args:
        found: what is on the node.
        wish: what was asked for.
    """

    name = NAME
    lasts = True

    def __init__(self, found: Survey, wish: Wish) -> None:
        self._found, self._wish = found, wish
        self._stopped = threading.Event()
        self._ways: list[Evicted] = []
        whose = "primary" if found.is_primary else "secondary"
        first = " after a switchover" if self._hands_over else ""
        self.event = f"the {whose}'s node was drained{first}"

    @property
    def _hands_over(self) -> bool:
        return self._wish.switchover_first and self._found.is_primary

    @property
    def seconds(self) -> int:
        """How long the evictions may take."""
        return self._wish.eviction_seconds or patience(self._found.decisions)

    def guard(self, topology: Topology) -> list[str]:
        """Return why this node must not be drained now."""
        found, majority = self._found, topology.expected // 2 + 1
        reasons = super().guard(topology) if found.is_primary else []
        if topology.expected - len(found.here) < majority:
            reasons.append(
                f"{len(found.here)} of the {topology.expected} servers are on node {found.node} "
                f"({', '.join(found.here)}), and {majority} are a quorum: spread them first"
            )
        if self._hands_over and not self._apart(topology).secondaries:
            reasons.append(f"every ONLINE secondary is on node {found.node}, too, so there is nobody to hand over to")
        reasons += [
            f"pod {one.namespace}/{one.pod} {one.why}" for one in found.decisions if one.action is Action.REFUSE
        ]
        if found.note is not None and found.note.workflow != self._wish.workflow:
            reasons.append(
                f"node {found.node} carries the note of drill {found.note.workflow!r}: wait for it, or for reap"
            )
        if found.lacking:
            lacking = ", ".join(found.lacking)
            reasons.append(f"this drill's account may not: {lacking}; apply the pack's ClusterRole tiphys-drains")
        return reasons

    def describe(self, target: Target) -> str:
        """Return what will be done, and to which pods."""
        found = self._found
        skipped = [one for one in found.decisions if one.action is Action.SKIP]
        kept = [f"{one.pod} {one.why}" for one in skipped if one.why != FINISHED]
        # There may be many, of runs before.
        if finished := len(skipped) - len(kept):
            kept.append(count(finished, "pod") + " that finished")
        parts = [
            f"hand the primary over from {found.member.pod} first, then" if self._hands_over else "",
            f"leave the cordon of node {found.node} as it is" if found.cordoned else f"cordon node {found.node}",
            f"(of {found.member.pod}) and evict {len(found.going)} pods within {self.seconds} s:",
            ", ".join(f"{one.namespace}/{one.pod}" for one in found.going),
            f"(left alone: {', '.join(kept)})" if kept else "",
            f"; disruption budgets: {'; '.join(found.budgets) or 'none'}",
            f"; {len(found.routers)} of the cluster's Routers are on it",
            "; after hold-seconds the node is as it was before",
        ]
        return " ".join(part for part in parts if part).replace(" ;", ";")

    def landing_seconds(self, target: Target) -> float:
        """Return how long the group may take to see what the node has shown already."""
        return 30.0

    def lasting_seconds(self, target: Target) -> float:
        """Return what the evictions may take, and a switchover before them."""
        return self.seconds + 60.0

    def aim(self, topology: Topology) -> Member:
        """Return the member whose node it is."""
        return self._found.member

    def heir(self, scene: Scene, topology: Topology) -> str:
        """Return the member on another node with the least left to apply; empty without a switchover."""
        return FAULTS["switchover"].heir(scene, self._apart(topology)) if self._hands_over else ""

    def _apart(self, topology: Topology) -> Topology:
        """Return the topology without the other members on this node."""
        found = self._found
        kept = tuple(one for one in topology.members if one.pod not in found.here or one.id == found.member.id)
        return dataclasses.replace(topology, members=kept)

    def inject(self, scene: Scene, target: Target) -> str | None:
        """Hand over if asked to, cordon, evict, and wait until the pods are gone."""
        if self._hands_over:
            FAULTS["switchover"].inject(scene, target)
        if self._stopped.is_set():
            return None
        found, wish = self._found, self._wish
        note = cordon.Cordon(wish.workflow, scene.kube.namespace, intent.now(), expires=wish.expires)
        cordon.cordon(scene.kube, found.node, note)
        # What came to the node since it was looked at is no business of this drill.
        stopped = self._stopped.is_set
        drain(scene.kube, found.node, found.going, self.seconds, stopped=stopped, into=self._ways)
        if told := stayed(self._ways):
            when = "when the drill was stopped" if self._stopped.is_set() else f"after {self.seconds} s"
            raise StepError(f"Node {found.node} was not empty {when}: {told}")
        took = max((way.gone or 0.0 for way in self._ways), default=0.0)
        return f"node {found.node} was empty after {took:.1f} s ({len(self._ways)} pods)"

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by the empty node, by the pod's UID, and by the member having left the group."""
        changed, left = other_pod(target, evidence), left_group(target, evidence)
        if not evidence.witness or changed is None or left is None:
            return None
        effect = first_effect(target, evidence)
        at = min(moment for moment in (effect, left, changed.at) if moment is not None)
        seen_at = max(left, changed.seen_at, evidence.witnessed_at)
        return Proof(at, seen_at, f"{evidence.witness}; {changed.text}; the member left the group")

    def interrupt(self) -> None:
        """Ask for no more evictions."""
        self._stopped.set()

    def stop(self, scene: Scene, target: Target) -> None:
        """Give the node back as it was."""
        self._stopped.set()
        cordon.release(scene.kube, self._found.node, self._wish.workflow)

    def ended(self, scene: Scene, target: Target) -> str:
        """Look at the node: this drill's note is off it, and its cordon is what it was before."""
        node = scene.kube.get("nodes", self._found.node)
        note, cordoned = cordon.read(node), cordon.is_cordoned(node)
        if note is not None and note.workflow == self._wish.workflow:
            raise StepError(f"node {self._found.node} still carries this drill's cordon: kubectl uncordon it")
        if not cordoned:
            return f"node {self._found.node} takes pods, and this drill's note is off it"
        whose = "as it was before" if self._found.cordoned else "by somebody else"
        return f"this drill's note is off node {self._found.node}, which is cordoned {whose}"

    def record(self) -> list[dict[str, Any]]:
        """Return every pod's way off the node."""
        return [
            {
                "namespace": way.namespace,
                "pod": way.pod,
                "uid": way.uid,
                "attempts": way.attempts,
                "accepted_seconds": None if way.accepted is None else round(way.accepted, 2),
                "gone_seconds": None if way.gone is None else round(way.gone, 2),
                "held": "" if way.gone is not None and way.attempts <= 1 else way.held,
            }
            for way in self._ways
        ]


def give_back(kube: Kube, workflow: str) -> list[str]:
    """Uncordon what a workflow's drill has cordoned; return what was done. Can be called again and again."""
    done = [cordon.release(kube, name, workflow) for name, note in cordon.noted(kube) if note.workflow == workflow]
    return [text for text in done if text]
