"""A drill's result as JUnit XML: one test case for each budget, so that CI shows a drill as it shows tests."""

from __future__ import annotations

from steps.drill.result import Result
from steps.report.junit import Suite
from steps.report.outcome import Outcome


def to_xml(result: Result) -> bytes:
    """Return report.xml.

    A broken budget is a failure; what makes the drill INVALID or ABORTED is an error, and the budgets that it leaves
    without meaning are skipped.
    """
    m, v = result.measurement, result.verification
    proves_nothing = result.verdict.outcome in (Outcome.INVALID, Outcome.ABORTED)
    budget, allowed = m.parameters["max_write_downtime_seconds"], m.parameters["max_lost_writes"]
    name = f"failover-drill.{m.cluster}.{m.fault}"
    suite = Suite(name, m.started_at, m.ended_at)

    def case(title: str, seconds: float, bad: str, kind: str = "failure", *, skipped: bool = False) -> None:
        why = result.verdict.sentence if skipped else ""
        suite.case(title, seconds, bad, type=result.verdict.outcome, kind=kind, skipped=why)

    landed = "" if m.proof else f"no proof that the fault landed: {m.end_reason}"
    case("the fault landed", 0.0, landed, "error")
    stopped = m.end_reason if m.end == "aborted" else ""
    case("the drill came to its end", m.ended_at, stopped, "error")
    hole = result.verdict.sentence if result.verdict.outcome is Outcome.INVALID and m.proof else ""
    case("the measurement has no hole", 0.0, hole, "error")
    longest = result.writes.longest
    too_long = f"writes stopped for {longest:.3f} s, the budget is {budget} s" if longest > budget else ""
    case(f"writes stop for at most {budget:g} s", longest, "" if proves_nothing else too_long, skipped=proves_nothing)
    lost = f"{result.lost} acknowledged writes lost, {allowed} allowed" if result.lost > allowed else ""
    case(f"at most {allowed} acknowledged writes are lost", 0.0, lost, skipped=v is None)
    degraded = m.end_reason if m.end == "timeout" else "; ".join(v.unchecked) if v else ""
    case("redundancy comes back", 0.0, "" if proves_nothing else degraded, skipped=proves_nothing)
    return suite.to_xml()
