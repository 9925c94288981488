"""Dead letters: what was asked for by an event that the Sensor could not make a run of.

Argo Events writes one also where the run exists, since to it the API server's "already exists" is a failure like any
other: an event that came twice. Such a letter says nothing, and is thrown away.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

LABEL = "tiphys.dev/undelivered"
"""Label of a letter, a ConfigMap; its value says what the event came by."""


@dataclass(frozen=True)
class Letter:
    """A dead letter.

    Attributes:
        name: of the ConfigMap.
        origin: what the event came by, such as webhook.
        since: when it was written.
        template: the WorkflowTemplate that was to run.
        workflow: the run's name, empty where the API server would have made one.
        given: parameters that the event named, as texts.
        arguments: all that the run would have had; None where it cannot be told.
    """

    name: str
    origin: str
    since: str
    template: str
    workflow: str
    given: Mapping[str, str]
    arguments: Mapping[str, str] | None


def read(config_map: Mapping[str, Any]) -> Letter:
    """Return the letter that a ConfigMap holds, whatever somebody made of it."""
    meta, data = config_map["metadata"], config_map.get("data") or {}
    given, defaults = _texts(data.get("parameters", "{}")), _texts(data.get("defaults", "{}"))
    return Letter(
        str(meta["name"]),
        str((meta.get("labels") or {}).get(LABEL, "")),
        str(meta.get("creationTimestamp") or ""),
        str(data.get("template") or ""),
        str(data.get("workflow") or ""),
        given or {},
        None if given is None or defaults is None else {**defaults, **given},
    )


def is_run(letter: Letter, workflow: Mapping[str, Any]) -> bool:
    """Tell whether a Workflow is the run that a letter asks for."""
    spec = workflow.get("spec") or {}
    parameters = (spec.get("arguments") or {}).get("parameters") or []
    return (
        bool(letter.workflow)
        and workflow["metadata"]["name"] == letter.workflow
        and (spec.get("workflowTemplateRef") or {}).get("name") == letter.template
        and {str(one["name"]): str(one.get("value", "")) for one in parameters} == letter.arguments
    )


def _texts(text: str) -> dict[str, str] | None:
    """Return parameters as a Sensor writes them into a run; None where the text is no JSON object."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return {str(name): _text(value) for name, value in found.items()} if isinstance(found, dict) else None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{Decimal(repr(value)):f}"
    return value if isinstance(value, str) else json.dumps(value)
