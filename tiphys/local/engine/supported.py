"""Which fields the engine honours, which it ignores, and the check that names every other one by its path."""

from __future__ import annotations

import json
from typing import Any

from tiphys.local.engine.substitute import references

Json = dict[str, Any]

IGNORED = {
    "archiveLogs",
    "artifactGC",
    "automountServiceAccountToken",
    "executor",
    "imagePullPolicy",
    "imagePullSecrets",
    "metrics",
    "podGC",
    "podPriorityClassName",
    "priorityClassName",
    "resources",
    "securityContext",
    "volumeClaimGC",
}
"""Fields that make no sense on one machine without containers; they are left out wherever they appear."""

ANY: Any = object()
"""Marks a field that is taken as it is, whatever it holds."""

NAME: Any = object()
"""Marks a text that has to be there."""

TEXT: Any = object()
"""Marks a text that may be there."""

NUMBER: Any = object()
"""Marks a whole number that may be there."""

_METADATA = {"labels": ANY, "annotations": ANY}
_SEMAPHORE = {"configMapKeyRef": {"name": NAME, "key": NAME}, "namespace": ANY}
_LOCKS = {"mutexes": [{"name": NAME, "namespace": ANY}], "semaphores": [_SEMAPHORE]}
_ARTIFACT = {
    "name": NAME,
    "path": TEXT,
    "from": TEXT,
    "optional": ANY,
    "globalName": TEXT,
    "mode": ANY,
    "s3": {"key": ANY, "bucket": ANY},
    "archive": {"none": ANY},
}
_VALUE_FROM = {"configMapKeyRef": {"name": NAME, "key": NAME}, "default": ANY}
_ARGUMENT = {"name": NAME, "value": ANY, "valueFrom": _VALUE_FROM, "enum": ANY, "description": ANY, "default": ANY}
_ARGUMENTS = {"parameters": [_ARGUMENT], "artifacts": [_ARTIFACT]}
_OUTPUT = {
    "name": NAME,
    "globalName": TEXT,
    "description": ANY,
    "default": ANY,
    "value": ANY,
    "valueFrom": {"path": TEXT, "default": ANY, "supplied": ANY, "parameter": TEXT, "expression": TEXT},
}
_RETRY = {
    "limit": ANY,
    "retryPolicy": TEXT,
    "expression": TEXT,
    "backoff": {"duration": ANY, "factor": ANY, "maxDuration": ANY, "cap": ANY},
}
_TEMPLATE_REF = {"name": NAME, "template": NAME, "clusterScope": ANY}
_STEP = {
    "name": NAME,
    "template": TEXT,
    "templateRef": _TEMPLATE_REF,
    "arguments": _ARGUMENTS,
    "when": ANY,
    "continueOn": {"failed": ANY, "error": ANY},
}
_CONTAINER = {
    "name": ANY,
    "image": ANY,
    "command": ANY,
    "args": ANY,
    "env": ANY,
    "envFrom": ANY,
    "volumeMounts": ANY,
    "workingDir": ANY,
    "ports": ANY,
    "lifecycle": {"preStop": ANY},
    "readinessProbe": ANY,
    "livenessProbe": ANY,
    "startupProbe": ANY,
    "terminationMessagePath": ANY,
    "terminationMessagePolicy": ANY,
}
_TEMPLATE = {
    "name": NAME,
    "inputs": {"parameters": [_ARGUMENT], "artifacts": [_ARTIFACT]},
    "outputs": {"parameters": [_OUTPUT], "artifacts": [_ARTIFACT]},
    "container": _CONTAINER,
    "steps": [[_STEP]],
    "suspend": {"duration": ANY},
    "metadata": _METADATA,
    "retryStrategy": _RETRY,
    "activeDeadlineSeconds": ANY,
    "timeout": ANY,
    "parallelism": ANY,
    "synchronization": _LOCKS,
    "volumes": ANY,
    "nodeSelector": ANY,
    "affinity": ANY,
    "tolerations": ANY,
    "serviceAccountName": ANY,
}
_SPEC = {
    "workflowTemplateRef": {"name": NAME, "clusterScope": ANY},
    "entrypoint": TEXT,
    "arguments": _ARGUMENTS,
    "templates": [_TEMPLATE],
    "templateDefaults": {**_TEMPLATE, "name": ANY},
    "serviceAccountName": ANY,
    "onExit": TEXT,
    "hooks": {"exit": {"template": TEXT, "templateRef": _TEMPLATE_REF, "arguments": _ARGUMENTS}},
    "activeDeadlineSeconds": ANY,
    "parallelism": ANY,
    "priority": ANY,
    "synchronization": _LOCKS,
    "volumes": ANY,
    "podSpecPatch": TEXT,
    "nodeSelector": ANY,
    "affinity": ANY,
    "tolerations": ANY,
    "shutdown": TEXT,
    "suspend": ANY,
    "workflowMetadata": _METADATA,
    "podMetadata": _METADATA,
    "ttlStrategy": {"secondsAfterCompletion": ANY, "secondsAfterSuccess": ANY, "secondsAfterFailure": ANY},
    "artifactRepositoryRef": {"configMap": ANY, "key": ANY},
}
_CRON = {
    "schedules": [TEXT],
    "timezone": TEXT,
    "startingDeadlineSeconds": NUMBER,
    "concurrencyPolicy": TEXT,
    "suspend": ANY,
    "successfulJobsHistoryLimit": NUMBER,
    "failedJobsHistoryLimit": NUMBER,
    "workflowSpec": _SPEC,
    "workflowMetadata": {**_METADATA, "finalizers": None},
}
_KINDS = ("container", "steps", "suspend")
_CONTAINERS, _ARGO = ("initContainers", "containers"), ("init", "wait")
_REASON = "not supported by the local engine"


