"""From samples to the story of a failover: when each thing happened, and how long each phase took. Pure functions.

A moment is when something was first *seen*: members are looked at every 100 ms, pods every 250 ms, clients every few
milliseconds. Where clients prove that something had happened before the samples show it (a write acknowledged by the
new primary proves an election), the earlier time counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from steps.drill.attempts import Attempt
from steps.drill.evidence import Evidence, Proof, Target, new_primary, quorum_lost, router_back
from steps.drill.samples import Observed

UNSEEN_SECONDS = 1.0
"""Without any majority view for longer than this, a member's state is drawn as unknown."""

NEVER_LOST = "every member was ONLINE all the time"
"""The note of moment `whole` where it has no time because there was nothing to restore."""


@dataclass(frozen=True)
class Moment:
    """Something that happened in a failover.

    Attributes:
        key: one of injected, landed, no-quorum (only of an outage), unreachable, left, elected, routed, first-write,
            released (only of a fault that lasts), router-back (only where a Router was hit), whole.
        title: for people.
        at: when, on the drill's clock; None where it was not seen.
        note: more about it.
    """

    key: str
    title: str
    at: float | None
    note: str = ""


@dataclass(frozen=True)
class Phase:
    """The time from one moment to the next.

    Attributes:
        key: key of the moment that ends it.
        title: what happens in it, for people.
        start: on the drill's clock.
        end: on the drill's clock.
    """

    key: str
    title: str
    start: float
    end: float

    @property
    def length(self) -> float:
        """Seconds."""
        return self.end - self.start


@dataclass(frozen=True)
class Band:
    """A stretch in which one member had one state in the majority's view.

    Attributes:
        state: PRIMARY, SECONDARY (both ONLINE), RECOVERING, UNREACHABLE, OFFLINE, ERROR, ABSENT, or UNKNOWN where no
            majority had a view.
        start: on the drill's clock.
        end: on the drill's clock.
    """

    state: str
    start: float
    end: float


@dataclass(frozen=True)
class Timeline:
    """A failover's moments and the phases between those that were seen, in order of time."""

    moments: tuple[Moment, ...]
    phases: tuple[Phase, ...]

    def at(self, key: str) -> float | None:
        """Return when a moment was, None where it was not seen."""
        return next((moment.at for moment in self.moments if moment.key == key), None)

    def phase(self, key: str) -> Phase | None:
        """Return the phase that ends with a moment, None where it was not seen."""
        return next((phase for phase in self.phases if phase.key == key), None)


PHASE_TITLES = {
    "landed": "Until the fault takes effect",
    "no-quorum": "Until the group knows that it has no quorum",
    "unreachable": "Until the others notice",
    "left": "Until the group lets the member go",
    "elected": "Until a new primary is elected",
    "routed": "Until the Router leads to it",
    "first-write": "Until the first write succeeds",
    "released": "Until the fault is ended",
    "router-back": "Until the Router is back",
    "whole": "Until full redundancy",
}
"""What happens before each moment."""

_ORDER = ("injected", *PHASE_TITLES)


def timeline(
    target: Target,
    evidence: Evidence,
    proof: Proof | None,
    attempts: Iterable[Sequence[Attempt]],
    released: float | None = None,
) -> Timeline:
    """Return the story of one failover.

    Args:
        target: what the fault was aimed at.
        evidence: everything sampled.
        proof: that the fault landed, or None.
        attempts: of each writing client.
        released: when a fault that lasts was ended.
    """
    injected = evidence.injected_at
    after = [seen for seen in evidence.observed if seen.at > injected and seen.topology.members]
    unreachable, left = None, None
    if not target.outage:  # nobody is there who could see it, or let the member go
        unreachable = _first(after, target.server, {"UNREACHABLE"})
        left = _first(after, target.server, {"ABSENT", "OFFLINE", "ERROR"})
    elected_seen = new_primary(target, evidence)
    elected = elected_seen.at if elected_seen else None
    heir = elected_seen.topology.primary if elected_seen else None
    lost = quorum_lost(target, evidence) if target.outage else None
    routed, first_write = _clients(attempts, lost.at if lost else injected, target, heir.id if heir else "")
    # Clients may prove sooner than the samples that an election is over. After an outage only a write does: the Router
    # may lead to an old primary that cannot decide anything yet.
    proven = [moment for moment in (elected, None if target.outage else routed, first_write) if moment is not None]
    elected = min(proven) if elected is not None else None
    if target.outage and routed is not None and (elected is None or routed < elected):
        routed = None
    routed = min(moment for moment in (routed, first_write) if moment is not None) if routed or first_write else None
    whole_note = "every member is ONLINE in the majority's view"
    # With a drained Router's node another member than the target may have gone.
    missed = next((seen.at for seen in after if seen.topology.online < seen.topology.expected), None)
    whole = _whole_from(after, next((at for at in (elected, left, missed) if at is not None), None))
    if after and all(seen.topology.online == seen.topology.expected for seen in after):
        whole, whole_note = None, NEVER_LOST
    back = router_back(target, evidence)
    # The first effect cannot come after what it led to, though samples may show it later.
    causes = [moment for moment in (proof.at if proof else None, unreachable, left, elected) if moment is not None]
    landed = min(causes) if proof else None
    gone_title = "Expelled from the group" if unreachable is not None else "Left the group"
    name = (heir.pod or heir.id) if heir else ""
    hit = target.router.pod if target.router else ", ".join(one.pod for one in target.hit)
    moments = (
        Moment("injected", "Fault injected", injected, hit),
        Moment("landed", "Fault landed", landed, proof.text if proof else "no proof was found"),
        *([Moment("no-quorum", "Quorum lost", lost.at if lost else None, lost.text if lost else "")] * target.outage),
        Moment("unreachable", "Seen as unreachable", unreachable, "the majority calls the member UNREACHABLE"),
        Moment("left", gone_title, left, "the member is no longer in the majority's view"),
        Moment("elected", "A primary again" if target.outage else "New primary elected", elected, name),
        Moment("routed", "Router leads to it", routed, "a client's new connection reached the new primary"),
        Moment("first-write", "First write acknowledged", first_write, "by the new primary"),
        *([Moment("router-back", "Router ready again", back.at if back else None)] if target.router else []),
        *([Moment("released", "Fault ended", released, "from then on the member may come back")] if released else []),
        Moment("whole", "Full redundancy", whole, whole_note),
    )
    return Timeline(moments, phases(moments))


