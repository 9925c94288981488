"""The fault `partition`: the primary's pod is cut off from everybody, and comes back later.

A NetworkPolicy that selects the pod and lets nothing in or out does it. Whether it is enforced is up to the cluster's
network plugin: one that does not, or that leaves established connections alone, makes the drill INVALID, for the
group then sees its member all the time.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from steps.drill.evidence import Evidence, Proof, Target, left_group, no_answer, other_pod, other_process
from steps.drill.fault import Fault, Scene
from steps.drill.intent import now
from steps.errors import StepError
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict, Forbidden, NotFound
from steps.kube.owner import owner_of
from steps.kube.placing import matches
from steps.mysql.connection import SERVER_PORT

DRILL_LABEL = "tiphys.dev/drill"
"""On the policy: the run whose it is."""
EXPIRES = "tiphys.dev/expires"
"""On the policy of a drill outside any workflow: after this time it is nobody's, as in `intent.Intent`."""
POD_LABEL = "statefulset.kubernetes.io/pod-name"
NOT_ENFORCED = "tiphys.dev/network-policies"
"""Annotation with which the local platform says of a pod that it cannot cut it off, and why."""

SILENT_SECONDS = 1.0
"""A server whose port does not open within this is not reachable."""
CUT_SECONDS = 10.0
"""How long a network plugin may take to enforce a policy."""
HEAL_SECONDS = 5.0
"""How long it may take to forget one, before the drill says that the fault may go on."""


class Partition(Fault):
    """A pod that nobody reaches and that reaches nobody: what a broken network costs the clients."""

    name = "partition"
    event = "the primary was cut off from the network"
    lasts = True

    def __init__(self) -> None:
        self._interrupted = threading.Event()

    def hindrances(self, scene: Scene, target: Target) -> list[str]:
        """Refuse where policies may not be made, or where the local platform says that it cannot enforce them."""
        found = []
        kube = scene.kube
        for verb in ("create", "list", "delete"):
            if not kube.may(verb, "networkpolicies", group="networking.k8s.io", namespace=kube.namespace):
                found.append(
                    f"this run's account may not {verb} networkpolicies in namespace {kube.namespace}: apply the "
                    "pack's manifests (RBAC) again, or ask for it"
                )
        pod = kube.get("pods", target.pod)["metadata"]
        if (pod.get("labels") or {}).get(POD_LABEL) != target.pod:
            found.append(f"pod {target.pod} has no label {POD_LABEL}, by which a policy would select it alone")
        if why := (pod.get("annotations") or {}).get(NOT_ENFORCED):
            found.append(f"a NetworkPolicy for pod {target.pod} would be {why}")
        if not found and (open_ := opened(kube, pod.get("labels") or {})):
            found.append(
                f"pod {target.pod} is selected by NetworkPolicy {', '.join(open_)}, and policies add up: what one lets "
                "through no other can cut off. Take fault=freeze, or a namespace without such policies"
            )
        return found

    def describe(self, target: Target) -> str:
        """Return what will be done."""
        return (
            f"a NetworkPolicy that lets nothing in or out of {target.pod}, deleted after hold-seconds (where the "
            "network plugin does not enforce it, on established connections too, the drill is INVALID)"
        )

    def inject(self, scene: Scene, target: Target) -> str | None:
        """Make the policy, and see that nobody new gets to the server any more."""
        self._interrupted.clear()
        made = policy(scene, target.pod)
        try:
            scene.kube.create("networkpolicies", made)
        except Conflict:  # an earlier attempt of this very drill
            scene.kube.get("networkpolicies", made["metadata"]["name"])
        limit = time.monotonic() + CUT_SECONDS
        while time.monotonic() < limit and not self._interrupted.is_set():
            if not is_reachable(target.before.address):
                return f"{target.before.address}:{SERVER_PORT} of {target.pod} takes no new connection"
            self._interrupted.wait(0.1)
        raise StepError(
            f"{target.before.address}:{SERVER_PORT} of {target.pod} still takes connections with NetworkPolicy "
            f"{made['metadata']['name']}: does this cluster's network plugin enforce policies?"
        )

    def interrupt(self) -> None:
        """Wait no longer for the policy to be enforced."""
        self._interrupted.set()

    def landing_seconds(self, target: Target) -> float:
        """Return how long the group may take to miss its member, which it does after five seconds."""
        return 30.0

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by the majority, which does not reach the member, and by the server, which does not answer.

        It does so as the same process in the same pod: one that was started anew would be gone for another reason.
        """
        silent, left = no_answer(target, evidence), left_group(target, evidence)
        if not evidence.witness or silent is None or left is None:
            return None
        if other_pod(target, evidence) is not None or other_process(target, evidence) is not None:
            return None
        moments = sorted((silent, left, evidence.witnessed_at))
        state = state_at(target, evidence, left)
        return Proof(
            min(silent, left),
            moments[-1],
            f"{evidence.witness}, its server answers no more though it is the same process in the same pod, and the "
            f"majority has it as {state}",
        )

    def stop(self, scene: Scene, target: Target) -> None:
        """Delete the policy."""
        remove(scene.kube, scene.run)

    def ended(self, scene: Scene, target: Target) -> str:
        """Look for the policy, and for the server behind it."""
        if left := of_run(scene.kube, scene.run):
            raise StepError(f"NetworkPolicy {left[0]} is still there")
        name = policy_name(scene.run)
        found = scene.kube.find("pods", target.pod)
        if found is None or found["metadata"].get("uid") != target.before.uid:
            return f"NetworkPolicy {name} is gone, and so is the pod that it cut off"
        limit = time.monotonic() + HEAL_SECONDS
        while not is_reachable(target.before.address, refused=True):
            if time.monotonic() > limit:
                raise StepError(f"NetworkPolicy {name} is gone, but {target.before.address} is still not reachable")
            time.sleep(0.1)
        return f"NetworkPolicy {name} is gone, and {target.pod} is reachable at {target.before.address}"

    def undo(self, scene: Scene, before: dict[str, Any]) -> list[str]:
        """Delete the policy of this run; it is known by its label, whatever was noted."""
        return [f"NetworkPolicy {name} deleted" for name in remove(scene.kube, scene.run)]


def policy_name(run: str) -> str:
    """Return the name of a run's policy."""
    return f"tiphys-partition-{run}"


