"""Looking at a cluster: its version, the parts that the pack stands on, and the namespace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tiphys.install import applyset, upstream
from tiphys.install.findings import ERROR, OK, WARNING, Finding
from tiphys.install.kube import Kube, UnknownKind
from tiphys.install.upstream import Upstream
from tiphys.runs.errors import Forbidden, NotFound

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
    name = f"{_word(part)}-kinds"
    if missing:
        text = f"{part.name}: no {', '.join(missing)} of {part.api}"
        return Finding(name, ERROR, text, ("install it:", *part.how), blocks=True)
    return Finding(name, OK, f"{part.name}: {', '.join(part.kinds)} of {part.api}")


def controller(kube: Kube, part: Upstream) -> Finding:
    """Look whether a part's controller runs, in which version, and whether it looks after the namespace."""
    name = f"{_word(part)}-controller"
    if kube.cluster.where.platform is not None:
        return Finding(name, OK, f"{part.name}: the local platform's own (`tiphys status`)")
    found, saw_all = _deployments(kube, part)
    if not found:
        if not saw_all:
            text = f"{part.name}: none in {part.namespace} or {kube.namespace}; you may not look elsewhere"
            return Finding(name, WARNING, text, ("ask for the right to list deployments, or ask who runs the cluster",))
        return Finding(name, ERROR, f"{part.name}: no controller runs", ("install it:", *part.how))
    deployment, container = found[0]
    meta = deployment["metadata"]
    where = f"{part.name} {container['image'].rpartition('/')[2]} in {meta['namespace']}"
    ready = (deployment.get("status") or {}).get("readyReplicas") or 0
    if not ready:
        look = f"kubectl -n {meta['namespace']} describe deployment {meta['name']}"
        return Finding(name, ERROR, f"{where}: none of its pods is ready", (f"see why: {look}",))
    if (kept := _keeps_to(container, meta["namespace"])) and kube.namespace not in kept:
        text = f"{where} looks after namespace {', '.join(sorted(kept))} only, not {kube.namespace}"
        return Finding(name, ERROR, text, ("let it look after all, or install with -n into one of those",))
    number = upstream.parsed(container["image"])
    if number and number < part.oldest:
        oldest = ".".join(map(str, part.oldest))
        return Finding(name, ERROR, f"{where} is older than {oldest}", (f"upgrade it to {part.version}:", *part.how))
    made_with = upstream.parsed(part.version)
    if not number or not made_with or number[:1] != made_with[:1]:
        return Finding(name, WARNING, f"{where}; the pack was made with {part.version}")
    return Finding(name, OK, where)


def _word(part: Upstream) -> str:
    return {"Argo Workflows": "workflows", "Argo Events": "events", "MySQL Operator": "operator"}[part.name]


def _deployments(kube: Kube, part: Upstream) -> tuple[list[tuple[Object, Object]], bool]:
    """Return the Deployments that run a part's controller with its container, and whether all were looked at."""
    try:
        listed, saw_all = kube.call("GET", "/apis/apps/v1/deployments").get("items") or [], True
    except Forbidden:
        listed, saw_all = [], False
        for namespace in sorted({part.namespace, kube.namespace}):
            try:
                listed += kube.call("GET", f"/apis/apps/v1/namespaces/{namespace}/deployments").get("items") or []
            except (Forbidden, NotFound):
                continue
    found = [
        (one, container)
        for one in listed
        for container in one["spec"]["template"]["spec"]["containers"]
        if _is_controller(part, container)
        # Argo Events runs EventSources and Sensors from the same image.
        and not {"eventsource-name", "sensor-name"} & set(one["spec"]["template"]["metadata"].get("labels") or {})
    ]
    return sorted(found, key=lambda each: -((each[0].get("status") or {}).get("readyReplicas") or 0)), saw_all


def _is_controller(part: Upstream, container: Object) -> bool:
    image = container["image"].partition("@")[0].rpartition("/")[2].partition(":")[0]
    if part is upstream.MYSQL:
        return bool(image in ("community-operator", "enterprise-operator", "mysql-operator"))
    arguments = container.get("args") or []
    if part is upstream.EVENTS and arguments:
        return bool(image == part.image and "controller" in arguments)
    return bool(image == part.image)


def _keeps_to(container: Object, own: str) -> set[str]:
    """Return the namespaces that a controller keeps to; none where it looks after all."""
    arguments = [*(container.get("command") or []), *(container.get("args") or [])]
    for index, word in enumerate(arguments):
        option, _, value = word.partition("=")
        if option in ("--managed-namespace", "--namespaces"):
            value = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
            return {one for one in value.split(",") if one} or {own}
    return {own} if "--namespaced" in arguments else set()


def storage_class(kube: Kube) -> Finding:
    """Look for a default storage class, from which MySQL's volumes come."""
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
