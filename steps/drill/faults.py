"""The faults a drill can inject: small objects in a registry, each with its guard, its act and its proof.

A fault that lasts (a frozen process, a broken network) ends in `stop`; what it leaves changed is put back by `undo`
from what was written down before.
"""

from __future__ import annotations

from typing import Any

from steps.drill.evidence import (
    Evidence,
    Proof,
    Target,
    first_effect,
    left_group,
    new_primary,
    other_pod,
    other_process,
)
from steps.drill.fault import Fault, Scene
from steps.drill.freeze import Freeze
from steps.drill.outage_faults import FullOutage, QuorumLoss
from steps.drill.partition import Partition
from steps.drill.router_kill import RouterKill
from steps.drill.server_signal import KILL, signal_server
from steps.mysql.connection import SERVER_PORT, query, session
from steps.mysql.topology import Topology


class Switchover(Fault):
    """A planned switch of the primary: what a maintenance costs the clients."""

    name = "switchover"
    event = "the primary handed over to another member"
    removes_member = False

    def describe(self, target: Target) -> str:
        """Return what will be done."""
        return f"group_replication_set_as_primary({target.heir!r}) on {target.pod}; no server stops"

    def heir(self, scene: Scene, topology: Topology) -> str:
        """Choose the ONLINE secondary with the least left to apply, then by pod name."""
        assert topology.primary is not None
        sql = (
            "SELECT member_id, count_transactions_remote_in_applier_queue"
            " FROM performance_schema.replication_group_member_stats"
        )
        with session(topology.primary.address, SERVER_PORT, scene.credentials, what=topology.primary.pod) as primary:
            queued = {str(row[0]): int(row[1]) for row in query(primary, sql)}
        chosen = min(topology.secondaries, key=lambda member: (queued.get(member.id, 0), member.pod))
        return chosen.id

    def inject(self, scene: Scene, target: Target) -> None:
        """Ask the primary to hand over; it lets running transactions finish for up to 20 s."""
        options: dict[str, Any] = {"what": f"primary {target.pod}", "read_timeout": 60}
        with session(target.before.address, SERVER_PORT, scene.credentials, **options) as primary:
            query(primary, "SELECT group_replication_set_as_primary(%s, 20)", (target.heir,))

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by the role: the majority has another primary, and the old one is no longer it."""
        seen = new_primary(target, evidence)
        if seen is None or seen.topology.primary is None:
            return None
        now = seen.topology.primary.pod or seen.topology.primary.id
        return Proof(seen.at, seen.at, f"the role moved: primary was {target.pod}, now {now}")


class DeletePod(Fault):
    """The primary's pod is deleted in good order: what an eviction or a node's drain costs the clients."""

    name = "delete-pod"
    event = "the primary's pod was deleted"

    def describe(self, target: Target) -> str:
        """Return what will be done."""
        return f"delete pod {target.pod} through the API with its own grace period of {target.grace_seconds} s"

    def landing_seconds(self, target: Target) -> float:
        """Return the pod's grace period and some more: the UID changes only when it is over."""
        return target.grace_seconds + 30.0

    def inject(self, scene: Scene, target: Target) -> None:
        """Delete this very pod, not one that has taken its name since."""
        scene.kube.delete("pods", target.pod, uid=target.before.uid)

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by the pod's UID, and by the member having left the group."""
        return _both(target, evidence, other_pod(target, evidence))


class Crash(Fault):
    """mysqld is killed at once: what a dying process, or the out-of-memory killer, costs the clients."""

    name = "crash"
    event = "the primary's mysqld was killed"

    def describe(self, target: Target) -> str:
        """Return what will be done."""
        return f"kill -9 of mysqld in container mysql of {target.pod} (SIGABRT where it is process 1)"

    def inject(self, scene: Scene, target: Target) -> None:
        """Kill the server's process from within its container."""
        signal_server(scene, target, KILL)

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by another process, and by the member having left the group."""
        return _both(target, evidence, other_process(target, evidence))


class RestartContainer(Fault):
    """mysqld is told to shut down and its container starts again: what a restart of the server costs the clients."""

    name = "restart-container"
    event = "the primary's container was restarted"

    def describe(self, target: Target) -> str:
        """Return what will be done."""
        return f"kill -15 of mysqld in container mysql of {target.pod}: it shuts down, and its container starts again"

    def landing_seconds(self, target: Target) -> float:
        """Return the pod's grace period and some more: a server may take as long to shut down."""
        return target.grace_seconds + 30.0

    def inject(self, scene: Scene, target: Target) -> None:
        """Tell the server to end; it waits for SIGTERM, and so gets it as process 1 of a container too."""
        signal_server(scene, target, 'kill -15 "$pid"')

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by another process, and by the member having left the group."""
        return _both(target, evidence, other_process(target, evidence))


def _both(target: Target, evidence: Evidence, changed: Proof | None) -> Proof | None:
    """Add to a change of pod or process that the member left the group: the one without the other is no failover."""
    left = left_group(target, evidence)
    if changed is None or left is None:
        return None
    effect = first_effect(target, evidence)
    at = min(moment for moment in (effect, left, changed.at) if moment is not None)
    return Proof(at, max(left, changed.seen_at), f"{changed.text}; the member left the group")


FAULTS: dict[str, Fault] = {
    fault.name: fault
    for fault in (
        Switchover(),
        DeletePod(),
        Crash(),
        RestartContainer(),
        Freeze(),
        Partition(),
        RouterKill(),
        QuorumLoss(),
        FullOutage(),
    )
}
"""Every fault by its name."""


def fault_of(name: str, *, survivor: str = "primary") -> Fault:
    """Return a fault as it was asked for.

    Args:
        name: of the fault.
        survivor: who is kept where quorum is lost.
    """
    return QuorumLoss(survivor) if name == QuorumLoss.name else FAULTS[name]
