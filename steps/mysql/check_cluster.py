"""Steps check-cluster and check-all-clusters: look clusters over and say what is wrong, what it means, what to do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steps.declare import artifact, option, outputs_folder, parameter, step, target_options
from steps.errors import StepError
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.pods import name_of
from steps.log import log
from steps.mysql.definition import SCRATCH_LABEL
from steps.mysql.findings import CRITICAL, OK, Facts, Finding, health, judge_facts
from steps.mysql.inspection import inspect
from steps.mysql.protection import judge_protection, protection_of, read_backups
from steps.parameters import NAMESPACE_NAME

if TYPE_CHECKING:
    from steps.backup.catalogue import Catalogue

REPORT = "check.json"


@dataclass(frozen=True)
class Checked:
    """What the checks tell."""

    health: str = parameter("The worst that was found: ok, warning or critical.", is_global=True)
    findings: int = parameter("Number of findings that are not ok.", is_global=True)
    summary: str = parameter("What was found, in a line.", is_global=True)
    report: Path | None = artifact("Every finding as JSON.", REPORT)


class Unhealthy(StepError):
    """A check found something critical; its outputs are written all the same."""


@step("check-cluster")
@target_options
@option("--print-json", type=click.BOOL, default=False, help="Also print the whole report to the log.")
def check_cluster(namespace: str, cluster: str, print_json: bool) -> Checked:
    """Look one cluster over: members, quorum, primary, operator, Routers, lag, errant transactions, keys, backups.

    Changes nothing. Ends with an error (exit code 1) where something is critical.
    """
    kube = client.connect(namespace)
    made = examine(kube, cluster, read_backups([kube.cluster(cluster)]))
    return conclude([made], print_json)


@step("check-all-clusters")
@option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace whose clusters are checked.")
def check_all_clusters(namespace: str) -> Checked:
    """Look over every InnoDBCluster of the namespace, as the schedule does.

    Changes nothing. Ends with an error (exit code 1) where something is critical in any of them.
    """
    kube = client.connect(namespace)
    found = [item for item in kube.all("innodbclusters") if not item["metadata"].get("deletionTimestamp")]
    # A verification's scratch cluster is whatever it is for a few minutes.
    names = [name_of(item) for item in found if SCRATCH_LABEL not in (item["metadata"].get("labels") or {})]
    if not names:
        log("no clusters", namespace=namespace)
    backups = read_backups(found)
    return conclude([examine(kube, name, backups) for name in names], False)


@dataclass(frozen=True)
class Examined:
    """One cluster's facts and what they amount to."""

    facts: Facts
    findings: list[Finding]


def examine(kube: Kube, cluster: str, backups: Catalogue | str) -> Examined:
    """Inspect one cluster, judge what was seen, and log each finding.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        backups: what the bucket holds, or why that cannot be told.
    """
    facts = inspect(kube, cluster)
    findings = judge_facts(facts) + judge_protection(protection_of(kube.cluster(cluster), backups))
    for finding in findings:
        log("finding", cluster=cluster, **{key: value for key, value in asdict(finding).items() if value})
    return Examined(facts, findings)


def conclude(examined: list[Examined], as_json: bool) -> Checked:
    """Write the report and return the outputs.

    Raises:
        Unhealthy: something is critical.
    """
    report = outputs_folder() / REPORT
    described = document(examined)
    report.write_text(json.dumps(described, indent=2) + "\n")
    if as_json:
        click.echo(json.dumps(described, indent=2))
    everything = [finding for one in examined for finding in one.findings]
    worst = health(everything)
    bad = [(one.facts.name, f) for one in examined for f in one.findings if f.severity != OK]
    summary = "; ".join(f"{name}: {f.check}: {f.seen}" for name, f in bad)[:500]
    checked = Checked(worst, len(bad), summary or _all_well(examined), report)
    if worst == CRITICAL:
        urgent = [
            f"{name}: {f.check}: {f.seen}: {f.means}. To do: {f.run}" for name, f in bad if f.severity == CRITICAL
        ]
        raise Unhealthy(f"Critical: {'; '.join(urgent)}.", outputs=checked)
    return checked


def _all_well(examined: list[Examined]) -> str:
    return f"all well: {', '.join(one.facts.name for one in examined)}" if examined else "no clusters"


def document(examined: list[Examined]) -> dict[str, Any]:
    """Return the report as JSON can hold it."""
    return {
        "checked_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "health": health([finding for one in examined for finding in one.findings]),
        "clusters": [
            {
                "cluster": one.facts.name,
                "health": health(one.findings),
                "summary": one.facts.topology.summary(),
                "members": [asdict(member) for member in one.facts.topology.members],
                "findings": [asdict(finding) for finding in one.findings],
            }
            for one in examined
        ],
    }
