"""Step topology-undo: the way back from multi-primary mode, when the run that switched is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from steps.declare import step, target_options
from steps.drill import multi_primary
from steps.drill.options import workflow as workflow_option
from steps.errors import Temporary
from steps.log import log

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from steps.kube.client import Kube, Object

SECONDS = 120.0
"""How long the switch back may take."""


@step("topology-undo")
@target_options
@workflow_option
def topology_undo(namespace: str, cluster: str, workflow: str) -> None:
    """Go back to single-primary mode where this workflow's run said for how long, or was cut off half way."""
    from steps.kube.client import connect

    kube = connect(namespace)
    found = kube.find("innodbclusters", cluster)
    note = None if found is None else multi_primary.read(found)
    if found is None or note is None or note.workflow != workflow:
        log("left-alone", why="this run has no note of multi-primary mode on the cluster")
    elif not note.goes_back:
        log("left-alone", why="it was told to stay in multi-primary mode: set-topology with single-primary ends that")
    else:
        go_back(kube, found, note)


def go_back(kube: Kube, cluster: Object, note: multi_primary.Note) -> None:
    """Go back to single-primary mode, and take the note off.

    Raises:
        Temporary: the group cannot be asked now, or has no majority.
    """
    from steps.mysql.connection import root_credentials
    from steps.mysql.topology import read_topology
    from steps.mysql.topology_switch import roles, to_single

    name = str(cluster["metadata"]["name"])
    credentials = root_credentials(kube, cluster)
    topology = read_topology(kube, name, credentials=credentials)
    if not topology.members:
        raise Temporary(
            f"{name} cannot go back to single-primary mode now: {topology.summary()}. Its note stays, and the "
            "CronWorkflow reap tries again; run check-cluster."
        )
    topology = to_single(kube, name, credentials, note, "", SECONDS)
    log("went-back", cluster=name, group=roles(topology))


def due(clusters: list[Object], phases: Mapping[str, str], now: datetime) -> list[tuple[Object, multi_primary.Note]]:
    """Return the clusters in multi-primary mode that must go back, for the run that said so is over.

    Args:
        clusters: every InnoDBCluster.
        phases: of every workflow by name.
        now: with a time zone.
    """
    from steps.drill.intent import Intent
    from steps.drill.reap import is_over

    noted = [(cluster, note) for cluster in clusters if (note := multi_primary.read(cluster)) is not None]
    return [
        (cluster, note)
        for cluster, note in noted
        if note.goes_back
        and is_over(Intent(note.workflow, multi_primary.NAME, note.since, expires=note.expires), phases, now)
    ]
