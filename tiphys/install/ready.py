"""Waiting for what an install has applied to be brought up by others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from tiphys.install.check_cluster import unready
from tiphys.install.kube import Kube, shown

Object = dict[str, Any]

PAUSE_SECONDS = 1.0
_DEPLOYED = {"EventSource": "eventsource-name", "Sensor": "sensor-name"}
"""Label of the Deployment that Argo Events makes for an object."""


def watch(kube: Kube, objects: list[Object], seconds: float) -> Iterator[dict[str, str]]:
    """Yield what is not ready yet and why, each time that it changes; the last one is empty if all got ready."""
    deadline = time.monotonic() + seconds
    before: dict[str, str] | None = None
    waited_for = [one for one in objects if one["kind"] in ("EventBus", *_DEPLOYED)]
    while True:
        waiting = {shown(one): why for one in waited_for if (why := _why(kube, one))}
        if waiting != before:
            yield waiting
        if not waiting or time.monotonic() > deadline:
            return
        before = waiting
        time.sleep(PAUSE_SECONDS)


def told(objects: list[Object]) -> str:
    """Return what was waited for."""
    return ", ".join(shown(one) for one in objects if one["kind"] in ("EventBus", *_DEPLOYED))


def _why(kube: Kube, one: Object) -> str:
    live = kube.find(one)
    if live is None:
        return "it is gone"
    if why := unready(live):
        return why
    if label := _DEPLOYED.get(one["kind"]):
        resource = kube.resource("apps/v1", "Deployment")
        made = kube.all(resource, f"{label}={one['metadata']['name']}")
        wanted = sum(int(each["spec"].get("replicas", 1)) for each in made)
        ready = sum(map(_ready, made))
        if not made or ready < wanted:
            return f"{ready} of {max(wanted, 1)} pods are ready"
    return ""


def _ready(deployment: Object) -> int:
    """Return how many of its newest pods are ready; what is left of those before does not count.

    An object that was changed, as by another overlay, has its old pods until the new ones are ready.
    """
    status = deployment.get("status") or {}
    told = {name: int(status.get(name) or 0) for name in ("replicas", "updatedReplicas", "readyReplicas")}
    if int(status.get("observedGeneration") or 0) < int(deployment["metadata"].get("generation") or 0):
        return 0
    return max(0, told["readyReplicas"] - (told["replicas"] - told["updatedReplicas"]))
