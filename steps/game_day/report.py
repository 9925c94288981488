"""Steps `game-day-report` and `game-day-late-report`: one report of all drills, and their place in the history."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from steps.declare import artifact, outputs_folder, parameter, step, target_options
from steps.game_day import options
from steps.log import log
from steps.report.outcome import ERRORS

if TYPE_CHECKING:
    from steps.backup.objects import Bucket
    from steps.game_day.result import Asked, Result
    from steps.game_day.state import State


@dataclass(frozen=True)
class GameDayReported:
    """The game day's result."""

    verdict: str = parameter("PASS, FAIL, INVALID or ABORTED.", is_global=True)
    score: int = parameter("Points given of points possible, 0 to 100.", is_global=True)
    drills_passed: str = parameter("How many drills passed, of how many.", is_global=True)
    regressions: int = parameter("Drills in which writes stopped for clearly longer than before.", is_global=True)
    report: str = parameter("Where the HTML report is in the bucket.", is_global=True)
    html: Path | None = artifact("The report for people.", "report.html")
    json: Path | None = artifact("The report for programs.", "report.json")
    xml: Path | None = artifact("The report for CI, as JUnit XML.", "report.xml")


@dataclass(frozen=True)
class LateGameDay:
    """The report, where there was none and there was something to report."""

    made: bool = parameter("Whether a report was made here.")
    verdict: str = parameter(
        "That of the run's report, made here or before; empty where there is none.", is_global=True
    )
    html: Path | None = artifact("The report for people.", "report.html")
    json: Path | None = artifact("The report for programs.", "report.json")
    xml: Path | None = artifact("The report for CI, as JUnit XML.", "report.xml")


@step("game-day-report")
@target_options
@options.workflow
@options.min_score
@options.fail_on_regression
@options.regression_percent
@options.regression_floor
def game_day_report(
    namespace: str,
    cluster: str,
    workflow: str,
    min_score: int,
    fail_on_regression: bool,
    regression_percent: int,
    regression_floor_seconds: float,
) -> GameDayReported:
    """Judge a game day, write its report, and add its drills to the history; the exit code is the verdict."""
    from steps.backup.objects import Bucket
    from steps.errors import BadParameters
    from steps.game_day import state
    from steps.game_day.result import Asked

    asked = Asked(min_score, fail_on_regression, regression_percent, regression_floor_seconds)
    bucket = Bucket.from_environment(connections=4)
    try:
        known = state.load(bucket, workflow)
        if known is None:
            raise BadParameters(f"Nothing is known of game day {workflow}: game-day-run keeps it in the bucket.")
        reported, result = make(bucket, known, asked, outputs_folder())
    finally:
        bucket.close()
    if error := ERRORS.get(result.outcome):
        raise error(f"{result.outcome}: {' '.join(result.reasons)}", outputs=reported)
    return reported


@step("game-day-late-report")
@target_options
@options.workflow
@options.min_score
@options.fail_on_regression
@options.regression_percent
@options.regression_floor
def game_day_late_report(
    namespace: str,
    cluster: str,
    workflow: str,
    min_score: int,
    fail_on_regression: bool,
    regression_percent: int,
    regression_floor_seconds: float,
) -> LateGameDay:
    """Report on a game day that was stopped before its report, where it had begun."""
    from steps.backup.objects import Bucket
    from steps.drill.late_report import verdict_in
    from steps.game_day import state
    from steps.game_day.result import Asked
    from steps.game_day.stop import settle
    from steps.kube.client import connect

    asked = Asked(min_score, fail_on_regression, regression_percent, regression_floor_seconds)
    bucket = Bucket.from_environment(connections=4)
    try:
        known = state.load(bucket, workflow)
        if known is None:
            log("nothing-to-report", why="it had not begun")
            return LateGameDay(False, "", None, None, None)
        there = f"{state.folder(workflow)}/report.json"
        if there in bucket.keys(f"{state.folder(workflow)}/"):
            log("nothing-to-report", why="it has its report")
            return LateGameDay(False, verdict_in(bucket.get(there)), None, None, None)
        settle(connect(namespace), known)
        state.save(bucket, known)
        reported, _ = make(bucket, known, asked, outputs_folder())
        return LateGameDay(True, reported.verdict, reported.html, reported.json, reported.xml)
    finally:
        bucket.close()


def make(bucket: Bucket, known: State, asked: Asked, place: Path) -> tuple[GameDayReported, Result]:
    """Judge a game day, add its drills to the history, and write the three reports.

    Args:
        bucket: where everything is.
        known: how the game day went.
        asked: what it is held against.
        place: folder for the reports.
    """
    from steps.game_day import collect, history, junit, page, state
    from steps.game_day.result import evaluate, records_of, to_json
    from steps.report.outcome import Outcome

    reports = {number: collect.report_of(bucket, child) for number, child in known.children.items()}
    for record in records_of(known, reports).values():
        history.write(bucket, record)
    faults = {entry.fault for entry in known.entries}
    now = datetime.now(UTC)
    before = {fault: history.read(bucket, known.namespace, known.cluster, fault, now) for fault in sorted(faults)}
    result = evaluate(known, reports, before, asked)
    there = state.folder(known.game_day)
    pages = frozenset(
        one.number
        for one in result.drills
        if one.child and collect.copy_page(bucket, one.child, f"{there}/{page.page_name(one)}")
    )
    html, machine, xml = place / "report.html", place / "report.json", place / "report.xml"
    html.write_text(page.render(result, pages))
    machine.write_text(json.dumps(to_json(result), indent=1) + "\n")
    xml.write_bytes(junit.to_xml(result))
    log("verdict", verdict=result.outcome, score=result.score, sentence=result.sentence, reasons=list(result.reasons))
    passed = sum(one.verdict == Outcome.PASS for one in result.drills)
    reported = GameDayReported(
        verdict=result.outcome.value,
        score=result.score,
        drills_passed=f"{passed} of {len(result.drills)}",
        regressions=sum(one.comparison.regressed for one in result.drills),
        report=f"{there}/report.html",
        html=html,
        json=machine,
        xml=xml,
    )
    return reported, result
