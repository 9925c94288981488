"""How servers are restarted one after another: who is next, and what speaks against it. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from steps.kube.client import Object
from steps.kube.pods import name_of, why_not_ready
from steps.mysql.topology import Member, Topology
from steps.report.outcome import count

SERVER_CONTAINER = "mysql"
START_SECONDS = 600
"""How long a server that has been stopped may take to start, to recover, to join and to catch up."""


class Method(StrEnum):
    """What is restarted: the whole pod, which also brings a changed ConfigMap, or the server in it alone."""

    POD = "pod"
    SERVER = "server"


@dataclass(frozen=True)
class Life:
    """One life of a server, and what tells it from the one before it.

    Attributes:
        pod: name.
        uid: of the pod object.
        created: when the pod was made, ISO time by the API server's clock; empty where it does not say.
        container: id of the server's container.
        started: when that container started, ISO time by its node's clock; empty while it does not run.
        grace: seconds that the pod may take to stop; its preStop runs within them.
    """

    pod: str
    uid: str = ""
    created: str = ""
    container: str = ""
    started: str = ""
    grace: int = 30

    def identity(self, method: Method) -> str:
        """Return what changes when the server is restarted so; empty while there is no such thing."""
        return self.uid if method is Method.POD else self.container

    def began(self, method: Method) -> str:
        """Return when the life began."""
        return self.created if method is Method.POD else self.started


def life_of(pod: Object) -> Life:
    """Return the life that a server's pod is in."""
    meta = pod["metadata"]
    server = _server(pod)
    running = (server.get("state") or {}).get("running") or {}
    grace = (pod.get("spec") or {}).get("terminationGracePeriodSeconds")
    return Life(
        name_of(pod),
        str(meta.get("uid") or ""),
        str(meta.get("creationTimestamp") or ""),
        # The id of a container that has ended stays until the next one runs.
        str(server.get("containerID") or "") if running else "",
        str(running.get("startedAt") or ""),
        30 if grace is None else int(grace),
    )


def last_end(pod: Object) -> str:
    """Say how the server in a pod ended last where it has failed; empty where it has not."""
    if not (code := _exit_code(pod)):
        return ""
    times = int(_server(pod).get("restartCount") or 0)
    return f"its mysqld ended with exit code {code} and was started again {count(times, 'time')}"


def ends(pod: Object) -> int:
    """Return how often the server in a pod has ended, where it has failed last; else 0."""
    server = _server(pod)
    over = bool((server.get("state") or {}).get("terminated"))
    return int(server.get("restartCount") or 0) + over if _exit_code(pod) else 0


def _exit_code(pod: Object) -> int:
    server = _server(pod)
    found = [(server.get(key) or {}).get("terminated") or {} for key in ("state", "lastState")]
    return int(next((end for end in found if end), {}).get("exitCode") or 0)


def _server(pod: Object) -> dict[str, Any]:
    entries: list[dict[str, Any]] = (pod.get("status") or {}).get("containerStatuses") or []
    return next((entry for entry in entries if entry.get("name") == SERVER_CONTAINER), {})


@dataclass(frozen=True)
class Wish:
    """What was asked for.

    Attributes:
        method: what is restarted.
        since: members whose life began at this time or later are left alone; None restarts all.
        seconds: how long one member may take from its end until it is in step; 0 derives it from its pod.
        known: pod to the identity that its life had when this very run began; such a member is restarted until it has
            another one, whatever the clocks say.
    """

    method: Method = Method.POD
    since: datetime | None = None
    seconds: int = 0
    known: Mapping[str, str] = field(default_factory=dict)

    def patience(self, life: Life) -> int:
        """Return how many seconds a member may take."""
        return self.seconds or life.grace + START_SECONDS

    def is_done(self, life: Life) -> bool:
        """Tell whether a server has been restarted already."""
        if life.pod in self.known:
            return bool(life.identity(self.method)) and life.identity(self.method) != self.known[life.pod]
        began = life.began(self.method)
        return self.since is not None and bool(began) and datetime.fromisoformat(began) >= self.since


