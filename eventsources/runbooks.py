"""The webhook: one endpoint for each runbook that may be started from outside, behind one bearer token."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from eventsources.triggerable import Runbook, triggerable
from workflows.security import events_pod

NAME = "runbooks"
PORT = 12000
LARGEST_BODY = 64 * 1024
"""Bytes; a body is a handful of parameters."""
TOKEN = {"name": "tiphys-webhook", "key": "token"}
"""Key of the Secret that holds the bearer token which callers send."""


def build() -> dict[str, Any]:
    """Return the EventSource."""
    return event_source(triggerable())


def event_source(runbooks: Iterable[Runbook]) -> dict[str, Any]:
    """Return the EventSource for the given runbooks."""
    endpoints = {
        runbook.name: {
            "endpoint": f"/{runbook.name}",
            "method": "POST",
            "port": str(PORT),
            "authSecret": TOKEN,
            "maxPayloadSize": LARGEST_BODY,
        }
        for runbook in runbooks
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "EventSource",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/part-of": "tiphys"}},
        "spec": {
            "template": events_pod(),
            "service": {"ports": [{"port": PORT, "targetPort": PORT}]},
            "webhook": endpoints,
        },
    }
