"""The Sensor of the calendar: each occasion becomes one run, of templates that have no target to name.

Argo Events delivers an event at least once, and writes the same moment in two ways: the time at which it fired, and
after an outage the time at which it should have. The run is named after the minute in UTC, so that both are one run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from eventsources.calendar import NAME as EVENT_SOURCE
from eventsources.calendar import WEEKLY_GAME_DAY
from sensors.delivery import dead_letter, delivery
from sensors.runbooks import SERVICE_ACCOUNT
from workflows.security import events_pod

STARTS = {WEEKLY_GAME_DAY: "start-game-days"}
"""WorkflowTemplate by the calendar's event."""


def build() -> dict[str, Any]:
    """Return the Sensor."""
    return sensor(STARTS)


def sensor(starts: dict[str, str]) -> dict[str, Any]:
    """Return the Sensor that starts a WorkflowTemplate at each occasion of an event."""
    occasion = Path(__file__).with_name("occasion.lua").read_text()
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Sensor",
        "metadata": {"name": EVENT_SOURCE, "labels": {"app.kubernetes.io/part-of": "tiphys"}},
        "spec": {
            "template": events_pod(SERVICE_ACCOUNT),
            "dependencies": [
                {
                    "name": event,
                    "eventSourceName": EVENT_SOURCE,
                    "eventName": event,
                    "transform": {"script": occasion},
                }
                for event in starts
            ],
            "triggers": [_trigger(event, template) for event, template in starts.items()],
        },
    }


def _trigger(event: str, template: str) -> dict[str, Any]:
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": f"{template}-", "labels": {"tiphys.dev/trigger": "calendar"}},
        "spec": {"workflowTemplateRef": {"name": template}},
    }
    # Without a value to fall back to: an event whose time cannot be read starts nothing.
    named = {"src": {"dependencyName": event, "dataKey": "occasion"}, "dest": "metadata.name", "operation": "append"}
    return {
        **delivery(
            event, dead_letter(template, "calendar", workflow=f"{template}-"), [{**named, "dest": "data.workflow"}]
        ),
        "template": {
            "name": event,
            "conditions": event,
            "k8s": {"operation": "create", "source": {"resource": workflow}, "parameters": [named]},
        },
    }
