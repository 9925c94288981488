"""Label selectors as they stand in specs: ``matchLabels`` and ``matchExpressions``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = Mapping[str, Any]


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector matches `labels`: None matches nothing, an empty one everything."""
    if selector is None:
        return False
    plain = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return plain and all(requirement_met(item, labels) for item in selector.get("matchExpressions") or [])


def requirement_met(requirement: Object, labels: Mapping[str, str]) -> bool:
    """Whether one requirement (of a label or node selector) holds for `labels`.

    Raises:
        ValueError: the operator is none that Kubernetes knows.
    """
    key, operator, values = requirement["key"], requirement["operator"], requirement.get("values") or []
    value = labels.get(key)
    match operator:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            try:
                have, want = int(value or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return have > want if operator == "Gt" else have < want
    raise ValueError(f"operator {operator!r} of the requirement on {key!r} is unknown")
