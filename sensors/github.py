"""The Sensor of GitHub: a ``repository_dispatch`` is the webhook's body in other clothes, and is held to the same.

The event type names the runbook, the client payload holds its parameters, and the run is named after the delivery,
so that one which GitHub sends again makes no second run.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eventsources.github import EVENT, NAME, OVERLAY, OWNER, REPOSITORY
from eventsources.triggerable import Runbook, triggerable
from sensors import lua
from sensors.runbooks import SERVICE_ACCOUNT, trigger
from workflows.security import events_pod

__all__ = ["OVERLAY", "build", "sensor"]

DISPATCH, OURS = "TIPHYS_DISPATCH", "TIPHYS_REPOSITORY"
"""Variables of the pod: the script that reads a delivery, and the repository whose deliveries count."""


def build() -> dict[str, Any]:
    """Return the Sensor."""
    return sensor(triggerable())


def sensor(runbooks: Iterable[Runbook], repository: str = f"{OWNER}/{REPOSITORY}") -> dict[str, Any]:
    """Return the Sensor for the given runbooks and the deliveries of one repository."""
    known = list(runbooks)
    variables = {DISPATCH: Path(__file__).with_name("dispatch.lua").read_text(), OURS: repository}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Sensor",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/part-of": "tiphys"}},
        "spec": {
            "template": events_pod(SERVICE_ACCOUNT, lua.environment() | variables),
            "dependencies": [_dependency(runbook) for runbook in known],
            "triggers": [trigger(runbook, "github") for runbook in known],
        },
    }


def _dependency(runbook: Runbook) -> dict[str, Any]:
    is_meant = f'if event.runbook ~= "{runbook.name}" then return false end\n'
    return {
        "name": runbook.name,
        "eventSourceName": NAME,
        "eventName": EVENT,
        "transform": {"script": f'return assert(loadstring(os.getenv("{DISPATCH}")))(event, os.getenv("{OURS}"))\n'},
        "filters": {"script": is_meant + lua.script(runbook.parameters)},
    }
