"""From an event to the Workflow that it asks for: dependencies, filters and parameters, as values.

This is what an Argo Events sensor does with a message, without the bus. Sources: argo-events
pkg/sensors/dependencies/filter.go and pkg/sensors/triggers/params.go.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tiphys.local.events.check import environment
from tiphys.local.events.lua import ScriptError, run
from tiphys.local.events.paths import PathError, as_text, look_up, put

Object = dict[str, Any]


class Refusal(Exception):
    """No Workflow comes of an event: `reason` is for the caller."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


class Ignored(Refusal):
    """The event is no Sensor's business, though some listen; nothing is wrong with it."""


@dataclass(frozen=True)
class Fired:
    """A trigger that an event sets off.

    Attributes:
        sensor: name of the Sensor.
        trigger: name of the trigger.
        workflow: the Workflow to create, in its namespace.
        letter: the dead letter to create where the Workflow cannot be, None where the trigger has none.
        delivery: the trigger's ``retryStrategy`` and ``rateLimit``, and as ``letterRetries`` the dead letter's.
    """

    sensor: str
    trigger: str
    workflow: Object
    letter: Object | None = None
    delivery: Object = field(default_factory=dict)


def fire(sensors: list[Object], source: str, name: str, event: Object) -> list[Fired]:
    """Return what an event sets off.

    Args:
        sensors: the Sensors of the event's namespace.
        source: name of the EventSource.
        name: of the event in it.
        event: its data: header, body, metadata.

    Raises:
        Refusal: if nothing is set off; the reason is the first that a filter gave.
        Ignored: if no filter gave one.
    """
    fired, reasons, listening = [], [], False
    for sensor in sensors:
        variables = {each["name"]: each.get("value", "") for each in environment(sensor["spec"])}
        for dependency, trigger in _listening(sensor, source, name):
            listening = True
            try:
                if (seen := _pass(dependency, event, variables)) is not None:
                    fired.append(_build(sensor, trigger, seen))
            except Refusal as refusal:
                reasons.append(refusal.reason)
    if fired:
        return fired
    if not listening:
        raise Refusal(f"no Sensor listens to event {name!r} of EventSource {source!r}; see `kubectl get sensors`")
    if not any(reasons):
        raise Ignored("no Sensor takes this event: its filters say no without a reason")
    raise Refusal(next(filter(None, reasons)))


def _listening(sensor: Object, source: str, name: str) -> Iterator[tuple[Object, Object]]:
    dependencies = {
        dependency["name"]: dependency
        for dependency in sensor["spec"]["dependencies"]
        if (dependency["eventSourceName"], dependency["eventName"]) == (source, name)
    }
    for trigger in sensor["spec"]["triggers"]:
        if dependency := dependencies.get(trigger["template"]["conditions"]):
            yield dependency, trigger


def _pass(dependency: Object, event: Object, variables: Mapping[str, str]) -> Object | None:
    """Return the event as its trigger sees it, or None if it is none of this dependency's business."""
    try:
        if transform := (dependency.get("transform") or {}).get("script"):
            event = run(transform, event, variables).value
            if not isinstance(event, dict):
                raise Refusal("the Sensor's transformation did not return an event")
        if script := (dependency.get("filters") or {}).get("script"):
            result = run(script, event, variables)
            if result.value is not True:
                if result.reason:
                    raise Refusal(result.reason)
                return None
    except ScriptError as error:
        raise Refusal(f"the script of the Sensor's dependency {dependency['name']} failed: {error}") from error
    return event


def _build(sensor: Object, trigger: Object, event: Object) -> Fired:
    workflow, letter = _resource(sensor, trigger["template"], event), None
    delivery: Object = {name: trigger[name] for name in ("retryStrategy", "rateLimit") if name in trigger}
    if dead := trigger.get("dlqTrigger"):
        letter = _resource(sensor, dead["template"], event)
        delivery["letterRetries"] = dead.get("retryStrategy")
    return Fired(sensor["metadata"]["name"], trigger["template"]["name"], workflow, letter, delivery)


def _resource(sensor: Object, template: Object, event: Object) -> Object:
    """Return what a trigger's template creates of an event."""
    made: Object = copy.deepcopy(template["k8s"]["source"]["resource"])
    for parameter in template["k8s"].get("parameters") or []:
        value: Any = _resolve(parameter["src"], event)
        if (operation := parameter.get("operation")) in ("append", "prepend"):
            try:
                there = as_text(look_up(made, parameter["dest"]))
                value = there + as_text(value) if operation == "append" else as_text(value) + there
            except PathError:
                pass
        try:
            put(made, parameter["dest"], value)
        except PathError as error:
            raise Refusal(f"the Sensor's trigger {template['name']} cannot be built: {error}") from error
    meta = made["metadata"]
    if not meta.get("name"):
        # As the API server reads it: an empty name is none.
        meta.pop("name", None)
    meta.setdefault("namespace", sensor["metadata"]["namespace"])
    labels = {
        "events.argoproj.io/sensor": sensor["metadata"]["name"],
        "events.argoproj.io/trigger": template["name"],
    }
    meta["labels"] = {**(meta.get("labels") or {}), **labels}
    return made


def _resolve(source: Object, event: Object) -> Any:
    if "dataKey" not in source:
        return source["value"]
    try:
        found = look_up(event, source["dataKey"])
    except PathError as error:
        if "value" in source:
            return source["value"]
        raise Refusal(f"the event has nothing at {source['dataKey']}, and the Sensor has no value for it") from error
    if source.get("useRawData") and not isinstance(found, str):
        return found
    return json.dumps(found) if isinstance(found, dict | list) else as_text(found)
