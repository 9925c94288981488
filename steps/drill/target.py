"""What a drill is aimed at, and the settings of the cluster that decide how fast it recovers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import mysql.connector

from steps.drill.evidence import Target
from steps.drill.fault import Fault, Scene
from steps.drill.sampler import GroupSampler
from steps.drill.samples import pod_sample
from steps.errors import Refused, Temporary
from steps.mysql.connection import SERVER_PORT, query, session
from steps.mysql.topology import Member, Topology

SETTINGS = (
    "group_replication_member_expel_timeout",
    "group_replication_unreachable_majority_timeout",
    "group_replication_autorejoin_tries",
    "group_replication_consistency",
    "group_replication_exit_state_action",
    "group_replication_flow_control_mode",
    "group_replication_member_weight",
    "group_replication_paxos_single_leader",
    "innodb_flush_log_at_trx_commit",
    "sync_binlog",
    "replica_parallel_workers",
)
"""Variables of the primary that shape a failover."""


def primary_of(topology: Topology) -> Member:
    """Return the primary.

    Raises:
        Temporary: there is none.
    """
    if topology.primary is None or not topology.primary.address:
        raise Temporary(f"Cluster {topology.cluster} has no primary now: {topology.summary()}")
    return topology.primary


def choose(scene: Scene, fault: Fault, topology: Topology) -> Target:
    """Return the target of a fault as it is now, mostly the primary. Times in it are not yet on the drill's clock."""
    primary = primary_of(topology)
    member = fault.aim(topology) or primary
    pod = scene.kube.get("pods", member.pod)
    return Target(
        pod=member.pod,
        server=member.id,
        before=pod_sample(0.0, pod),
        also=tuple(
            Target(other.pod, other.id, pod_sample(0.0, scene.kube.get("pods", other.pod)))
            for other in fault.others(topology)
        ),
        outage=fault.outage,
        heir=fault.heir(scene, topology),
        grace_seconds=int(pod["spec"].get("terminationGracePeriodSeconds", 30)),
        process=fault.process(scene, topology),
        primary="" if member.id == primary.id else primary.id,
        router=fault.router(scene),
    )


def shortly_before(target: Target, sampler: GroupSampler) -> Target:
    """Return a target as it was last seen, with the times on the drill's clock: what the proof compares with."""
    before = sampler.pods.current[target.pod]
    started = [s.server_started for s in sampler.samples if s.pod == target.pod and s.server_started]
    router = target.router and sampler.pods.routers.get(target.router.pod)
    also = tuple(shortly_before(one, sampler) for one in target.also)
    return replace(target, before=before, server_started=started[-1] if started else None, router=router, also=also)


def require_possible(scene: Scene, fault: Fault, target: Target) -> None:
    """Raise Refused where a fault cannot be injected into its target."""
    if reasons := fault.obstacles(target) + fault.hindrances(scene, target):
        raise Refused.because(reasons)


def memory(target: Target) -> dict[str, Any]:
    """Return what an intent keeps of a target, from which a fault is undone."""
    kept: dict[str, Any] = {"primary": target.pod, "server": target.server}
    if target.router is not None:
        kept["router"] = target.router.pod
    if target.also:
        kept["also"] = [one.pod for one in target.also]
    if target.process is not None:
        kept |= {"uid": target.before.uid, "container": target.before.container, "process": asdict(target.process)}
    return kept


def read_settings(scene: Scene, primary: Member) -> dict[str, str]:
    """Return what is set on the primary, and the Router's metadata ttl where it publishes it."""
    names = ", ".join(f"'{name}'" for name in SETTINGS)
    table = "performance_schema.global_variables"
    sql = f"SELECT variable_name, variable_value FROM {table} WHERE variable_name IN ({names})"
    with session(primary.address, SERVER_PORT, scene.credentials, what=primary.pod) as connection:
        found = {str(row[0]): str(row[1]) for row in query(connection, sql)}
        if ttls := sorted(set(_published(connection, "ttl"))):
            found["router_ttl"] = ttls[-1]
    return found


def _published(connection: Any, key: str) -> Iterator[str]:
    """Yield values of a setting that Routers publish in the metadata; older ones publish none."""
    try:
        rows = query(connection, "SELECT attributes FROM mysql_innodb_cluster_metadata.v2_routers")
    except mysql.connector.Error:
        return
    for row in rows:
        pending = [json.loads(row[0])] if row[0] else []
        while pending:
            value = pending.pop()
            if isinstance(value, dict):
                if isinstance(value.get(key), (int, float, str)):
                    yield str(value[key])
                pending += value.values()


def read_versions(scene: Scene, primary: Member) -> dict[str, str]:
    """Return the versions of what takes part."""
    found = {"MySQL": primary.version, "Tiphys": version("tiphys")}
    try:
        with session(primary.address, SERVER_PORT, scene.credentials, what=primary.pod) as connection:
            rows = query(connection, "SELECT DISTINCT version FROM mysql_innodb_cluster_metadata.v2_routers")
            if routers := ", ".join(sorted(str(row[0]) for row in rows if row[0])):
                found["Router"] = routers
    except Exception:  # a version in the report is not worth a drill
        return found
    return found
