"""Step `drill-report`: judge a drill and write its report; the exit code is the verdict."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from steps.declare import artifact, input_file, outputs_folder, parameter, step
from steps.drill.measure import FILE as MEASUREMENT
from steps.drill.verify import FILE as VERIFICATION
from steps.log import log
from steps.report.outcome import ERRORS


@dataclass(frozen=True)
class Reported:
    """The drill's result."""

    verdict: str = parameter("PASS, FAIL, INVALID or ABORTED.", is_global=True)
    write_downtime_seconds: float = parameter("Longest time without an acknowledged write.", is_global=True)
    read_downtime_seconds: float | None = parameter("Longest time without an answered read.", is_global=True)
    app_downtime_seconds: float | None = parameter(
        "Longest time in which the application's users had no good answer; empty where none was watched.",
        is_global=True,
    )
    lost_writes: int = parameter("Acknowledged writes that are missing.", is_global=True)
    in_doubt_writes: int = parameter("Writes whose fate the client does not know.", is_global=True)
    new_primary: str = parameter("Pod of the new primary.", is_global=True)
    report: str = parameter("Where the HTML report is in the bucket.", is_global=True)
    html: Path = artifact("The report for people.", "report.html")
    json: Path = artifact("The report for programs.", "report.json")
    xml: Path = artifact("The report for CI, as JUnit XML.", "report.xml")


@step("drill-report")
@input_file("--measurement", MEASUREMENT, "The measurement of drill-measure.")
@input_file("--verification", VERIFICATION, "The verification of drill-verify.")
def drill_report(measurement: Path, verification: Path) -> Reported:
    """Judge a drill and write its report: HTML, JSON and JUnit XML."""
    from steps.drill import measurement as measurements
    from steps.drill import verification as verifications
    from steps.drill.result import evaluate

    result = evaluate(measurements.load(measurement), verifications.load(verification))
    folder = outputs_folder()
    reported = write(result, folder)
    log("verdict", verdict=result.verdict.outcome, sentence=result.verdict.sentence, reasons=result.verdict.reasons)
    if error := ERRORS.get(result.verdict.outcome):
        raise error(f"{result.verdict.outcome}: {' '.join(result.verdict.reasons)}", outputs=reported)
    return reported


def write(result: object, folder: Path) -> Reported:
    """Write the three reports into `folder` and return the step's outputs."""
    from steps.drill import junit, page
    from steps.drill.result import Result, to_json

    assert isinstance(result, Result)
    html, machine, xml = folder / "report.html", folder / "report.json", folder / "report.xml"
    html.write_text(page.render(result))
    machine.write_text(json.dumps(to_json(result), indent=1) + "\n")
    xml.write_bytes(junit.to_xml(result))
    bucket_folder = os.environ.get("TIPHYS_ARTIFACT_FOLDER")
    return Reported(
        verdict=result.verdict.outcome.value,
        write_downtime_seconds=round(result.writes.longest, 3),
        read_downtime_seconds=round(result.reads.longest, 3) if result.reads else None,
        app_downtime_seconds=round(result.app.downtime.longest, 3) if result.app else None,
        lost_writes=result.lost,
        in_doubt_writes=result.in_doubt,
        new_primary=result.new_primary,
        report=f"{bucket_folder}/report.html" if bucket_folder else str(html),
        html=html,
        json=machine,
        xml=xml,
    )
