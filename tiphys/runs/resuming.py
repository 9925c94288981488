"""Letting a suspended run go on, as `argo resume` and `argo node set` do it: by setting the node's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tiphys.runs.api import Object
from tiphys.runs.errors import ToolError
from tiphys.runs.nodes import asked, waiting


def resume_patch(workflow: Object, given: Mapping[str, str]) -> Object:
    """Return the merge patch that lets every suspended step of a run go on.

    Args:
        workflow: the run.
        given: values for the parameters that the suspended steps ask for.

    Raises:
        ToolError: if nothing waits, or a value is unknown, not allowed, or missing.
    """
    found = waiting(workflow)
    name = workflow["metadata"]["name"]
    patch: dict[str, Any] = {}
    if (workflow.get("spec") or {}).get("suspend"):
        patch["spec"] = {"suspend": None}
    if not found and not patch:
        raise ToolError(f"run {name} does not wait for anybody; `tiphys wait {name}` follows it")
    known = {parameter for node in found.values() for parameter in asked(node)}
    if unknown := sorted(set(given) - known):
        raise ToolError(f"nobody asks for {', '.join(unknown)}; asked for: {', '.join(sorted(known)) or 'nothing'}")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    nodes = {key: {"phase": "Succeeded", "finishedAt": now, **_outputs(node, given)} for key, node in found.items()}
    if nodes:
        patch["status"] = {"nodes": nodes}
    return patch


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
                raise ToolError(f"{name} must be given: add -p {name}={'|'.join(allowed[name]) or '...'}")
            if allowed[name] and value not in allowed[name]:
                raise ToolError(f"{name}={value} is not one of: {', '.join(allowed[name])}")
            parameter = {**{key: item for key, item in parameter.items() if key != "valueFrom"}, "value": value}
        made.append(parameter)
    return {"outputs": {**outputs, "parameters": made}}
