"""Other database clusters on a node that is to be drained: their members may go only where theirs may be drilled, too.

A disruption budget alone does not protect them: a member that is partitioned, or frozen by a drill of its own, is still
Ready by its pod, so the budget lets the next one go, and that cluster has no quorum.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from steps.drill.guards import ALLOWED_LABEL, ENVIRONMENT_LABEL
from steps.drill.intent import read
from steps.kube.client import Object
from steps.kube.pods import name_of

CLUSTER_LABEL = "mysql.oracle.com/cluster"

Key = tuple[str, str]
"""Namespace and name of an InnoDBCluster."""


def neighbours(going: Iterable[Object], own: Key) -> dict[Key, list[str]]:
    """Return the pods of other InnoDBClusters among those that go: servers and Routers, by cluster.

    Args:
        going: pods that would be evicted.
        own: the cluster that the drill is about.
    """
    found: dict[Key, list[str]] = {}
    for pod in going:
        name = (pod["metadata"].get("labels") or {}).get(CLUSTER_LABEL)
        key = (str(pod["metadata"].get("namespace") or ""), str(name))
        if name and key != own:
            found.setdefault(key, []).append(name_of(pod))
    return found


def unwilling(pods: Mapping[Key, Sequence[str]], clusters: Iterable[Object]) -> list[str]:
    """Return why the pods of other clusters must not go, a line for each such cluster.

    Args:
        pods: of each cluster that would lose some, see :func:`neighbours`.
        clusters: every InnoDBCluster of every namespace.
    """
    known = {(str(one["metadata"].get("namespace") or ""), name_of(one)): one for one in clusters}
    reasons = []
    for key, names in sorted(pods.items()):
        if (cluster := known.get(key)) is None:
            continue  # what is left of a deleted one
        labels = cluster["metadata"].get("labels") or {}
        if labels.get(ALLOWED_LABEL) != "allowed":
            why = f"it is not labelled {ALLOWED_LABEL}=allowed"
        elif labels.get(ENVIRONMENT_LABEL) == "production":
            why = f"it is labelled {ENVIRONMENT_LABEL}=production, and nobody asked its people"
        elif (note := read(cluster)) is not None:
            why = f"{note.fault or 'something'} of run {note.workflow!r} is noted on it"
        else:
            continue
        told = ", ".join(sorted(names))
        reasons.append(f"{told} of another cluster, {'/'.join(key)}, would go as well, and {why}")
    return reasons