def without_nulls(value: Any) -> Any:
    """Return any JSON without the fields that are null: to Kubernetes they are not there."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _walk(value: Any, known: Any, path: str) -> list[str]:
    """Return a line for each field of `value` that `known` does not have."""
    if known is NAME:
        return [] if isinstance(value, str) and value else [f"{path}: a text was expected, found {value!r}"]
    if known is ANY or value is None:
        return []
    if known is TEXT:
        return [] if isinstance(value, str) else [f"{path}: a text was expected, found {value!r}"]
    if known is NUMBER:
        whole = isinstance(value, int) and not isinstance(value, bool)
        return [] if whole else [f"{path}: a whole number was expected, found {value!r}"]
    if isinstance(known, list):
        if not isinstance(value, list):
            return [f"{path}: a list was expected, found {type(value).__name__}"]
        if None in value:
            return [f"{path}[{value.index(None)}]: is empty"]
        return [fault for at, item in enumerate(value) for fault in _walk(item, known[0], f"{path}[{at}]")]
    if not isinstance(value, dict):
        return [f"{path}: a map was expected, found {type(value).__name__}"]
    faults = [f"{path}.{key}: missing" for key, kind in known.items() if kind is NAME and value.get(key) is None]
    if known is _SEMAPHORE and not value.get("configMapKeyRef"):
        faults.append(f"{path}.configMapKeyRef: missing")
    for key, item in value.items():
        if key in IGNORED:
            continue
        if known.get(key) is None:
            faults.append(f"{path}.{key}: {_REASON}")
        else:
            faults += _walk(item, known[key], f"{path}.{key}")
    return faults


def check_spec(spec: Json, path: str = "spec", whole: bool = True) -> list[str]:
    """Return what the engine cannot do of a workflow's spec, each line led by the field's path.

    Args:
        spec: spec of a Workflow or WorkflowTemplate.
        path: where it stands, for the messages.
        whole: whether the templates have to be there.
    """
    faults = _walk(spec, _SPEC, path)
    spec = without_nulls(spec)
    if faults:
        return faults
    faults += _check_patch(spec.get("podSpecPatch"), f"{path}.podSpecPatch")
    if whole and not spec.get("templates"):
        faults.append(f"{path}.templates: there are none")
    names: set[str] = set()
    for at, template in enumerate(spec.get("templates") or []):
        where = f"{path}.templates[{at}]"
        if template["name"] in names:
            faults.append(f"{where}.name: {template['name']!r} is there twice")
        names.add(template["name"])
        faults += _check_template(template, where)
    return faults


def _check_patch(patch: str | None, path: str) -> list[str]:
    """Return what a patch changes beside the containers that Argo adds to a pod: here there are none."""
    if patch is None:
        return []
    try:
        changes = json.loads(patch).items()
        others = {key for key, _ in changes if key not in _CONTAINERS}
        items = [item for key, listed in changes if key in _CONTAINERS for item in listed]
        others |= {item["name"] for item in items if item["name"] not in _ARGO}
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        return [f"{path}: JSON with lists of named containers was expected: {error!r}"]
    return [
        f"{path}: changes {name}; only Argo's own containers init and wait can be changed" for name in sorted(others)
    ]


def _check_template(template: Json, path: str) -> list[str]:
    kinds = [kind for kind in _KINDS if kind in template]
    faults = []
    if len(kinds) != 1:
        faults.append(f"{path}: exactly one of {', '.join(_KINDS)} was expected, found {', '.join(kinds) or 'none'}")
        return faults
    if kinds[0] != "container":
        faults += [f"{path}.{field}: only a container can have one" for field in ("timeout",) if field in template]
    outputs = template.get("outputs") or {}
    for at, item in enumerate(outputs.get("artifacts") or []):
        where = f"{path}.outputs.artifacts[{at}]"
        if "from" in item:
            continue
        if "path" not in item:
            faults.append(f"{where}.path: missing")
        if "none" not in (item.get("archive") or {}):
            faults.append(f"{where}.archive: give none: {{}}; Argo's default (tar.gz) is {_REASON}")
    for at, item in enumerate(outputs.get("parameters") or []):
        if not isinstance(item.get("valueFrom"), dict):
            faults.append(f"{path}.outputs.parameters[{at}].valueFrom: missing")
    for group, steps in enumerate(template.get("steps") or []):
        for at, step in enumerate(steps):
            if bool(step.get("template")) == bool(step.get("templateRef")):
                faults.append(f"{path}.steps[{group}][{at}]: exactly one of template and templateRef was expected")
    for name in references(template.get("steps")):
        if name.endswith(".outputs.result"):
            faults.append(f"{path}.steps: {{{{{name}}}}} is {_REASON}; write the value into an output parameter")
    return faults


def check(manifest: Json) -> list[str]:
    """Return what the engine cannot do of a Workflow, WorkflowTemplate or CronWorkflow; [] for other kinds.

    Each line names the field's path, such as ``spec.templates[2].dag: not supported by the local engine``.
    """
    kind, spec = manifest.get("kind"), manifest.get("spec") or {}
    if kind in ("Workflow", "WorkflowTemplate", "ClusterWorkflowTemplate"):
        return check_spec(spec, "spec", whole="workflowTemplateRef" not in spec)
    if kind == "CronWorkflow":
        faults = _walk({key: value for key, value in spec.items() if key != "workflowSpec"}, _CRON, "spec")
        inner = spec.get("workflowSpec") or {}
        return faults + check_spec(inner, "spec.workflowSpec", whole="workflowTemplateRef" not in inner)
    return []
