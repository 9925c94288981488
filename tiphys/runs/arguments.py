"""What a WorkflowTemplate's arguments are, and whether given values fit them: checked before anything is created.

Argo checks no enum of a template that is submitted by reference, and finds a missing value only when it runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steps.parameters import Parameter


def faults_by_rules(template: dict[str, Any], given: Mapping[str, str], rules: Mapping[str, Parameter]) -> list[str]:
    """Return what is wrong with values, as the steps themselves would say it: types, ranges and patterns as well.

    Args:
        template: the WorkflowTemplate.
        given: the values.
        rules: of :func:`tiphys.runs.rules.rules_of`.
    """
    from tiphys.runs.rules import expected, fault

    name = template["metadata"]["name"]
    wrong = [f"{name} has no parameter {key!r}{_hint(key, list(rules))}" for key in given if key not in rules]
    for key, rule in rules.items():
        if key in given:
            if reason := fault(rule, given[key]):
                shown = given[key] if len(given[key]) <= 60 else f"{given[key][:60]}..."
                wrong.append(f"{key}={shown} {reason}")
        elif rule.default is None:
            values = "|".join(rule.enum) or "..."
            about = rule.help if rule.enum else " - ".join(filter(None, (rule.help.rstrip("."), expected(rule))))
            wrong.append(f"{key} is missing and has no default; add -p {key}={values}{f' ({about})' if about else ''}")
    return wrong


def faults(template: dict[str, Any], given: Mapping[str, str]) -> list[str]:
    """Return what is wrong with values for a WorkflowTemplate: one sentence each, none if all is well."""
    name = template["metadata"]["name"]
    parameters = {p["name"]: p for p in declared(template)}
    wrong = []
    for key, value in given.items():
        if key not in parameters:
            wrong.append(f"{name} has no parameter {key!r}{_hint(key, list(parameters))}")
            continue
        allowed = [str(item) for item in parameters[key].get("enum") or []]
        if allowed and value not in allowed and value != parameters[key].get("value"):
            wrong.append(f"{key}={value} is not one of: {', '.join(allowed)}{_near(value, allowed)}")
        elif "{{" in value:
            wrong.append(f"{key} holds '{{{{', which Argo would expand; write the value itself")
    for key, parameter in parameters.items():
        if key not in given and "value" not in parameter and "valueFrom" not in parameter:
            wrong.append(f"{key} is missing and has no default; add -p {key}=...")
    return wrong


def declared(template: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a template's workflow-level parameters."""
    parameters: list[dict[str, Any]] = (template["spec"].get("arguments") or {}).get("parameters") or []
    return parameters


def workflow(
    template: str, given: Mapping[str, str], *, name: str | None = None, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the Workflow that runs a template with the given values, under a name or a generated one."""
    meta = {"name": name} if name else {"generateName": f"{template}-"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {**meta, "labels": dict(labels or {})},
        "spec": {
            "workflowTemplateRef": {"name": template},
            "arguments": {"parameters": [{"name": key, "value": value} for key, value in given.items()]},
        },
    }


def scheduled(
    schedule: dict[str, Any],
    given: Mapping[str, str],
    *,
    name: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the Workflow that a CronWorkflow makes at its next time, with the given values in place of its own."""
    of = str(schedule["metadata"]["name"])
    spec = dict(schedule["spec"]["workflowSpec"])
    if given:
        arguments = spec.get("arguments") or {}
        own = [one for one in arguments.get("parameters") or [] if one["name"] not in given]
        new = [{"name": key, "value": value} for key, value in given.items()]
        spec["arguments"] = {**arguments, "parameters": own + new}
    meta = {"name": name} if name else {"generateName": f"{of}-"}
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {**meta, "labels": {**(labels or {}), "workflows.argoproj.io/cron-workflow": of}},
        "spec": spec,
    }


def _near(word: str, words: list[str]) -> str:
    close = difflib.get_close_matches(word, words, n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _hint(word: str, words: list[str]) -> str:
    return _near(word, words) or f"; it has: {', '.join(words) or 'none'}"
