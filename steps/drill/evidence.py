"""Proof that a fault landed: what must have changed, and when it was first seen. Functions of samples only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.drill.samples import SERVER_CONTAINER, MemberSample, Observed, PodSample


@dataclass(frozen=True)
class Process:
    """A process in a container that can be known again, though its number may pass on to another.

    Attributes:
        pid: its number, as the container counts.
        started: its start in the kernel's ticks since boot (field 22 of `/proc/PID/stat`).
    """

    pid: int
    started: int


@dataclass(frozen=True)
class Target:
    """What the fault is aimed at, as it was before.

    Attributes:
        pod: name of the member's pod, mostly the primary's.
        server: the member's `server_uuid`.
        before: the pod, before.
        server_started: start of the server's process on the drill's clock, before; None if not known.
        heir: `server_uuid` of the member that is to become primary, empty where the group decides.
        grace_seconds: the pod's termination grace period.
        process: the server's process, where the fault has to know it again.
        primary: `server_uuid` of the primary, where that is another member; empty where the target is it.
        also: the other members that are hit at the same time.
        outage: whether no quorum is left, so that the old primary may well be the new one.
        router: pod of the Router that is hit, before; None where none is.
    """

    pod: str
    server: str
    before: PodSample
    server_started: float | None = None
    heir: str = ""
    grace_seconds: int = 30
    process: Process | None = None
    router: PodSample | None = None
    primary: str = ""
    also: tuple[Target, ...] = ()
    outage: bool = False

    @property
    def hit(self) -> tuple[Target, ...]:
        """Every member that is hit."""
        return (self, *self.also)

    @property
    def leader(self) -> str:
        """`server_uuid` of the primary before the fault."""
        return self.primary or self.server


@dataclass(frozen=True)
class Evidence:
    """Everything sampled so far, for a fault to find its proof in.

    Attributes:
        injected_at: when the fault was injected.
        pods: changes of pods.
        members: samples of servers.
        observed: the group over time.
        witness: what the injection itself saw of its effect, where nothing else could; empty for nothing.
        witnessed_at: when it had.
    """

    injected_at: float
    pods: Sequence[PodSample]
    members: Sequence[MemberSample]
    observed: Sequence[Observed]
    witness: str = ""
    witnessed_at: float = 0.0


@dataclass(frozen=True)
class Proof:
    """That a fault landed.

    Attributes:
        at: when its first effect on the target was seen.
        seen_at: when the last piece of the proof was there.
        text: what changed, for people.
    """

    at: float
    seen_at: float
    text: str


def first_effect(target: Target, evidence: Evidence) -> float | None:
    """Return when the target was first seen hit: it no longer answers, or it is no ONLINE primary for the majority."""
    deposed = (
        seen.at
        for seen in evidence.observed
        if seen.at > evidence.injected_at
        and seen.topology.members
        and (seen.topology.primary is None or seen.topology.primary.id != target.leader)
    )
    moments = [moment for moment in (no_answer(target, evidence), next(deposed, None)) if moment is not None]
    return min(moments, default=None)


def no_answer(target: Target, evidence: Evidence) -> float | None:
    """Return when the target was first seen not to answer, or None."""
    for sample in evidence.members:
        if sample.pod == target.pod and sample.start >= evidence.injected_at and sample.view is None:
            return sample.end
    return None


def left_group(target: Target, evidence: Evidence) -> float | None:
    """Return when the majority first did not have the target as ONLINE, or None."""
    for seen in evidence.observed:
        members = seen.topology.members
        if seen.at <= evidence.injected_at or not members:
            continue
        if not any(member.id == target.server and member.state == "ONLINE" for member in members):
            return seen.at
    return None


def quorum_lost(target: Target, evidence: Evidence) -> Proof | None:
    """Prove that the group could not decide anything: whoever is left of it says so, or nobody is left.

    A view that nobody else shares any more is not enough: the members that are left first have to notice.
    """
    dead = {one.pod for one in target.hit}
    for seen in evidence.observed:
        topology = seen.topology
        if seen.at <= evidence.injected_at or topology.members:
            continue
        inside = {pod: view for pod, view in topology.views.items() if view.group}
        if dead & inside.keys() or any(view.has_quorum for view in inside.values()):
            continue
        if len(inside) == topology.expected - len(dead):
            told = f"{', '.join(sorted(inside))} saw no quorum" if inside else "no server was in a group"
            return Proof(seen.at, seen.at, f"{told} {seen.at - evidence.injected_at:+.1f} s from the fault")
    return None


def new_primary(target: Target, evidence: Evidence) -> Observed | None:
    """Return the first moment at which the majority had another primary; after an outage, at which it had any again."""
    since = evidence.injected_at
    if target.outage:
        lost = quorum_lost(target, evidence)
        if lost is None:
            return None
        since = lost.at
    for seen in evidence.observed:
        primary = seen.topology.primary
        if target.outage and seen.at > since and primary is not None:
            return seen
        if seen.at > evidence.injected_at and primary is not None and primary.id != target.leader:
            return seen
    return None


def other_pod(target: Target, evidence: Evidence) -> Proof | None:
    """Prove that the target's pod object was replaced or is gone."""
    return replaced(target.before, evidence)


