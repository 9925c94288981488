"""The drills that are disturbed: each as short as it can be while it is still the real one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chaos_parts.platform import Platform
from steps.kube.client import Object

SHORT: dict[str, object] = {
    "steady-seconds": 1,
    "settle-seconds": 0,
    "hold-seconds": 3,
    "max-write-downtime-seconds": 120,
}
FEW_CLIENTS: dict[str, object] = {"writers": 2, "readers": 1, "write-interval-ms": 50}
"""For drills that nobody reads the figures of."""
DRAINS: dict[str, dict[str, object]] = {
    "drain": {"target": "primary"},
    "drain-switchover": {"target": "primary", "switchover-first": "true"},
    "drain-secondary": {"target": "secondary"},
}
OUTAGES = ("quorum-loss", "full-outage")
"""Faults that leave no majority: only when they are asked for by name."""
FIRST = ("freeze", "switchover", "router-kill", "restart-container", "partition", "crash", "delete-pod")
"""In which order the faults take their turns, where the template has them; others come after these."""


@dataclass(frozen=True)
class Drill:
    """One kind of drill.

    Attributes:
        name: short, for people.
        template: what is submitted.
        parameters: its parameters, but for the cluster.
    """

    name: str
    template: str
    parameters: dict[str, object]

    @property
    def drains(self) -> bool:
        """Whether it empties a node."""
        return self.name in DRAINS


def drills(platform: Platform) -> dict[str, Drill]:
    """Return the drills that this platform's templates have, by name, in turns of drains and other faults."""
    failover, draining = (_parameters(platform, name) for name in ("failover-drill", "node-drain-drill"))
    faults = [str(value) for value in failover["fault"].get("enum") or []]
    faults.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    drains = [Drill(name, "node-drain-drill", {**_known(SHORT, draining), **own}) for name, own in DRAINS.items()]
    others = [Drill(name, "failover-drill", {**_known(SHORT, failover), "fault": name}) for name in faults]
    for drill in others:
        if drill.name == "partition":
            drill.parameters["hold-seconds"] = 8  # a group misses its member after five seconds, not before
        if drill.name in OUTAGES:
            drill.parameters["allow-outage"] = "true"
    mixed: list[Drill] = []
    while drains or others:
        mixed += drains[:1] + others[:2]
        drains, others = drains[1:], others[2:]
    return {drill.name: drill for drill in mixed}


def _parameters(platform: Platform, template: str) -> dict[str, Any]:
    found: Object = platform.kube.get("workflowtemplates", template)
    return {str(item["name"]): item for item in found["spec"]["arguments"]["parameters"]}


def _known(wanted: dict[str, object], known: dict[str, Any]) -> dict[str, object]:
    return {key: value for key, value in wanted.items() if key in known}


def spread(platform: Platform) -> None:
    """Give each member a node of its own: nobody does so when a drained node is there again."""

    def one_each() -> bool:
        if not platform.topology().is_whole:
            return False
        seen: set[str] = set()
        for pod in platform.kube.servers(platform.cluster):
            if pod["spec"]["nodeName"] in seen:
                platform.kube.delete("pods", pod["metadata"]["name"], uid=pod["metadata"]["uid"])
                platform.until("the member has left", lambda: not platform.topology().is_whole)
                return False
            seen.add(pod["spec"]["nodeName"])
        return True

    platform.until("each member has a node of its own", one_each)
