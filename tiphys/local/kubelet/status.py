"""A pod's status from its containers: conditions, phase and statuses as Kubernetes words them.

Pure functions. Conditions that others own (readiness gates, the scheduler's before binding) are kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Object = Mapping[str, Any]
OWN_CONDITIONS = ("PodScheduled", "Initialized", "ContainersReady", "Ready")


def timestamp(seconds: float) -> str:
    """Return a wall clock time (seconds since the epoch) as Kubernetes writes it, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(
    pod: Object, phase: str, init: Sequence[Object], main: Sequence[Object], now: float
) -> list[dict[str, Any]]:
    """Return the pod's conditions: ours as they are now, the others as they stand in `pod`."""
    old = {item["type"]: item for item in (pod.get("status") or {}).get("conditions") or []}
    initialized = all((status["state"].get("terminated") or {}).get("exitCode") == 0 for status in init)
    waiting = [status["name"] for status in init if not status["ready"]]
    unready = [status["name"] for status in main if not status["ready"]]
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    closed = [gate for gate in gates if (old.get(gate) or {}).get("status") != "True"]
    done = "PodCompleted" if phase == "Succeeded" else "PodFailed" if phase == "Failed" else ""
    containers = _condition(
        not unready and not done,
        done or "ContainersNotReady",
        f"containers with unready status: [{' '.join(unready)}]" if unready and not done else "",
    )
    ready = containers
    if containers["status"] == "True" and closed:
        message = f'corresponding condition of pod readiness gate "{closed[0]}" is not True'
        ready = _condition(False, "ReadinessGatesNotReady", message)
    made = {
        "PodScheduled": _condition(True, "", ""),
        "Initialized": _condition(
            initialized,
            "ContainersNotInitialized",
            f"containers with incomplete status: [{' '.join(waiting)}]" if waiting else "",
        ),
        "ContainersReady": containers,
        "Ready": ready,
    }
    result = []
    for kind, values in made.items():
        before = old.get(kind) or {}
        changed = before.get("status") != values["status"]
        since = timestamp(now) if changed or not before.get("lastTransitionTime") else before["lastTransitionTime"]
        result.append({"type": kind, **values, "lastTransitionTime": since})
    return result + [item for kind, item in old.items() if kind not in OWN_CONDITIONS]


def pod_status(
    pod: Object,
    phase: str,
    init: Sequence[dict[str, Any]],
    main: Sequence[dict[str, Any]],
    addresses: tuple[str | None, str],
    start_time: float,
    now: float,
    reason: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Return the whole status of a pod.

    Args:
        pod: the newest known object; what others put into its status stays.
        phase: its phase.
        init: statuses of the init containers.
        main: statuses of the containers.
        addresses: the pod's address (None before it has one) and its node's.
        start_time: when the kubelet took the pod, seconds since the epoch.
        now: seconds since the epoch.
        reason: reason and message of a pod that was failed as a whole.
    """
    address, host = addresses
    status = dict(pod.get("status") or {})
    for key in ("reason", "message", "nominatedNodeName"):
        status.pop(key, None)
    status |= {
        "phase": phase,
        "conditions": conditions(pod, phase, init, main, now),
        "hostIP": host,
        "hostIPs": [{"ip": host}],
        "startTime": timestamp(start_time),
        "containerStatuses": list(main),
        "qosClass": status.get("qosClass", "BestEffort"),
    }
    if init:
        status["initContainerStatuses"] = list(init)
    if address:
        status |= {"podIP": address, "podIPs": [{"ip": address}]}
    if reason:
        status |= {"reason": reason[0], "message": reason[1]}
    return status


def _condition(good: bool, reason: str, message: str) -> dict[str, Any]:
    if good:
        return {"status": "True"}
    found = {"status": "False", "reason": reason}
    return found | ({"message": message} if message else {})
