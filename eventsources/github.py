"""GitHub: a ``repository_dispatch`` of one repository, signed with a secret that GitHub and the cluster share.

It is an overlay of its own, so that a cluster which GitHub has nothing to do with has no endpoint for it. The hook is
made by hand in the repository's settings: Argo Events would need a token that may change them.
"""

from __future__ import annotations

from typing import Any

from eventsources.runbooks import PORT, with_tls
from workflows.security import events_pod

NAME = "github"
OVERLAY = "github"
"""Folder of manifests/overlays that this and the Sensor are rendered into."""
EVENT = "dispatch"
ENDPOINT = "/github"
OWNER, REPOSITORY = "your-organization", "your-repository"
"""Stand in the overlay for what an installation names; nobody's deliveries come from there."""
SECRET = {"name": "tiphys-github", "key": "secret"}
"""Without it the pod does not start: Argo Events checks no signature where an EventSource names no secret."""
LARGEST_BODY = 128 * 1024
"""Bytes; GitHub takes 64 KiB of parameters, and tells of repository and sender besides."""


def build() -> dict[str, Any]:
    """Return the EventSource."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "EventSource",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/part-of": "tiphys"}},
        "spec": {
            "template": events_pod(),
            "service": {"ports": [{"port": PORT, "targetPort": PORT}]},
            "github": {
                EVENT: {
                    "webhook": {
                        "endpoint": ENDPOINT,
                        "method": "POST",
                        "port": str(PORT),
                        "maxPayloadSize": LARGEST_BODY,
                    },
                    "webhookSecret": SECRET,
                    "contentType": "json",
                    "events": ["repository_dispatch"],
                    "repositories": [{"owner": OWNER, "names": [REPOSITORY]}],
                }
            },
        },
    }


def patches() -> dict[str, dict[str, Any]]:
    """Return what overlays lay over the EventSource, where it is there, by file."""
    github = build()["spec"]["github"][EVENT]
    # Argo's schema asks for the events of every hook, of one in a patch too.
    patched = {"webhook": with_tls(github["webhook"]), "events": github["events"]}
    patch = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "EventSource",
        "metadata": {"name": NAME},
        "spec": {"github": {EVENT: patched}},
    }
    return {"webhook-tls/component/github.yaml": patch}
