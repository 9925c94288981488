"""Whose an object is: what a run makes goes with its Workflow, at the latest."""

from __future__ import annotations

from steps.kube.client import Kube, Object


def owner_of(kube: Kube, workflow: str) -> Object | None:
    """Return an owner's reference to a workflow, or None where there is none of this name."""
    for found in kube.all("workflows", fields=f"metadata.name={workflow}"):
        if found["metadata"]["name"] == workflow:
            uid = found["metadata"]["uid"]
            return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": workflow, "uid": uid}
    return None
