"""Taking an installation away: all that it made, nothing else, and not while something of it is at work."""

from __future__ import annotations

import contextlib
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
Report = Callable[[str, str], None]
"""Told what is done, `removed` or `waiting`, and with what."""

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
_MADE = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "ReplicaSet"),
    ("v1", "Pod"),
    ("v1", "Service"),
    ("v1", "ConfigMap"),
    ("v1", "Secret"),
    ("v1", "PersistentVolumeClaim"),
)
"""Kinds of what Argo Events, and others for it, make for a bus, an EventSource or a Sensor."""
SHOWN = 3
"""So many names are told of what is waited for."""


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


def carry_out(kube: Kube, removal: Removal, *, seconds: float, report: Report) -> list[str]:
    """Remove the objects and return what is in the namespace afterwards, as ``Kind/name``.

    Kinds go one after the other, and each is waited for: Argo Events lets its bus go only when nothing uses it. Then
    what Argo Events had made for them goes, pods last. The namespace goes at the end, if it was made by the install and
    nothing is left in it.

    Raises:
        ToolError: some objects are still there after `seconds`.
    """
    deadline = time.monotonic() + seconds
    ranks = sorted({order.rank(one["kind"]) for one in removal.going[:-1]}, reverse=True)
    for rank in ranks:
        _remove(kube, [one for one in removal.going[:-1] if order.rank(one["kind"]) == rank], deadline, report)
    if left := until_gone(lambda: made_for(kube, removal.going), deadline, report):
        raise ToolError(
            f"{len(left)} objects that Argo Events had made are still there: {_named(left)}. See why they do not end "
            f"(`kubectl -n {kube.namespace} describe`), and run `tiphys uninstall` again"
        )
    _remove(kube, removal.going[-1:], deadline, report)
    # Asked anew: what Argo Events had made for its bus, such as volumes, has gone with it.
    others = everything(kube)
    if removal.namespace is not None and not others:
        _remove_namespace(kube, removal.namespace, deadline, report)
    return others


def made_for(kube: Kube, gone: list[Object]) -> list[Object]:
    """Return what others have made for objects that are gone: what these own, and the claims of a bus."""
    listed = []
    for version, kind in _MADE:
        with contextlib.suppress(NotFound, Forbidden, UnknownKind):
            listed += kube.all(kube.resource(version, kind))
    owners = {one["metadata"].get("uid") for one in gone}
    buses = {one["metadata"]["name"] for one in gone if one["kind"] == "EventBus"}
    found: dict[str, Object] = {}
    while True:
        new = {
            one["metadata"]["uid"]: one
            for one in listed
            if owners & {ref["uid"] for ref in one["metadata"].get("ownerReferences") or []}
            or (
                one["kind"] == "PersistentVolumeClaim"
                and one["metadata"].get("deletionTimestamp")
                and (one["metadata"].get("labels") or {}).get("eventbus-name") in buses
            )
        }
        if set(new) <= set(found):
            return list(found.values())
        found |= new
        owners |= set(new)


def until_gone(look: Callable[[], list[Object]], deadline: float, report: Report) -> list[Object]:
    """Wait until `look` finds nothing, saying what is waited for; return what it finds at the deadline."""
    told = None
    while there := look():
        # Most things are gone by the second look, and nothing is said of them.
        if told is not None and told != (told := _named(there)):
            report("waiting", f"for {told}")
        if told and time.monotonic() > deadline:
            return there
        told = told or ""
        time.sleep(PAUSE_SECONDS)
    return []


def _remove(kube: Kube, group: list[Object], deadline: float, report: Report) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(kube.delete, group))
        waited = list(group)

        def look() -> list[Object]:
            there = [one for one, live in zip(waited, pool.map(kube.find, waited), strict=True) if _is(one, live)]
            for one in waited:
                if one not in there:
                    report("removed", shown(one))
            waited[:] = there
            return there

        if left := until_gone(look, deadline, report):
            raise ToolError(
                f"{len(left)} objects do not go: {', '.join(map(shown, left))}. Something holds them by a "
                "finalizer. If the controller that would take it off is gone for good, kubectl patch them with "
                '\'{"metadata":{"finalizers":null}}\', and run `tiphys uninstall` again'
            )


def _remove_namespace(kube: Kube, namespace: Object, deadline: float, report: Report) -> None:
    kube.delete(namespace)

    def look() -> list[Object]:
        live = kube.find(namespace)
        return [live] if live is not None and _is(namespace, live) else []

    if left := until_gone(look, deadline, report):
        conditions = (left[0].get("status") or {}).get("conditions") or []
        why = "; ".join(one["message"] for one in conditions if one["status"] == "True" and one.get("message"))
        name = namespace["metadata"]["name"]
        raise ToolError(
            f"all is removed but the namespace {name}, which is still being deleted"
            f"{f': {why}' if why else ''}. `kubectl get namespace {name} -o yaml` tells what it waits for"
        )
    report("removed", shown(namespace))


def _named(some: list[Object]) -> str:
    names = sorted(map(shown, some))
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _is(one: Object, live: Object | None) -> bool:
    return live is not None and live["metadata"].get("uid") == one["metadata"].get("uid")
