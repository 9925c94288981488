"""Step `drill-undo`: put back what a drill changed; the exit handler of every drill, and safe to run at any time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeVar

from steps.declare import step, target_options
from steps.drill import options
from steps.errors import StepError, Temporary
from steps.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from steps.drill.book import Entry
    from steps.drill.intent import Intent
    from steps.kube.client import Kube, Object

T = TypeVar("T")

PRIMARY_SECONDS = 60.0
"""How long a primary is waited for whose ledger is to be cleared: a drill may have ended in the midst of a failover."""
LOOK_SECONDS = 1.0


@step("drill-undo")
@target_options
@options.workflow
@options.keep_ledger
def drill_undo(namespace: str, cluster: str, workflow: str, keep_ledger: bool) -> None:
    """Put back what this workflow's drill changed, and take its note off the cluster. Another's is left alone."""
    from steps.drill import book, intent, multi_primary
    from steps.kube.client import connect

    kube = connect(namespace)
    found = kube.find("innodbclusters", cluster)
    noted = None if found is None else intent.read_drill(found)
    if noted is not None and noted.workflow != workflow:
        log("left-alone", why=f"the drill noted on the cluster is of workflow {noted.workflow!r}")
    elif found is not None and noted is not None:
        undo(kube, found, noted)
    if (entry := book.find(kube, workflow)) is not None:
        undo_entry(kube, entry)
    if found is None:
        log("no-cluster", why=f"there is no cluster {cluster}, so nothing of it has to be put back")
    elif not keep_ledger:
        # In multi-primary mode no drill begins, and there is no single primary to wait for.
        seconds = 0.0 if multi_primary.read(found) is not None else PRIMARY_SECONDS
        clear_ledger(kube, found, {workflow}, seconds=seconds)


def undo(kube: Kube, cluster: Object, noted: Intent) -> None:
    """Undo the fault of an intent from what was written down before it, then remove the intent."""
    from steps.drill import intent

    name = str(cluster["metadata"]["name"])
    _put_back(kube, name, noted)
    intent.remove(kube, name, noted.workflow)
    log("intent-removed", cluster=name, workflow=noted.workflow)


def undo_entry(kube: Kube, entry: Entry) -> None:
    """Undo a drill from its entry in the book, whatever became of its cluster, then strike it out."""
    from steps.drill import book

    _put_back(kube, entry.cluster, entry.intent)
    book.strike(kube, entry.intent.workflow)
    log("struck-out", cluster=entry.cluster, workflow=entry.intent.workflow)


def _put_back(kube: Kube, name: str, noted: Intent) -> None:
    """Put back what a drill changed outside the cluster, and in it as far as it is there."""
    from steps.drill import drain
    from steps.drill.fault import Scene
    from steps.drill.faults import FAULTS
    from steps.mysql import settings_undo, upgrade_back
    from steps.mysql.connection import Credentials

    if noted.fault == drain.NAME:
        for done in drain.give_back(kube, noted.workflow):
            log("undone", what=done)
    if noted.fault == settings_undo.NAME:
        settings_undo.of_note(kube, name, noted)
    if noted.fault == upgrade_back.NAME:
        upgrade_back.of_note(kube, name, noted)
    if (fault := FAULTS.get(noted.fault)) is not None:
        # Nothing is put back by SQL: a cluster whose Secret is gone, or which is gone itself, keeps no fault going.
        known = Credentials("", "")
        for done in fault.undo(Scene(kube, name, known, noted.workflow), noted.before):
            log("undone", what=done)


def clear_ledger(kube: Kube, cluster: Object, runs: Collection[str], *, seconds: float = 0.0) -> list[str]:
    """Delete the rows of `runs` from a cluster's ledger, and the ledger once it is empty; return those that had some.

    A cluster that cannot be written to now is left as it is: rows are harmless, and `reap` comes again.

    Args:
        kube: of the cluster's namespace.
        cluster: whose ledger.
        runs: whose rows.
        seconds: how long a primary is waited for: a drill may just have taken it.

    Raises:
        Unreachable: the API server does not answer.
    """
    from steps.drill import rows

    cleared = on_primary(kube, cluster, lambda connection: rows.clear_all(connection, runs), seconds) or []
    if cleared:
        log("ledger-cleared", cluster=cluster["metadata"]["name"], runs=cleared)
    return cleared


def on_primary(kube: Kube, cluster: Object, act: Callable[[Any], T], seconds: float) -> T | None:
    """Do something on a cluster's primary and return what came of it; None, and a line in the log, where that fails.

    Args:
        kube: of the cluster's namespace.
        cluster: it.
        act: gets a connection.
        seconds: how long it is tried again.

    Raises:
        Unreachable: the API server does not answer.
    """
    from steps.kube.errors import Unreachable
    from steps.mysql.connection import SERVER_PORT, root_credentials, session
    from steps.mysql.topology import read_topology

    name = str(cluster["metadata"]["name"])
    limit = time.monotonic() + seconds
    while True:
        why = "the cluster has no primary now"
        try:
            credentials = root_credentials(kube, cluster)
            primary = read_topology(kube, name, credentials=credentials).primary
            if primary is not None:
                with session(primary.address, SERVER_PORT, credentials, what=primary.pod) as connection:
                    return act(connection)
        except Unreachable:
            raise
        except Temporary as error:
            why = str(error)
        except StepError as error:
            why, limit = str(error), 0.0
        # Without any pod of a server there is no primary to wait for.
        if time.monotonic() >= limit or not kube.servers(name):
            log("ledger-left", cluster=name, why=why)
            return None
        time.sleep(LOOK_SECONDS)
