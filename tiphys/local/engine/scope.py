"""Variables that templates can name: those of the workflow, of a template's inputs, of earlier steps."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tiphys.local.engine.model import SCHEDULED_TIME, Json, SpecError, any_int, fulfilled, parse_time, text_of
from tiphys.local.engine.substitute import UnresolvedError, substitute

Variables = dict[str, Any]
"""Name to text; None for an output of a skipped step without a default; a map for an artifact."""

_PURE = re.compile(r"^\{\{\s*([^{}=][^{}]*?)\s*\}\}$")


def workflow_variables(workflow: Json, spec: Json, values: Mapping[str, tuple[str, bool]], now: datetime) -> Variables:
    """Return the variables that begin with ``workflow.``, but for status and failures.

    Values that the template's author wrote may name the workflow (``{{workflow.name}}``); those of the caller
    are data.
    """
    meta = workflow["metadata"]
    created = parse_time(meta["creationTimestamp"])
    started = (workflow.get("status") or {}).get("startedAt")
    variables: Variables = {
        "workflow.name": meta["name"],
        "workflow.namespace": meta.get("namespace", ""),
        "workflow.mainEntrypoint": spec["entrypoint"],
        "workflow.serviceAccountName": spec.get("serviceAccountName", ""),
        "workflow.uid": meta["uid"],
        "workflow.creationTimestamp": meta["creationTimestamp"],
        "workflow.creationTimestamp.s": str(int(created.timestamp())),
        "workflow.creationTimestamp.RFC3339": meta["creationTimestamp"],
        "workflow.duration": f"{max(0.0, (now - parse_time(started)).total_seconds()) if started else 0:f}",
    }
    if "priority" in spec:
        variables["workflow.priority"] = str(any_int(spec["priority"], "spec.priority"))
    for part in ("labels", "annotations"):
        held = meta.get(part) or {}
        whole = json.dumps(held, separators=(",", ":"), ensure_ascii=False)
        variables[f"workflow.{part}"] = variables[f"workflow.{part}.json"] = whole
        variables.update({f"workflow.{part}.{key}": str(value) for key, value in held.items()})
    if scheduled := (meta.get("annotations") or {}).get(SCHEDULED_TIME):
        variables["workflow.scheduledTime"] = scheduled
    known = dict(variables)
    parameters = {key: substitute(text, known) if ours else text for key, (text, ours) in values.items()}
    items = [{"name": key, "value": text} for key, text in parameters.items()]
    whole = json.dumps(items, separators=(",", ":"), ensure_ascii=False)
    variables["workflow.parameters"] = variables["workflow.parameters.json"] = whole
    variables.update({f"workflow.parameters.{key}": text for key, text in parameters.items()})
    for item in ((workflow.get("status") or {}).get("outputs") or {}).get("parameters") or []:
        if "value" in item:
            variables[f"workflow.outputs.parameters.{item['name']}"] = item["value"]
    for item in ((workflow.get("status") or {}).get("outputs") or {}).get("artifacts") or []:
        variables[f"workflow.outputs.artifacts.{item['name']}"] = item
    return variables


def template_variables(template: Json, inputs: Json) -> Variables:
    """Return the variables that begin with ``inputs.`` and ``outputs.`` inside `template`."""
    variables: Variables = {}
    for item in inputs.get("parameters") or []:
        variables[f"inputs.parameters.{item['name']}"] = item["value"]
    variables["inputs.parameters"] = json.dumps(inputs.get("parameters") or [], separators=(",", ":"))
    for item in inputs.get("artifacts") or []:
        variables[f"inputs.artifacts.{item['name']}"] = item
        if "path" in item:
            variables[f"inputs.artifacts.{item['name']}.path"] = item["path"]
    for item in (template.get("inputs") or {}).get("artifacts") or []:
        # The path of an optional artifact that nobody gave is still a path.
        variables.setdefault(f"inputs.artifacts.{item['name']}.path", item.get("path", ""))
    outputs = template.get("outputs") or {}
    for item in outputs.get("parameters") or []:
        if path := (item.get("valueFrom") or {}).get("path"):
            variables[f"outputs.parameters.{item['name']}.path"] = path
    for item in outputs.get("artifacts") or []:
        if "path" in item:
            variables[f"outputs.artifacts.{item['name']}.path"] = item["path"]
    return variables


def step_variables(name: str, node: Json, template: Json | None) -> Variables:
    """Return the variables that begin with ``steps.<name>.`` once that step is done.

    Args:
        name: the step's name.
        node: the node that has the step's result.
        template: the step's template, for what a skipped step would have put out.
    """
    prefix = f"steps.{name}"
    outputs = node.get("outputs") or {}
    found: Variables = {
        f"{prefix}.id": node["id"],
        f"{prefix}.status": node["phase"],
        f"{prefix}.startedAt": node.get("startedAt"),
        f"{prefix}.finishedAt": node.get("finishedAt"),
        f"{prefix}.ip": node.get("podIP"),
        f"{prefix}.hostNodeName": node.get("hostNodeName"),
        f"{prefix}.exitCode": outputs.get("exitCode"),
    }
    variables: Variables = {key: value for key, value in found.items() if value is not None}
    for item in outputs.get("parameters") or []:
        if "value" in item:
            variables[f"{prefix}.outputs.parameters.{item['name']}"] = item["value"]
    for item in outputs.get("artifacts") or []:
        variables[f"{prefix}.outputs.artifacts.{item['name']}"] = item
    if node["phase"] in ("Skipped", "Omitted") and template is not None:
        declared = template.get("outputs") or {}
        for item in declared.get("parameters") or []:
            default = (item.get("valueFrom") or {}).get("default")
            variables[f"{prefix}.outputs.parameters.{item['name']}"] = None if default is None else text_of(default)
        for item in declared.get("artifacts") or []:
            variables[f"{prefix}.outputs.artifacts.{item['name']}"] = {}
    return variables


def reference(text: str) -> str | None:
    """Return the name in a text that is one plain reference and nothing else, or None."""
    match = _PURE.match(text)
    return match.group(1) if match else None


def resolve_arguments(arguments: Json | None, variables: Mapping[str, Any]) -> Json:
    """Return a step's arguments with everything in them substituted.

    An argument that is nothing but a reference to an absent output is left out, so that the input's own default
    counts, as in Argo.

    Raises:
        UnresolvedError: a variable or a needed artifact does not exist.
    """
    parameters = []
    for item in (arguments or {}).get("parameters") or []:
        value = item.get("value")
        if isinstance(value, str) and (name := reference(value)) in variables and variables[name or ""] is None:
            continue
        if value is not None:
            parameters.append({"name": item["name"], "value": substitute(text_of(value), variables)})
        elif "valueFrom" in item:
            raise UnresolvedError(f"arguments.parameters.{item['name']}.valueFrom: not supported in a step's arguments")
    artifacts = []
    for item in (arguments or {}).get("artifacts") or []:
        if "from" not in item:
            artifacts.append(substitute(item, variables))
            continue
        found = variables.get(reference(item["from"]) or item["from"])
        if isinstance(found, dict) and found:
            place = {key: found[key] for key in ("s3", "archive") if key in found}
            artifacts.append({"name": item["name"], **place})
        elif not item.get("optional"):
            artifacts.append({"name": item["name"], "missing": item["from"]})
    return {"parameters": parameters, "artifacts": artifacts}


def bind(template: Json, arguments: Json, variables: Mapping[str, Any]) -> Json:
    """Return a node's inputs: the template's inputs with the values of `arguments`, or their defaults.

    Raises:
        SpecError: an input has neither.
        UnresolvedError: a default names an unknown variable.
    """
    declared = template.get("inputs") or {}
    given = {item["name"]: item for item in arguments.get("parameters") or []}
    parameters = []
    for item in declared.get("parameters") or []:
        kept = {key: item[key] for key in ("name", "default", "enum", "description") if key in item}
        if item["name"] in given:
            value = given[item["name"]]["value"]
        else:
            own = item.get("value", item.get("default"))
            if own is None:
                raise SpecError(f"inputs.parameters.{item['name']} was not supplied")
            value = substitute(text_of(own), variables)
        parameters.append({**kept, "value": value})
    places = {item["name"]: item for item in arguments.get("artifacts") or []}
    artifacts = []
    for item in declared.get("artifacts") or []:
        place = {**substitute(item, variables), **places.get(item["name"], {})}
        if "s3" in place:
            artifacts.append(place)
        elif not item.get("optional"):
            why = f": unable to resolve {place['missing']}" if "missing" in place else ""
            raise SpecError(f"inputs.artifacts.{item['name']} was not supplied{why}")
    inputs: Json = {}
    if parameters:
        inputs["parameters"] = parameters
    if artifacts:
        inputs["artifacts"] = artifacts
    return inputs


def retry_variables(attempts: list[Json]) -> Variables:
    """Return `retries` and ``lastRetry.*`` as ``retryStrategy.expression`` sees them after `attempts`."""
    last = attempts[-1]
    ends = fulfilled(last) and last.get("finishedAt") and last.get("startedAt")
    took = (parse_time(last["finishedAt"]) - parse_time(last["startedAt"])).total_seconds() if ends else 0.0
    return {
        "retries": str(len(attempts) - 1),
        "lastRetry.exitCode": (last.get("outputs") or {}).get("exitCode", "-1"),
        "lastRetry.status": last["phase"],
        "lastRetry.duration": f"{took:g}",
        "lastRetry.message": last.get("message", ""),
    }
