"""What a Workflow runs: its own spec laid over its template's, its parameters, and templates by reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiphys.local.engine.model import Json, SpecError, merged, text_of
from tiphys.local.engine.supported import check_spec, without_nulls

Lookup = Callable[[str, str], Json | None]
"""``lookup(kind, name)``: a WorkflowTemplate or ConfigMap of the workflow's namespace, or a ClusterWorkflowTemplate."""


def execution_spec(workflow: Json, lookup: Lookup) -> Json:
    """Return the spec to run: the referenced template's with the Workflow's own laid over it.

    A submitted parameter replaces the template's item whole, enum and all, as in Argo.

    Raises:
        SpecError: the template is missing, or a field is not supported.
    """
    spec: Json = workflow.get("spec") or {}
    faults = check_spec(spec, "spec", whole="workflowTemplateRef" not in spec)
    if reference := spec.get("workflowTemplateRef"):
        template = find_template(reference, lookup)
        faults += check_spec(template, f"WorkflowTemplate {reference['name']}: spec")
        own = {key: value for key, value in spec.items() if key not in ("workflowTemplateRef", "arguments")}
        laid = merged(template, {key: value for key, value in own.items() if key != "templates"})
        laid["templates"] = _by_name(template.get("templates"), own.get("templates"))
        laid["arguments"] = merge_arguments(template.get("arguments"), spec.get("arguments"))
        spec = laid
    if faults:
        raise SpecError("; ".join(faults))
    spec = without_nulls(spec)
    names = [template["name"] for template in spec.get("templates") or []]
    if not spec.get("entrypoint"):
        raise SpecError("spec.entrypoint: missing; name the template to start with")
    if spec["entrypoint"] not in names:
        raise SpecError(f"spec.entrypoint: template {spec['entrypoint']!r} not found; there are {', '.join(names)}")
    return spec


def find_template(reference: Json, lookup: Lookup) -> Json:
    """Return the spec of the referenced WorkflowTemplate.

    Raises:
        SpecError: there is none of that name.
    """
    kind = "ClusterWorkflowTemplate" if reference.get("clusterScope") else "WorkflowTemplate"
    found = lookup(kind, reference["name"])
    if found is None:
        raise SpecError(f"{kind} {reference['name']!r} not found: apply it first")
    spec: Json = found.get("spec") or {}
    return spec


def _by_name(base: list[Json] | None, over: list[Json] | None) -> list[Json]:
    items = {item["name"]: item for item in base or []}
    items.update({item["name"]: item for item in over or []})
    return list(items.values())


def merge_arguments(base: Json | None, over: Json | None) -> Json:
    """Return arguments in which the items of `over` replace those of the same name in `base`."""
    laid = {}
    for part in ("parameters", "artifacts"):
        if items := _by_name((base or {}).get(part), (over or {}).get(part)):
            laid[part] = items
    return laid


def parameter_values(spec: Json, submitted: Mapping[str, Any], lookup: Lookup) -> dict[str, tuple[str, bool]]:
    """Return each workflow parameter's text, and whether the template's author wrote it (not the caller).

    Raises:
        SpecError: a parameter has no value.
    """
    callers = {item["name"] for item in submitted.get("parameters") or []}
    values: dict[str, tuple[str, bool]] = {}
    missing = []
    for item in (spec.get("arguments") or {}).get("parameters") or []:
        name, ours = item["name"], item["name"] not in callers
        if item.get("value") is not None:
            values[name] = (text_of(item["value"]), ours)
        elif reference := (item.get("valueFrom") or {}).get("configMapKeyRef"):
            values[name] = (_from_config_map(reference, item["valueFrom"], lookup), False)
        else:
            missing.append(name)
    if missing:
        raise SpecError(f"spec.arguments.parameters: no value for {', '.join(missing)}; the caller has to give it")
    return values


def _from_config_map(reference: Json, source: Json, lookup: Lookup) -> str:
    found = (lookup("ConfigMap", reference["name"]) or {}).get("data") or {}
    if reference["key"] in found:
        return text_of(found[reference["key"]])
    if "default" in source:
        return text_of(source["default"])
    raise SpecError(f"ConfigMap {reference['name']!r} has no key {reference['key']!r}")
