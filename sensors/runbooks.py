"""The Sensor of the webhook: turns an accepted body into a Workflow of the runbook that the endpoint names.

Each runbook has two triggers on the same event, since Argo Events fails a trigger whose source does not resolve:
one for callers that send an ``Idempotency-Key``, which then is part of the run's name, and one for those who do
not. A target has neither a default nor a fallback value, so an event that does not name it can run nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eventsources.runbooks import NAME as EVENT_SOURCE
from eventsources.triggerable import Runbook, triggerable
from sensors.lua import NORMALISE, environment, script
from workflows.security import events_pod

KEY_HEADER = "Idempotency-Key"
SERVICE_ACCOUNT = "tiphys-events"
RETRIES = {"steps": 3, "duration": "500ms", "factor": 2}
"""Modest, since a key that was used before fails for good and later events wait meanwhile."""


def build() -> dict[str, Any]:
    """Return the Sensor."""
    return sensor(triggerable())


def sensor(runbooks: Iterable[Runbook]) -> dict[str, Any]:
    """Return the Sensor for the given runbooks."""
    dependencies, triggers = [], []
    for runbook in runbooks:
        for keyed in (True, False):
            dependencies.append(_dependency(runbook, keyed))
            triggers.append(_trigger(runbook, keyed))
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Sensor",
        "metadata": {"name": "runbooks", "labels": {"app.kubernetes.io/part-of": "tiphys"}},
        "spec": {
            "template": events_pod(SERVICE_ACCOUNT, environment()),
            "dependencies": dependencies,
            "triggers": triggers,
        },
    }


def _name(runbook: Runbook, keyed: bool) -> str:
    return f"{runbook.name}-{'keyed' if keyed else 'unkeyed'}"


def _dependency(runbook: Runbook, keyed: bool) -> dict[str, Any]:
    return {
        "name": _name(runbook, keyed),
        "eventSourceName": EVENT_SOURCE,
        "eventName": runbook.name,
        "transform": {"script": NORMALISE},
        "filters": {"script": script(runbook.parameters, keyed=keyed)},
    }


def _trigger(runbook: Runbook, keyed: bool) -> dict[str, Any]:
    name = _name(runbook, keyed)
    sources = []
    for index, parameter in enumerate(runbook.parameters):
        source: dict[str, Any] = {"dependencyName": name, "dataKey": f"body.{parameter.name}"}
        if parameter.default is not None:
            source["value"] = parameter.default
        sources.append({"src": source, "dest": f"spec.arguments.parameters.{index}.value"})
    if keyed:
        key = {"dependencyName": name, "dataKey": f"header.{KEY_HEADER}.0"}
        sources.append({"src": key, "dest": "metadata.name", "operation": "append"})
    return {
        "atLeastOnce": True,
        "retryStrategy": RETRIES,
        "template": {
            "name": name,
            "conditions": name,
            "k8s": {
                "operation": "create",
                "source": {"resource": _workflow(runbook, keyed)},
                "parameters": sources,
            },
        },
    }


def _workflow(runbook: Runbook, keyed: bool) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name" if keyed else "generateName": f"{runbook.name}-",
            "labels": {"tiphys.dev/trigger": "webhook"},
        },
        "spec": {
            "workflowTemplateRef": {"name": runbook.name},
            "arguments": {"parameters": [{"name": parameter.name} for parameter in runbook.parameters]},
        },
    }
