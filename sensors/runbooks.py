"""The Sensor of the webhook: turns an accepted body into a Workflow of the runbook that the endpoint names.

An ``Idempotency-Key`` that the caller sends is part of the run's name, so that a second event of the same key is
refused; without one the name is empty, and the API server makes it. A target has neither a default nor a fallback
value, so an event that does not name it can run nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from eventsources.runbooks import NAME as EVENT_SOURCE
from eventsources.triggerable import Runbook, triggerable
from sensors.delivery import dead_letter, delivery
from sensors.lua import environment, naming, script
from workflows.security import events_pod

SERVICE_ACCOUNT = "tiphys-events"


def build() -> dict[str, Any]:
    """Return the Sensor."""
    return sensor(triggerable())


def sensor(runbooks: Iterable[Runbook]) -> dict[str, Any]:
    """Return the Sensor for the given runbooks."""
    dependencies, triggers = [], []
    for runbook in runbooks:
        dependencies.append(_dependency(runbook))
        triggers.append(trigger(runbook, "webhook"))
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


def _dependency(runbook: Runbook) -> dict[str, Any]:
    return {
        "name": runbook.name,
        "eventSourceName": EVENT_SOURCE,
        "eventName": runbook.name,
        "transform": {"script": naming(f"{runbook.name}-")},
        "filters": {"script": script(runbook.parameters)},
    }


def trigger(runbook: Runbook, origin: str) -> dict[str, Any]:
    """Return the trigger that makes a run of an event that passed: its `body` the parameters, its `run` the name.

    Args:
        runbook: what runs.
        origin: what the event came by, which the run is labelled with.
    """
    name = runbook.name
    sources: list[dict[str, Any]] = []
    for index, parameter in enumerate(runbook.parameters):
        source: dict[str, Any] = {"dependencyName": name, "dataKey": f"body.{parameter.name}"}
        if parameter.default is not None:
            source["value"] = parameter.default
        sources.append({"src": source, "dest": f"spec.arguments.parameters.{index}.value"})
    sources.append({"src": {"dependencyName": name, "dataKey": "run"}, "dest": "metadata.name"})
    told = [
        {"src": {"dependencyName": name, "dataKey": "run"}, "dest": "data.workflow"},
        {"src": {"dependencyName": name, "dataKey": "body"}, "dest": "data.parameters"},
    ]
    defaults = {each.name: each.default for each in runbook.parameters if each.default is not None}
    return {
        **delivery(name, dead_letter(name, origin, defaults=json.dumps(defaults)), told),
        "template": {
            "name": name,
            "conditions": name,
            "k8s": {
                "operation": "create",
                "source": {"resource": _workflow(runbook, origin)},
                "parameters": sources,
            },
        },
    }


def _workflow(runbook: Runbook, origin: str) -> dict[str, Any]:
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "generateName": f"{runbook.name}-",
            "labels": {"tiphys.dev/trigger": origin},
        },
        "spec": {
            "workflowTemplateRef": {"name": runbook.name},
            "arguments": {"parameters": [{"name": parameter.name} for parameter in runbook.parameters]},
        },
    }
