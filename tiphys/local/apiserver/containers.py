"""Which container of a pod a log or exec request means, and where its log is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiphys.local.apiserver.errors import bad_request


def all_names(pod: dict[str, Any]) -> list[str]:
    """Return the names of a pod's containers, those that run once at the start last."""
    spec = pod["spec"]
    return [container["name"] for field in ("containers", "initContainers") for container in spec.get(field) or []]


def chosen(pod: dict[str, Any], asked: str) -> str:
    """Return the container that is meant.

    Raises:
        ApiError: 400 if there is none of that name, or several and none was named.
    """
    meta, names = pod["metadata"], all_names(pod)
    if asked:
        if asked not in names:
            raise bad_request(f"container {asked} is not valid for pod {meta['name']}")
        return asked
    marked = (meta.get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if marked in names:
        return str(marked)
    if len(pod["spec"]["containers"]) > 1:
        told = f"a container name must be specified for pod {meta['name']}, choose one of: [{' '.join(names)}]"
        raise bad_request(told)
    return names[0]


def status_of(pod: dict[str, Any], container: str) -> dict[str, Any]:
    """Return the container's status, empty if the kubelet has not told it yet."""
    status = pod.get("status") or {}
    for field in ("containerStatuses", "initContainerStatuses"):
        for entry in status.get(field) or []:
            if entry.get("name") == container:
                found: dict[str, Any] = entry
                return found
    return {}


def log_file(home: Path, pod: dict[str, Any], container: str, previous: bool) -> Path:
    """Return the file that holds a container's log."""
    return home / "pods" / str(pod["metadata"]["uid"]) / f"{container}{'.prev' if previous else ''}.log"
