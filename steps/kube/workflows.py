"""A Workflow object as those see it who start, follow, answer or stop another run. Pure."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from steps.errors import BadParameters
from steps.kube.client import Object

OVER = ("Succeeded", "Failed", "Error")
"""Phases of a workflow that has ended."""

FAILED = ("Failed", "Error")
"""Those of one that has ended badly: also where only its exit handler has."""


def phase_of(workflow: Object) -> str:
    """Return a run's phase, empty before the controller has seen it."""
    return str((workflow.get("status") or {}).get("phase") or "")


def is_over(workflow: Object) -> bool:
    """Tell whether a run has ended."""
    return phase_of(workflow) in OVER


def never_began(workflow: Object) -> bool:
    """Tell whether a run waits to be begun: nobody has seen it, or it waits for a lock and has done nothing yet."""
    return phase_of(workflow) in ("", "Pending") and not nodes_of(workflow)


def nodes_of(workflow: Object) -> dict[str, Object]:
    """Return a run's nodes by id, unpacked where Argo packed many of them."""
    status = workflow.get("status") or {}
    if (packed := status.get("compressedNodes")) and not status.get("nodes"):
        nodes: dict[str, Object] = json.loads(gzip.decompress(base64.b64decode(packed)))
        return nodes
    return status.get("nodes") or {}


def outputs_of(workflow: Object) -> dict[str, str]:
    """Return a run's global output parameters."""
    parameters = ((workflow.get("status") or {}).get("outputs") or {}).get("parameters") or []
    return {p["name"]: str(p.get("value", "")) for p in parameters}


def artifact_key(workflow: Object, name: str) -> str:
    """Return where the newest artifact of a name is in the bucket; empty where no step has left one."""
    found = sorted(
        (str(node.get("finishedAt") or ""), str((artifact.get("s3") or {}).get("key") or ""))
        for node in nodes_of(workflow).values()
        for artifact in (node.get("outputs") or {}).get("artifacts") or []
        if artifact.get("name") == name
    )
    return found[-1][1] if found else ""


def running_steps(workflow: Object) -> list[str]:
    """Return the templates of the pods that run now."""
    found = [node for node in nodes_of(workflow).values() if node.get("type") == "Pod"]
    return sorted({str(node.get("templateName")) for node in found if node.get("phase") == "Running"})


def waiting(workflow: Object) -> dict[str, Object]:
    """Return the nodes by id that wait for a person."""
    found = nodes_of(workflow).items()
    return {key: node for key, node in found if node.get("type") == "Suspend" and node.get("phase") == "Running"}


def asked(node: Object) -> dict[str, list[str]]:
    """Return what a suspended node asks a person for: parameters by name, each with the values allowed ([]: any)."""
    inputs = {p["name"]: p.get("enum") or [] for p in (node.get("inputs") or {}).get("parameters") or []}
    parameters = (node.get("outputs") or {}).get("parameters") or []
    wanted = [p for p in parameters if "supplied" in (p.get("valueFrom") or {})]
    return {p["name"]: [str(item) for item in p.get("enum") or inputs.get(p["name"]) or []] for p in wanted}


def resume_patch(workflow: Object, given: Mapping[str, str]) -> Object:
    """Return the merge patch that lets every suspended step of a run go on, as `argo resume` and `argo node set` do.

    It holds the run's resourceVersion where it has one: the API server refuses it (Conflict) if the run has changed
    since. Where Argo packed the nodes, or keeps them elsewhere, is in its packer.go and hydrator.go.

    Args:
        workflow: the run.
        given: values for the parameters that the suspended steps ask for.

    Raises:
        BadParameters: nothing waits, or a value is unknown, not allowed, or missing.
    """
    found = waiting(workflow)
    name = workflow["metadata"]["name"]
    spec, status = workflow.get("spec") or {}, workflow.get("status") or {}
    if is_over(workflow):
        raise BadParameters(f"run {name} has ended already: {phase_of(workflow)}; nothing of it waits")
    if spec.get("shutdown"):
        raise BadParameters(f"run {name} is being shut down ({spec['shutdown']}); it cannot go on")
    if status.get("offloadNodeStatusVersion") and not nodes_of(workflow):
        raise BadParameters(
            f"the steps of run {name} are in the database of Argo's server, not in the Workflow; answer in Argo's UI, "
            f"or by `argo resume {name}` with ARGO_SERVER set"
        )
    patch: dict[str, Any] = {}
    if spec.get("suspend"):
        patch["spec"] = {"suspend": None}
    if not found and not patch:
        raise BadParameters(f"run {name} does not wait for anybody; `tiphys wait {name}` follows it")
    known = {parameter for node in found.values() for parameter in asked(node)}
    if unknown := sorted(set(given) - known):
        raise BadParameters(f"nobody asks for {', '.join(unknown)}; asked for: {', '.join(sorted(known)) or 'nothing'}")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    nodes = {key: {"phase": "Succeeded", "finishedAt": now, **_outputs(node, given)} for key, node in found.items()}
    if nodes and not status.get("nodes"):
        whole = {key: {**node, **nodes.get(key, {})} for key, node in nodes_of(workflow).items()}
        patch["status"] = {"compressedNodes": _packed(whole)}
    elif nodes:
        patch["status"] = {"nodes": nodes}
    if version := workflow["metadata"].get("resourceVersion"):
        patch["metadata"] = {"resourceVersion": version}
    return patch


def _packed(nodes: dict[str, Object]) -> str:
    return base64.b64encode(gzip.compress(json.dumps(nodes, separators=(",", ":")).encode(), mtime=0)).decode()


def _outputs(node: Object, given: Mapping[str, str]) -> Object:
    """Return the node's outputs with the supplied values in; {} where it has none."""
    outputs = node.get("outputs") or {}
    if not outputs.get("parameters"):
        return {}
    allowed = asked(node)
    made = []
    for parameter in outputs["parameters"]:
        if (name := parameter["name"]) in allowed:
            # A choice is the person's: its default is for runs that nobody answers, and may well be a refusal.
            value = given.get(name, None if allowed[name] else parameter["valueFrom"].get("default"))
            if value is None:
                raise BadParameters(f"{name} must be given: add -p {name}={'|'.join(allowed[name]) or '...'}")
            if allowed[name] and value not in allowed[name]:
                raise BadParameters(f"{name}={value} is not one of: {', '.join(allowed[name])}")
            parameter = {**{key: item for key, item in parameter.items() if key != "valueFrom"}, "value": value}
        made.append(parameter)
    return {"outputs": {**outputs, "parameters": made}}
