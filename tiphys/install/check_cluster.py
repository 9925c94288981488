"""Looking at a cluster: its version, the parts that the pack stands on, and the namespace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiphys.install import applyset, upstream
from tiphys.install.findings import ERROR, OK, WARNING, Finding
from tiphys.install.kube import Kube, UnknownKind
from tiphys.install.upstream import Upstream
from tiphys.runs.errors import Forbidden

Object = dict[str, Any]

DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
ENFORCE = "pod-security.kubernetes.io/enforce"


def kubernetes(kube: Kube) -> Finding:
    """Look at the API server's version."""
    seen = str(kube.call("GET", "/version").get("gitVersion", ""))
    number = upstream.parsed(seen)
    if number and number[:2] < upstream.KUBERNETES_OLDEST:
        oldest = ".".join(map(str, upstream.KUBERNETES_OLDEST))
        return Finding("kubernetes", WARNING, f"{seen}; older than {oldest}, with which nobody has tried this", ())
    return Finding("kubernetes", OK, f"{seen} at {kube.cluster.host}")


def kinds(kube: Kube, part: Upstream) -> Finding:
    """Look whether the kinds of a part are there."""
    there = {one.kind for one in kube.of_version(part.api)}
    missing = [kind for kind in part.kinds if kind not in there]
    name = f"{part.word}-kinds"
    if missing:
        text = f"{part.name}: no {', '.join(missing)} of {part.api}"
        return Finding(name, ERROR, text, ("install it:", *part.how), blocks=True)
    return Finding(name, OK, f"{part.name}: {', '.join(part.kinds)} of {part.api}")


def storage_class(kube: Kube) -> Finding:
    """Look for a default storage class, from which MySQL's volumes come."""
    if kube.cluster.where.platform is not None:
        return Finding("storage-class", OK, "the local platform makes volumes without one")
    fix = (
        "name one as the default:",
        f"kubectl annotate storageclass NAME {DEFAULT_CLASS}=true",
    )
    try:
        listed = kube.all(kube.resource("storage.k8s.io/v1", "StorageClass"))
    except (Forbidden, UnknownKind):
        return Finding("storage-class", WARNING, "you may not look for storage classes")
    chosen = [
        one["metadata"]["name"]
        for one in listed
        if (one["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
    ]
    if chosen:
        return Finding("storage-class", OK, f"{', '.join(chosen)} is the default")
    names = ", ".join(one["metadata"]["name"] for one in listed) or "none at all"
    text = f"no default storage class, so MySQL's volumes are never made (there is: {names})"
    return Finding("storage-class", ERROR, text, fix)


def namespace(kube: Kube) -> Iterator[Finding]:
    """Look at the namespace: its Pod Security level, what is installed, and its event bus."""
    space = kube.find({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": kube.namespace}})
    if space is None:
        yield Finding("namespace", OK, f"{kube.namespace} is not there yet; an install makes it")
        return
    if (space.get("status") or {}).get("phase") == "Terminating":
        text = f"{kube.namespace} is being deleted"
        yield Finding("namespace", ERROR, text, ("wait until it is gone, then install",), blocks=True)
        return
    level = (space["metadata"].get("labels") or {}).get(ENFORCE, "")
    yield Finding("namespace", OK, f"{kube.namespace}; Pod Security level: {level or 'none is enforced'}")
    parent = kube.find(applyset.parent(kube.namespace, (), {}))
    if parent is not None:
        data = parent.get("data") or {}
        text = f"version {data.get('version')}, overlays: {data.get('overlays') or 'none'}"
        yield Finding("installed", OK, text)
    if not kube.of_version("argoproj.io/v1alpha1"):
        return
    try:
        bus = kube.find({"apiVersion": "argoproj.io/v1alpha1", "kind": "EventBus", "metadata": {"name": "default"}})
    except UnknownKind:
        return
    if bus is None:
        yield Finding("event-bus", OK, "none yet; an install makes it")
        return
    waits = unready(bus)
    if waits and kube.cluster.where.platform is None:
        look = f"kubectl -n {kube.namespace} describe eventbus default"
        yield Finding("event-bus", WARNING, f"not ready: {waits}", (f"see why: {look}",))
    else:
        yield Finding("event-bus", OK, "ready")


def unready(one: Object) -> str:
    """Return what an object of Argo Events still waits for, by its conditions; "" where it is ready."""
    conditions = (one.get("status") or {}).get("conditions") or []
    if not conditions:
        return "Argo Events has not looked at it yet"
    return ", ".join(
        f"{each['type']}: {each.get('message') or each.get('reason') or each['status']}"
        for each in conditions
        if each["status"] != "True"
    )