def replaced(before: PodSample, evidence: Evidence) -> Proof | None:
    """Prove that a pod object was replaced or is gone."""
    for sample in evidence.pods:
        if sample.at > evidence.injected_at and sample.pod == before.pod and sample.uid != before.uid:
            now = f"now {sample.uid}" if sample.uid else "now gone"
            text = f"pod {before.pod} is another one: its UID was {before.uid}, {now}"
            return Proof(sample.at, sample.at, text)
    return None


def other_process(target: Target, evidence: Evidence) -> Proof | None:
    """Prove that the server's process ended: another one runs, or the API server says that its container ended.

    A container that crashed lately is not restarted at once (back-off), so the end alone is proof too; it counts only
    for the very container that ran before, by its id.
    """
    ended = another_container(target.before, SERVER_CONTAINER, evidence)
    proofs = [ended] if ended is not None else []
    for sample in evidence.members:
        started, before = sample.server_started, target.server_started
        if sample.pod != target.pod or sample.end <= evidence.injected_at or started is None or before is None:
            continue
        # Uptime is in whole seconds, so two readings of one process may differ by a second.
        if started > before + 1.5:
            text = f"mysqld in {target.pod} is another process: it started {started - evidence.injected_at:+.0f} s"
            proofs.append(Proof(sample.end, sample.end, f"{text} from the fault"))
            break
    return min(proofs, key=lambda proof: proof.seen_at, default=None)


def another_container(before: PodSample, name: str, evidence: Evidence) -> Proof | None:
    """Prove that a pod's container was started anew, or that the very one that ran before has ended."""
    for pod in evidence.pods:
        if pod.at <= evidence.injected_at or pod.pod != before.pod or pod.uid != before.uid:
            continue
        what = f"container {name} of {before.pod}"
        if pod.restarts > before.restarts:
            return Proof(pod.at, pod.at, f"{what} restarted: restartCount {before.restarts} to {pod.restarts}")
        if pod.container and before.container and pod.container != before.container:
            return Proof(pod.at, pod.at, f"{what} is another one: {before.container} to {pod.container}")
        if pod.ended and pod.ended == before.container and pod.ended != before.ended:
            text = f"{what} ended with exit code {pod.exit_code}, and had not been restarted yet"
            return Proof(pod.at, pod.at, text)
    return None


def router_back(target: Target, evidence: Evidence) -> PodSample | None:
    """Return the first sample in which the Router that was hit is ready again: in another container, or another pod.

    A Router's pod that was evicted comes back under another name, one that was not there before; a server's keeps it.
    """
    before = target.router
    known = {pod.pod for pod in evidence.pods if pod.at <= evidence.injected_at} | {target.pod}
    after = (pod for pod in evidence.pods if pod.at > evidence.injected_at and pod.ready and before)
    return next((pod for pod in after if pod.pod not in known or _restarted(before, pod)), None)


def _restarted(before: PodSample | None, now: PodSample) -> bool:
    return before is not None and now.pod == before.pod and now.container != before.container
