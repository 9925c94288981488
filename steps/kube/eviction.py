"""Emptying a node as a drain does: which of its pods go, and their eviction, with each pod's time.

Deciding is a function of the pods. Evicting goes on in parallel, the slowest pods first. What a disruption budget holds
(429) is asked for again until a deadline, and of the pods of one budget only one at a time: while it is held so are the
others, and an API server has better things to do than to say no to each of them every second.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from steps.declare import SCRATCH_VOLUME
from steps.errors import StepError, Temporary
from steps.kube.client import CLUSTER_LABEL, Kube, Object
from steps.kube.errors import Conflict, NotFound, TooManyRequests
from steps.log import log

WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
UNMISSED = {
    WORKFLOW_LABEL: ("var-run-argo", "tmp-dir-argo", "input-artifacts", SCRATCH_VOLUME),
    "eventsource-name": ("tmp",),
    "sensor-name": ("tmp",),
    "eventbus-name": ("pid",),
}
"""emptyDir volumes that nobody misses, by the label of the pods that have them: those that Argo Workflows gives to its
steps, with the one that this pack adds, and those of Argo Events. A bus without a claim keeps events in one more."""
FINISHED = "has finished"
"""Why a pod is left alone whose containers have all ended: a drill has no business with its logs."""
OWN_STEP = "is a step of this drill"
MIRROR_ANNOTATION = "kubernetes.io/config.mirror"
DEFAULT_GRACE_SECONDS = 30
MARGIN_SECONDS = 30
"""What a kubelet needs beside the grace period: to stop containers, unmount volumes and tell the API server."""
PARALLEL = 16
"""Evictions that are asked for at the same time."""
AGAIN_SECONDS = (0.25, 2.0)
"""How long a pod that a budget holds is left before it is asked for again: at first, and at most. Each time it is held
the pause grows by half; it starts anew when one of its budget's pods was let go."""
TICK_SECONDS = 0.02
LOOK_SECONDS = 0.5
"""How often the node's pods are listed to see which have gone."""
LOOK_SHARE, LOOK_MOST = 2, 2.0
"""… but with pauses of this many times what the listing took, for a node may have many pods; no pause is longer than
that many seconds."""


class Action(StrEnum):
    """What becomes of a pod when its node is drained."""

    EVICT = "evict"
    SKIP = "skip"
    REFUSE = "refuse"


@dataclass(frozen=True)
class Policy:
    """What a drain may cost.

    Attributes:
        workflow: whose drain it is; its own pods are never evicted.
        namespace: of the cluster.
        cluster: whose own pods may lose their emptyDir volumes: the operator makes these for sockets and caches.
        empty_dir: whether any other pod with an emptyDir may be evicted, too.
        unmanaged: whether pods that nothing would make again may be evicted.
    """

    workflow: str
    namespace: str
    cluster: str
    empty_dir: bool = False
    unmanaged: bool = False


@dataclass(frozen=True)
class Decision:
    """What becomes of one pod, and why.

    Attributes:
        namespace: of the pod.
        pod: its name.
        uid: of this very pod; one that takes its name later is another one.
        action: what is done.
        why: for people; empty for an eviction that needs no word.
        seconds: how long its end may take: its grace period, in which its preStop runs.
    """

    namespace: str
    pod: str
    uid: str
    action: Action
    why: str = ""
    seconds: int = DEFAULT_GRACE_SECONDS


@dataclass
class Evicted:
    """One pod's way off the node. Times are seconds since the drain began.

    Attributes:
        namespace: of the pod.
        pod: its name.
        uid: of this very pod.
        attempts: how often its eviction was asked for.
        accepted: when the API server agreed; None where it never did.
        gone: when the node was first seen without it; None where it stayed.
        held: what the API server said last, where it did not agree.
        kept: what keeps it on the node since the API server agreed, as it was seen last.
    """

    namespace: str
    pod: str
    uid: str
    attempts: int = 0
    accepted: float | None = None
    gone: float | None = None
    held: str = ""
    kept: str = ""


def decide(pods: Sequence[Object], policy: Policy) -> list[Decision]:
    """Return what becomes of each pod of a node, by namespace and name."""
    made = [_decide(pod, policy) for pod in pods]
    return sorted(made, key=lambda one: (one.namespace, one.pod))


