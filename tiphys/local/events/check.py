"""What of EventSources and Sensors the gateway honours; everything else is named with its path, never ignored."""

from __future__ import annotations

from typing import Any

from tiphys.local.events.calendar import CalendarError, parse
from tiphys.local.events.delivery import UNITS, Backoff
from tiphys.local.events.paths import PathError, split_path

_WEBHOOK = {"endpoint", "method", "port", "authSecret", "maxPayloadSize", "metadata", "url"}
_GITHUB = {"webhook", "webhookSecret", "contentType", "events", "repositories", "organizations", "active", "metadata"}
_CALENDAR = {"schedule", "interval", "timezone", "exclusionDates", "persistence", "metadata"}
_TRIGGER_SOURCE = {"dependencyName", "dataKey", "useRawData", "value"}
_K8S = {"operation", "source", "parameters"}

MEANINGLESS = {
    "EventSource": {"service", "template", "replicas", "eventBusName"},
    "Sensor": {"template", "replicas", "eventBusName", "revisionHistoryLimit", "loggingFields"},
}
"""Fields of the specs that say how Argo Events runs its own pods: they have no meaning here and are passed
over, but for the variables of a Sensor's pod."""


def check(manifest: dict[str, Any]) -> list[str]:
    """Return what the gateway does not honour in a manifest: one line each, beginning with the field's path.

    Objects of other kinds are none of its business: the list is empty.
    """
    spec = manifest.get("spec") or {}
    try:
        match manifest.get("kind"):
            case "EventSource":
                return _event_source(spec)
            case "Sensor":
                return _sensor(spec)
    except (AttributeError, TypeError) as error:
        return [f"spec: a field has another shape than Argo Events gives it: {error}"]
    return []


