"""The values of kubectl's columns, where a path into the object is not enough, and ages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tiphys.local.apiserver.selectors import selector_text


def value(where: str, obj: dict[str, Any]) -> Any:
    """Return a column's value: by dotted path, or by one of this module's functions."""
    if not where.startswith("."):
        return _FUNCTIONS[where](obj)
    found: Any = obj
    for step in where[1:].split("."):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def age(timestamp: object) -> str:
    """Return the time since a timestamp as kubectl words it: 12s, 5m3s, 4h10m, 3d2h."""
    try:
        since = datetime.fromisoformat(str(timestamp).replace("Z", "+00:00"))
    except ValueError:
        return "<unknown>" if timestamp is None or timestamp == "" else "<invalid>"
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _statuses(obj: dict[str, Any], field: str = "containerStatuses") -> list[dict[str, Any]]:
    return (obj.get("status") or {}).get(field) or []


def _pod_ready(obj: dict[str, Any]) -> str:
    ready = sum(1 for status in _statuses(obj) if status.get("ready"))
    return f"{ready}/{len(obj['spec'].get('containers') or [])}"


def _pod_status(obj: dict[str, Any]) -> str:
    """Return what kubectl shows as a pod's status: the most telling of phase, reasons and deletion."""
    status = obj.get("status") or {}
    shown = status.get("reason") or status.get("phase") or "Unknown"
    starting = _init_status(obj)
    if starting:
        shown = starting
    else:
        for container in reversed(_statuses(obj)):
            shown = _container_reason(container, running="") or shown
    if obj["metadata"].get("deletionTimestamp"):
        return "Unknown" if status.get("reason") == "NodeLost" else "Terminating"
    return str(shown)


def _init_status(obj: dict[str, Any]) -> str:
    statuses = _statuses(obj, "initContainerStatuses")
    for index, container in enumerate(statuses):
        state = container.get("state") or {}
        if (state.get("terminated") or {}).get("exitCode") == 0 and state.get("terminated"):
            continue
        reason = _container_reason(container, running="")
        if reason and reason != "PodInitializing":
            return f"Init:{reason}"
        return f"Init:{index}/{len(statuses)}"
    return ""


def _container_reason(container: dict[str, Any], running: str) -> str:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    if waiting.get("reason"):
        return str(waiting["reason"])
    if ended:
        if ended.get("reason"):
            return str(ended["reason"])
        return f"Signal:{ended['signal']}" if ended.get("signal") else f"ExitCode:{ended.get('exitCode', 0)}"
    return running


def _pod_restarts(obj: dict[str, Any]) -> str:
    count = sum(int(status.get("restartCount") or 0) for status in _statuses(obj))
    ends = [((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") for status in _statuses(obj)]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({age(last)} ago)" if count and last else str(count)


def _pod_gates(obj: dict[str, Any]) -> str:
    gates = [gate["conditionType"] for gate in obj["spec"].get("readinessGates") or []]
    conditions = (obj.get("status") or {}).get("conditions") or []
    true = {condition["type"] for condition in conditions if condition.get("status") == "True"}
    return f"{sum(gate in true for gate in gates)}/{len(gates)}" if gates else "<none>"


def _node_status(obj: dict[str, Any]) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or []
    ready = next((item.get("status") for item in conditions if item.get("type") == "Ready"), None)
    shown = {"True": "Ready", None: "Unknown"}.get(ready, "NotReady")
    return f"{shown},SchedulingDisabled" if (obj.get("spec") or {}).get("unschedulable") else shown


def _node_roles(obj: dict[str, Any]) -> str:
    prefix = "node-role.kubernetes.io/"
    labels = obj["metadata"].get("labels") or {}
    return ",".join(sorted(key[len(prefix) :] for key in labels if key.startswith(prefix))) or "<none>"


def _node_address(obj: dict[str, Any]) -> str:
    addresses = (obj.get("status") or {}).get("addresses") or []
    return next((item["address"] for item in addresses if item.get("type") == "InternalIP"), "<none>")


def _service_ports(obj: dict[str, Any]) -> str:
    ports = (obj.get("spec") or {}).get("ports") or []
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>"


def _selector(obj: dict[str, Any]) -> str:
    selector = (obj.get("spec") or {}).get("selector")
    if isinstance(selector, dict) and not {"matchLabels", "matchExpressions"} & set(selector):
        selector = {"matchLabels": selector}
    return selector_text(selector) or "<none>"


def _endpoint_addresses(obj: dict[str, Any]) -> str:
    found = [
        f"{address['ip']}:{port['port']}"
        for subset in obj.get("subsets") or []
        for address in subset.get("addresses") or []
        for port in subset.get("ports") or []
    ]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return ",".join(found[:3]) + more if found else "<none>"


def _data_count(obj: dict[str, Any]) -> int:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def _event_seen(obj: dict[str, Any]) -> Any:
    return obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"].get("creationTimestamp")


def _event_object(obj: dict[str, Any]) -> str:
    about = obj.get("involvedObject") or {}
    return f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}"


def _access_modes(obj: dict[str, Any]) -> str:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    return ",".join(short.get(mode, mode) for mode in (obj.get("spec") or {}).get("accessModes") or [])


def _volume_claim(obj: dict[str, Any]) -> str:
    claim = (obj.get("spec") or {}).get("claimRef") or {}
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


def _replicas_ready(obj: dict[str, Any]) -> str:
    return f"{(obj.get('status') or {}).get('readyReplicas') or 0}/{obj['spec'].get('replicas', 0)}"


def _containers(obj: dict[str, Any]) -> list[dict[str, Any]]:
    return ((obj["spec"].get("template") or {}).get("spec") or {}).get("containers") or []


def _container_names(obj: dict[str, Any]) -> str:
    return ",".join(container["name"] for container in _containers(obj))


def _images(obj: dict[str, Any]) -> str:
    return ",".join(container["image"] for container in _containers(obj))


def _cron_schedules(obj: dict[str, Any]) -> str:
    return ",".join((obj.get("spec") or {}).get("schedules") or [])


def _cron_suspend(obj: dict[str, Any]) -> str:
    return str(bool((obj.get("spec") or {}).get("suspend"))).lower()


_FUNCTIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "pod_ready": _pod_ready,
    "pod_status": _pod_status,
    "pod_restarts": _pod_restarts,
    "pod_gates": _pod_gates,
    "node_status": _node_status,
    "node_roles": _node_roles,
    "node_address": _node_address,
    "service_ports": _service_ports,
    "selector": _selector,
    "endpoint_addresses": _endpoint_addresses,
    "data_count": _data_count,
    "event_seen": _event_seen,
    "event_object": _event_object,
    "access_modes": _access_modes,
    "volume_claim": _volume_claim,
    "replicas_ready": _replicas_ready,
    "container_names": _container_names,
    "images": _images,
    "cron_schedules": _cron_schedules,
    "cron_suspend": _cron_suspend,
}