def phases(moments: Iterable[Moment]) -> tuple[Phase, ...]:
    """Return the phases between the moments that were seen, in order of time; each is named by what ends it."""
    seen = [(moment.at, _ORDER.index(moment.key), moment.key) for moment in moments if moment.at is not None]
    return tuple(Phase(key, PHASE_TITLES[key], start, end) for (start, _, _), (end, _, key) in pairwise(sorted(seen)))


def _state(seen: Observed, server: str) -> str:
    """Return a member's state in a band's terms."""
    member = next((member for member in seen.topology.members if member.id == server), None)
    if member is None:
        return "ABSENT" if seen.topology.members else "UNKNOWN"
    if member.state != "ONLINE":
        return member.state
    primary = seen.topology.primary
    return "PRIMARY" if primary is not None and primary.id == server else "SECONDARY"


def _first(observed: Iterable[Observed], server: str, states: set[str]) -> float | None:
    return next((seen.at for seen in observed if _state(seen, server) in states), None)


def _whole_from(observed: Sequence[Observed], since: float | None) -> float | None:
    """Return since when the group has been whole without a break up to the end; None where it is not."""
    if since is None:
        return None
    whole: float | None = None
    for seen in observed:
        if not seen.topology.is_whole:
            whole = None
        elif whole is None and seen.at >= since:
            whole = seen.at
    return whole


def _clients(
    attempts: Iterable[Sequence[Attempt]], injected: float, target: Target, heir: str
) -> tuple[float | None, float | None]:
    """Return when a new connection first reached the new primary, and the first write it took; see `new_primary`."""
    routed, written = [], []
    for client in attempts:
        for attempt in client:
            if attempt.end is None or attempt.end <= injected or not attempt.server:
                continue
            if attempt.server == target.leader and not target.outage:
                continue
            if heir and attempt.server != heir:
                continue
            if attempt.connected is not None and attempt.connected > injected:
                routed.append(attempt.connected)
            # In an outage writes that hung since before it are answered in one burst, once a quorum is forced; for a
            # long time after that the group may take no other.
            if attempt.served and (attempt.start > injected or not target.outage):
                written.append(attempt.end)
    return min(routed, default=None), min(written, default=None)


def bands(observed: Sequence[Observed], servers: Iterable[str], until: float) -> dict[str, list[Band]]:
    """Return the states of each server over time, neighbours of one state merged; up to `until`."""
    made: dict[str, list[Band]] = {server: [] for server in servers}
    held = [seen for seen in observed if seen.topology.members]
    ends = [seen.at for seen in held[1:]] + [until]
    for seen, end in zip(held, ends, strict=False):
        for server, row in made.items():
            state, known_until = _state(seen, server), min(end, seen.at + UNSEEN_SECONDS)
            pieces = [Band(state, seen.at, known_until)]
            if known_until < end:
                pieces.append(Band("UNKNOWN", known_until, end))
            for piece in pieces:
                if row and row[-1].state == piece.state:
                    row[-1] = Band(piece.state, row[-1].start, piece.end)
                else:
                    row.append(piece)
    return made
