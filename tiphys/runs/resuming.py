"""Letting a suspended run go on, as `argo resume` and `argo node set` do it: by setting the node's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tiphys.runs.api import Object
from tiphys.runs.errors import ToolError
from tiphys.runs.nodes import nodes_of


def resume_patch(workflow: Object, given: Mapping[str, str]) -> Object:
    """Return the merge patch that lets every suspended step of a run go on.

    Args:
        workflow: the run.
        given: values for the parameters that the suspended steps ask for.

    Raises:
        ToolError: if nothing waits, or a value is unknown, not allowed, or missing.
    """
    waiting = {
        key: node
        for key, node in nodes_of(workflow).items()
        if node.get("type") == "Suspend" and node.get("phase") == "Running"
    }
    name = workflow["metadata"]["name"]
    patch: dict[str, Any] = {}
    if (workflow.get("spec") or {}).get("suspend"):
        patch["spec"] = {"suspend": None}
    if not waiting and not patch:
        raise ToolError(f"run {name} does not wait for anybody; `tiphys wait {name}` follows it")
    asked = {p["name"]: p for node in waiting.values() for p in _asked(node)}
    if unknown := sorted(set(given) - set(asked)):
        raise ToolError(f"nobody asks for {', '.join(unknown)}; asked for: {', '.join(sorted(asked)) or 'nothing'}")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    nodes = {key: {"phase": "Succeeded", "finishedAt": now, **_outputs(node, given)} for key, node in waiting.items()}
    if nodes:
        patch["status"] = {"nodes": nodes}
    return patch


def _asked(node: Object) -> list[Object]:
    parameters = (node.get("outputs") or {}).get("parameters") or []
    return [p for p in parameters if "supplied" in (p.get("valueFrom") or {})]


def _outputs(node: Object, given: Mapping[str, str]) -> Object:
    """Return the node's outputs with the supplied values in; {} where it has none."""
    outputs = node.get("outputs") or {}
    if not outputs.get("parameters"):
        return {}
    allowed = {p["name"]: p.get("enum") or [] for p in (node.get("inputs") or {}).get("parameters") or []}
    made = []
    for parameter in outputs["parameters"]:
        if parameter in _asked(node):
            source, name = parameter["valueFrom"], parameter["name"]
            value = given.get(name, source.get("default"))
            if value is None:
                raise ToolError(f"{name} must be given: add -p {name}=...")
            enum = parameter.get("enum") or allowed.get(name) or []
            if enum and value not in enum:
                raise ToolError(f"{name}={value} is not one of: {', '.join(enum)}")
            parameter = {**{key: item for key, item in parameter.items() if key != "valueFrom"}, "value": value}
        made.append(parameter)
    return {"outputs": {**outputs, "parameters": made}}
