"""What the metadata should say: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
