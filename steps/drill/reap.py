"""Step `reap`: clear away what drills and verifications left behind whose workflow is gone or over.

Terminate skips exit handlers, and pods get lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from steps.declare import option, parameter, step
from steps.log import log
from steps.parameters import NAMESPACE_NAME

if TYPE_CHECKING:
    from collections.abc import Mapping

    from steps.drill.intent import Intent
    from steps.kube.client import Object

REMOVE_SECONDS = 60.0
"""How long one scratch cluster may take to go: one that is stuck must not hold up the others, and reap comes again."""

OVER = ("Succeeded", "Failed", "Error")
"""Phases of a workflow that has ended."""


@dataclass(frozen=True)
class Reaped:
    """What was found."""

    reaped: int = parameter("Drills, cordons, ledgers and scratch clusters that were cleared away.")


@step("reap")
@option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace of the clusters and the workflows.")
def reap(namespace: str) -> Reaped:
    """Undo what drills left behind whose workflow is gone or over, and remove scratch clusters of verifications."""
    from steps.backup.verify_scratch import is_scratch, orphans, remove
    from steps.drill import book, intent, undo
    from steps.errors import StepError
    from steps.kube import cordon
    from steps.kube.client import connect

    kube = connect(namespace)
    # Clusters first: a workflow that started after its cluster was read is in the list of workflows.
    clusters = kube.all("innodbclusters")
    cordons = cordon.noted(kube)
    written = book.entries(kube)
    phases = {str(w["metadata"]["name"]): phase_of(w) for w in kube.all("workflows")}
    count = 0
    left: StepError | None = None
    # Nodes by their own notes, not by those of clusters: the last act of a drill that was terminated may have come
    # after it was undone, or its cluster may be gone.
    for node, note in cordons:
        gone = is_over(intent.Intent(note.workflow, "", note.since, expires=note.expires), phases, datetime.now(UTC))
        if gone and (done := cordon.release(kube, node, note.workflow)):
            log("reaping", node=node, workflow=note.workflow, what=done)
            count += 1
    for cluster in clusters:
        noted = intent.read(cluster)
        if noted is not None and is_over(noted, phases, datetime.now(UTC)):
            log("reaping", cluster=cluster["metadata"]["name"], workflow=noted.workflow, fault=noted.fault)
            try:
                undo.undo(kube, cluster, noted)
                count += 1
            except StepError as error:
                # The note stays, so the next run tries again; and this one goes on to the others.
                log("not reaped", cluster=cluster["metadata"]["name"], why=str(error))
                left = left or error
        if is_scratch(cluster):
            continue  # no drill may hit it
        runs = leftovers(kube, cluster)
        # A drill notes itself before it writes rows: looked at after the rows, no live drill's are taken for leftovers.
        if runs and intent.read(kube.cluster(str(cluster["metadata"]["name"]))) is None:
            count += len(undo.clear_ledger(kube, cluster, runs))
    for entry in written:
        # Of a cluster that is gone, or whose note is; the others were undone above, with their entries.
        if not is_over(entry.intent, phases, datetime.now(UTC)) or book.find(kube, entry.intent.workflow) is None:
            continue
        log("reaping", cluster=entry.cluster, workflow=entry.intent.workflow, fault=entry.intent.fault, what="entry")
        try:
            undo.undo_entry(kube, entry)
            count += 1
        except StepError as error:
            log("not reaped", cluster=entry.cluster, why=str(error))
            left = left or error
    for name, workflow in orphans(clusters, phases, OVER):
        log("reaping", cluster=name, workflow=workflow, what="scratch cluster")
        try:
            count += remove(kube, name, workflow, seconds=REMOVE_SECONDS)
        except StepError as error:
            log("not reaped", cluster=name, why=str(error))
            left = left or error
    if left:
        raise left
    return Reaped(count)


def phase_of(workflow: Object) -> str:
    """Return a workflow's phase, empty while it has none."""
    return str((workflow.get("status") or {}).get("phase") or "")


def is_over(noted: Intent, phases: Mapping[str, str], now: datetime) -> bool:
    """Tell whether the drill of an intent is over.

    Args:
        noted: the intent.
        phases: of every workflow by name.
        now: with a time zone.
    """
    if noted.workflow in phases:
        return phases[noted.workflow] in OVER
    if noted.expires:
        try:
            return datetime.fromisoformat(noted.expires) < now
        except (ValueError, TypeError):
            return True  # no time, or one without a zone
    return True


def leftovers(kube: object, cluster: Object) -> list[str]:
    """Return the runs with rows in a cluster's ledger, but for those that somebody asked to keep."""
    from steps.drill import rows
    from steps.errors import StepError
    from steps.kube.client import Kube
    from steps.mysql.connection import SERVER_PORT, root_credentials, session
    from steps.mysql.topology import read_topology

    assert isinstance(kube, Kube)
    name = str(cluster["metadata"]["name"])
    try:
        credentials = root_credentials(kube, cluster)
        primary = read_topology(kube, name, credentials=credentials).primary
        if primary is None:
            return []
        with session(primary.address, SERVER_PORT, credentials, what=primary.pod) as connection:
            return rows.runs(connection) if rows.exists(connection) else []
    except StepError as error:
        log("ledger-not-read", cluster=name, why=str(error))
        return []
