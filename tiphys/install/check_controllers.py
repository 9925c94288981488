"""Whether somebody looks after the objects of a part that the pack stands on, and in which version."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tiphys.install import upstream
from tiphys.install.findings import ERROR, OK, WARNING, Finding
from tiphys.install.kube import Kube
from tiphys.install.upstream import Upstream
from tiphys.runs.errors import Forbidden, NotFound

Object = dict[str, Any]

KINDS = ("deployments", "statefulsets")
STAND_IN = "mysql-local"
"""Image of the pack's own operator, for tests and trials (images/mysql-local)."""
_LABEL = "app.kubernetes.io/"
_LOOKED_AFTER = frozenset({"eventsource-name", "sensor-name", "mysql.oracle.com/cluster"})
"""Labels of pods that a controller has made from its own image."""


def look(kube: Kube, part: Upstream) -> Finding:
    """Look whether a part's controller runs, in which version, and whether it looks after the namespace."""
    name = f"{part.word}-controller"
    if kube.cluster.where.platform is not None:
        return Finding(name, OK, f"{part.name}: the local platform's own (`tiphys status`)")
    listed, spaces = _workloads(kube, part)
    found = sorted(_controllers(part, listed), key=lambda each: -_ready(each[0]))
    if not found:
        where = f"in {', '.join(spaces)}; you may not look elsewhere" if spaces else "in any namespace"
        fix = (
            f"looked for: a Deployment or StatefulSet with the image {' or '.join(part.images)},",
            f"or with the label {_LABEL}part-of={part.part_of}",
            "if it runs where it cannot be seen from here, all is well; else install it:",
            *part.how,
        )
        return Finding(name, WARNING, f"{part.name}: no controller seen {where}", fix)
    workload, container = found[0]
    meta = workload["metadata"]
    where = f"{part.name} {container['image'].rpartition('/')[2]} in {meta['namespace']}"
    if not _ready(workload):
        see = f"kubectl -n {meta['namespace']} describe {workload['kind'].lower()} {meta['name']}"
        return Finding(name, ERROR, f"{where}: none of its pods is ready", (f"see why: {see}",))
    if (kept := keeps_to(container, meta["namespace"])) and kube.namespace not in kept:
        text = f"{where} looks after namespace {', '.join(sorted(kept))} only, not {kube.namespace}"
        return Finding(name, ERROR, text, ("let it look after all, or install with -n into one of those",))
    if _image(container) == STAND_IN:
        return Finding(name, OK, f"{where}: the stand-in, for tests and trials only")
    number = upstream.parsed(container["image"])
    if number and number < part.oldest:
        oldest = ".".join(map(str, part.oldest))
        return Finding(name, ERROR, f"{where} is older than {oldest}", (f"upgrade it to {part.version}:", *part.how))
    made_with = upstream.parsed(part.version)
    if not number or not made_with or number[:1] != made_with[:1]:
        return Finding(name, WARNING, f"{where}; the pack was made with {part.version}")
    return Finding(name, OK, where)


def _workloads(kube: Kube, part: Upstream) -> tuple[list[Object], list[str]]:
    """Return what could be a controller, and the namespaces that were looked at; none where it was all of them."""
    listed: list[Object] = []
    spaces: set[str] = set()
    for plural, kind in zip(KINDS, ("Deployment", "StatefulSet"), strict=True):
        try:
            items = kube.call("GET", f"/apis/apps/v1/{plural}").get("items") or []
        except Forbidden:
            items = []
            for namespace in sorted({part.namespace, kube.namespace}):
                with contextlib.suppress(Forbidden, NotFound):
                    items += kube.call("GET", f"/apis/apps/v1/namespaces/{namespace}/{plural}").get("items") or []
                spaces.add(namespace)
        listed += [{**one, "kind": kind} for one in items]
    return listed, sorted(spaces)


def _controllers(part: Upstream, listed: list[Object]) -> Iterator[tuple[Object, Object]]:
    """Yield the workloads that run a part's controller, each with the container that does."""
    for one in listed:
        pod = one["spec"]["template"]
        labels = {**(pod["metadata"].get("labels") or {}), **(one["metadata"].get("labels") or {})}
        if _LOOKED_AFTER & set(labels):
            continue
        containers = pod["spec"]["containers"]
        if found := [container for container in containers if is_controller(part, container)]:
            yield one, found[0]
        elif _says_so(part, labels, one["metadata"]["name"]):
            yield one, containers[0]


def is_controller(part: Upstream, container: Object) -> bool:
    """Tell whether a container runs a part's controller, by the name of its image and its arguments."""
    image, arguments = _image(container), container.get("args") or []
    if part is upstream.MYSQL and image == STAND_IN:
        return "operator" in arguments
    if part is upstream.EVENTS and arguments:
        return image in part.images and "controller" in arguments
    return image in part.images


def _says_so(part: Upstream, labels: dict[str, str], name: str) -> bool:
    """Tell whether labels call a workload a part's controller; a mirror may have given its image another name."""
    if part.part_of not in (labels.get(f"{_LABEL}part-of"), labels.get(f"{_LABEL}name")):
        return False
    # Argo's server is a part of Argo, too.
    return "controller" in labels.get(f"{_LABEL}component", name) or (part is upstream.MYSQL and name == part.part_of)


def _image(container: Object) -> str:
    return str(container["image"]).partition("@")[0].rpartition("/")[2].partition(":")[0]


def _ready(workload: Object) -> int:
    return int((workload.get("status") or {}).get("readyReplicas") or 0)


def keeps_to(container: Object, own: str) -> set[str]:
    """Return the namespaces that a controller keeps to; none where it looks after all."""
    arguments = [*(container.get("command") or []), *(container.get("args") or [])]
    for index, word in enumerate(arguments):
        option, _, value = word.partition("=")
        if option in ("--managed-namespace", "--namespaces"):
            value = value or (arguments[index + 1] if index + 1 < len(arguments) else "")
            return {one for one in value.split(",") if one} or {own}
    return {own} if "--namespaced" in arguments else set()
