"""Keeps the calendars of EventSources: at each of their moments the event that Argo Events would give.

How Argo Events does it (pkg/eventsources/sources/calendar/start.go): moments that pass while its pod is away are
lost, unless ``persistence`` names a ConfigMap and ``catchup`` is enabled; then they are given at the next start, and
the one whose event was sent but not yet noted is given twice. Here the event's Workflows and the note of it are
written in one transaction, so with ``catchup`` each moment comes exactly once, the first one too, which Argo Events
knows nothing of before it happened; without it, what passes while the gateway is away is lost as there. A schedule that
is changed begins anew, where Argo Events would make up for what the new one would have had since the last event.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial

from tiphys.local.client import AlreadyExists, ApiError, Kube, NotFound
from tiphys.local.events.calendar import parse_go_time
from tiphys.local.events.routes import CalendarSource, Directory, Object
from tiphys.local.events.store import Occasion, Order, Store, StoreError
from tiphys.local.events.triggers import Refusal, fire
from tiphys.local.events.worker import Worker
from tiphys.local.informer import key_of

log = logging.getLogger(__name__)

LONGEST_SLEEP = timedelta(seconds=30)
"""A machine that slept, or whose clock was set, is noticed after this."""
PAUSE = 2.0
"""Seconds between two tries of what must not be left out."""


class Occasions:
    """Runs every calendar of the directory, each by a task of its own."""

    def __init__(self, kube: Kube, directory: Directory, store: Store, worker: Worker):
        self._kube = kube
        self._directory = directory
        self._store = store
        self._worker = worker
        self._kept: dict[tuple[str, str], tuple[CalendarSource, asyncio.Task[None]]] = {}
        self._writing: defaultdict[tuple[str, str], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def run(self) -> None:
        """Keep the calendars until cancelled."""
        try:
            while True:
                self._directory.calendars_changed.clear()
                await self._compare()
                await self._directory.calendars_changed.wait()
        finally:
            for _, task in self._kept.values():
                task.cancel()

    async def _compare(self) -> None:
        wanted = self._directory.calendars
        for key, (kept, task) in list(self._kept.items()):
            if key not in wanted or wanted[key].calendar != kept.calendar or task.done():
                task.cancel()
                await asyncio.wait([task])
                del self._kept[key]
        for key, source in wanted.items():
            if key not in self._kept:
                task = asyncio.create_task(self._keep(source))
                task.add_done_callback(partial(self._ended, source))
                self._kept[key] = (source, task)

    def _ended(self, source: CalendarSource, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            log.error("a calendar ended, will begin again", extra={"calendar": source.event, "error": repr(error)})
            asyncio.get_running_loop().call_later(PAUSE, self._directory.calendars_changed.set)

    async def _keep(self, source: CalendarSource) -> None:
        calendar = source.calendar
        last = await self._begin(source)
        while True:
            moment = calendar.following(last)
            while (left := moment - datetime.now(UTC)) > timedelta():
                await asyncio.sleep(min(left, LONGEST_SLEEP).total_seconds())
            await self._give(source, moment)
            last = moment if calendar.catch_up else max(moment, datetime.now(UTC))

    async def _begin(self, source: CalendarSource) -> datetime:
        """Return the moment after which this calendar gives events, and note it where nothing was noted before."""
        calendar, uid = source.calendar, source.source["metadata"]["uid"]
        async with self._writing[uid, source.event]:
            # What was being written when this calendar was changed is on disk now: it must not be given again.
            noted = self._store.last_occasion(uid, source.event)
        known = [datetime.fromtimestamp(noted.time, UTC)] if noted is not None else []
        if calendar.config_map and (told := await self._told(source)):
            known.append(told)
        # What a new schedule would have had in the past was nobody's plan at that time.
        changed, now = noted is not None and noted.moments != calendar.moments, datetime.now(UTC)
        last = max([*known, now]) if changed else calendar.begin(now, max(known, default=None))
        if noted is None or changed:
            await self._accept(source, last, [])
        log.info("keeps a calendar", extra={"calendar": source.event, "after": last.isoformat()})
        return last

    async def _give(self, source: CalendarSource, moment: datetime) -> None:
        """Set off what the event of a moment sets off, and note that it came."""
        namespace, name = key_of(source.source)
        event = source.calendar.event(moment)
        orders = []
        try:
            fired = fire(self._directory.sensors(namespace), name, source.event, event)
            orders = [Order(0, one.workflow, one.letter, one.delivery) for one in fired]
        except Refusal as refusal:
            reasons = [f"{event['eventTime']}: {refusal.reason}", *self._directory.faults(namespace)]
            log.warning("nothing comes of an occasion", extra={"calendar": source.event, "reasons": reasons})
            self._directory.tell(source.source, "NotTaken", "; ".join(reasons))
        # Shielded, so that a calendar that is changed now gives this occasion wholly or not at all.
        await asyncio.shield(self._accept(source, moment, orders))
        if source.calendar.config_map:
            await self._note(source, event)

    async def _accept(self, source: CalendarSource, moment: datetime, orders: list[Order]) -> None:
        occasion = Occasion(source.source["metadata"]["uid"], source.event, moment.timestamp(), source.calendar.moments)
        async with self._writing[occasion.source, occasion.event]:
            while True:
                try:
                    accepted = await self._store.accept_occasion(occasion, orders)
                    break
                except StoreError:
                    await asyncio.sleep(PAUSE)
        for one in accepted:
            log.info("accepted", extra={"workflow": one.name, "calendar": source.event, "duplicate": not one.is_new})
        self._worker.wake()

    async def _told(self, source: CalendarSource) -> datetime | None:
        """Return the last event's time by the ConfigMap, None if it has none.

        Where the ConfigMap is missing and may not be made, the calendar does not begin until it is there.
        """
        calendar, (namespace, name) = source.calendar, key_of(source.source)
        while True:
            try:
                found = await self._kube.get("configmaps", str(calendar.config_map), namespace)
                text = (found.get("data") or {}).get(f"{name}.{source.event}")
                return parse_go_time(json.loads(text)["eventTime"]) if text else None
            except NotFound:
                if calendar.create_config_map:
                    return None
                self._missing(source)
            except ApiError as error:
                log.warning("the last occasion cannot be read, will try again", extra={"error": str(error)})
            except (ValueError, TypeError, KeyError) as error:
                self._directory.tell(
                    source.source,
                    "NotReadable",
                    f"ConfigMap {calendar.config_map}, key {name}.{source.event}: {error}; expected what the gateway "
                    "writes there: correct or remove the key. The calendar waits for that",
                )
            await asyncio.sleep(PAUSE)

    async def _note(self, source: CalendarSource, event: Object) -> None:
        """Write an event into the ConfigMap, for people and for Argo Events' own way of catching up."""
        calendar, (namespace, name) = source.calendar, key_of(source.source)
        wanted, data = str(calendar.config_map), {f"{name}.{source.event}": json.dumps(event)}
        meta = {"name": wanted, "namespace": namespace}
        while True:
            try:
                await self._kube.patch("configmaps", wanted, {"data": data}, namespace)
                return
            except NotFound:
                if not calendar.create_config_map:
                    self._missing(source)
                    return
                try:
                    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
                    await self._kube.create("configmaps", made)
                    return
                except AlreadyExists:
                    continue
                except ApiError as error:
                    log.warning("the occasion is not noted yet, will try again", extra={"error": str(error)})
            except ApiError as error:
                log.warning("the occasion is not noted yet, will try again", extra={"error": str(error)})
            await asyncio.sleep(PAUSE)

    def _missing(self, source: CalendarSource) -> None:
        wanted = source.calendar.config_map
        message = f"there is no ConfigMap {wanted} to keep the last event's time; create it, or set createIfNotExist"
        self._directory.tell(source.source, "ConfigMapMissing", message)
