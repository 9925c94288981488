"""What to do next for a cluster: a pure function of its servers' answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tiphys.local.operator.diagnose import Diagnosis
from tiphys.local.operator.member import IN_GROUP, Member
from tiphys.local.operator.names import group_address

STOP_SECONDS = 10.0
"""How long a pod that is going is asked to leave its group before it is let go all the same."""


@dataclass(frozen=True)
class Join:
    """Bring a member (back) into the group.

    Attributes:
        member: who.
        rejoin: it has been in before.
    """

    member: Member
    rejoin: bool


@dataclass(frozen=True)
class Leave:
    """Have a member whose pod is going leave its group."""

    member: Member


@dataclass(frozen=True)
class Release:
    """Let a pod go: remove its finalizer."""

    member: Member


@dataclass(frozen=True)
class Remember:
    """Tell a member where its peers are, for the day when it is expelled and looks for them by itself.

    Attributes:
        member: who.
        seeds: value for group_replication_group_seeds.
    """

    member: Member
    seeds: str


@dataclass(frozen=True)
class Errant:
    """A server has transactions that the group has not; it must not join.

    Attributes:
        member: who.
        count: how many.
    """

    member: Member
    count: int


@dataclass(frozen=True)
class Lost:
    """A server believes to be in a group that has quorum without it and does not list it.

    Attributes:
        member: who.
    """

    member: Member


Action = Join | Leave | Release | Remember | Errant | Lost


def decide(members: Sequence[Member], diagnosis: Diagnosis, deleting: bool) -> list[Action]:
    """Return what to do for the members; what needs no group to be started (see `reboot`).

    Args:
        members: the server pods with what they answered.
        diagnosis: the cluster's.
        deleting: the InnoDBCluster is being deleted.
    """
    actions: list[Action] = []
    for member in members:
        if member.deleting is not None:
            action = _going(member, deleting)
        elif deleting:
            action = None
        else:
            action = _coming(member, diagnosis)
        if action:
            actions.append(action)
    return actions


def _going(member: Member, deleting: bool) -> Action | None:
    assert member.deleting is not None
    if not member.guarded:
        return None
    view = member.view
    leaving = view and (view.in_group or view.starting or view.state == "ERROR") and not view.rejoining
    # At the cluster's end nobody stays who would have to find out; a server leaves as it shuts down.
    if leaving and not deleting and member.deleting < STOP_SECONDS:
        return Leave(member)
    if view is None and member.running and not deleting and member.deleting < STOP_SECONDS / 2:
        return None  # perhaps it only did not answer this once
    return Release(member)


def seeds(addresses: Iterable[str]) -> str:
    """Return group_replication_group_seeds for members with these pod addresses."""
    return ",".join(sorted(group_address(address) for address in addresses))


def _coming(member: Member, diagnosis: Diagnosis) -> Action | None:
    group, view = diagnosis.group, member.view
    if group is None or view is None or not member.configured or view.starting or view.rejoining:
        return None
    listed = any(peer.uuid == view.uuid for peer in group.peers)
    if view.state in IN_GROUP:
        if not listed:
            return Lost(member)
        wanted = seeds(peer.address for peer in group.peers)
        return Remember(member, wanted) if view.state == "ONLINE" and view.seeds != wanted else None
    if listed:
        # The group has not yet noticed that this server's last life ended. A new one cannot join under the
        # same address until it has been expelled; asking earlier only makes the server wait.
        return None
    if not group.gtids.contains(view.gtids):
        beyond = len(group.gtids.union(view.gtids)) - len(group.gtids)
        return Errant(member, beyond)
    known = {item.uuid for item in group.metadata.instances} if group.metadata else set()
    return Join(member, rejoin=view.uuid in known)
