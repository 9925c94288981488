"""Dead letters as people see them: what was asked for, and how to ask for it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from steps.undelivered import LABEL, Letter, is_run, read
from tiphys.runs.api import ARGO, Cluster


def letters(cluster: Cluster, namespace: str = "") -> list[Letter]:
    """Return the dead letters of a namespace, the oldest first, without those whose run is there.

    Args:
        cluster: whose they are.
        namespace: that of the cluster's address where empty.
    """
    namespace = namespace or cluster.namespace
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    found = [read(one) for one in cluster.call("GET", path, query={"labelSelector": LABEL})["items"]]
    runs = cluster.call("GET", f"{ARGO}/namespaces/{namespace}/workflows")["items"] if found else []
    lost = [one for one in found if not any(is_run(one, run) for run in runs)]
    return sorted(lost, key=lambda one: (one.since, one.name))


def forget(cluster: Cluster, name: str) -> None:
    """Delete a dead letter."""
    cluster.call("DELETE", f"/api/v1/namespaces/{cluster.namespace}/configmaps/{name}")


def lines(found: Sequence[Letter]) -> list[str]:
    """Return what `tiphys undelivered` prints: of each letter when, what, and the command that runs it now."""
    told = []
    for one in found:
        named = f", as {one.workflow}" if one.workflow else ""
        told.append(_plain(f"{one.name}  {one.since}  {one.template} by {one.origin or 'an event'}{named}"))
        parameters = "".join(f" -p {shlex.quote(f'{name}={value}')}" for name, value in one.given.items())
        told.append(_plain(f"    tiphys submit {shlex.quote(one.template)}{parameters}"))
    return told


def _plain(line: str) -> str:
    """Return a line without what moves a terminal's cursor: whoever may write ConfigMaps has written it."""
    return "".join(each if each.isprintable() else "?" for each in line)
