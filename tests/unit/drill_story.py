"""A failover as values, for tests of what is made from a measurement: three members, the first one is killed."""

from dataclasses import replace
from typing import Any

from steps.drill.attempts import Attempt, Outcome
from steps.drill.evidence import Proof, Target
from steps.drill.ledger import ClientRecord
from steps.drill.measurement import Measurement
from steps.drill.parameters import DrillParameters
from steps.drill.samples import MemberSample, PodSample
from steps.drill.verification import Copy, Verification, compare
from steps.mysql.topology import Member, View

PODS = {"uuid-a": "demo-0", "uuid-b": "demo-1", "uuid-c": "demo-2"}
FAULT_AT = 4.0
UNREACHABLE_AT, EXPELLED_AT, JOINING_AT, WHOLE_AT = 9.0, 14.0, 20.0, 24.0
BACK_AT = 15.0
"""First write acknowledged by the new primary."""
END = 26.0


def view(own: str, states: dict[str, str], primary: str) -> View:
    members = tuple(
        Member(server, f"host-{server}", 3306, state, "PRIMARY" if server == primary else "SECONDARY", "9.7.4")
        for server, state in states.items()
    )
    return View(own, members, own == primary)


def states_at(at: float) -> tuple[dict[str, str], str]:
    """What the living members see at a time: each member's state, and the primary."""
    rest = {"uuid-b": "ONLINE", "uuid-c": "ONLINE"}
    if at < UNREACHABLE_AT:
        return {"uuid-a": "ONLINE", **rest}, "uuid-a"
    if at < EXPELLED_AT:
        return {"uuid-a": "UNREACHABLE", **rest}, "uuid-a"
    if at < JOINING_AT:
        return rest, "uuid-b"
    return {"uuid-a": "RECOVERING" if at < WHOLE_AT else "ONLINE", **rest}, "uuid-b"


def member_samples(end: float = END) -> list[MemberSample]:
    samples = []
    for step in range(int(end / 0.1)):
        at = step * 0.1
        states, primary = states_at(at)
        for server, pod in PODS.items():
            if server == "uuid-a" and FAULT_AT < at < JOINING_AT:
                samples.append(MemberSample(pod, at, at + 0.001, None, "2003: refused"))
                continue
            started = 16.0 if server == "uuid-a" and at >= JOINING_AT else -100.0
            samples.append(MemberSample(pod, at, at + 0.001, view(server, states, primary), "", started))
    return samples


def attempts(client: int) -> list[Attempt]:
    """A write every 20 ms; refused from the fault until the new primary takes them, one in doubt at the fault."""
    made: list[Attempt] = []
    for sequence in range(int((END - 1.0) / 0.02)):
        start = 1.0 + sequence * 0.02 + client * 0.005
        before, after = start < FAULT_AT - 0.002, start >= BACK_AT - 0.01
        server = "uuid-a" if before else "uuid-b" if after else ""
        if before or after:
            first = after and (not made or made[-1].outcome is not Outcome.ACKNOWLEDGED)
            connected = start + 0.004 if first else None
            made.append(Attempt(sequence, start, start + 0.005, Outcome.ACKNOWLEDGED, 0, server, connected))
        elif not any(a.outcome is Outcome.IN_DOUBT for a in made):
            made.append(Attempt(sequence, start, start + 0.01, Outcome.IN_DOUBT, 2013, "uuid-a"))
        else:
            made.append(Attempt(sequence, start, start + 0.001, Outcome.REFUSED, 2003))
    return made


def measurement(**changes: Any) -> Measurement:
    before = PodSample(0.0, "demo-0", "uid-1", True, 0, "c1", False, "10.0.0.1", "node-1")
    made = Measurement(
        run="drill-1",
        namespace="tiphys",
        cluster="demo",
        expected=3,
        fault="crash",
        event="the primary's mysqld was killed",
        plan="kill -9",
        parameters=vars(DrillParameters()),
        started_at="2026-11-21T12:00:00.000+00:00",
        target=Target("demo-0", "uuid-a", before, -100.0),
        steady_from=1.0,
        injected_at=FAULT_AT,
        injected_until=FAULT_AT + 0.1,
        proof=Proof(FAULT_AT + 0.1, 20.0, "restartCount 0 to 1; the member left the group"),
        ended_at=END,
        end="recovered",
        end_reason="the group is whole and writes succeed",
        clients=[
            *(ClientRecord(number, "write", attempts(number)) for number in range(2)),
            ClientRecord(0, "read", [replaced_read(n) for n in range(1250)]),
        ],
        members=member_samples(),
        pods=[before, replace_pod(before, at=5.0, restarts=1, container="c2")],
        settings={
            "group_replication_member_expel_timeout": "5",
            "group_replication_unreachable_majority_timeout": "0",
            "group_replication_consistency": "EVENTUAL",
            "router_ttl": "0.5",
        },
        versions={"MySQL": "9.7.4", "Tiphys": "0.1.0"},
    )
    return replace(made, **changes)


def replace_pod(sample: PodSample, **changes: Any) -> PodSample:
    return sample._replace(**changes)


def replaced_read(number: int) -> Attempt:
    start = 1.0 + number * 0.02
    return Attempt(number, start, start + 0.002, Outcome.ACKNOWLEDGED, 0, "uuid-c", start if number == 0 else None)


def verified(of: Measurement, *, lose: set[tuple[int, int]] = frozenset(), on: str = "") -> Verification:  # type: ignore[assignment]
    """The verification of a measurement; `lose` names writes that are missing on pod `on`, or on all."""
    written = of.writes(Outcome.ACKNOWLEDGED)
    found = {pod: written - (lose if on in ("", pod) else set()) for pod in PODS.values()}
    copies = [
        Copy(pod, server, "PRIMARY" if pod == "demo-1" else "SECONDARY", "ONLINE", True, 0.1, len(found[pod]))
        for server, pod in PODS.items()
    ]
    return compare(of, copies, found, 3)
