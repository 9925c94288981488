"""Bringing members back into a group that is not even half there: one at a time, and the way out where none gets in.

A group counts a newcomer before that one has taken part in anything. If it dies or gives up in between, a group of one
is left with a second member that no view shows, that does not answer and that nobody can vote out: the group takes no
write, calls itself ONLINE all the same, refuses to be given a quorum by force (error 4118), and refuses the newcomer's
next life as its own "old incarnation" (error 3092 after a minute). Seen on MySQL 9.7.4, after a drill that took two
members of three on a busy machine. It does not end by itself; the group has to be ended and started again.

Oracle's operator brings members back one after the other, too, which makes this rare; it has no way out of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tiphys.local.operator import group
from tiphys.local.operator.accounts import Account
from tiphys.local.operator.decide import Join, Lost
from tiphys.local.operator.diagnose import Diagnosis
from tiphys.local.operator.member import IN_GROUP, Member, View
from tiphys.local.operator.sql import Session, SqlError

FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
STUCK_SECONDS = 60.0
"""How long a group may refuse a member as its own old incarnation. It expels a dead one after some ten seconds."""
REFUSED_SECONDS = 15.0
"""How far from its end an attempt to join must have been refused last: MySQL asks the group again every six seconds."""
ERROR_SECONDS = 30.0
"""How long a server that says ERROR is left to itself. One that was expelled says so for a moment before its
auto-rejoin begins, and one whose attempts are over ends itself (exit_state_action). Told to stop meanwhile, it leaves
the group that it is just coming back to. Oracle's operator tells it nothing at all."""
LOST_SECONDS = 60.0
"""How long a server may believe to be in a group that does not list it, before it is told to leave: one that can reach
the others is told so by them within seconds, and then comes back by itself."""
GAP_SECONDS = 15.0
"""What was not seen for this long has begun anew when it is seen again."""
STUCK_TEXT = (
    "The group refuses a member as its own old incarnation, and can expel nobody: it is ended, and started again"
)

_OLD_INCARNATION = """
SELECT COUNT(*) FROM performance_schema.error_log
WHERE data LIKE '%%Old incarnation found%%' AND logged > NOW(6) - INTERVAL %s SECOND
"""


@dataclass
class _Failed:
    """What a member's attempts to join have come to.

    Attributes:
        times: how many failed in a row.
        until: when the next may begin.
        refused_since: when the first of them began that the group refused for an old incarnation.
    """

    times: int = 0
    until: float = 0.0
    refused_since: float | None = None


class Rejoins:
    """Remembers who could not join one cluster's group.

    Args:
        now: a monotonic clock, seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._failed: dict[str, _Failed] = {}
        self._lasting: dict[str, tuple[float, float]] = {}

    def may_begin(self, join: Join, diagnosis: Diagnosis, expected: int, busy: bool) -> bool:
        """Whether a member may try to join now.

        Args:
            join: who.
            diagnosis: the cluster's.
            expected: how many servers the cluster has.
            busy: whether something is being done about a member.
        """
        failed = self._failed.get(join.member.uid)
        if failed and self._now() < failed.until:
            return False
        if join.member.view and join.member.view.state == "ERROR" and not self._lasts(join.member, ERROR_SECONDS):
            return False
        # Of two that fail in a group of one, nobody is left to vote; a new cluster's members can only fail once.
        return not (busy and join.rejoin and _is_weak(diagnosis, expected))

    def may_leave(self, lost: Lost) -> bool:
        """Whether a server that the group does not list is told by now to leave what it believes to be in."""
        return self._lasts(lost.member, LOST_SECONDS)

    def _lasts(self, member: Member, seconds: float) -> bool:
        """Note that a server is in this state now, and return whether it has been for so long."""
        key, now = f"{member.uid} {member.view.state if member.view else ''}", self._now()
        first, last = self._lasting.get(key, (now, now))
        if now - last > GAP_SECONDS:
            first = now
        self._lasting[key] = (first, now)
        return now - first >= seconds

    def join(self, member: Member, admin: Account, recovery: Account, peers: Sequence[str], clone: bool) -> None:
        """Have a member join the group of `peers` (`group.join`), and remember how that ended. Blocking.

        Raises:
            SqlError: it refused, or the group did not answer.
        """
        began = self._now()
        try:
            group.join(member.address, admin, recovery, peers, clone)
        except SqlError:
            took = self._now() - began
            # One that was refused at first, and then failed for another reason, says nothing against the group.
            lately = min(took, REFUSED_SECONDS)
            self.note_failure(member.uid, took, any(names_old_incarnation(peer, admin, lately) for peer in peers))
            raise
        self._failed.pop(member.uid, None)

    def note_failure(self, uid: str, took: float, refused: bool) -> None:
        """Note that a member could not join.

        Args:
            uid: of its pod.
            took: seconds that its attempt took.
            refused: whether the group named an old incarnation up to its end.
        """
        failed = self._failed.setdefault(uid, _Failed())
        failed.times += 1
        failed.until = self._now() + min(FIRST_PAUSE * 2.0 ** (failed.times - 1), LONGEST_PAUSE)
        if not refused:
            failed.refused_since = None
        elif failed.refused_since is None:
            failed.refused_since = self._now() - took

    def is_stuck(self, members: Sequence[Member], diagnosis: Diagnosis, expected: int) -> bool:
        """Whether the group must be ended and started again, which loses nothing now.

        Only where it is at most half of the cluster, has refused a member for `STUCK_SECONDS` though it does not list
        it, every server answers, and the group has every transaction that any of them has: so who starts it again has
        all that was ever acknowledged.
        """
        seen = diagnosis.group
        if seen is None or not _is_weak(diagnosis, expected):
            return False
        if sum(member.ordinal < expected and member.deleting is None for member in members) < expected:
            return False
        if not all(member.view and seen.gtids.contains(member.view.gtids) for member in members):
            return False
        listed = {peer.uuid for peer in seen.peers}
        outside = [member for member in members if member.view and member.view.uuid not in listed]
        since = [failed.refused_since for member in outside if (failed := self._failed.get(member.uid))]
        return any(one is not None and self._now() - one >= STUCK_SECONDS for one in since)

    def end_group(self, seen: View, admin: Account) -> None:
        """End a group that `is_stuck`, so that it is started again (see `reboot`). Blocking, for a minute and more.

        Writes that wait in it get an error: none of them was acknowledged, and none is there afterwards.

        Args:
            seen: the group's view. Of those that it cannot reach nobody is left at that address.
            admin: the operator's account.

        Raises:
            SqlError: a member did not answer.
        """
        for peer in seen.peers:
            if peer.state in IN_GROUP:
                group.leave(peer.address, admin, group.LONGEST_LEAVE)
        self._failed.clear()


def _is_weak(diagnosis: Diagnosis, expected: int) -> bool:
    seen = diagnosis.group
    return seen is not None and 2 * sum(peer.state == "ONLINE" for peer in seen.peers) <= expected


def names_old_incarnation(address: str, admin: Account, seconds: float) -> bool:
    """Whether a server's group has refused somebody within the last `seconds` as the old incarnation of a member."""
    try:
        with Session(admin.user, admin.password, address=address) as session:
            return bool(session.rows(_OLD_INCARNATION, (seconds,))[0][0])
    except SqlError:
        return False
