"""What the gateway serves, kept from the EventSources, Sensors, Secrets and WorkflowTemplates of the API."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tiphys.local.client import Informer, Kube, NotFound
from tiphys.local.events.calendar import Calendar, parse
from tiphys.local.events.check import check
from tiphys.local.informer import key_of

log = logging.getLogger(__name__)

Object = dict[str, Any]
DEFAULT_LIMIT = 1024 * 1024
"""Bytes of a body where ``maxPayloadSize`` is not given, as Argo Events has it."""


@dataclass(frozen=True)
class Endpoint:
    """One webhook of an EventSource.

    Attributes:
        namespace: of the EventSource.
        source: its name.
        event: the webhook's name in it.
        limit: bytes that a body may have.
        secret: name and key of the Secret that holds the bearer token, or what GitHub signs with.
        is_github: whether it takes what GitHub signed, and no bearer token.
        metadata: what the EventSource adds to each event.
    """

    namespace: str
    source: str
    event: str
    limit: int
    secret: tuple[str, str]
    metadata: dict[str, str]
    is_github: bool = False


@dataclass(frozen=True)
class CalendarSource:
    """One calendar of an EventSource.

    Attributes:
        source: the EventSource.
        event: the calendar's name in it.
        calendar: its moments.
    """

    source: Object
    event: str
    calendar: Calendar


def calendars(sources: list[Object]) -> dict[tuple[str, str], CalendarSource]:
    """Return the calendars of EventSources by the source's uid and the calendar's name."""
    return {
        (source["metadata"]["uid"], event): CalendarSource(source, event, parse(spec))
        for source in sources
        for event, spec in ((source.get("spec") or {}).get("calendar") or {}).items()
    }


def endpoints(sources: list[Object]) -> dict[str, Endpoint]:
    """Return the endpoints of EventSources by path; of two on one path, the one whose object is older stays."""
    made: dict[str, Endpoint] = {}
    for source in sorted(sources, key=lambda one: (one["metadata"].get("creationTimestamp") or "", key_of(one))):
        namespace, name = key_of(source)
        spec = source.get("spec") or {}
        for event, webhook in (spec.get("webhook") or {}).items():
            endpoint = _endpoint(namespace, name, event, webhook, webhook["authSecret"], webhook)
            made.setdefault(webhook["endpoint"], endpoint)
        for event, github in (spec.get("github") or {}).items():
            endpoint = _endpoint(namespace, name, event, github["webhook"], github["webhookSecret"], github)
            made.setdefault(github["webhook"]["endpoint"], replace(endpoint, is_github=True))
    return made


def _endpoint(namespace: str, source: str, event: str, webhook: Object, secret: Object, about: Object) -> Endpoint:
    limit = int(webhook.get("maxPayloadSize") or DEFAULT_LIMIT)
    return Endpoint(namespace, source, event, limit, (secret["name"], secret["key"]), about.get("metadata") or {})


class Directory:
    """Follows the API's objects that decide what a request becomes.

    An EventSource or Sensor with a field that is not honoured is not served at all; it gets a warning event.

    Attributes:
        endpoints: by path.
        calendars: by the EventSource's uid and the calendar's name.
        calendars_changed: set whenever an EventSource changes.
        refused: the faults of objects that are not served, by kind and name.
    """

    def __init__(self, kube: Kube):
        self._kube = kube
        self._sources = Informer(kube, "eventsources")
        self._sensors = Informer(kube, "sensors")
        self._templates = Informer(kube, "workflowtemplates")
        self._secrets = Informer(kube, "secrets")
        self.endpoints: dict[str, Endpoint] = {}
        self.calendars: dict[tuple[str, str], CalendarSource] = {}
        self.calendars_changed = asyncio.Event()
        self.refused: dict[tuple[str, str, str], list[str]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sources.on_change(partial(self._changed, "EventSource"))
        self._sensors.on_change(partial(self._changed, "Sensor"))

    @property
    def informers(self) -> list[Informer]:
        """All that must run and be synced."""
        return [self._sources, self._sensors, self._templates, self._secrets]

    def sensors(self, namespace: str) -> list[Object]:
        """Return the Sensors of a namespace that are served, by name."""
        return [
            sensor
            for key, sensor in sorted(self._sensors.objects.items())
            if key[0] == namespace and ("Sensor", *key) not in self.refused
        ]

    def faults(self, namespace: str) -> list[str]:
        """Return what is not honoured in a namespace's Sensors: why nothing may listen to an event."""
        return [
            f"{kind} {name}: {faults[0]}"
            for (kind, where, name), faults in sorted(self.refused.items())
            if kind == "Sensor" and where == namespace
        ]

    async def token(self, endpoint: Endpoint) -> bytes | None:
        """Return what an endpoint's Secret holds, or None if there is no such Secret or key."""
        name, key = endpoint.secret
        secret = await self._find(self._secrets, "secrets", endpoint.namespace, name)
        try:
            return base64.b64decode((secret or {}).get("data", {})[key], validate=True) or None
        except (KeyError, binascii.Error):
            return None

    async def template(self, namespace: str, name: str) -> Object | None:
        """Return a WorkflowTemplate as it is now, or None."""
        return await self._find(self._templates, "workflowtemplates", namespace, name)

    async def _find(self, informer: Informer, resource: str, namespace: str, name: str) -> Object | None:
        found = informer.objects.get((namespace, name))
        if found is None:
            # It may have been made a moment ago, before the watch could tell.
            try:
                found = await self._kube.get(resource, name, namespace)
            except NotFound:
                return None
        return found

    def _changed(self, kind: str, change: str, obj: Object) -> None:
        key = (kind, *key_of(obj))
        before = self.refused.pop(key, None)
        if change != "DELETED" and (faults := check({**obj, "kind": kind})):
            self.refused[key] = faults
            if faults != before:
                log.error("not served", extra={"kind": kind, "object": key[2], "faults": faults})
                self.tell(obj, "NotHonoured", "; ".join(faults[:5]))
        if kind != "EventSource":
            return
        served = [one for where, one in self._sources.objects.items() if ("EventSource", *where) not in self.refused]
        self.endpoints, self.calendars = endpoints(served), calendars(served)
        self.calendars_changed.set()

    def tell(self, obj: Object, reason: str, message: str) -> None:
        """Write a warning event, so that `kubectl describe` shows what does not become of an object."""
        about = {"apiVersion": "argoproj.io/v1alpha1", **obj}
        task = asyncio.create_task(self._kube.event(about, reason, message, "Warning", component="gateway"))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