def moment(now: datetime) -> datetime:
    """Return a moment as a run notes it: the next whole second, since Kubernetes tells no smaller part of one."""
    return datetime.fromtimestamp(math.ceil(now.timestamp()), UTC)


def in_order(pods: Collection[str], topology: Topology, weights: Mapping[str, int]) -> list[str]:
    """Return pods in the order in which they are restarted: the least important first, the primary last.

    Args:
        pods: names.
        topology: the group.
        weights: pod to its ``group_replication_member_weight``; a member without one counts as 50, MySQL's default.
    """
    primary = topology.primary.pod if topology.primary else ""
    return sorted(pods, key=lambda pod: (pod == primary, weights.get(pod, 50), -len(pod), _reversed(pod)))


def _reversed(pod: str) -> tuple[int, ...]:
    """Return a key that sorts names of one length from the last to the first: the highest ordinal goes first."""
    return tuple(-ord(letter) for letter in pod)


def heir(candidates: Sequence[Member], weights: Mapping[str, int], queued: Mapping[str, int]) -> str:
    """Return the pod that should become primary: the heaviest, then the one with the least to apply, then by name."""
    chosen = min(
        candidates,
        key=lambda one: (-weights.get(one.pod, 50), queued.get(one.id, 0), len(one.pod), one.pod),
        default=None,
    )
    return chosen.pod if chosen else ""


def risks(topology: Topology, pods: Sequence[Object]) -> list[str]:
    """Return why no server may be stopped now, in sentences for people; empty where one may.

    Args:
        topology: the group.
        pods: of its servers.
    """
    found = []
    expected, majority = topology.expected, topology.expected // 2 + 1
    if expected - 1 < majority:
        found.append(
            f"without one of its {expected} servers the group has no quorum ({majority} needed): "
            "scale the cluster to 3 servers or more"
        )
    if not topology.is_whole:
        silent = "; ".join(f"{pod}: {why}" for pod, why in topology.unreachable.items())
        found.append(
            f"the group is not whole ({topology.summary()}{'; ' + silent if silent else ''}), expected "
            f"{expected}/{expected} ONLINE with one primary: run check-cluster"
        )
    found += [f"pod {name_of(pod)} {why}" for pod in pods if (why := why_not_ready(pod))]
    return found


@dataclass(frozen=True)
class Plan:
    """What a rolling restart does.

    Attributes:
        order: pods, in the order in which they are restarted.
        primary: pod of the primary before.
        done: pods that have been restarted already.
        method: what is restarted.
        seconds: how long each may take, by pod.
    """

    order: tuple[str, ...]
    primary: str
    done: tuple[str, ...]
    method: Method
    seconds: Mapping[str, int]

    def __str__(self) -> str:
        """Say it for people, in one line."""
        return "; ".join(self.steps()) or "nothing to restart"

    def steps(self) -> list[str]:
        """Return what is done, in order, for people."""
        told = [f"leave {pod} alone, which was restarted before" for pod in self.done]
        for pod in self.order:
            if pod == self.primary:
                told.append(f"switch the primary from {pod} to the best of the others")
            how = "evict its pod" if self.method is Method.POD else "end its mysqld, the container starts again"
            told.append(f"restart {pod} ({how}; at most {self.seconds[pod]} s)")
        return told


def plan(lives: Sequence[Life], topology: Topology, weights: Mapping[str, int], wish: Wish) -> Plan:
    """Return what is to be done."""
    done = sorted(life.pod for life in lives if wish.is_done(life))
    left = {life.pod: wish.patience(life) for life in lives if life.pod not in done}
    primary = topology.primary.pod if topology.primary else ""
    return Plan(tuple(in_order(left, topology, weights)), primary, tuple(done), wish.method, left)