def _decide(pod: Object, policy: Policy) -> Decision:
    meta, spec = pod["metadata"], pod.get("spec") or {}
    namespace, labels = str(meta.get("namespace", "")), meta.get("labels") or {}
    grace = spec.get("terminationGracePeriodSeconds")

    def made(action: Action, why: str = "") -> Decision:
        seconds = DEFAULT_GRACE_SECONDS if grace is None else int(grace)
        return Decision(namespace, str(meta["name"]), str(meta.get("uid", "")), action, why, seconds)

    owner = next((one for one in meta.get("ownerReferences") or [] if one.get("controller")), None)
    # These two come first: whatever else holds for such a pod, evicting it would only bring it back here.
    if MIRROR_ANNOTATION in (meta.get("annotations") or {}):
        return made(Action.SKIP, "is a mirror pod: its kubelet runs it from a file")
    if owner is not None and owner.get("kind") == "DaemonSet":
        return made(Action.SKIP, f"is of DaemonSet {owner.get('name')}")
    finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if finished:
        return made(Action.SKIP, FINISHED)
    if namespace == policy.namespace and labels.get(WORKFLOW_LABEL) == policy.workflow:
        # The step that drains is kept off the node by its affinity; the one before it may have run here.
        return made(Action.SKIP, OWN_STEP)
    ours = namespace == policy.namespace and labels.get(CLUSTER_LABEL) == policy.cluster
    volumes = [str(volume["name"]) for volume in spec.get("volumes") or [] if "emptyDir" in volume]
    # Every running step of Argo has some, also a game day's that waits for this very drain; so has each Sensor.
    unmissed = {name for label, names in UNMISSED.items() if label in labels for name in names}
    volumes = [name for name in volumes if name not in unmissed]
    if volumes and not ours and not policy.empty_dir:
        return made(
            Action.REFUSE, f"would lose what is in its emptyDir {', '.join(volumes)}: empty-dir=evict allows it"
        )
    if owner is None and not policy.unmanaged:
        return made(Action.REFUSE, "has no controller, so nothing would make it again: unmanaged=evict allows it")
    return made(Action.EVICT, f"loses its emptyDir {', '.join(volumes)}" if volumes and not ours else "")


def patience(decisions: Sequence[Decision]) -> int:
    """Return how many seconds a drain may take: the longest pod's own time twice, and some more.

    Twice, for a pod behind a disruption budget may have to wait until another one has gone and come back. The grace
    period holds the preStop: Kubernetes starts the two together.
    """
    longest = max((one.seconds for one in decisions if one.action is Action.EVICT), default=0)
    return 2 * longest + MARGIN_SECONDS


def pods_on(kube: Kube, node: str) -> list[Object]:
    """Return the pods of a node in all namespaces."""
    return kube.everywhere("pods", f"spec.nodeName={node}")


def drain(
    kube: Kube,
    node: str,
    decisions: Sequence[Decision],
    seconds: float,
    *,
    budgets: Mapping[str, str] | None = None,
    stopped: Callable[[], bool] = lambda: False,
    into: list[Evicted] | None = None,
) -> list[Evicted]:
    """Evict what `decisions` say, and wait until the node is without these very pods, by their UIDs.

    Args:
        kube: for all namespaces.
        node: its name.
        decisions: of :func:`decide`.
        seconds: until when budgets and slow pods are waited for.
        budgets: UID of a pod to its disruption budget, as far as is known; a pod without one is asked for by itself.
        stopped: asked all the time; True ends the drain.
        into: where each pod's way is kept from the start, for whoever cannot wait for the end.

    Returns:
        Every pod's way, also where the drain did not come to its end: see :func:`stayed`.
    """
    began = time.monotonic()
    ways = [] if into is None else into
    going = sorted((one for one in decisions if one.action is Action.EVICT), key=lambda one: -one.seconds)
    lines: dict[str, _Line] = {}
    for one in going:
        way = Evicted(one.namespace, one.pod, one.uid)
        ways.append(way)
        lines.setdefault((budgets or {}).get(one.uid, one.uid), _Line()).ways.append(way)
    look_at = LOOK_SECONDS
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="evict") as pool:
        while any(way.gone is None for way in ways):
            now = time.monotonic() - began
            if now >= seconds or stopped():
                break
            for line in lines.values():
                line.go_on(pool, kube, began, now)
            if now >= look_at:
                _look(kube, node, ways, began)
                looked = time.monotonic() - began
                look_at = looked + min(max(LOOK_SECONDS, LOOK_SHARE * (looked - now)), LOOK_MOST)
            time.sleep(TICK_SECONDS)
        for line in lines.values():
            line.cancel()
    return ways


