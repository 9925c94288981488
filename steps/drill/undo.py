"""Step `drill-undo`: put back what a drill changed; the exit handler of every drill, and safe to run at any time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steps.declare import step, target_options
from steps.drill import options
from steps.errors import StepError
from steps.log import log

if TYPE_CHECKING:
    from collections.abc import Collection

    from steps.kube.client import Kube, Object


@step("drill-undo")
@target_options
@options.workflow
@options.keep_ledger
def drill_undo(namespace: str, cluster: str, workflow: str, keep_ledger: bool) -> None:
    """Put back what this workflow's drill changed, and take its note off the cluster. Another's is left alone."""
    from steps.drill import intent
    from steps.kube.client import connect

    kube = connect(namespace)
    found = kube.find("innodbclusters", cluster)
    if found is None:
        log("nothing-to-undo", why=f"there is no cluster {cluster}")
        return
    noted = intent.read(found)
    if noted is not None and noted.workflow != workflow:
        log("left-alone", why=f"the drill noted on the cluster is of workflow {noted.workflow!r}")
    elif noted is not None:
        undo(kube, found, noted)
    if not keep_ledger:
        clear_ledger(kube, found, {workflow})


def undo(kube: Kube, cluster: Object, noted: object) -> None:
    """Undo the fault of an intent from what was written down before it, then remove the intent."""
    from steps.drill import drain, intent
    from steps.drill.fault import Scene
    from steps.drill.faults import FAULTS
    from steps.mysql.connection import root_credentials

    assert isinstance(noted, intent.Intent)
    name = str(cluster["metadata"]["name"])
    if noted.fault == drain.NAME:
        for done in drain.give_back(kube, noted.workflow):
            log("undone", what=done)
    if (fault := FAULTS.get(noted.fault)) is not None:
        for done in fault.undo(Scene(kube, name, root_credentials(kube, cluster)), noted.before):
            log("undone", what=done)
    intent.remove(kube, name)
    log("intent-removed", cluster=name, workflow=noted.workflow)


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
