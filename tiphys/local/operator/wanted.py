"""What the metadata should say: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tiphys.local.operator.diagnose import Diagnosis
from tiphys.local.operator.member import Member
from tiphys.local.operator.metadata import Contents, Instance, RouterInstance
from tiphys.local.operator.router_start import router_id


def wanted_metadata(
    seen: Contents, members: Sequence[Member], diagnosis: Diagnosis, router_pods: Iterable[Mapping[str, Any]]
) -> Contents:
    """Return what the metadata should say now.

    A server is in it while it is in the group, and stays while its pod does; one whose pod is going is out as
    soon as it has left the group. A server that does not answer keeps the line it has.
    """
    states = {peer.uuid: peer.state for peer in diagnosis.group.peers} if diagnosis.group else {}
    known = {item.uuid: item for item in seen.instances}
    by_label = {item.label: item for item in seen.instances}
    instances = set()
    for member in members:
        old = known.get(member.view.uuid) if member.view else by_label.get(member.name)
        if member.view and member.view.uuid in states:
            instances.add(Instance(member.view.uuid, member.address, member.name))
        elif old and (member.deleting is None or old.uuid in states):
            instances.add(Instance(old.uuid, member.address, member.name) if member.view else old)
    routers = {
        RouterInstance(router_id(pod["metadata"]["uid"]), pod["metadata"]["name"], pod["status"]["podIP"])
        for pod in router_pods
        if (pod.get("status") or {}).get("podIP") and not pod["metadata"].get("deletionTimestamp")
    }
    return Contents(seen.cluster, frozenset(instances), frozenset(routers))


LOST_SECONDS = 15.0
"""A Router that sees its cluster writes so every 5 s (ten times its ttl)."""


def lost_routers(
    router_pods: Iterable[Mapping[str, Any]], check_ins: Mapping[int, float], rebooted_at: float, now: float
) -> list[str]:
    """Return the Router pods that have not found the cluster since its group was started again.

    A Router knows servers by address. After an outage in which every server got a new one it looks for the old
    ones for ever; in a real cluster it would know them by names, which stay. It must be started anew.

    Args:
        router_pods: the Routers' pods.
        check_ins: when each was last heard of, by its number.
        rebooted_at: when the group was started.
        now: the time.
    """
    if now - rebooted_at < LOST_SECONDS:
        return []
    lost = []
    for pod in router_pods:
        meta = pod["metadata"]
        begun = datetime.strptime(meta["creationTimestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
        known = check_ins.get(router_id(meta["uid"]))
        if begun < rebooted_at and not meta.get("deletionTimestamp") and known is not None and known < rebooted_at:
            lost.append(str(meta["name"]))
    return lost
