"""Step `drill-late-report`: the report of a drill that was stopped between its measurement and its report."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steps.declare import artifact, outputs_folder, parameter, step
from steps.drill.measure import FILE as MEASUREMENT
from steps.drill.verify import FILE as VERIFICATION
from steps.log import log

if TYPE_CHECKING:
    from steps.backup.objects import Bucket

FILES = ("report.html", "report.json", "report.xml")


@dataclass(frozen=True)
class LateReported:
    """The report, where there was none and there was something to report."""

    made: bool = parameter("Whether a report was made here.")
    verdict: str = parameter(
        "That of the run's report, made here or before; empty where there is none.", is_global=True
    )
    html: Path | None = artifact("The report for people.", FILES[0])
    json: Path | None = artifact("The report for programs.", FILES[1])
    xml: Path | None = artifact("The report for CI, as JUnit XML.", FILES[2])


@step("drill-late-report")
def drill_late_report() -> LateReported:
    """Report on a drill that was stopped before its report, where it had come as far as a measurement."""
    from steps.backup.objects import Bucket

    bucket = Bucket.from_environment(connections=1)
    try:
        return late_report(bucket, os.environ.get("TIPHYS_ARTIFACT_FOLDER", ""), outputs_folder())
    finally:
        bucket.close()


def late_report(bucket: Bucket, source: str, folder: Path) -> LateReported:
    """Make the report from what a run left in the bucket, unless it has one.

    Args:
        bucket: where artifacts are kept.
        source: the run's folder in it.
        folder: where the report is written to.
    """
    from steps.drill import measurement as measurements
    from steps.drill import verification as verifications
    from steps.drill.report import write
    from steps.drill.result import evaluate

    there = bucket.keys(f"{source}/")
    if f"{source}/{FILES[1]}" in there:
        log("nothing-to-report", why="the drill has its report")
        return LateReported(False, verdict_in(bucket.get(f"{source}/{FILES[1]}")), None, None, None)
    if f"{source}/{MEASUREMENT}" not in there:
        log("nothing-to-report", why="nothing was measured")
        return LateReported(False, "", None, None, None)
    for name in (MEASUREMENT, VERIFICATION):
        if f"{source}/{name}" in there:
            (folder / f"kept-{name}").write_bytes(bucket.get(f"{source}/{name}"))
    kept = folder / f"kept-{VERIFICATION}"
    verification = verifications.load(kept) if kept.exists() else None
    result = evaluate(measurements.load(folder / f"kept-{MEASUREMENT}"), verification)
    made = write(result, folder)
    log("verdict", verdict=result.verdict.outcome, sentence=result.verdict.sentence, reasons=result.verdict.reasons)
    return LateReported(True, made.verdict, made.html, made.json, made.xml)


def verdict_in(report: bytes) -> str:
    """Return the verdict that a ``report.json`` tells, so that the exit handler repeats it and does not blank it."""
    return str(json.loads(report).get("verdict") or "")
