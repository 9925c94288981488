"""From the servers' answers to the cluster's status: a pure function.

The rules are those of Oracle's operator (mysqloperator/controller/diagnose.py, 9.1): who has quorum, who is
outside, who did not answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiphys.local.operator.member import IN_GROUP, Member, View


@dataclass(frozen=True)
class Diagnosis:
    """How a cluster is.

    Attributes:
        status: the word for ``status.cluster.status``; empty while there is quorum and no primary (it died and
            the group has not elected another yet): then nothing can be said, and what was said stays.
        group: the view of the one partition that has quorum and a primary, as its primary sees it (or, where
            the primary does not answer, as another member does); None if there is none, or more than one.
        primary: server UUID of its primary.
        online: names of the pods that are ONLINE in it.
    """

    status: str
    group: View | None = None
    primary: str | None = None
    online: tuple[str, ...] = ()


def _primary(view: View) -> str | None:
    found = [peer.uuid for peer in view.peers if peer.role == "PRIMARY" and peer.state == "ONLINE"]
    return found[0] if len(found) == 1 else None


def diagnose(members: Sequence[Member], created: bool, deleting: bool) -> Diagnosis:
    """Tell a cluster's status.

    Args:
        members: its server pods with what they answered.
        created: its group has been bootstrapped once.
        deleting: the InnoDBCluster is being deleted.
    """
    views = {member.name: member.view for member in members if member.view is not None}
    strong = [view for view in views.values() if view.has_quorum]
    primaries = {peer.uuid for view in strong for peer in [view.own] if peer and peer.role == "PRIMARY"}
    if not primaries:  # the primary itself does not answer, but the others may still have it
        primaries = {uuid for view in strong if (uuid := _primary(view))}
    group = _group(strong, primaries) if len(primaries) == 1 else None
    states = {peer.uuid: peer.state for peer in group.peers} if group else {}
    online = tuple(
        sorted(name for name, view in views.items() if group and view.in_group and states.get(view.uuid) == "ONLINE")
    )
    primary = next(iter(primaries)) if group else None
    if deleting:
        return Diagnosis("FINALIZING", group, primary, online)
    if not created:
        return Diagnosis("INITIALIZING", group, primary, online)
    if strong and not primaries:
        return Diagnosis("")
    return Diagnosis(_status(members, group, len(primaries)), group, primary, online)


def _group(strong: Sequence[View], primaries: set[str]) -> View | None:
    uuid = next(iter(primaries))
    having = [view for view in strong if any(p.uuid == uuid and p.state in IN_GROUP for p in view.peers)]
    # The primary's own view first; else the one that sees most.
    having.sort(key=lambda view: (view.uuid != uuid, -sum(peer.state in IN_GROUP for peer in view.peers), view.uuid))
    return having[0] if having else None


def _status(members: Sequence[Member], group: View | None, primaries: int) -> str:
    states = {peer.uuid: peer.state for peer in group.peers} if group else {}
    addresses = {peer.address for peer in group.peers} if group else set()
    known = {item.uuid for item in group.metadata.instances} if group and group.metadata else set()
    silent = offline = believers = 0
    for member in members:
        view = member.view
        if view is None:
            # Without its process it is surely out; with it, nobody knows, unless it had said goodbye.
            going = member.deleting is not None and group is not None and member.address not in addresses
            silent += member.running and member.configured and not going
            offline += not member.running and member.configured and not going
        elif view.in_group:
            believers += states.get(view.uuid) not in IN_GROUP
        elif group is None or view.uuid in known or view.uuid in states:
            offline += 1  # a member that is out; one that never was in does not count
    if primaries > 1:
        return _uncertain("SPLIT_BRAIN", silent)
    if group:
        return "ONLINE_UNCERTAIN" if silent else "ONLINE_PARTIAL" if offline or believers else "ONLINE"
    if believers:
        return _uncertain("NO_QUORUM", silent)
    if offline:
        return _uncertain("OFFLINE", silent)
    return "UNKNOWN"


def _uncertain(status: str, silent: int) -> str:
    return f"{status}_UNCERTAIN" if silent else status
