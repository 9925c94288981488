"""The verdict on a drill: a function of what was measured and verified, with its reasons in plain sentences.

- FAIL: an acknowledged write is lost beyond the budget (whatever else happened), writes stopped for longer than the
  budget, or redundancy did not come back in time.
- ABORTED: the drill was stopped before its end.
- INVALID: the drill proves nothing: no proof that the fault landed, a hole in the measurement that could have changed
  the result, or a fault that could not be seen to end, also where the drill was stopped.
- PASS: none of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.drill.felt import Felt
from steps.drill.measurement import Measurement
from steps.drill.outages import Downtime
from steps.drill.slowness import Slow, sentence
from steps.drill.verification import Verification
from steps.report.outcome import Outcome, count, seconds


@dataclass(frozen=True)
class Verdict:
    """A verdict and why.

    Attributes:
        outcome: PASS, FAIL, INVALID or ABORTED.
        sentence: the whole result in one sentence.
        reasons: what led to it, in sentences; also what does not change it but should be known.
    """

    outcome: Outcome
    sentence: str
    reasons: tuple[str, ...]


def judge(
    measurement: Measurement,
    writes: Downtime,
    verification: Verification | None,
    slow: Sequence[Slow] = (),
    app: Felt | None = None,
) -> Verdict:
    """Return the verdict.

    Args:
        measurement: of the drill.
        writes: the write downtime in it.
        verification: of its writes; None where there is none.
        slow: stretches in which writes were slow; they change no verdict, and belong beside it.
        app: what the application's users felt; likewise.
    """
    budget = float(measurement.parameters["max_write_downtime_seconds"])
    allowed = int(measurement.parameters["max_lost_writes"])
    lost = len(verification.lost) if verification else None
    failed = _failures(measurement, writes, verification, budget, allowed)
    holes = _holes(measurement, writes, verification, budget)
    landed = measurement.proof is not None
    if lost is not None and lost > allowed:
        outcome = Outcome.FAIL
    elif measurement.still_acting:
        outcome = Outcome.INVALID
    elif measurement.end == "aborted":
        outcome = Outcome.ABORTED
    elif not landed or holes:
        outcome = Outcome.INVALID
    else:
        outcome = Outcome.FAIL if failed else Outcome.PASS
    reasons = []
    if measurement.still_acting:
        reasons.append(
            f"THE FAULT MAY STILL BE ACTING: {measurement.still_acting}. Look at it now: step drill-undo "
            f"--namespace {measurement.namespace} --cluster {measurement.cluster} --workflow {measurement.run} puts it "
            "back, and so does reap."
        )
    if measurement.end == "aborted":
        reasons.append(f"The drill was stopped before its end: {measurement.end_reason}.")
        if measurement.fault_ended:
            put_back = f"; put back at once: {', '.join(measurement.undone)}" if measurement.undone else ""
            reasons.append(f"The fault has ended: {measurement.fault_ended}{put_back}.")
    if not landed:
        reasons.append(_no_proof(measurement))
    reasons += failed + holes
    if outcome is Outcome.PASS:
        reasons.append(f"Writes stopped for {seconds(writes.longest)}, within the budget of {seconds(budget)}.")
        reasons.append(f"{count(lost or 0, 'acknowledged write').capitalize()} lost, {allowed} allowed.")
        reasons.append("Every member is ONLINE again.")
    reasons += [app.sentence()] if app and measurement.injected_at is not None else []
    reasons += _notes(writes, verification) + [sentence(one, measurement.injected_at or 0.0) for one in slow]
    return Verdict(outcome, _sentence(outcome, measurement, writes, lost), tuple(reasons))


def _no_proof(measurement: Measurement) -> str:
    if measurement.end == "aborted":
        return "It was stopped before there was proof that the fault had landed."
    why = measurement.injection_error.partition(": ")[2] or measurement.end_reason or "none was found"
    return f"There is no proof that the fault landed ({why})."


def _failures(
    measurement: Measurement, writes: Downtime, verification: Verification | None, budget: float, allowed: int
) -> list[str]:
    found = []
    if verification and len(verification.lost) > allowed:
        where = sorted({pod for lost in verification.lost for pod in lost.missing_on})
        found.append(
            f"{count(len(verification.lost), 'acknowledged write').capitalize()} lost, {allowed} allowed; "
            f"missing on {', '.join(where)}."
        )
    if writes.longest > budget:
        text = stopped(writes)
        found.append(f"{text[0].upper()}{text[1:]}; the budget is {seconds(budget)}.")
    if measurement.end == "timeout":
        found.append(f"Redundancy did not come back in time: {measurement.end_reason}.")
    elif verification and verification.unchecked:
        found.append(f"Not every member could be checked: {'; '.join(verification.unchecked)}.")
    return found


def _holes(measurement: Measurement, writes: Downtime, verification: Verification | None, budget: float) -> list[str]:
    """Return the gaps in what was measured that could have changed the verdict."""
    found = [
        f"Client {client.kind} {client.client} died during the measuring: {client.died}."
        for client in measurement.clients
        if client.died
    ]
    if measurement.injected_at is not None and not any(client.kind == "write" for client in measurement.clients):
        found.append("No client wrote anything.")
    if verification is None:
        found.append("The writes were not verified.")
    # A stall can only make an outage look longer: no acknowledgement is seen in it. So it matters where the budget is
    # broken and would not be without it.
    if writes.worst is not None and writes.longest > budget:
        stalled = sum(stall.overlap(writes.worst.start, writes.worst.end) for stall in measurement.stalls)
        if writes.longest - stalled <= budget:
            found.append(
                f"The measuring process itself stood still for {seconds(stalled)} of the {seconds(writes.longest)} "
                "without writes, so the budget may have been kept."
            )
    return found


def _notes(writes: Downtime, verification: Verification | None) -> list[str]:
    notes = []
    if len(writes.outages) > 1 and writes.total - writes.longest >= 1.0:
        others = len(writes.outages) - 1
        notes.append(
            f"Beside the longest outage writes stopped {'once more' if others == 1 else f'{others} times more'}, for "
            f"{seconds(writes.total - writes.longest)} in all."
        )
    if verification and verification.in_doubt:
        notes.append(
            f"{count(verification.in_doubt, 'write').capitalize()} in doubt, for the client saw an error and cannot "
            f"know: {verification.in_doubt_present} there, {verification.in_doubt_absent} not."
        )
    if verification and verification.refused_present:
        notes.append(f"{count(verification.refused_present, 'refused write').capitalize()} there all the same.")
    return notes


def stopped(writes: Downtime) -> str:
    """Say for how long writes stopped, and whether they had come back when the measuring ended."""
    if writes.worst is not None and writes.worst.open and writes.open:
        return f"writes stopped and were still stopped {seconds(writes.longest)} later, when the measuring ended"
    if writes.open:
        return f"writes stopped for up to {seconds(writes.longest)} and were stopped again when the measuring ended"
    return f"writes stopped for {seconds(writes.longest)}"


def _sentence(outcome: Outcome, measurement: Measurement, writes: Downtime, lost: int | None) -> str:
    if lost is None:
        fate = "what became of the acknowledged writes was not verified"
    else:
        fate = f"{count(lost, 'acknowledged write')} {'was' if lost < 2 else 'were'} lost"
    text = stopped(writes)
    # An open outage's words have commas and an "and" of their own.
    told = f"{text}; {fate}" if writes.open or lost is None else f"{text} and {fate}"
    match outcome:
        case Outcome.INVALID if measurement.still_acting:
            return "The fault could not be seen to end, and may still be acting on the cluster."
        case Outcome.INVALID if measurement.proof is None:
            return "The fault did not land, so this drill says nothing about the cluster."
        case Outcome.INVALID:
            return "The measurement has a hole, so this drill proves nothing."
        case Outcome.ABORTED if writes.open:
            return f"The drill was stopped before its end: {told}."
        case Outcome.ABORTED:
            return f"The drill was stopped before its end; until then {told}."
        case _:
            return f"When {measurement.event}, {told}."
