"""A changed version: new images into the pod templates, once for each change, and the rest is the controllers' work.

As Oracle's operator does (9.1.0-2.2.2, read): the images of the servers' StatefulSet and of the Routers' Deployment are
patched at the same time, and the ConfigMap `{n}-initconf` is written anew from the spec; nothing else of the
StatefulSet is touched, so an update strategy that somebody has set stays. No switchover, no order of its own: with
the strategy RollingUpdate the StatefulSet's controller deletes the pod with the highest ordinal first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from tiphys.local.client import Kube, NotFound
from tiphys.local.mysql_versions import default_version
from tiphys.local.operator import names, objects
from tiphys.local.operator.objects import Object
from tiphys.local.operator.spec import ClusterSpec, recorded_version
from tiphys.local.operator.workloads import router_deployment, stateful_set

OLDEST = (8, 0, 27)
"""As the real operator's MIN_SUPPORTED_MYSQL_VERSION."""


@dataclass(frozen=True)
class Said:
    """An event to be told.

    Attributes:
        reason: of the event.
        text: its message.
        kind: Normal or Warning.
    """

    reason: str
    text: str
    kind: str = "Normal"


def settled(spec: ClusterSpec, obj: Mapping[str, Any]) -> ClusterSpec:
    """Return a spec with a version: one that names none keeps the version that it was made with."""
    if (obj.get("spec") or {}).get("version") or recorded_version(obj):
        return spec
    return replace(spec, version=default_version())


def why_not(version: str) -> str:
    """Return why the operator does not take a version; empty where it does."""
    parts = version.partition("-")[0].split(".")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        return f"Invalid version number {version}. Must be n.n.n"
    if tuple(map(int, parts)) < OLDEST:
        return f"version {version} must be {'.'.join(map(str, OLDEST))} or newer"
    return ""


async def follow(kube: Kube, spec: ClusterSpec, obj: Mapping[str, Any]) -> Said | None:
    """Bring a change of version into the templates, and note it as done; return what is to be told of it.

    Safe to repeat: an operator that was killed in the middle finds the old note and does it again.
    """
    before = json.loads((obj["metadata"].get("annotations") or {}).get(names.ANNOTATION_SPEC) or "null")
    now = {"version": spec.version, "router": spec.router_version}
    if before is not None and {"router": "", **before} == now:
        return None
    said = None
    if before is not None:
        for version in filter(None, now.values()):
            if why := why_not(version):
                return Said("VersionRefused", f"{why}; the cluster stays as it is", "Warning")
        made = stateful_set(spec, 0), router_deployment(spec, 0)
        with suppress(NotFound):
            initconf = objects.initconf(spec)
            await kube.patch("configmaps", initconf["metadata"]["name"], {"data": initconf["data"]}, spec.namespace)
        for resource, wanted in zip(("statefulsets", "deployments"), made, strict=True):
            with suppress(NotFound):
                await _images(kube, resource, wanted)
        said = Said("VersionChange", f"Propagating spec.version={spec.version} (was {before['version']})")
    patch = {"metadata": {"annotations": {names.ANNOTATION_SPEC: json.dumps(now)}}}
    await kube.patch("innodbclusters", spec.name, patch, spec.namespace)
    return said


async def _images(kube: Kube, resource: str, wanted: Object) -> None:
    """Lay the images of `wanted` over the containers of the object of that name, and nothing else."""
    meta = wanted["metadata"]
    found = await kube.get(resource, meta["name"], meta["namespace"])
    images = _by_name(wanted)
    pod = found["spec"]["template"]["spec"]
    patch = {
        key: [{**one, "image": images.get(one["name"], one["image"])} for one in pod[key]]
        for key in ("containers", "initContainers")
        if pod.get(key)
    }
    if any(patch[key] != pod[key] for key in patch):
        # With the version that was read: a list is replaced whole, and somebody else may have changed it.
        version = {"resourceVersion": found["metadata"]["resourceVersion"]}
        body = {"metadata": version, "spec": {"template": {"spec": patch}}}
        await kube.patch(resource, meta["name"], body, meta["namespace"])


def _by_name(obj: Object) -> dict[str, str]:
    pod = obj["spec"]["template"]["spec"]
    return {one["name"]: one["image"] for key in ("containers", "initContainers") for one in pod.get(key) or []}
