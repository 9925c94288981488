"""What a pod's status says: pure functions of the object."""

from __future__ import annotations

from typing import Any

from steps.kube.client import Object


def name_of(obj: Object) -> str:
    """Return an object's name."""
    return str(obj["metadata"]["name"])


def is_ready(pod: Object) -> bool:
    """Whether a pod is Ready and not about to go."""
    return not is_going(pod) and _condition(pod, "Ready").get("status") == "True"


def is_going(pod: Object) -> bool:
    """Whether somebody has deleted the pod."""
    return bool(pod["metadata"].get("deletionTimestamp"))


def why_not_ready(pod: Object) -> str:
    """Return in a few words what holds a pod that is not ready; empty where it is ready."""
    if is_ready(pod):
        return ""
    if is_going(pod):
        return "is being deleted"
    status = pod.get("status", {})
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"has no node: {scheduled.get('message') or scheduled.get('reason')}"
    containers = _containers(status)
    for container in containers:
        state = container.get("state") or {}
        if (waiting := state.get("waiting")) and waiting.get("reason") != "PodInitializing":
            return _waits(container)
        if (ended := state.get("terminated")) and ended.get("exitCode"):
            return f"container {container['name']} ended with exit code {ended['exitCode']}"
    for container in containers:
        if "running" in (container.get("state") or {}) and not container.get("ready"):
            return f"container {container['name']} runs and is not ready yet"
    unmet = [c["type"] for c in status.get("conditions") or [] if c.get("status") != "True"]
    return f"is {status.get('phase', 'Pending')}" + (f", not yet {', '.join(unmet)}" if unmet else "")


def stuck(pod: Object) -> str:
    """Return which container of a pod is tried again and again, and how it ended last; empty where none is."""
    if is_ready(pod) or is_going(pod):
        return ""
    for one in _containers(pod.get("status", {})):
        waiting = (one.get("state") or {}).get("waiting") or {}
        if not str(waiting.get("reason") or "").endswith("BackOff"):
            continue
        told = _waits(one)
        if not (ended := (one.get("lastState") or {}).get("terminated")):
            return told
        if not ended.get("exitCode"):
            continue  # it was told to end, and its kubelet lets it wait
        said = f" ({words})" if (words := str(ended.get("message") or "").strip()) else ""
        return (
            f"{told}; restarts: {one.get('restartCount', 0)}, last exit code {ended.get('exitCode')}{said}: "
            f"kubectl logs {name_of(pod)} -c {one['name']} --previous"
        )
    return ""


def _containers(status: Object) -> list[Object]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _waits(container: Object) -> str:
    waiting = container["state"]["waiting"]
    return f"container {container['name']} waits: {waiting.get('reason')} {waiting.get('message', '')}".strip()


def _condition(pod: Object, kind: str) -> dict[str, Any]:
    found = [c for c in pod.get("status", {}).get("conditions") or [] if c.get("type") == kind]
    return dict(found[0]) if found else {}
