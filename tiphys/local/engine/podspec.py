"""The Pod of a step: what a container template becomes once its variables are known."""

from __future__ import annotations

import json
from typing import Any

from tiphys.local.engine.model import (
    COMPLETED_LABEL,
    INPUT_ARTIFACTS,
    NODE_ID,
    NODE_NAME,
    ON_EXIT_LABEL,
    OUTPUTS,
    POD_FINALIZER,
    WORKFLOW_LABEL,
    Json,
    any_int,
    pod_name,
)
from tiphys.local.engine.supported import IGNORED


def without_ignored(container: Json) -> Json:
    """Return the container without the fields that mean nothing here."""
    return {key: value for key, value in container.items() if key not in IGNORED}


def build_pod(
    workflow: Json, spec: Json, node: Json, template: Json, *, on_exit: bool, deadline: int | None, outputs_prefix: str
) -> Json:
    """Return the Pod for `node`.

    Args:
        workflow: the owner.
        spec: the workflow's whole spec.
        node: the node, with id, name and inputs.
        template: its template with every variable substituted.
        on_exit: whether the node belongs to the exit handler.
        deadline: seconds that the pod may run, None without a limit.
        outputs_prefix: beginning of the keys of output artifacts that name none themselves.
    """
    meta = workflow["metadata"]
    own = template.get("metadata") or {}
    common = spec.get("podMetadata") or {}
    labels = {**(common.get("labels") or {}), **(own.get("labels") or {}), WORKFLOW_LABEL: meta["name"]}
    labels[COMPLETED_LABEL] = "false"
    if on_exit:
        labels[ON_EXIT_LABEL] = "true"
    annotations = {**(common.get("annotations") or {}), **(own.get("annotations") or {})}
    annotations |= {
        OUTPUTS: json.dumps(declared_outputs(template, outputs_prefix)),
        NODE_ID: node["id"],
        NODE_NAME: node["name"],
        "kubectl.kubernetes.io/default-container": "main",
    }
    if fetched := _input_artifacts(node):
        annotations[INPUT_ARTIFACTS] = json.dumps(fetched)
    container = without_ignored(template["container"])
    container["name"] = "main"
    pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
    volumes = {item["name"]: item for item in (spec.get("volumes") or []) + (template.get("volumes") or [])}
    mounted = {item["name"] for item in container.get("volumeMounts") or []}
    if mounted:
        # A mount without a volume is left to the API server and the kubelet to refuse, as on a cluster.
        pod["volumes"] = [volume for name, volume in volumes.items() if name in mounted]
    for field in ("serviceAccountName", "nodeSelector", "affinity"):
        if value := template.get(field) or spec.get(field):
            pod[field] = value
    if tolerations := (spec.get("tolerations") or []) + (template.get("tolerations") or []):
        pod["tolerations"] = tolerations
    limits = [seconds for seconds in (deadline, _own_deadline(template)) if seconds is not None]
    if limits:
        pod["activeDeadlineSeconds"] = min(limits)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(meta["name"], node["name"], template["name"]),
            "namespace": meta["namespace"],
            "labels": labels,
            "annotations": annotations,
            "finalizers": [POD_FINALIZER],
            "ownerReferences": [
                {
                    "apiVersion": "argoproj.io/v1alpha1",
                    "kind": "Workflow",
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": pod,
    }


def declared_outputs(template: Json, prefix: str) -> Json:
    """Return the template's outputs with a place in the bucket for every artifact."""
    outputs = template.get("outputs") or {}
    artifacts = [
        {
            **item,
            "s3": {**(item.get("s3") or {}), "key": (item.get("s3") or {}).get("key") or f"{prefix}/{item['name']}"},
        }
        for item in outputs.get("artifacts") or []
    ]
    return {"parameters": outputs.get("parameters") or [], "artifacts": artifacts}


def _own_deadline(template: Json) -> int | None:
    value = template.get("activeDeadlineSeconds")
    return None if value is None else any_int(value, f"templates.{template['name']}.activeDeadlineSeconds")


def _input_artifacts(node: Json) -> list[Json]:
    return [
        {"path": item["path"], "bucket": item["s3"].get("bucket", ""), "key": item["s3"]["key"]}
        for item in (node.get("inputs") or {}).get("artifacts") or []
    ]