def environment(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the variables that a Sensor gives to its own pod: its scripts can read them."""
    return ((spec.get("template") or {}).get("container") or {}).get("env") or []


def _missing(path: str, values: dict[str, Any], needed: tuple[str, ...]) -> list[str]:
    return [f"{path}.{name}: missing; expected a text" for name in needed if not isinstance(values.get(name), str)]


def _unknown(path: str, values: dict[str, Any], known: set[str]) -> list[str]:
    return [f"{path}.{name}: the local gateway does not honour this field" for name in sorted(set(values) - known)]


def _event_source(spec: dict[str, Any]) -> list[str]:
    faults = _unknown("spec", spec, {"webhook", "calendar", "github"} | MEANINGLESS["EventSource"])
    for name, calendar in (spec.get("calendar") or {}).items():
        faults += _calendar(f"spec.calendar.{name}", calendar)
    for name, webhook in (spec.get("webhook") or {}).items():
        path = f"spec.webhook.{name}"
        faults += _unknown(path, webhook, _WEBHOOK) + _listener(path, webhook)
        faults += _secret(f"{path}.authSecret", webhook.get("authSecret"), "without a token anybody could start this")
    for name, github in (spec.get("github") or {}).items():
        path, webhook = f"spec.github.{name}", github.get("webhook") or {}
        faults += _unknown(path, github, _GITHUB) + _unknown(f"{path}.webhook", webhook, _WEBHOOK - {"authSecret"})
        faults += _listener(f"{path}.webhook", webhook)
        faults += _secret(f"{path}.webhookSecret", github.get("webhookSecret"), "without it no signature is checked")
    return faults


def _listener(path: str, webhook: dict[str, Any]) -> list[str]:
    faults = []
    if webhook.get("method") != "POST":
        faults.append(f"{path}.method: {webhook.get('method')!r}; only POST is honoured")
    endpoint = str(webhook.get("endpoint") or "")
    if not endpoint.startswith("/") or endpoint == "/health":
        faults.append(f"{path}.endpoint: {endpoint!r}; expected a path such as /failover-drill, and not /health")
    if not str(webhook.get("port", "")).isdigit():
        faults.append(f"{path}.port: {webhook.get('port')!r}; expected a number as a text")
    if not str(webhook.get("maxPayloadSize", "1")).isdigit():
        faults.append(f"{path}.maxPayloadSize: {webhook['maxPayloadSize']!r}; expected a number of bytes")
    return faults


def _secret(path: str, secret: dict[str, Any] | None, why: str) -> list[str]:
    if not secret:
        return [f"{path}: missing; {why}"]
    return [] if secret.get("name") and secret.get("key") else [f"{path}: expected the name and the key of a Secret"]


def _calendar(path: str, calendar: dict[str, Any]) -> list[str]:
    faults = _unknown(path, calendar, _CALENDAR)
    persistence = calendar.get("persistence") or {}
    for part, known in (("catchup", {"enabled", "maxDuration"}), ("configMap", {"name", "createIfNotExist"})):
        faults += _unknown(f"{path}.persistence.{part}", persistence.get(part) or {}, known)
    faults += _unknown(f"{path}.persistence", persistence, {"catchup", "configMap"})
    try:
        parse(calendar)
    except CalendarError as error:
        faults.append(f"{path}.{error}")
    return faults


def _sensor(spec: dict[str, Any]) -> list[str]:
    faults = _unknown("spec", spec, {"dependencies", "triggers"} | MEANINGLESS["Sensor"])
    faults += [f"spec.{name}: missing; expected a list" for name in ("dependencies", "triggers") if name not in spec]
    for index, variable in enumerate(environment(spec)):
        faults += _unknown(f"spec.template.container.env[{index}]", variable, {"name", "value"})
    names = set()
    for index, dependency in enumerate(spec.get("dependencies") or []):
        path = f"spec.dependencies[{index}]"
        known = {"name", "eventSourceName", "eventName", "transform", "filters", "filtersLogicalOperator"}
        faults += _unknown(path, dependency, known)
        faults += _missing(path, dependency, ("name", "eventSourceName", "eventName"))
        faults += _unknown(f"{path}.transform", dependency.get("transform") or {}, {"script"})
        faults += _unknown(f"{path}.filters", dependency.get("filters") or {}, {"script"})
        if dependency.get("name") in names:
            faults.append(f"{path}.name: {dependency['name']!r} is the name of two dependencies")
        names.add(dependency.get("name"))
    for index, trigger in enumerate(spec.get("triggers") or []):
        faults += _trigger(f"spec.triggers[{index}]", trigger, names)
    return faults


def _trigger(path: str, trigger: dict[str, Any], dependencies: set[str]) -> list[str]:
    faults = _unknown(path, trigger, {"template", "retryStrategy", "atLeastOnce", "rateLimit", "dlqTrigger"})
    faults += _retries(f"{path}.retryStrategy", trigger.get("retryStrategy"))
    faults += _rate(f"{path}.rateLimit", trigger.get("rateLimit"))
    faults += _template(f"{path}.template", trigger.get("template") or {}, "Workflow")
    conditions = (trigger.get("template") or {}).get("conditions")
    if conditions not in dependencies:
        faults.append(f"{path}.template.conditions: {conditions!r}; expected the name of one dependency")
    letter, path = trigger.get("dlqTrigger"), f"{path}.dlqTrigger"
    if letter is None:
        return faults
    faults += _unknown(path, letter, {"template", "retryStrategy", "atLeastOnce"})
    if not (trigger.get("atLeastOnce") and letter.get("atLeastOnce")):
        faults.append(f"{path}: Argo Events wants atLeastOnce: true here and in the trigger itself")
    faults += _retries(f"{path}.retryStrategy", letter.get("retryStrategy"))
    return faults + _template(f"{path}.template", letter.get("template") or {}, "ConfigMap")


def _retries(path: str, spec: dict[str, Any] | None) -> list[str]:
    if spec is None:
        return []
    faults = _unknown(path, spec, {"steps", "duration", "factor", "jitter"})
    try:
        Backoff.of(spec)
    except (ValueError, TypeError, CalendarError) as error:
        faults.append(f"{path}: {error}")
    return faults


def _rate(path: str, spec: dict[str, Any] | None) -> list[str]:
    if spec is None:
        return []
    faults = _unknown(path, spec, {"unit", "requestsPerUnit"})
    if (spec.get("unit") or "") not in UNITS:
        # Argo Events takes it for seconds, without a word.
        faults.append(f"{path}.unit: {spec['unit']!r}; expected Second, Minute or Hour")
    number = spec.get("requestsPerUnit")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        faults.append(f"{path}.requestsPerUnit: {number!r}; expected 1 or more: Argo Events divides by it")
    return faults


def _template(path: str, template: dict[str, Any], kind: str) -> list[str]:
    faults = _unknown(path, template, {"name", "conditions", "k8s"}) + _missing(path, template, ("name",))
    k8s, path = template.get("k8s") or {}, f"{path}.k8s"
    faults += _unknown(path, k8s, _K8S)
    if k8s.get("operation", "create") != "create":
        faults.append(f"{path}.operation: {k8s['operation']!r}; only create is honoured")
    resource = (k8s.get("source") or {}).get("resource") or {}
    faults += _unknown(f"{path}.source", k8s.get("source") or {}, {"resource"})
    if resource.get("kind") != kind:
        faults.append(f"{path}.source.resource.kind: {resource.get('kind')!r}; only a {kind} is honoured here")
    elif kind == "Workflow" and not ((resource.get("spec") or {}).get("workflowTemplateRef") or {}).get("name"):
        faults.append(f"{path}.source.resource: a Workflow without spec.workflowTemplateRef.name is not honoured")
    named = resource.get("metadata") or {}
    if not (named.get("name") or named.get("generateName")):
        faults.append(f"{path}.source.resource.metadata: neither name nor generateName")
    for index, parameter in enumerate(k8s.get("parameters") or []):
        faults += _parameter(f"{path}.parameters[{index}]", parameter)
    return faults


def _parameter(path: str, parameter: dict[str, Any]) -> list[str]:
    faults = _unknown(path, parameter, {"src", "dest", "operation"})
    source = parameter.get("src") or {}
    faults += _unknown(f"{path}.src", source, _TRIGGER_SOURCE)
    if "dataKey" not in source and "value" not in source:
        faults.append(f"{path}.src: neither dataKey nor value; the whole event as one value is not honoured")
    if parameter.get("operation", "overwrite") not in ("", "append", "prepend", "overwrite"):
        faults.append(f"{path}.operation: {parameter['operation']!r}; expected append, prepend or overwrite")
    for name, key in (("dest", parameter.get("dest")), ("src.dataKey", source.get("dataKey", "x"))):
        try:
            split_path(str(key or ""))
        except PathError as error:
            faults.append(f"{path}.{name}: {error}")
    return faults
