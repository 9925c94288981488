"""Which server may start the group, if any: the decision that must never be wrong.

Two bootstraps make two groups that both take writes. So a group is started only when it is certain that none
is running, by one server, chosen so that no transaction is lost; and what was chosen is written down first
(annotation `names.ANNOTATION_BOOTSTRAP`), so that an operator that is killed half-way and started again does
not choose another while the first is still at it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiphys.local.operator.member import Member

PATIENCE_SECONDS = 120.0
"""How long a reboot waits for servers whose process does not run, before a majority goes on without them."""


@dataclass(frozen=True)
class Intent:
    """A bootstrap that was decided on earlier.

    Attributes:
        pod: uid of the pod.
        server: server UUID.
    """

    pod: str
    server: str


@dataclass(frozen=True)
class Seed:
    """Start the group on this member."""

    member: Member


@dataclass(frozen=True)
class Wait:
    """Start no group now.

    Attributes:
        reason: why, for people.
        stuck: it will not become better by itself.
    """

    reason: str
    stuck: bool = False


def choose(
    members: Sequence[Member], expected: int, created: bool, intent: Intent | None, outage_seconds: float
) -> Seed | Wait:
    """Decide who starts the group.

    Args:
        members: the server pods with what they answered just now.
        expected: how many servers the cluster has.
        created: the group has run before.
        intent: a bootstrap decided on earlier and not known to have ended.
        outage_seconds: for how long no group has been seen.

    Returns:
        The seed, or why there is none.
    """
    for member in members:
        if member.view and member.view.in_group:
            return Wait(f"{member.name} is in a group")
        if member.view and member.view.starting:
            return Wait(f"{member.name} is starting group replication")
        if member.view and member.view.rejoining:
            return Wait(f"{member.name} looks for its group by itself; it gives up in a while")
    blocked = _blocked_by(intent, members)
    if blocked:
        return blocked
    candidates = [m for m in members if m.ordinal < expected and m.deleting is None and m.view and m.configured]
    if not created:
        first = next((m for m in candidates if m.ordinal == 0), None)
        if first is None:
            return Wait("ordinal 0 is not configured yet")
        if first.view and first.view.empty:
            return Seed(first)
        # It brings data of an earlier cluster: then all must speak first, as after an outage.
    missing = _missing(members, expected)
    silent = [name for name, running in missing if running]
    if silent:
        return Wait(f"{', '.join(silent)} runs but does not answer: it might hold the group or newer data")
    if missing:
        names = ", ".join(name for name, _ in missing)
        if outage_seconds < PATIENCE_SECONDS:
            return Wait(f"waiting for {names} to answer, at most {PATIENCE_SECONDS:.0f} s")
        if 2 * len(candidates) <= expected:
            return Wait(f"{names} missing: {len(candidates)} of {expected} servers are no majority", stuck=True)
    return _most_advanced(candidates, members)


def _blocked_by(intent: Intent | None, members: Sequence[Member]) -> Wait | None:
    """Return why an earlier bootstrap forbids a new one: its server may be running the group unseen."""
    if intent is None:
        return None
    member = next((m for m in members if m.uid == intent.pod), None)
    if member and member.running and member.view is None:
        return Wait(f"{member.name} was told to start the group and does not answer")
    return None


def _missing(members: Sequence[Member], expected: int) -> list[tuple[str, bool]]:
    """Return the servers that did not answer, and whether their process runs all the same."""
    by_ordinal = {member.ordinal: member for member in members if member.deleting is None}
    missing = []
    for ordinal in range(expected):
        member = by_ordinal.get(ordinal)
        if member is None:
            missing.append((f"ordinal {ordinal}", False))
        elif member.view is None or not member.configured:
            missing.append((member.name, member.running))
    # A pod that is going away can still run the old group.
    missing += [(m.name, True) for m in members if m.deleting is not None and m.running and m.view is None]
    return missing


def _most_advanced(candidates: Sequence[Member], members: Sequence[Member]) -> Seed | Wait:
    """Return the candidate that has every transaction that anyone has."""
    answered = [m for m in members if m.view]
    for candidate in sorted(candidates, key=lambda m: m.ordinal):
        if all(candidate.view.gtids.contains(other.view.gtids) for other in answered if candidate.view and other.view):
            return Seed(candidate)
    counts = ", ".join(f"{m.name} {len(m.view.gtids)}" for m in answered if m.view)
    return Wait(
        f"no server has all transactions of the others ({counts}): starting one would lose some. Decide which"
        " data to keep, and remove the claims of the others",
        stuck=True,
    )
