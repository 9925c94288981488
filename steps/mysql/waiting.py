"""Waiting until a cluster is as it should be: looks again and again, says what it waits for once per change."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from steps.errors import Temporary, TimedOut
from steps.kube.client import Kube, Object
from steps.kube.pods import is_ready, name_of, stuck, why_not_ready
from steps.log import log
from steps.mysql.connection import Credentials
from steps.mysql.topology import Topology, judge, read_views, server_addresses


@dataclass(frozen=True)
class Sight:
    """A cluster seen once.

    Attributes:
        cluster: the InnoDBCluster.
        servers: pods of its servers.
        routers: pods of its Routers.
        topology: its group.
    """

    cluster: Object
    servers: list[Object]
    routers: list[Object]
    topology: Topology

    @property
    def ready_routers(self) -> int:
        """Number of Routers that are ready."""
        return sum(is_ready(pod) for pod in self.routers)

    def missing(self, servers: int, routers: int) -> str:
        """Return what still lacks until exactly so many members are ONLINE and Routers ready; empty where nothing."""
        lacks = []
        if not (self.topology.primary and self.topology.online == len(self.topology.members) == servers):
            lacks.append(f"members: {self.topology.summary()}")
        if len(self.servers) != servers:
            lacks.append(f"server pods: {len(self.servers)} of {servers}")
        if len(self.routers) != routers or self.ready_routers != routers:
            lacks.append(f"routers ready: {self.ready_routers} of {routers} ({len(self.routers)} pods)")
        return "; ".join(lacks)

    def obstacles(self) -> list[str]:
        """Return what holds each pod that is not ready, and each server that gave no view."""
        pods = [*self.servers, *self.routers]
        found = [f"pod {name_of(pod)} {reason}" for pod in pods if (reason := stuck(pod) or why_not_ready(pod))]
        held = {name_of(pod) for pod in pods if not is_ready(pod)}
        return found + [
            f"server {pod} gives no view: {reason}"
            for pod, reason in self.topology.unreachable.items()
            if pod not in held
        ]


def look(kube: Kube, cluster: str, credentials: Credentials) -> Sight:
    """Look at a cluster once: its object, its pods, and every member's view."""
    found = kube.cluster(cluster)
    servers, routers = kube.servers(cluster), kube.routers(cluster)
    views, unreachable = read_views(server_addresses(servers), credentials)
    topology = judge(cluster, int(found["spec"].get("instances", 1)), views, unreachable)
    return Sight(found, servers, routers, topology)


def wait_until(
    kube: Kube,
    cluster: str,
    credentials: Credentials,
    lacks: Callable[[Sight], str],
    *,
    what: str,
    deadline: float,
    interval: float = 0.5,
) -> Sight:
    """Look until `lacks` says that nothing does, and return what was seen last.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        credentials: its administrator.
        lacks: what is still missing, in words; empty where nothing is. Each change of it is logged once.
        what: the goal, for the log and for the error.
        deadline: on the clock of `time.monotonic`.
        interval: seconds between two looks.

    Raises:
        TimedOut: the deadline passed; the message has what was missing and which pods hold it up.
    """
    started, said, known = time.monotonic(), "", set[str]()
    sight: Sight | None = None
    while True:
        try:
            sight = look(kube, cluster, credentials)
            missing = lacks(sight)
        except Temporary as error:  # the API server restarts, for example
            missing = str(error)
        if not missing:
            return sight  # type: ignore[return-value]
        if missing != said:
            log("waiting", goal=what, missing=missing, seconds=round(time.monotonic() - started, 1))
            said = missing
        for pod in [*sight.servers, *sight.routers] if sight else []:
            if name_of(pod) not in known and (why := stuck(pod)):
                log("stuck", pod=name_of(pod), why=why)
                known.add(name_of(pod))
        if time.monotonic() >= deadline:
            obstacles = sight.obstacles() if sight else []
            raise TimedOut(
                f"Not reached within {time.monotonic() - started:.0f} s: {what}. Still missing: {missing}. "
                + (f"What holds it: {'; '.join(obstacles)}. " if obstacles else "")
                + "Look at the pods' events and the operator's log, then run this again: it goes on where it stopped."
            )
        time.sleep(interval)
