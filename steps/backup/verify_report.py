"""Steps `verify-report` and `verify-late-report`: judge a verification and write its report; the verdict is the end."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from steps.backup import readers, verify_page
from steps.backup.catalogue import VERIFICATIONS
from steps.backup.objects import Bucket
from steps.backup.verify_record import (
    CHECKS,
    OBJECTS,
    ORDER,
    RESTORATION,
    SCRATCH,
    Checks,
    Objects,
    Order,
    Restoration,
    Scratch,
    now,
    parse,
)
from steps.backup.verify_verdict import Result, judge
from steps.declare import artifact, option, outputs_folder, parameter, step
from steps.kube import client
from steps.log import log
from steps.parameters import NAMESPACE_NAME, OBJECT_NAME
from steps.report.outcome import ERRORS, Outcome

HTML, JSON, XML = "report.html", "report.json", "report.xml"
T = TypeVar("T")


@dataclass(frozen=True)
class Verified:
    """The verification's result."""

    verdict: str = parameter("PASS, FAIL, INVALID or ABORTED.", is_global=True)
    rto_seconds: float | None = parameter(
        "Seconds from asking for a cluster to usable data; empty where that was not reached.", is_global=True
    )
    report: str = parameter("Where the HTML report is in the bucket.", is_global=True)
    html: Path | None = artifact("The report for people.", HTML)
    json: Path | None = artifact("The report for programs.", JSON)
    xml: Path | None = artifact("The report for CI, as JUnit XML.", XML)


@step("verify-report")
def verify_report() -> Verified:
    """Judge what the steps before found, write the report, and note the verdict beside the backups."""
    bucket = Bucket.from_environment(connections=2)
    try:
        place = os.environ.get("TIPHYS_ARTIFACT_FOLDER", "")
        result = read_result(bucket, place, stopped=False)
        assert result is not None, "verify-prepare has written its order"
        reported = publish(bucket, place, result, outputs_folder())
    finally:
        bucket.close()
    if error := ERRORS.get(result.outcome):
        raise error(f"{result.outcome}: {' '.join(result.problems)}", outputs=reported)
    return reported


@step("verify-late-report")
@option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace of the workflow.")
@option("--workflow", required=True, type=OBJECT_NAME, help="The workflow that did not come to its end.")
def verify_late_report(namespace: str, workflow: str) -> Verified:
    """Report on a verification that did not reach its report, as far as it came; tell the same where it did."""
    kube = client.connect(namespace)
    runs = kube.all("workflows", fields=f"metadata.name={workflow}")
    stopped = any((run.get("spec") or {}).get("shutdown") for run in runs if run["metadata"]["name"] == workflow)
    bucket = Bucket.from_environment(connections=2)
    try:
        return late_report(bucket, os.environ.get("TIPHYS_ARTIFACT_FOLDER", ""), outputs_folder(), stopped=stopped)
    finally:
        bucket.close()


def late_report(bucket: Bucket, place: str, folder: Path, *, stopped: bool) -> Verified:
    """Make the report from what a run left in the bucket, unless it has one.

    Args:
        bucket: where artifacts are kept.
        place: the run's folder in it.
        folder: where the report is written to.
        stopped: whether somebody stopped the run.
    """
    if f"{place}/{JSON}" in bucket.keys(f"{place}/"):
        log("nothing to report", why="the run has its report")
        known = json.loads(bucket.get(f"{place}/{JSON}"))
        return Verified(str(known["verdict"]), known["rto_seconds"], f"{place}/{HTML}", None, None, None)
    result = read_result(bucket, place, stopped=stopped)
    if result is None:
        log("nothing to report", why="nothing was begun")
        return Verified("", None, "", None, None, None)
    return publish(bucket, place, result, folder)


def read_result(bucket: Bucket, place: str, *, stopped: bool) -> Result | None:
    """Judge what the steps of a run left in its folder of the bucket; None where not even the order is there."""
    there = bucket.keys(f"{place}/")

    def record(kind: type[T], name: str) -> T | None:
        return parse(kind, bucket.get(f"{place}/{name}"), name) if f"{place}/{name}" in there else None

    order = record(Order, ORDER)
    if order is None:
        return None
    return judge(
        order,
        record(Objects, OBJECTS),
        record(Scratch, SCRATCH),
        record(Restoration, RESTORATION),
        record(Checks, CHECKS),
        ended_at=now(),
        stopped=stopped,
    )


def publish(bucket: Bucket, place: str, result: Result, folder: Path) -> Verified:
    """Write the three reports into `folder`, and the verdict beside the backups.

    A verdict that proves nothing is not noted there: it would hide what an earlier run has proven.
    """
    html, machine, xml = folder / HTML, folder / JSON, folder / XML
    html.write_text(verify_page.render(result))
    machine.write_text(json.dumps(verify_page.to_json(result), indent=1, default=str) + "\n")
    xml.write_bytes(verify_page.to_xml(result))
    report = f"{place}/{HTML}" if place else str(html)
    log("verdict", verdict=result.outcome, sentence=result.sentence, problems=result.problems)
    if result.outcome in (Outcome.PASS, Outcome.FAIL):
        key = f"{VERIFICATIONS}/{result.order.backup}/{result.order.run}.json"
        bucket.put(key, json.dumps(note(result, report), indent=1).encode())
        log("verdict noted", key=key)
    # The note of who reads lingers between the steps, and nobody reads any more.
    bucket.delete(f"{readers.FOLDER}/{result.order.backup}/{result.order.run}.lingers")
    return Verified(result.outcome.value, result.rto_seconds, report, html, machine, xml)


def note(result: Result, report: str) -> dict[str, Any]:
    """Return what `tiphys backups list` and `prune-backups` read."""
    return {
        "backup": result.order.backup,
        "verdict": result.outcome.value,
        "at": result.ended_at,
        "rtoSeconds": result.rto_seconds,
        "rpoSeconds": result.order.age_seconds if result.order.moment else None,
        "run": result.order.run,
        "report": report,
        "mode": result.order.mode,
        "sound": result.sound,
        "problems": list(result.problems),
    }
