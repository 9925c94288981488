"""Who becomes the primary, and what speaks against it. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.drill.intent import Intent, another_drill
from steps.errors import BadParameters, Refused
from steps.mysql.restart_plan import heir
from steps.mysql.topology import Member, Topology

RULE = "the highest weight, then the least to apply, of those that are fit"
"""How the best member is chosen."""
IN_STEP = 100
"""A member with more transactions than this left to apply takes a while until it may write."""


@dataclass(frozen=True)
class Candidate:
    """A member that could become the primary.

    Attributes:
        member: as the majority sees it.
        weight: its ``group_replication_member_weight``; None where it did not answer.
        queue: transactions that it has received and not applied.
        node: on which its pod runs.
        obstacles: why it had better not be the primary, in words for people.
    """

    member: Member
    weight: int | None = None
    queue: int = 0
    node: str = ""
    obstacles: tuple[str, ...] = ()

    @property
    def pod(self) -> str:
        """Its pod, or what the server calls itself where no pod fits."""
        return self.member.pod or self.member.host

    def __str__(self) -> str:
        """Say what counts for and against it."""
        told = f"weight {'unknown' if self.weight is None else self.weight}, {self.queue} to apply"
        told += f", node {self.node}" if self.node else ""
        return "; ".join([told, *self.obstacles])


@dataclass(frozen=True)
class Choice:
    """A switch that may be made.

    Attributes:
        old: the primary.
        new: who becomes it.
        why: the reason, for people.
        seen: a line for each member that could have been chosen, for people.
        warnings: what the person who asked should know, for people.
    """

    old: Member
    new: Member
    why: str
    seen: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_needed(self) -> bool:
        """Whether it is not the primary already."""
        return self.old.id != self.new.id


def refusals(topology: Topology, noted: Intent | None, workflow: str, routers_ready: int | None) -> list[str]:
    """Return every reason not to switch now, in sentences that end with what to do.

    Args:
        topology: the group.
        noted: the note of a drill or runbook on the cluster.
        workflow: who asks.
        routers_ready: ready Routers where clients are to measure; None where they are not.
    """
    found = []
    primaries = [member for member in topology.members if member.role == "PRIMARY"]
    majority = topology.expected // 2 + 1
    if noted is not None and noted.workflow != workflow:
        found.append(another_drill(topology.cluster, noted))
    if len(primaries) > 1:
        names = ", ".join(member.pod or member.host for member in primaries)
        found.append(
            f"the group is in multi-primary mode ({names} are primaries), in which every member takes writes and there "
            "is nothing to switch: make it single-primary first"
        )
    elif topology.primary is None:
        silent = "; ".join(f"{pod}: {why}" for pod, why in topology.unreachable.items())
        found.append(
            f"there is no primary to switch from ({topology.summary()}{'; ' + silent if silent else ''}): "
            "run check-cluster"
        )
    elif topology.online < majority:
        found.append(
            f"the group is not whole enough ({topology.summary()}), expected at least {majority} of "
            f"{topology.expected} ONLINE: run check-cluster, and bring the others back first"
        )
    if routers_ready == 0:
        found.append(
            "no Router is ready, so nothing can be measured through one: look at theirs, or give measure=false"
        )
    return found


def choose(topology: Topology, candidates: Sequence[Candidate], to: str | None) -> Choice:
    """Return the switch that is asked for.

    Args:
        topology: the group, with a primary.
        candidates: every member but the primary.
        to: pod that is to be the primary; None for the best one.

    Raises:
        BadParameters: no member runs in `to`.
        Refused: `to` is not ONLINE, or no member is fit.
    """
    old = topology.primary
    assert old is not None  # refusals() has seen to it
    if to is not None and to == old.pod:
        return Choice(old, old, f"{to} is the primary already")
    chosen = _named(topology, candidates, to) if to is not None else _best(candidates)
    lacking = topology.expected - topology.online
    warnings = [f"{lacking} of {topology.expected} members are not ONLINE: run check-cluster"] if lacking else []
    warnings += [f"{chosen.pod}: {obstacle}" for obstacle in chosen.obstacles]
    if chosen.queue > IN_STEP:
        late = f"it has {chosen.queue} transactions left to apply, and no client can write until it has applied them"
        warnings.append(f"{chosen.pod}: {late}")
    seen = [f"{one.pod}: {one}{', chosen' if one is chosen else ''}" for one in candidates]
    return Choice(old, chosen.member, "it was asked for" if to is not None else RULE, tuple(seen), tuple(warnings))


def _named(topology: Topology, candidates: Sequence[Candidate], to: str) -> Candidate:
    chosen = next((one for one in candidates if one.pod == to), None)
    if chosen is None and (to in topology.views or to in topology.unreachable):
        view = topology.views.get(to)
        own = next((one.state for one in view.members if one.id == view.own_id), "in no state") if view else ""
        says = f"it says that it is {own}" if own else f"it gives no answer: {topology.unreachable[to]}"
        raise Refused(
            f"Refused, nothing was changed: {to} is not in the group ({says}), and only an ONLINE member can be "
            f"primary. The group: {topology.summary()}. Run check-cluster, or name another."
        )
    if chosen is None:
        known = ", ".join(f"{member.pod or member.host} ({member.state})" for member in topology.members)
        raise BadParameters(f"No member of {topology.cluster} runs in pod {to!r}; the group has: {known}.")
    if chosen.member.state != "ONLINE":
        fit = ", ".join(one.pod for one in candidates if one.member.state == "ONLINE")
        raise Refused(
            f"Refused, nothing was changed: {to} is {chosen.member.state}, and only an ONLINE member can be primary. "
            f"ONLINE now: {fit or 'none but the primary'}. Wait until it has joined, or name another."
        )
    return chosen


def _best(candidates: Sequence[Candidate]) -> Candidate:
    fit = [one for one in candidates if one.member.state == "ONLINE" and not one.obstacles]
    if not fit:
        told = "; ".join(f"{one.pod} ({one.member.state}): {one}" for one in candidates)
        raise Refused(
            f"Refused, nothing was changed: no member is fit to be the primary. {told or 'There is no other member'}. "
            "Mend one of them, or name one that is ONLINE (to=POD) if that is wanted all the same."
        )
    in_step = [one for one in fit if one.queue <= IN_STEP]
    # Where none is, the wait weighs more than any weight.
    fit = in_step or [min(fit, key=lambda one: one.queue)]
    pod = heir(
        [one.member for one in fit],
        {one.member.pod: one.weight for one in fit if one.weight is not None},
        {one.member.id: one.queue for one in fit},
    )
    return next(one for one in fit if one.member.pod == pod)