class _Line:
    """The pods of one disruption budget, of which one at a time is asked for; or one pod without a budget."""

    def __init__(self) -> None:
        self.ways: list[Evicted] = []
        self._asking: Future[None] | None = None
        self._asked: Evicted | None = None
        self._due = 0.0
        self._pause = AGAIN_SECONDS[0]

    def go_on(self, pool: ThreadPoolExecutor, kube: Kube, began: float, now: float) -> None:
        """Ask for the next pod, or for the same one again, when it is time to."""
        if self._asking is not None:
            if not self._asking.done():
                return
            assert self._asked is not None
            if self._asked.accepted is None:
                self._due = now + self._pause
                self._pause = min(self._pause * 1.5, AGAIN_SECONDS[1])
                # One that cannot go for a reason of its own must not hold up the others for ever.
                self.ways.append(self.ways.pop(self.ways.index(self._asked)))
            else:
                self._due, self._pause = 0.0, AGAIN_SECONDS[0]
            self._asking = None
        if now < self._due:
            return
        self._asked = next((way for way in self.ways if way.accepted is None and way.gone is None), None)
        if self._asked is not None:
            self._asking = pool.submit(_ask, kube, self._asked, began)

    def cancel(self) -> None:
        """Ask for no more."""
        if self._asking is not None:
            self._asking.cancel()


def stayed(ways: Sequence[Evicted]) -> str:
    """Say which pods are still there and what holds each; empty where none is."""
    told = []
    for way in ways:
        if way.gone is not None:
            continue
        if way.accepted is None:
            why = way.held or "its eviction was not asked for any more"
        else:
            seen = way.kept or "nobody has looked since"
            why = f"its eviction was accepted after {way.accepted:.0f} s and it has not gone since: {seen}"
        told.append(f"pod {way.namespace}/{way.pod}: {why}")
    return "; ".join(told)


def _ask(kube: Kube, way: Evicted, began: float) -> None:
    way.attempts += 1
    try:
        kube.within(way.namespace).evict(way.pod, uid=way.uid)
    except NotFound:
        way.gone = way.accepted = time.monotonic() - began
        return
    except (TooManyRequests, Conflict) as error:
        if way.attempts == 1:
            log("held", pod=way.pod, namespace=way.namespace, why=str(error))
        way.held = str(error)
        return
    except StepError as error:
        # An API server that is away is asked again; what is not allowed stays so, and is told at the end.
        way.held = str(error)
        if not isinstance(error, Temporary) and way.attempts == 1:
            log("not-evicted", pod=way.pod, namespace=way.namespace, why=str(error))
        return
    way.accepted = time.monotonic() - began


def _look(kube: Kube, node: str, ways: Sequence[Evicted], began: float) -> None:
    try:
        there = {str(pod["metadata"].get("uid")): pod for pod in pods_on(kube, node)}
    except Temporary:
        return  # it is looked at again
    now = time.monotonic() - began
    for way in ways:
        if way.gone is None and (pod := there.get(way.uid)) is not None:
            way.kept = _keeps(pod)
        elif way.gone is None:
            way.gone = now
            log("evicted", pod=way.pod, namespace=way.namespace, seconds=round(now, 2), attempts=way.attempts)


def _keeps(pod: Object) -> str:
    """Say what keeps a pod that is to go: a kubelet takes it away when its containers have ended, finalizers or not."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    running = [str(one["name"]) for one in statuses if "running" in (one.get("state") or {})]
    if running:
        grace = pod["metadata"].get("deletionGracePeriodSeconds")
        return f"{', '.join(running)} still runs, in a grace period of {grace} s"
    if finalizers := pod["metadata"].get("finalizers"):
        return f"its containers have ended, and its finalizers keep it: {', '.join(finalizers)}"
    return "its containers have ended, and its kubelet has not let it go yet"
