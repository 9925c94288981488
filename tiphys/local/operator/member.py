"""A server pod and what its server says of itself: the values that every decision is made from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tiphys.local.operator import names
from tiphys.local.operator.gtid import GtidSet
from tiphys.local.operator.metadata import Contents

IN_GROUP = ("ONLINE", "RECOVERING")


@dataclass(frozen=True)
class Peer:
    """One line of ``performance_schema.replication_group_members``.

    Attributes:
        uuid: the member's server UUID.
        address: its report_host, the pod's address.
        state: ONLINE, RECOVERING, UNREACHABLE, OFFLINE or ERROR.
        role: PRIMARY, SECONDARY or empty.
    """

    uuid: str
    address: str
    state: str
    role: str


@dataclass(frozen=True)
class View:
    """What one server answered.

    Attributes:
        uuid: its server UUID.
        version: its version.
        gtids: transactions that it has executed or at least received.
        empty: whether it has never executed a transaction.
        peers: the group as it sees it; a server outside of any group sees itself alone, OFFLINE.
        view_id: id of the group's view, empty outside.
        starting: it is just now executing START GROUP_REPLICATION.
        rejoining: it was expelled and tries to come back by itself (auto-rejoin). MySQL 9.7 hangs when it is
            told to stop group replication then.
        seeds: where it looks for its group then (@@group_replication_group_seeds).
        metadata: its copy of the metadata; None where there is none.
        check_ins: when each Router (by number) last wrote that it is there, seconds since the epoch.
    """

    uuid: str
    version: str = ""
    gtids: GtidSet = field(default_factory=lambda: GtidSet({}))
    empty: bool = False
    peers: tuple[Peer, ...] = ()
    view_id: str = ""
    starting: bool = False
    rejoining: bool = False
    seeds: str = ""
    metadata: Contents | None = None
    check_ins: Mapping[int, float] = field(default_factory=dict)

    @property
    def own(self) -> Peer | None:
        """Its own line."""
        return next((peer for peer in self.peers if peer.uuid == self.uuid), None)

    @property
    def state(self) -> str:
        """Its state as it sees itself."""
        return self.own.state if self.own else "OFFLINE"

    @property
    def in_group(self) -> bool:
        """Whether it believes to be in a group."""
        return self.state in IN_GROUP

    @property
    def has_quorum(self) -> bool:
        """Whether it sees more than half of its group."""
        return self.in_group and 2 * sum(peer.state in IN_GROUP for peer in self.peers) > len(self.peers)


@dataclass(frozen=True)
class Member:
    """A server pod.

    Attributes:
        name: the pod's name.
        uid: the pod's uid.
        ordinal: its number in the StatefulSet.
        address: its address; empty before it has one.
        configured: its sidecar has made the server's accounts.
        running: the kubelet says that mysqld's process runs.
        deleting: seconds since its deletion was asked for; None if it was not.
        guarded: it has the finalizer that makes it wait until it has left its group.
        view: what the server answered; None if it did not.
    """

    name: str
    uid: str
    ordinal: int
    address: str = ""
    configured: bool = False
    running: bool = False
    deleting: float | None = None
    guarded: bool = False
    view: View | None = None


def condition(pod: Mapping[str, Any], kind: str) -> bool:
    """Whether a condition of a pod is true."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(item["type"] == kind and item["status"] == "True" for item in conditions)


def going_since(pod: Mapping[str, Any]) -> float | None:
    """Return the seconds since a pod's deletion was asked for; None where it was not.

    A pod's deletionTimestamp lies its grace period ahead of that moment.
    """
    meta = pod["metadata"]
    if not (timestamp := meta.get("deletionTimestamp")):
        return None
    due = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    grace = float(meta.get("deletionGracePeriodSeconds") or 0)
    return max(0.0, time.time() - (due - grace))


def from_pod(pod: Mapping[str, Any], view: View | None, deleting: float | None) -> Member:
    """Describe a server pod."""
    meta, status = pod["metadata"], pod.get("status") or {}
    containers = {item["name"]: item for item in status.get("containerStatuses") or []}
    state = (containers.get("mysql") or {}).get("state") or {}
    return Member(
        name=meta["name"],
        uid=meta["uid"],
        ordinal=int(meta["name"].rpartition("-")[2]),
        address=status.get("podIP") or "",
        configured=condition(pod, names.GATE_CONFIGURED),
        running="running" in state,
        deleting=deleting,
        guarded=names.FINALIZER_MEMBER in (meta.get("finalizers") or []),
        view=view,
    )
