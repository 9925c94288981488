"""Forcing a quorum where a group has lost it: what Oracle's operator does, its risk included.

On NO_QUORUM (`repair_cluster` in mysqloperator/controller/innodbcluster/cluster_controller.py, 9.1) it forces one from
the largest partition that is left, and never compares transactions: what the others alone had is lost to the group, and
they cannot join it again by themselves. It gets there when a server of the cluster was started again
(`on_pod_restarted`), and not while the state of any is unknown (NO_QUORUM_UNCERTAIN).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from tiphys.local.operator.accounts import Account
from tiphys.local.operator.decide import seeds
from tiphys.local.operator.diagnose import Diagnosis
from tiphys.local.operator.group import NOBODY_FORCED, START_SECONDS, GroupError
from tiphys.local.operator.member import IN_GROUP, Member
from tiphys.local.operator.sql import Session, SqlError

CLEAR_SECONDS = 30.0


def choose_survivor(members: Sequence[Member], diagnosis: Diagnosis) -> Member | None:
    """Return the member from which to force the quorum, None where that is not to be done now.

    Args:
        members: the server pods with what they answered just now.
        diagnosis: the cluster's.
    """
    if diagnosis.status != "NO_QUORUM":
        return None
    back = any(m.view and not m.view.in_group and not m.view.starting and not m.view.rejoining for m in members)
    online = [m for m in members if m.view and m.view.state == "ONLINE" and m.deleting is None]
    if not back or not online:
        return None
    return max(online, key=lambda m: (_reached(m), -m.ordinal))


def _reached(member: Member) -> int:
    return sum(peer.state in IN_GROUP for peer in member.view.peers) if member.view else 0


def force_quorum(address: str, admin: Account) -> None:
    """Make a group of the members that this server still reaches. Only `choose_survivor` may say so.

    Raises:
        GroupError: the server has a quorum, or is in no group.
        SqlError: it refused, or did not answer.
    """
    with Session(admin.user, admin.password, address=address, read_seconds=START_SECONDS) as session:
        rows = session.rows(
            "SELECT member_host, member_state, member_id = @@server_uuid"
            " FROM performance_schema.replication_group_members WHERE member_id <> ''"
        )
        reached = [str(host) for host, state, _ in rows if state in IN_GROUP]
        own = next((str(state) for _, state, mine in rows if mine), "OFFLINE")
        if own != "ONLINE" or 2 * len(reached) > len(rows):
            raise GroupError(f"{address} is {own} and reaches {len(reached)} of {len(rows)}: no quorum to be forced")
        try:
            session.rows("SET GLOBAL group_replication_force_members=%s", (seeds(reached),))
        finally:
            _clear(address, admin)


def _clear(address: str, admin: Account) -> None:
    """Take the forced members away again: a server that still has some refuses its next START GROUP_REPLICATION.

    Asked more than once, and in a session of its own: while the server is told anything else of its group it refuses,
    and the forcing may have outlasted its session.

    Raises:
        SqlError: it refused to the end.
    """
    deadline = time.monotonic() + CLEAR_SECONDS
    while True:
        try:
            with Session(admin.user, admin.password, address=address) as session:
                session.run(NOBODY_FORCED)
                return
        except SqlError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.5)


def stuck_text(status: str) -> str:
    """Say what stands in the way of a repair, for people; empty where nothing does."""
    if status.startswith("SPLIT_BRAIN"):
        return f"Cluster is in state {status} and is not repaired by itself: decide which group's data to keep"
    if status == "NO_QUORUM_UNCERTAIN":
        return "NO_QUORUM_UNCERTAIN: waiting for the servers that do not answer, which might hold newer data"
    return ""
