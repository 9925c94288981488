"""What holds a pod, in words: pure functions of its status."""

from __future__ import annotations

from typing import Any

from steps.kube.pods import is_ready, stuck, why_not_ready


def pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "demo-0"}, "status": status}


def condition(kind: str, status: str, **more: str) -> dict[str, str]:
    return {"type": kind, "status": status, **more}


READY = pod(phase="Running", conditions=[condition("Ready", "True")])


def test_a_ready_pod_is_held_by_nothing() -> None:
    assert is_ready(READY) and why_not_ready(READY) == ""


def test_a_pod_that_goes_is_not_ready() -> None:
    going = {**READY, "metadata": {"name": "demo-0", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert not is_ready(going) and why_not_ready(going) == "is being deleted"


def test_a_pod_without_a_node_says_why() -> None:
    held = pod(conditions=[condition("PodScheduled", "False", message="0/3 nodes are available")])
    assert why_not_ready(held) == "has no node: 0/3 nodes are available"


def test_a_container_that_waits_says_why() -> None:
    waiting = {"name": "mysql", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    held = pod(phase="Pending", containerStatuses=[waiting])
    assert why_not_ready(held) == "container mysql waits: ImagePullBackOff no such image"
    later = {"name": "mysql", "state": {"waiting": {"reason": "PodInitializing"}}}
    first = {"name": "initconf", "state": {"terminated": {"exitCode": 3}}}
    held = pod(phase="Pending", initContainerStatuses=[first], containerStatuses=[later])
    assert why_not_ready(held) == "container initconf ended with exit code 3"


def test_a_container_that_runs_and_is_not_ready() -> None:
    held = pod(phase="Running", containerStatuses=[{"name": "mysql", "state": {"running": {}}, "ready": False}])
    assert why_not_ready(held) == "container mysql runs and is not ready yet"


def test_a_gate_that_is_not_met() -> None:
    running = {"name": "mysql", "state": {"running": {}}, "ready": True}
    conditions = [condition("Ready", "False"), condition("mysql.oracle.com/ready", "False")]
    held = pod(phase="Running", containerStatuses=[running], conditions=conditions)
    assert why_not_ready(held) == "is Running, not yet Ready, mysql.oracle.com/ready"


def test_a_container_that_is_tried_again_and_again_is_told_with_its_last_end() -> None:
    image = {"name": "mysql", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}}
    held = pod(phase="Pending", containerStatuses=[image])
    assert stuck(held) == "container mysql waits: ImagePullBackOff no such image"
    crash = {"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 2, "message": "no space left\n"}}
    init = {"name": "initconf", "restartCount": 4, "state": crash[0], "lastState": crash[1]}
    assert stuck(pod(initContainerStatuses=[init])) == (
        "container initconf waits: CrashLoopBackOff; restarts: 4, last exit code 2 (no space left): "
        "kubectl logs demo-0 -c initconf --previous"
    )
    told_to_end = {"name": "mysql", "state": crash[0], "lastState": {"terminated": {"exitCode": 0}}}
    assert stuck(pod(containerStatuses=[told_to_end])) == "", "a rolling restart with method=server"
    starting = {"name": "mysql", "state": {"waiting": {"reason": "ContainerCreating"}}}
    assert stuck(pod(containerStatuses=[starting])) == "" == stuck(READY)
    going = {**held, "metadata": {"name": "demo-0", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert stuck(going) == ""
