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

CERTIFICATE = "tiphys-webhook-tls"
"""Secret of type kubernetes.io/tls, in the overlay that has the pod itself speak TLS."""
TLS = {
    "serverCertSecret": {"name": CERTIFICATE, "key": "tls.crt"},
    "serverKeySecret": {"name": CERTIFICATE, "key": "tls.key"},
}


def build() -> dict[str, Any]:
    """Return the EventSource."""
    return event_source(triggerable())


def patches() -> dict[str, dict[str, Any]]:
    """Return what overlays lay over the EventSource, by file.

    With TLS every endpoint names the certificate: they share one server, and the one that comes first starts it.
    """
    webhooks = {name: with_tls(webhook) for name, webhook in build()["spec"]["webhook"].items()}
    patch = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "EventSource",
        "metadata": {"name": NAME},
        "spec": {"webhook": webhooks},
    }
    return {"webhook-tls/component/eventsource.yaml": patch}


def with_tls(webhook: dict[str, Any]) -> dict[str, Any]:
    """Return what a patch says of an endpoint that is to speak TLS: Argo's schema asks for its other three fields."""
    return {key: webhook[key] for key in ("endpoint", "method", "port")} | TLS


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
