"""Label and field selectors: text to a predicate on objects.

Grammar of Kubernetes: ``a=b``, ``a==b``, ``a!=b``, ``a in (b,c)``, ``a notin (b,c)``, ``a``, ``!a``, joined by
commas. Fields know ``=``, ``==`` and ``!=`` only, and only the fields that Kubernetes indexes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from tiphys.local.apiserver.errors import bad_request
from tiphys.local.registry import Kind

Predicate = Callable[[dict[str, Any]], bool]

_KEY = r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?"
_VALUE = r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?|"
_REQUIREMENT = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<k1>{_KEY})"
    rf"|(?P<k2>{_KEY})\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\)"
    rf"|(?P<k3>{_KEY})\s*(?P<op>==|!=|=)\s*(?P<value>{_VALUE})"
    rf"|(?P<k4>{_KEY}))\s*(?:,|$)"
)

_FIELDS: dict[str, frozenset[str]] = {
    "pods": frozenset(
        (
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        )
    ),
    "events": frozenset(
        (
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        )
    ),
    "secrets": frozenset(("type",)),
    "namespaces": frozenset(("status.phase",)),
    "nodes": frozenset(("spec.unschedulable",)),
    "replicasets": frozenset(("status.replicas",)),
    "jobs": frozenset(("status.successful",)),
}
_EVERYWHERE = frozenset(("metadata.name", "metadata.namespace"))


def labels_match(text: str) -> Predicate | None:
    """Return the predicate of a label selector, or None if it selects everything.

    Raises:
        ApiError: 400 if the text is no selector.
    """
    checks: list[Callable[[Mapping[str, str]], bool]] = []
    at = 0
    text = text.strip()
    while at < len(text):
        found = _REQUIREMENT.match(text, at)
        if not found or found.end() == at:
            raise bad_request(f"unable to parse requirement: {text[at:]!r} is no label selector")
        checks.append(_requirement(found))
        at = found.end()
    if not checks:
        return None

    def match(obj: dict[str, Any]) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(check(labels) for check in checks)

    return match


def _requirement(found: re.Match[str]) -> Callable[[Mapping[str, str]], bool]:
    if found["absent"]:
        key = found["k1"]
        return lambda labels: key not in labels
    if found["set"]:
        key, values = found["k2"], frozenset(value.strip() for value in found["values"].split(","))
        if found["set"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found["op"]:
        key, value = found["k3"], found["value"]
        if found["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    key = found["k4"]
    return lambda labels: key in labels


def fields_match(kind: Kind, text: str) -> Predicate | None:
    """Return the predicate of a field selector, or None if it selects everything.

    Raises:
        ApiError: 400 if the text is no selector, or names a field that this kind cannot be selected by.
    """
    checks: list[Predicate] = []
    for term in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"([A-Za-z.]+)\s*(==|!=|=)\s*(.*)", term)
        if not found:
            raise bad_request(f"invalid field selector: {term!r}; expected field=value or field!=value")
        path, operator, value = found.groups()
        if path not in _EVERYWHERE | _FIELDS.get(kind.plural, frozenset()):
            raise bad_request(f"field label not supported: {path}")
        checks.append(_field(path.split("."), operator != "!=", value))
    if not checks:
        return None
    return lambda obj: all(check(obj) for check in checks)


def _field(path: list[str], wanted: bool, value: str) -> Predicate:
    def check(obj: dict[str, Any]) -> bool:
        found: Any = obj
        for step in path:
            found = found.get(step) if isinstance(found, dict) else None
        if isinstance(found, dict):  # events: `source` means the component in it
            found = found.get("component")
        shown = "" if found is None else str(found).lower() if isinstance(found, bool) else str(found)
        return (shown == value) is wanted

    return check


def selector_matches(selector: dict[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Tell whether labels satisfy a LabelSelector object (matchLabels and matchExpressions).

    As in policy/v1 an empty selector matches everything, and None nothing.
    """
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    for term in selector.get("matchExpressions") or ():
        key, operator, values = term["key"], term["operator"], term.get("values") or []
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }.get(operator, False)
        if not holds:
            return False
    return True


def selector_text(selector: dict[str, Any] | None) -> str:
    """Return a LabelSelector object in the text form that scale subresources and printers show."""
    if not selector:
        return ""
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        values = ",".join(term.get("values") or [])
        terms.append(
            {
                "In": f"{term['key']} in ({values})",
                "NotIn": f"{term['key']} notin ({values})",
                "Exists": term["key"],
                "DoesNotExist": f"!{term['key']}",
            }[term["operator"]]
        )
    return ",".join(terms)
