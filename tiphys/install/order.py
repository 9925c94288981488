"""In which order objects come, and go: what is referred to is there before what refers to it."""

from __future__ import annotations

from typing import Any

_ORDER = (
    "Namespace",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "Role",
    "ClusterRole",
    "RoleBinding",
    "ClusterRoleBinding",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "WorkflowTemplate",
    "EventBus",
    "EventSource",
    "Ingress",
    "Sensor",
    "CronWorkflow",
)
"""What starts work comes last; so it goes first."""


def rank(kind: str) -> int:
    """Return the place of a kind; one that is not listed comes where templates do."""
    return _ORDER.index(kind) if kind in _ORDER else _ORDER.index("WorkflowTemplate")


def sort_key(one: dict[str, Any]) -> tuple[int, str]:
    """Return what to sort objects by: the order of kinds, then names."""
    return rank(str(one["kind"])), str(one["metadata"]["name"])
