"""The score of a game day: points given of points possible, each with its reason. Pure.

What was not measured gives no points, and the line says so; it never drops out of the sum. Only the comparison with
earlier runs is left out where there are too few of them: that is nothing which this game day has failed to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from steps.game_day.history import FEWEST, Comparison
from steps.game_day.state import Look
from steps.report.outcome import Outcome, count, seconds

PROOF, LOST, BUDGET, REDUNDANCY, STEADY, REGRESSION = 10, 30, 30, 10, 10, 10
WHOLE = PROOF + LOST + BUDGET + REDUNDANCY + STEADY
"""Points of a drill that is not compared with earlier ones."""


@dataclass(frozen=True)
class Line:
    """One line of the score.

    Attributes:
        title: what was looked at.
        given: points.
        of: points possible; 0 where it does not count.
        why: in words.
    """

    title: str
    given: int
    of: int
    why: str


def not_run(why: str) -> list[Line]:
    """Return the lines of a drill that was never started, or has left no report."""
    return [Line("the whole drill", 0, WHOLE, why)]


def lines(report: Mapping[str, Any], after: Look | None, comparison: Comparison) -> list[Line]:
    """Return the lines of a drill.

    Args:
        report: its report.json.
        after: the look at the cluster after it; None where there was none.
        comparison: with earlier runs.
    """
    verdict = str(report["verdict"])
    numbers: Mapping[str, Any] = report.get("numbers") or {}
    nothing = verdict in (Outcome.INVALID, Outcome.ABORTED)
    made = [
        Line("the fault landed, and the drill ended", 0, PROOF, f"{verdict}: {report.get('sentence', '')}")
        if nothing
        else Line("the fault landed, and the drill ended", PROOF, PROOF, "there is proof of it")
    ]
    judged = [_lost(report, numbers, nothing), _budget(report, numbers, nothing), _redundancy(report, nothing)]
    if verdict == Outcome.FAIL and all(line.given == line.of for line in judged):
        # It fell by something that has no line of its own, such as a member that could not be checked.
        why = " ".join(str(reason) for reason in report.get("reasons") or []) or str(report.get("sentence"))
        judged[-1] = Line(judged[-1].title, 0, REDUNDANCY, f"FAIL: {why}")
    made += judged
    if after is None:
        made.append(Line("the cluster was steady afterwards", 0, STEADY, "nobody looked: the game day had ended"))
    elif after.steady:
        made.append(Line("the cluster was steady afterwards", STEADY, STEADY, f"after {seconds(after.waited_seconds)}"))
    else:
        made.append(Line("the cluster was steady afterwards", 0, STEADY, "; ".join(after.lacking)))
    return [*made, _regression(numbers, comparison, nothing)]


def _lost(report: Mapping[str, Any], numbers: Mapping[str, Any], nothing: bool) -> Line:
    title, lost = "no acknowledged write was lost", numbers.get("lost_writes")
    if nothing:
        return Line(title, 0, LOST, "the drill proves nothing")
    if lost is None:
        return Line(title, 0, LOST, "not verified")
    allowed = int((report.get("parameters") or {}).get("max_lost_writes") or 0)
    good = lost <= allowed
    why = f"{lost} lost of {numbers.get('acknowledged_writes') or 0:,} acknowledged, {allowed} allowed"
    return Line(title, LOST if good else 0, LOST, why)


def _budget(report: Mapping[str, Any], numbers: Mapping[str, Any], nothing: bool) -> Line:
    title, longest = "writes came back within the budget", numbers.get("write_downtime_seconds")
    budget = (report.get("parameters") or {}).get("max_write_downtime_seconds")
    if nothing:
        return Line(title, 0, BUDGET, "the drill proves nothing")
    if longest is None or budget is None:
        return Line(title, 0, BUDGET, "not measured")
    why = f"they stopped for {seconds(longest)}, the budget is {seconds(budget)}"
    if longest <= budget:
        return Line(title, BUDGET, BUDGET, why)
    # Just over the budget is not the same as an hour: from all points down to none at twice the budget.
    share = max(0.0, 2 - longest / budget) if budget else 0.0
    return Line(title, min(int(BUDGET * share), BUDGET - 1), BUDGET, why)


def _redundancy(report: Mapping[str, Any], nothing: bool) -> Line:
    title, end = "full redundancy came back", (report.get("measuring") or {}).get("end")
    if nothing:
        return Line(title, 0, REDUNDANCY, "the drill proves nothing")
    if end != "recovered":
        return Line(title, 0, REDUNDANCY, str((report.get("measuring") or {}).get("end_reason") or "not measured"))
    took = (report.get("numbers") or {}).get("full_redundancy_seconds")
    return Line(title, REDUNDANCY, REDUNDANCY, f"after {seconds(took)}" if took is not None else "it was never lost")


def _regression(numbers: Mapping[str, Any], comparison: Comparison, nothing: bool) -> Line:
    title = "not slower than before"
    if nothing:
        return Line(title, 0, REGRESSION, "the drill proves nothing")
    if comparison.limit is None or comparison.median is None or comparison.worst is None:
        have = count(len(comparison.earlier), "run")
        why = f"not counted: {have} before it can be compared with it, {FEWEST} are needed"
        return Line(title, 0, 0, why)
    longest = numbers.get("write_downtime_seconds")
    if longest is None:
        return Line(title, 0, REGRESSION, "not measured")
    why = (
        f"{seconds(longest)}; of the {len(comparison.earlier)} runs before, the median is {seconds(comparison.median)} "
        f"and the worst {seconds(comparison.worst)}; the limit is {seconds(comparison.limit)}"
    )
    return Line(title, 0 if comparison.regressed else REGRESSION, REGRESSION, why)


def score(drills: Sequence[Sequence[Line]]) -> int:
    """Return the points given in per cent of the points possible, rounded down: 100 means all of them."""
    given = sum(line.given for one in drills for line in one)
    of = sum(line.of for one in drills for line in one)
    return 100 * given // of if of else 0
