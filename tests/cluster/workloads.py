"""Pods that end as a test wants them to, and the objects that make them again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from real import HOME_LABEL, IMAGE, Object


def pod_spec(
    run: str,
    *,
    end: float = 0,
    pre_stop: float = 0,
    grace: int = 30,
    empty_dir: bool = False,
    script: str = "",
    **more: Any,
) -> Object:
    """Return the spec of a pod that takes its time to end.

    Args:
        run: whose nodes it may run on, see `home`.
        end: seconds from SIGTERM to its exit.
        pre_stop: seconds that its preStop takes before that.
        grace: its termination grace period, in seconds, which holds both.
        empty_dir: whether it has one.
        script: what it runs instead.
        more: further keys of the spec.
    """
    script = script or f"trap 'sleep {end}; exit 0' TERM; sleep 1000000 & wait"
    container: Object = {
        "name": "main",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", script],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    if pre_stop:
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(pre_stop)]}}}
    if empty_dir:
        container["volumeMounts"] = [{"name": "scratch", "mountPath": "/scratch"}]
        more["volumes"] = [{"name": "scratch", "emptyDir": {}}]
    return {
        "containers": [container],
        "terminationGracePeriodSeconds": grace,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "nodeSelector": {HOME_LABEL: run},
        **more,
    }


def workload(
    kind: str, name: str, namespace: str, spec: Object, *, replicas: int = 1, labels: Mapping[str, str] | None = None
) -> Object:
    """Return a Deployment, StatefulSet or DaemonSet; its pods carry `app=<name>`."""
    labels = {"app": name, **(labels or {})}
    body: Object = {
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": labels}, "spec": spec},
    }
    if kind != "DaemonSet":
        body["replicas"] = replicas
    if kind == "StatefulSet":
        body |= {"serviceName": name, "podManagementPolicy": "Parallel"}
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": body,
    }


def lone_pod(name: str, namespace: str, spec: Object, **metadata: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "spec": spec,
    }


def budget(name: str, namespace: str, app: str, **spec: Any) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"app": app}}, **spec},
    }
