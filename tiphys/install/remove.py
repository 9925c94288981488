"""Taking an installation away: all that it made, nothing else, and not while something of it is at work."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tiphys.install import applyset, order
from tiphys.install.kube import Kube, UnknownKind, shown
from tiphys.install.plan import THREADS, members
from tiphys.runs.errors import Forbidden, NotFound, ToolError

Object = dict[str, Any]

BOOK = "tiphys-drills"
"""ConfigMap in which drills note what they have changed and not put back yet."""
PAUSE_SECONDS = 0.5
_EVERYWHERE = {
    ("ConfigMap", "kube-root-ca.crt"),
    ("ServiceAccount", "default"),
}
"""What Kubernetes puts into every namespace."""
_PASSING = frozenset({"Event", "Endpoints", "EndpointSlice", "Lease", "ControllerRevision", "ReplicaSet", "PodMetrics"})
"""Kinds whose objects come and go with others."""


@dataclass(frozen=True)
class Removal:
    """What an uninstall would remove, and what it would leave.

    Attributes:
        going: objects, in the order in which they go; the set's parent last.
        kept: Secrets that stay because that was asked for.
        namespace: the Namespace, if it was made by the install and goes as well; else None.
        others: what else is in the namespace, as ``Kind/name``; while there is any, the namespace stays.
    """

    going: list[Object]
    kept: list[Object]
    namespace: Object | None
    others: list[str]

    @property
    def takes_namespace(self) -> bool:
        """Tell whether the namespace goes."""
        return self.namespace is not None and not self.others and not self.kept


def make(kube: Kube, *, keep_secrets: bool) -> Removal:
    """Return what an uninstall would do.

    Raises:
        ToolError: there is no installation in the namespace.
    """
    parent = kube.find(applyset.parent(kube.namespace, (), {}))
    if parent is None:
        raise ToolError(
            f"namespace {kube.namespace} has no installation (no ConfigMap {applyset.PARENT}); one that was made by "
            "`kubectl apply -k` is removed by `kubectl delete -k`"
        )
    found = members(kube, applyset.kinds_of(parent) | {("", "Namespace")})
    spaces = [one for one in found if one["kind"] == "Namespace"]
    kept = [one for one in found if one["kind"] == "Secret" and keep_secrets]
    going = [one for one in found if one not in spaces and one not in kept]
    going = [*sorted(going, key=order.sort_key, reverse=True), parent]
    ours = {shown(one) for one in going}
    others = [one for one in everything(kube) if one not in ours]
    return Removal(going, kept, spaces[0] if spaces else None, others)


def everything(kube: Kube) -> list[str]:
    """Return all objects of the namespace that somebody put there, as ``Kind/name``, each once.

    What another object owns goes with that one, and is left out.
    """
    names = set()
    for version in sorted(set(kube.preferred().values())):
        for resource in kube.of_version(version):
            if not resource.namespaced or "list" not in resource.verbs or resource.kind in _PASSING:
                continue
            try:
                listed = kube.all(resource)
            except (NotFound, Forbidden):
                continue
            for one in listed:
                is_made = (one["kind"], one["metadata"]["name"]) in _EVERYWHERE
                if not is_made and not one["metadata"].get("ownerReferences"):
                    names.add(shown(one))
    return sorted(names)


def busy(kube: Kube) -> list[str]:
    """Return what keeps an installation from going: runs that have not ended, and drills that are not undone."""
    lines = []
    try:
        resource = kube.resource("argoproj.io/v1alpha1", "Workflow")
        runs = kube.all(resource, "workflows.argoproj.io/completed!=true")
        lines += [f"run {one['metadata']['name']} has not ended" for one in runs]
        book = kube.cluster.config_map(BOOK)
        lines += [f"what {key} changed is not put back yet (ConfigMap {BOOK})" for key in sorted(book)]
    except (NotFound, UnknownKind):
        pass
    return lines


def carry_out(kube: Kube, removal: Removal, *, seconds: float, report: Callable[[str, str], None]) -> list[str]:
    """Remove the objects and return what is in the namespace afterwards, as ``Kind/name``.

    Kinds go one after the other, and each is waited for: Argo Events lets its bus go only when nothing uses it. The
    namespace goes last, if it was made by the install and nothing is left in it.

    Raises:
        ToolError: some objects are still there after `seconds`.
    """
    deadline = time.monotonic() + seconds
    ranks = sorted({order.rank(one["kind"]) for one in removal.going[:-1]}, reverse=True)
    for rank in ranks:
        group = [one for one in removal.going[:-1] if order.rank(one["kind"]) == rank]
        _remove(kube, group, deadline, report)
    _remove(kube, removal.going[-1:], deadline, report)
    # Asked anew: what Argo Events had made for its bus, such as volumes, has gone with it.
    others = everything(kube)
    if removal.namespace is not None and not others:
        kube.delete(removal.namespace)
        report("removed", shown(removal.namespace))
    return others


def _remove(kube: Kube, group: list[Object], deadline: float, report: Callable[[str, str], None]) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(kube.delete, group))
        while True:
            there = [one for one, live in zip(group, pool.map(kube.find, group), strict=True) if _is(one, live)]
            for one in group:
                if one not in there:
                    report("removed", shown(one))
            group = there
            if not group:
                return
            if time.monotonic() > deadline:
                raise ToolError(
                    f"{len(group)} objects do not go: {', '.join(map(shown, group))}. Something holds them by a "
                    "finalizer. If the controller that would take it off is gone for good, kubectl patch them with "
                    '\'{"metadata":{"finalizers":null}}\', and run `tiphys uninstall` again'
                )
            time.sleep(PAUSE_SECONDS)


def _is(one: Object, live: Object | None) -> bool:
    return live is not None and live["metadata"].get("uid") == one["metadata"].get("uid")
