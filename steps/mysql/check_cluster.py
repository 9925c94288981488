"""Steps check-cluster and check-all-clusters: look clusters over and say what is wrong, what it means, what to do."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from steps.check import metrics, report
from steps.check.finding import CRITICAL, OK, UNKNOWN, WARNING, Finding, health
from steps.check.look import Examined, examine
from steps.declare import artifact, option, outputs_folder, parameter, step, target_options
from steps.errors import FoundCritical, FoundWarning, StepError
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.pods import name_of
from steps.log import log
from steps.mysql.definition import SCRATCH_LABEL
from steps.mysql.protection import read_backups
from steps.parameters import NAMESPACE_NAME

JSON, HTML, XML, PROMETHEUS = "report.json", "report.html", "report.xml", "metrics.prom"
NEVER = "never"


@dataclass(frozen=True)
class Checked:
    """What the checks tell."""

    health: str = parameter("The worst that was found: ok, warning or critical.", is_global=True)
    health_level: int = parameter("The same as a number: 0 ok, 1 warning, 2 critical.", is_global=True)
    findings: int = parameter("Number of findings that are warnings or critical.", is_global=True)
    critical: int = parameter("Number of critical findings.", is_global=True)
    warnings: int = parameter("Number of warnings.", is_global=True)
    unknown: int = parameter("Number of things that could not be looked at.", is_global=True)
    members_online: int = parameter("Members that are ONLINE, of all clusters that were checked.", is_global=True)
    summary: str = parameter("What was found, in a line.", is_global=True)
    report: Path | None = artifact("Every finding and every number as JSON.", JSON)
    page: Path | None = artifact("The same as a page.", HTML)
    junit: Path | None = artifact("The same as JUnit XML.", XML)
    prometheus: Path | None = artifact("The numbers as Prometheus reads them.", PROMETHEUS)


@step("check-cluster")
@target_options
@option(
    "--fail-on",
    type=click.Choice([CRITICAL, WARNING, NEVER]),
    default=CRITICAL,
    help="From which severity on the run fails: exit code 30 for warnings, 31 where something is critical.",
)
@option("--print-json", type=click.BOOL, default=False, help="Also print the whole report to the log.")
def check_cluster(namespace: str, cluster: str, fail_on: str, print_json: bool) -> Checked:
    """Look one cluster over: group, operator, Routers, data, settings, disks, certificates, nodes, notes, backups.

    Changes nothing. Ends with exit code 31 where something is critical, unless told otherwise.
    """
    kube = client.connect(namespace)
    return conclude([looked(kube, cluster)], fail_on, print_json)


@step("check-all-clusters")
@option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace whose clusters are checked.")
def check_all_clusters(namespace: str) -> Checked:
    """Look over every InnoDBCluster of the namespace, as the schedule does.

    Changes nothing. Ends with exit code 31 where something is critical in any of them.
    """
    kube = client.connect(namespace)
    found = [item for item in kube.all("innodbclusters") if not item["metadata"].get("deletionTimestamp")]
    # A verification's scratch cluster is whatever it is for a few minutes.
    names = [name_of(item) for item in found if SCRATCH_LABEL not in (item["metadata"].get("labels") or {})]
    if not names:
        log("no clusters", namespace=namespace)
    backups = read_backups(found)
    return conclude([told(examine(kube, name, backups)) for name in names], CRITICAL, False)


def looked(kube: Kube, cluster: str) -> Examined:
    """Look at one cluster and log each finding."""
    return told(examine(kube, cluster, read_backups([kube.cluster(cluster)])))


def told(one: Examined) -> Examined:
    """Log each finding of a cluster."""
    for finding in one.findings:
        log("finding", cluster=one.name, **{key: value for key, value in asdict(finding).items() if value})
    return one


def conclude(examined: Sequence[Examined], fail_on: str, as_json: bool) -> Checked:
    """Write the reports and return the outputs.

    Args:
        examined: the clusters.
        fail_on: severity from which on to fail, or never.
        as_json: whether to print the report as well.

    Raises:
        FoundCritical: something is critical, and that is asked to fail.
        FoundWarning: nothing is, but there are warnings, and those are asked to fail.
    """
    started, at, folder = time.monotonic(), datetime.now(UTC), outputs_folder()
    described = report.document(examined, at)
    text = json.dumps(described, indent=2) + "\n"
    (folder / JSON).write_text(text)
    (folder / HTML).write_text(report.render(examined, at, os.environ.get("TIPHYS_WORKFLOW", "")))
    (folder / XML).write_bytes(report.to_xml(examined, at, time.monotonic() - started))
    (folder / PROMETHEUS).write_text(metrics.exposition([each for one in examined for each in metrics.gauges(one)]))
    if as_json:
        click.echo(text)
    bad = [(one.name, finding) for one in examined for finding in one.of(CRITICAL, WARNING)]
    worst = health([finding for _, finding in bad])
    checked = Checked(
        health=worst,
        health_level=metrics.LEVELS[worst],
        findings=len(bad),
        critical=sum(finding.severity == CRITICAL for _, finding in bad),
        warnings=sum(finding.severity == WARNING for _, finding in bad),
        unknown=sum(len(one.of(UNKNOWN)) for one in examined),
        members_online=sum(one.seen.facts.topology.online for one in examined),
        summary="; ".join(f"{name}: {finding.check}: {finding.seen}" for name, finding in bad)[:500]
        or _all_well(examined),
        report=folder / JSON,
        page=folder / HTML,
        junit=folder / XML,
        prometheus=folder / PROMETHEUS,
    )
    error = failure(bad, fail_on)
    if error is not None:
        error.outputs = checked
        raise error
    return checked


def failure(bad: Sequence[tuple[str, Finding]], fail_on: str) -> StepError | None:
    """Return the error that findings amount to, or None where they are no reason to fail.

    Args:
        bad: cluster and finding, warnings and worse.
        fail_on: severity from which on to fail, or never.
    """
    worst = health([finding for _, finding in bad])
    if fail_on == NEVER or worst == OK or (worst == WARNING and fail_on == CRITICAL):
        return None
    lines = [
        f"{name}: {one.check}: {one.seen}: {one.means}. To do: {one.run}" for name, one in bad if one.severity == worst
    ]
    kind, word = (FoundCritical, "Critical") if worst == CRITICAL else (FoundWarning, "Warning")
    return kind(f"{word}: {'; '.join(lines)}.")


def _all_well(examined: Sequence[Examined]) -> str:
    return f"all well: {', '.join(one.name for one in examined)}" if examined else "no clusters"
