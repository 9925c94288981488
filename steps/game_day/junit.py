"""A game day's result as JUnit XML: one test case for each drill, and one for what was asked of the whole."""

from __future__ import annotations

from datetime import datetime

from steps.game_day.result import NOT_RUN, Result
from steps.report.junit import Suite
from steps.report.outcome import Outcome


def to_xml(result: Result) -> bytes:
    """Return report.xml.

    A drill's FAIL is a failure, and so is a regression where it was asked to fail; INVALID and ABORTED are errors; what
    was not run is skipped.
    """
    state = result.state
    suite = Suite(f"game-day.{state.cluster}", state.started_at, _seconds(state.started_at, state.ended_at))
    for one in result.drills:
        title, why = f"{one.number:02d} {one.entry.label}", f"{one.verdict}: {one.sentence}"
        took = float(one.numbers.get("write_downtime_seconds") or 0.0)
        if one.verdict == NOT_RUN:
            suite.case(title, 0.0, "", skipped=one.sentence)
        elif one.verdict in (Outcome.INVALID, Outcome.ABORTED):
            suite.case(title, took, why, type=one.verdict, kind="error")
        elif one.verdict == Outcome.PASS and one.comparison.regressed and result.asked.fail_on_regression:
            limit = one.comparison.limit or 0.0
            bad = f"writes stopped for {took:.3f} s, the limit by the last runs is {limit:.3f} s"
            suite.case(title, took, bad, type="REGRESSION")
        else:
            suite.case(title, took, "" if one.verdict == Outcome.PASS else why, type=one.verdict)
    last = state.looks.get(len(state.entries))
    unsteady = "" if last is None or last.steady else "; ".join(last.lacking)
    suite.case(
        "the cluster is steady at the end", 0.0, unsteady, skipped="" if last else "it ended before its last drill"
    )
    if low := result.asked.min_score:
        bad = f"the score is {result.score}" if result.score < low else ""
        suite.case(f"the score is at least {low}", 0.0, bad)
    return suite.to_xml()


def _seconds(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds() if end else 0.0
