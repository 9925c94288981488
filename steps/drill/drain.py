"""The fault `drain-node`: a node of the cluster is cordoned and emptied, held so, and given back.

What is on the node is looked at before (:mod:`steps.drill.drain_survey`), and the guards and the dry run tell it. The
cordon is noted on the node itself, in the write that makes it; whoever undoes the drill finds it there.
"""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

from steps.drill import intent
from steps.drill.drain_plan import sentence
from steps.drill.drain_survey import Survey, Wish
from steps.drill.evidence import Evidence, Proof, Target, first_effect, left_group, other_pod, replaced
from steps.drill.fault import Fault, Scene
from steps.drill.faults import FAULTS
from steps.drill.samples import ROUTER_CONTAINER, PodSample, pod_sample
from steps.errors import StepError
from steps.kube import cordon
from steps.kube.client import Kube
from steps.kube.eviction import Action, Evicted, drain, patience, stayed
from steps.mysql.topology import Member, Topology

NAME = "drain-node"


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
        # A Router's node may have no server on it.
        self.removes_member = bool(found.here)
        whose = "Router" if found.router else "primary" if found.is_primary else "secondary"
        which = "a" if found.router else "the"
        self.event = f"{which} {whose}'s node was drained{' after a switchover' if self.hands_over else ''}"

    @property
    def hands_over(self) -> bool:
        """Whether the primary is handed over before."""
        return self._wish.switchover_first and self._found.is_primary

    @property
    def seconds(self) -> int:
        """How long the evictions may take."""
        return self._wish.eviction_seconds or patience(self._found.decisions)

    def guard(self, topology: Topology) -> list[str]:
        """Return why this node must not be drained now."""
        found, majority = self._found, topology.expected // 2 + 1
        reasons = super().guard(topology) if found.is_primary else []
        if found.here and topology.expected - len(found.here) < majority:
            reasons.append(
                f"{len(found.here)} of the {topology.expected} servers are on node {found.node} "
                f"({', '.join(found.here)}), and {majority} are a quorum: spread them first, by kubectl delete pod of "
                "a SECONDARY while another node is free"
            )
        if self.hands_over and not self._apart(topology).secondaries:
            reasons.append(f"every ONLINE secondary is on node {found.node}, too, so there is nobody to hand over to")
        reasons += [
            f"pod {one.namespace}/{one.pod} {one.why}" for one in found.decisions if one.action is Action.REFUSE
        ]
        reasons += [*found.unwilling, *self._torn()]
        if found.note is not None and found.note.workflow != self._wish.workflow:
            reasons.append(
                f"node {found.node} carries the note of drill {found.note.workflow!r}: wait for it, or for reap"
            )
        if found.lacking:
            lacking = ", ".join(found.lacking)
            reasons.append(f"this drill's account may not: {lacking}; apply the pack's ClusterRole tiphys-drains")
        return reasons

    def _torn(self) -> list[str]:
        """Return the pods with several budgets: the eviction API answers for none of them."""
        torn = []
        for one in self._found.going:
            held = [budget.name for budget in self._found.budgets if one.uid in budget.pods]
            if len(held) > 1:
                what = f"pod {one.namespace}/{one.pod} has {len(held)} disruption budgets ({', '.join(held)})"
                torn.append(f"{what}, and Kubernetes evicts no such pod: leave it one")
        return torn

    def describe(self, target: Target) -> str:
        """Return what will be done, shortly; the dry run tells more (:mod:`steps.drill.drain_plan`)."""
        return sentence(self._found, self._wish, self.seconds, hands_over=self.hands_over)

    def landing_seconds(self, target: Target) -> float:
        """Return how long the group may take to see what the node has shown already."""
        return 30.0

    def lasting_seconds(self, target: Target) -> float:
        """Return what the evictions may take, and a switchover before them."""
        return self.seconds + 60.0

    def aim(self, topology: Topology) -> Member:
        """Return the member whose node it is; for a Router's node the primary, whose clients are watched."""
        return self._found.member

    def router(self, scene: Scene) -> PodSample | None:
        """Return the Router that the drill is aimed at, None where it is aimed at a member."""
        if not self._found.router:
            return None
        found = scene.kube.find("pods", self._found.router)
        return None if found is None else pod_sample(0.0, found, ROUTER_CONTAINER)

    def obstacles(self, target: Target) -> list[str]:
        """Refuse where the Router has gone meanwhile."""
        gone = self._found.router and target.router is None
        return [f"Router {self._found.router} has gone since it was chosen: start again"] if gone else []

    def heir(self, scene: Scene, topology: Topology) -> str:
        """Return the member on another node with the least left to apply; empty without a switchover."""
        return FAULTS["switchover"].heir(scene, self._apart(topology)) if self.hands_over else ""

    def _apart(self, topology: Topology) -> Topology:
        """Return the topology without the other members on this node."""
        found = self._found
        kept = tuple(one for one in topology.members if one.pod not in found.here or one.id == found.member.id)
        return dataclasses.replace(topology, members=kept)

    def inject(self, scene: Scene, target: Target) -> str | None:
        """Hand over if asked to, cordon, evict, and wait until the pods are gone."""
        if self.hands_over:
            FAULTS["switchover"].inject(scene, target)
        if self._stopped.is_set():
            return None
        found, wish = self._found, self._wish
        note = cordon.Cordon(wish.workflow, scene.kube.namespace, intent.now(), expires=wish.expires)
        cordon.cordon(scene.kube, found.node, note)
        # What came to the node since it was looked at is no business of this drill.
        stopped = self._stopped.is_set
        budgets = {uid: budget.name for budget in found.budgets for uid in budget.pods}
        drain(scene.kube, found.node, found.going, self.seconds, budgets=budgets, stopped=stopped, into=self._ways)
        if told := stayed(self._ways):
            when = "when the drill was stopped" if self._stopped.is_set() else f"after {self.seconds} s"
            raise StepError(f"Node {found.node} was not empty {when}: {told}")
        took = max((way.gone or 0.0 for way in self._ways), default=0.0)
        return f"node {found.node} was empty after {took:.1f} s ({len(self._ways)} pods)"

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by the empty node, by the pod's UID, and by the member having left the group."""
        if not evidence.witness:
            return None
        if target.router is not None:
            gone = replaced(target.router, evidence)
            if gone is None:
                return None
            return Proof(gone.at, max(gone.seen_at, evidence.witnessed_at), f"{evidence.witness}; {gone.text}")
        changed, left = other_pod(target, evidence), left_group(target, evidence)
        if changed is None or left is None:
            return None
        effect = first_effect(target, evidence)
        at = min(moment for moment in (effect, left, changed.at) if moment is not None)
        seen_at = max(left, changed.seen_at, evidence.witnessed_at)
        return Proof(at, seen_at, f"{evidence.witness}; {changed.text}; the member left the group")

    def recovered(self, target: Target, evidence: Evidence) -> bool:
        """Tell whether as many Routers are ready as before, wherever they run now."""
        servers = {sample.pod for sample in evidence.members}
        latest = {sample.pod: sample for sample in evidence.pods if sample.pod not in servers}
        return sum(sample.ready and not sample.deleting for sample in latest.values()) >= self._found.routers_ready

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
