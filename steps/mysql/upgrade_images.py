"""The versions that Kubernetes is told to run for a cluster: tags of images, and who decides when a pod is replaced."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from steps.kube.client import Kube, Object
from steps.kube.errors import NotFound
from steps.kube.pods import name_of
from steps.mysql.restart_plan import SERVER_CONTAINER, last_end

ROUTER_CONTAINER = "router"
HELD = "tiphys.dev/update-strategy"
"""On the StatefulSet, while a runbook decides which pod is replaced when: the update strategy that it had before."""
NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
CRASHES = 3
"""A server that has ended so often with the new version is not waited for any longer."""


def tag(pod_spec: Mapping[str, Any], container: str) -> str:
    """Return the tag of a container's image; empty where there is no such container."""
    for one in pod_spec.get("containers") or []:
        if one.get("name") == container:
            return tag_of(str(one.get("image") or ""))
    return ""


def tag_of(image: str) -> str:
    """Return the tag of an image: without what follows the version (9.7.4-aarch64), and without a digest."""
    last = image.partition("@")[0].rpartition("/")[2]
    return last.partition(":")[2].partition("-")[0]


def template_tag(obj: Object | None, container: str) -> str:
    """Return the tag in the pod template of a StatefulSet or Deployment; empty where there is none."""
    return "" if obj is None else tag(obj["spec"]["template"]["spec"], container)


def tags(pods: list[Object], container: str) -> dict[str, str]:
    """Return each pod's tag, by name."""
    return {name_of(pod): tag(pod["spec"], container) for pod in pods}


def hold(kube: Kube, name: str) -> None:
    """Have the StatefulSet replace a pod only when somebody deletes it, and remember how it was. May run twice."""
    found = kube.get("statefulsets", name)
    if HELD in (found["metadata"].get("annotations") or {}) and is_held(found):
        return
    before = found["spec"].get("updateStrategy") or {}
    # Kubernetes takes no rollingUpdate beside OnDelete.
    patch = {
        "metadata": {"annotations": {HELD: json.dumps(before, sort_keys=True)}},
        "spec": {"updateStrategy": {"type": "OnDelete", "rollingUpdate": None}},
    }
    kube.patch("statefulsets", name, patch, resource_version=str(found["metadata"]["resourceVersion"]))


def is_held(obj: Object) -> bool:
    """Tell whether the StatefulSet leaves pods alone that are not of its newest template."""
    return (obj["spec"].get("updateStrategy") or {}).get("type") == "OnDelete"


def release(kube: Kube, name: str) -> None:
    """Give the StatefulSet its update strategy back. May run twice; nothing where it is gone or was not held."""
    try:
        found = kube.get("statefulsets", name)
    except NotFound:
        return
    text = (found["metadata"].get("annotations") or {}).get(HELD)
    if text is None:
        return
    before = json.loads(text) or {"type": "RollingUpdate"}
    patch = {"metadata": {"annotations": {HELD: None}}, "spec": {"updateStrategy": before}}
    kube.patch("statefulsets", name, patch, resource_version=str(found["metadata"]["resourceVersion"]))


def hopeless(pod: Object, wanted: str, container: str = SERVER_CONTAINER) -> str:
    """Return why a pod of the wanted version will not come up by waiting; empty where it may."""
    if tag(pod["spec"], container) != wanted or pod["metadata"].get("deletionTimestamp"):
        return ""
    status = pod.get("status") or {}
    for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (one.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in NO_IMAGE:
            said = f": {waiting['message']}" if waiting.get("message") else ""
            return f"container {one.get('name')} has no image ({waiting['reason']}{said})"
        if int(one.get("restartCount") or 0) >= CRASHES and "running" not in (one.get("state") or {}):
            ended = last_end(pod) if one.get("name") == SERVER_CONTAINER else ""
            return ended or f"container {one.get('name')} was started {one['restartCount']} times and ended each time"
    return ""


def has_run(pod: Object) -> bool:
    """Tell whether the server of a pod has run, or runs: it may have changed its data files then."""
    status = pod.get("status") or {}
    for one in status.get("containerStatuses") or []:
        if one.get("name") == SERVER_CONTAINER:
            states = (one.get("state") or {}, one.get("lastState") or {})
            ran = any("running" in state or "terminated" in state for state in states)
            return ran or bool(one.get("restartCount"))
    return False