def policy(scene: Scene, pod: str) -> Object:
    """Return the policy that cuts a pod off; it goes with its Workflow, at the latest."""
    from steps.drill import intent

    noted = intent.read(scene.kube.cluster(scene.cluster))
    annotations = {EXPIRES: noted.expires} if noted is not None and noted.expires else {}
    metadata: Object = {
        "name": policy_name(scene.run),
        "namespace": scene.kube.namespace,
        "labels": {"app.kubernetes.io/part-of": "tiphys", DRILL_LABEL: scene.run},
        "annotations": {"tiphys.dev/cluster": scene.cluster, "tiphys.dev/since": now(), **annotations},
    }
    try:
        if owner := owner_of(scene.kube, scene.run):
            metadata["ownerReferences"] = [owner]
    except (Forbidden, NotFound):
        pass  # an owner is a second way to be rid of it; undo and reap come first
    selector = {"matchLabels": {POD_LABEL: pod}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": {"podSelector": selector, "policyTypes": ["Ingress", "Egress"]},
    }


def opened(kube: Kube, labels: Mapping[str, str]) -> list[str]:
    """Return the names of the policies that let something in or out of a pod with these labels."""
    return [
        str(each["metadata"]["name"])
        for each in kube.all("networkpolicies")
        if (each["spec"].get("ingress") or each["spec"].get("egress"))
        and matches(each["spec"].get("podSelector") or {}, labels)
    ]


def of_run(kube: Kube, run: str) -> list[str]:
    """Return the names of a run's policies."""
    if not run:
        return []
    found = kube.all("networkpolicies", f"{DRILL_LABEL}={run}")
    return [str(each["metadata"]["name"]) for each in found if each["metadata"]["labels"].get(DRILL_LABEL) == run]


def remove(kube: Kube, run: str) -> list[str]:
    """Delete the policies of a run and return their names; can be called again and again."""
    names = of_run(kube, run)
    for name in names:
        try:
            kube.delete("networkpolicies", name)
        except NotFound:
            continue
    return names


def noted(kube: Kube) -> list[tuple[str, str]]:
    """Return the run and the expiry (empty within a workflow) of every drill that has a policy."""
    found = [each["metadata"] for each in kube.all("networkpolicies", DRILL_LABEL)]
    return [(str(m["labels"][DRILL_LABEL]), str((m.get("annotations") or {}).get(EXPIRES, ""))) for m in found]


def is_reachable(address: str, *, refused: bool = False) -> bool:
    """Tell whether a server's port opens.

    Args:
        address: of its pod.
        refused: count a refusal as well, which shows that the way there is free.
    """
    try:
        with socket.create_connection((address, SERVER_PORT), timeout=SILENT_SECONDS):
            return True
    except ConnectionRefusedError:
        return refused
    except OSError:
        return False


def state_at(target: Target, evidence: Evidence, at: float) -> str:
    """Return as what the majority had the target when it was no longer ONLINE, at a moment or soon after."""
    for seen in evidence.observed:
        if seen.at >= at and seen.topology.members:
            states = [member.state for member in seen.topology.members if member.id == target.server]
            if states != ["ONLINE"]:
                return states[0] if states else "no member any more"
    return "no member any more"
