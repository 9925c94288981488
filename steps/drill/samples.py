"""What members and pods said of themselves during a drill, as values: the raw material of the timeline."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from steps.kube.client import Object
from steps.mysql.topology import Topology, View, judge

STALE_SECONDS = 1.0
"""A member's last view counts no longer than this; then the member is treated as one that says nothing."""


SERVER_CONTAINER, ROUTER_CONTAINER = "mysql", "router"


class MemberSample(NamedTuple):
    """One look at one server. Times are on the drill's clock.

    Attributes:
        pod: the server's pod.
        start: when it was asked.
        end: when it had answered, or failed to.
        view: its view of the group; None where it gave none.
        error: why it gave none.
        server_started: when the server's process started, as known from its uptime (a whole second); None where the
            server was not asked.
    """

    pod: str
    start: float
    end: float
    view: View | None
    error: str = ""
    server_started: float | None = None


class PodSample(NamedTuple):
    """A pod as the API server had it; noted when something about it changed.

    Attributes:
        at: when it was seen, on the drill's clock.
        pod: name.
        uid: of the pod object; empty where there is no such pod.
        ready: whether its condition Ready is true.
        restarts: of container `mysql` (`router` in a Router's pod).
        container: id of that container.
        deleting: whether it has a deletion timestamp.
        address: its IP.
        node: where it runs.
        ended: id of the latest such container that has ended, as the API server shows it (`state.terminated`, else
            `lastState.terminated`); empty for none.
        exit_code: with which it ended; None where `ended` is empty.
    """

    at: float
    pod: str
    uid: str
    ready: bool = False
    restarts: int = 0
    container: str = ""
    deleting: bool = False
    address: str = ""
    node: str = ""
    ended: str = ""
    exit_code: int | None = None


def pod_sample(at: float, pod: Object, container: str = SERVER_CONTAINER) -> PodSample:
    """Return the sample for a pod object, with what is said of one container in it."""
    status = pod.get("status", {})
    containers = status.get("containerStatuses") or []
    server: Object = next((entry for entry in containers if entry.get("name") == container), {})
    ready = any(
        condition.get("type") == "Ready" and condition.get("status") == "True"
        for condition in status.get("conditions") or []
    )
    ends = [(server.get(key) or {}).get("terminated") for key in ("state", "lastState")]
    ended: Object = next((end for end in ends if end), {})
    return PodSample(
        at,
        str(pod["metadata"]["name"]),
        str(pod["metadata"].get("uid", "")),
        ready,
        int(server.get("restartCount") or 0),
        str(server.get("containerID") or ""),
        bool(pod["metadata"].get("deletionTimestamp")),
        str(status.get("podIP") or ""),
        str(pod.get("spec", {}).get("nodeName") or ""),
        str(ended.get("containerID") or ""),
        int(ended.get("exitCode", -1)) if ended.get("containerID") else None,
    )


class Observed(NamedTuple):
    """The group at one moment, as the latest views of all members add up to."""

    at: float
    topology: Topology


class Onlooker:
    """Adds views up: after each sample, what the majority of members holds at that moment."""

    def __init__(self, cluster: str, expected: int) -> None:
        self._cluster, self._expected = cluster, expected
        self._latest: dict[str, MemberSample] = {}
        self._pods: dict[str, str] = {}
        self._placed: dict[View, View] = {}

    def add(self, sample: MemberSample) -> Observed:
        """Take one more sample, in order of `end`, and return the group at that moment."""
        self._latest[sample.pod] = sample
        if sample.view is not None and self._pods.get(sample.view.own_id) != sample.pod:
            self._pods[sample.view.own_id] = sample.pod
            self._placed.clear()
        views, silent = {}, {}
        for pod, latest in self._latest.items():
            if latest.view is not None and latest.end > sample.end - STALE_SECONDS:
                views[pod] = self._place(latest.view)
            else:
                silent[pod] = latest.error or "no answer"
        return Observed(sample.end, judge(self._cluster, self._expected, views, silent))

    def _place(self, view: View) -> View:
        """Name each member's pod, also of those that say nothing now; most views are the same as the one before."""
        if view not in self._placed:
            members = tuple(replace(member, pod=self._pods.get(member.id, "")) for member in view.members)
            self._placed[view] = replace(view, members=members)
        return self._placed[view]


def observe(cluster: str, expected: int, samples: Iterable[MemberSample]) -> Iterator[Observed]:
    """Yield the group at the moment of each sample, in order of time."""
    onlooker = Onlooker(cluster, expected)
    for sample in sorted(samples, key=lambda one: one.end):
        yield onlooker.add(sample)
