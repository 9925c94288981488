"""Step `drill-undo`: put back what a drill changed; the exit handler of every drill, and safe to run at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steps.declare import step, target_options
from steps.drill import options
from steps.errors import StepError
from steps.log import log

if TYPE_CHECKING:
    from collections.abc import Collection

    from steps.drill.book import Entry
    from steps.drill.intent import Intent
    from steps.kube.client import Kube, Object


@step("drill-undo")
@target_options
@options.workflow
@options.keep_ledger
def drill_undo(namespace: str, cluster: str, workflow: str, keep_ledger: bool) -> None:
    """Put back what this workflow's drill changed, and take its note off the cluster. Another's is left alone."""
    from steps.drill import book, intent
    from steps.kube.client import connect

    kube = connect(namespace)
    found = kube.find("innodbclusters", cluster)
    noted = None if found is None else intent.read(found)
    if noted is not None and noted.workflow != workflow:
        log("left-alone", why=f"the drill noted on the cluster is of workflow {noted.workflow!r}")
    elif found is not None and noted is not None:
        undo(kube, found, noted)
    if (entry := book.find(kube, workflow)) is not None:
        undo_entry(kube, entry)
    if found is None:
        log("no-cluster", why=f"there is no cluster {cluster}, so nothing of it has to be put back")
    elif not keep_ledger:
        clear_ledger(kube, found, {workflow})


def undo(kube: Kube, cluster: Object, noted: Intent) -> None:
    """Undo the fault of an intent from what was written down before it, then remove the intent."""
    from steps.drill import intent

    name = str(cluster["metadata"]["name"])
    _put_back(kube, name, cluster, noted)
    intent.remove(kube, name, noted.workflow)
    log("intent-removed", cluster=name, workflow=noted.workflow)


def undo_entry(kube: Kube, entry: Entry) -> None:
    """Undo a drill from its entry in the book, whatever became of its cluster, then strike it out."""
    from steps.drill import book

    _put_back(kube, entry.cluster, kube.find("innodbclusters", entry.cluster) if entry.cluster else None, entry.intent)
    book.strike(kube, entry.intent.workflow)
    log("struck-out", cluster=entry.cluster, workflow=entry.intent.workflow)


def _put_back(kube: Kube, name: str, cluster: Object | None, noted: Intent) -> None:
    """Put back what a drill changed outside the cluster, and in it as far as it is there."""
    from steps.drill import drain
    from steps.drill.fault import Scene
    from steps.drill.faults import FAULTS
    from steps.mysql.connection import Credentials, root_credentials

    if noted.fault == drain.NAME:
        for done in drain.give_back(kube, noted.workflow):
            log("undone", what=done)
    if (fault := FAULTS.get(noted.fault)) is not None:
        # Without the cluster there is no password; what still has to be put back then is not in a server.
        known = root_credentials(kube, cluster) if cluster is not None else Credentials("", "")
        for done in fault.undo(Scene(kube, name, known), noted.before):
            log("undone", what=done)


def clear_ledger(kube: Kube, cluster: Object, runs: Collection[str]) -> list[str]:
    """Delete the rows of `runs` from a cluster's ledger, and the ledger once it is empty; return those that had some.

    A cluster that cannot be written to now is left as it is: rows are harmless, and `reap` comes again.
    """
    from steps.drill import rows
    from steps.mysql.connection import SERVER_PORT, root_credentials, session
    from steps.mysql.topology import read_topology

    name = str(cluster["metadata"]["name"])
    try:
        credentials = root_credentials(kube, cluster)
        primary = read_topology(kube, name, credentials=credentials).primary
        if primary is None:
            log("ledger-left", cluster=name, why="the cluster has no primary now")
            return []
        with session(primary.address, SERVER_PORT, credentials, what=primary.pod) as connection:
            if not rows.exists(connection):
                return []
            cleared = [run for run in runs if rows.clear(connection, run)]
            if cleared:
                log("ledger-cleared", cluster=name, runs=cleared)
            rows.drop_if_empty(connection)
            return cleared
    except StepError as error:
        log("ledger-left", cluster=name, why=str(error))
        return []
