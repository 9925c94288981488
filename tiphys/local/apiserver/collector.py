"""The garbage collector: dependants of deleted owners, contents of ending namespaces, and old events."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from tiphys.local.apiserver.lifecycle import (
    FOREGROUND,
    NAMESPACES,
    ORPHAN,
    DeleteOptions,
    Lifecycle,
    copy_of,
)
from tiphys.local.apiserver.metadata import owner_kind
from tiphys.local.apiserver.store import Change, Record, StoreBroken
from tiphys.local.kube_errors import ApiError
from tiphys.local.registry import KINDS, Kind, by_plural

log = logging.getLogger(__name__)

EVENT_HOURS = 1
SWEEP_SECONDS = 60.0


class Collector:
    """Follows every change and finishes what a deletion leaves behind.

    Nothing of its own is kept: at the start it looks at every object once, so a crash between an owner's end and
    its dependants' is made good by the next start.
    """

    def __init__(self, lifecycle: Lifecycle):
        self._life = lifecycle
        self._store = lifecycle.store
        self._queue: dict[tuple[str, str, str], Kind] = {}
        self._gone: set[str] = set()
        self._wake = asyncio.Event()
        self._store.listen(self._on_change)

    async def run(self) -> None:
        """Collect until cancelled."""
        for kind in KINDS:
            for record in self._store.every(kind):
                self._look_at(kind, record.obj)
        while True:
            try:
                async with asyncio.timeout(SWEEP_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self._drop_old_events()
            self._wake.clear()
            while self._queue or self._gone:
                self._step()
                await asyncio.sleep(0)  # a namespace with thousands of objects must not hold up the requests

    def _on_change(self, kind: Kind, change: Change) -> None:
        if change.removed:
            self._gone.add(change.new.obj["metadata"]["uid"])
            self._wake.set()
            namespace = change.new.obj["metadata"].get("namespace")
            ending = self._store.get(NAMESPACES, None, namespace) if namespace else None
            if ending is not None:
                self._look_at(NAMESPACES, ending.obj)
            for owner in change.new.obj["metadata"].get("ownerReferences") or ():
                self._look_at_owner(owner["uid"])
        else:
            self._look_at(kind, change.new.obj)

    def _look_at(self, kind: Kind, obj: dict[str, Any]) -> None:
        meta = obj["metadata"]
        if meta.get("ownerReferences") or (meta.get("deletionTimestamp") and (kind is NAMESPACES or _held(meta))):
            self._queue[kind.qualified, meta.get("namespace", ""), meta["name"]] = kind
            self._wake.set()

    def _look_at_owner(self, uid: str) -> None:
        found = self._store.by_uid(uid)
        if found:
            self._look_at(found[0], found[1].obj)

    def _step(self) -> None:
        if self._gone:
            for other, dependant in self._store.dependants(self._gone.pop()):
                self._look_at(other, dependant.obj)
            return
        key, kind = self._queue.popitem()
        record = self._store.get(kind, key[1], key[2])
        if record is None:
            return
        try:
            if kind is NAMESPACES:
                self._end_namespace(record)
            else:
                self._collect(kind, record)
        except StoreBroken:
            raise
        except ApiError as error:
            log.warning("could not collect", extra={"object": "/".join(key), "error": str(error)})
        except Exception:
            # One odd object must not end the server for all the others.
            log.exception("could not collect", extra={"object": "/".join(key)})

    def _collect(self, kind: Kind, record: Record) -> None:
        meta = record.obj["metadata"]
        if meta.get("deletionTimestamp"):
            if _held(meta):
                self._release(kind, record)
            for owner in meta.get("ownerReferences") or ():
                self._look_at_owner(owner["uid"])
            return
        owners = meta.get("ownerReferences") or []
        solid = [owner for owner in owners if self._exists(owner, meta)]
        if not owners:
            return
        if not solid:
            log.info("owners are gone", extra={"resource": kind.qualified, "object": meta["name"]})
            self._life.delete(kind, meta.get("namespace"), meta["name"], DeleteOptions(uid=meta["uid"]))
        elif all(self._ends_in_foreground(owner) for owner in solid):
            options = DeleteOptions(propagation="Foreground", uid=meta["uid"])
            self._life.delete(kind, meta.get("namespace"), meta["name"], options)
        elif len(solid) < len(owners):
            obj = copy_of(record)
            obj["metadata"]["ownerReferences"] = solid
            self._life.update(kind, meta.get("namespace"), meta["name"], obj, patched=True)

    def _exists(self, owner: dict[str, Any], meta: dict[str, Any]) -> bool:
        kind = owner_kind(owner)
        if kind is None:
            return True  # a kind that is not served here: nobody can say that it is gone
        found = self._store.by_uid(owner["uid"])
        if found is None:
            return False
        home = found[1].obj["metadata"].get("namespace")
        return home is None or home == meta.get("namespace")

    def _ends_in_foreground(self, owner: dict[str, Any]) -> bool:
        found = self._store.by_uid(owner["uid"])
        if found is None:
            return False
        meta = found[1].obj["metadata"]
        return bool(meta.get("deletionTimestamp")) and FOREGROUND in (meta.get("finalizers") or [])

    def _release(self, kind: Kind, record: Record) -> None:
        """Take the collector's own finalizers off an owner once they have done what they stand for."""
        meta = record.obj["metadata"]
        dependants = self._store.dependants(meta["uid"])
        done: set[str] = set()
        if ORPHAN in meta["finalizers"]:
            for other, dependant in dependants:
                obj = copy_of(dependant)
                refs = [ref for ref in obj["metadata"]["ownerReferences"] if ref["uid"] != meta["uid"]]
                obj["metadata"]["ownerReferences"] = refs
                place = obj["metadata"]
                self._life.update(other, place.get("namespace"), place["name"], obj, patched=True)
            done.add(ORPHAN)
        if FOREGROUND in meta["finalizers"]:
            if not any(_blocks(dependant.obj, meta["uid"]) for _, dependant in dependants):
                done.add(FOREGROUND)
            for other, dependant in dependants:
                if not dependant.obj["metadata"].get("deletionTimestamp"):
                    self._look_at(other, dependant.obj)
        if done:
            obj = copy_of(record)
            obj["metadata"]["finalizers"] = [item for item in meta["finalizers"] if item not in done]
            self._life.update(kind, meta.get("namespace"), meta["name"], obj, patched=True)

    def _end_namespace(self, record: Record) -> None:
        meta = record.obj["metadata"]
        if not meta.get("deletionTimestamp"):
            return
        left = 0
        for kind in KINDS:
            if not kind.namespaced:
                continue
            for item in self._store.every(kind, meta["name"]):
                if not item.obj["metadata"].get("deletionTimestamp"):
                    self._life.delete(kind, meta["name"], item.obj["metadata"]["name"], DeleteOptions())
                left += self._store.get(kind, meta["name"], item.obj["metadata"]["name"]) is not None
        if not left and not meta.get("finalizers"):
            obj = copy_of(record)
            obj["spec"] = {"finalizers": []}
            self._store.remove(NAMESPACES, obj)

    def _drop_old_events(self) -> None:
        oldest = (datetime.now(UTC) - timedelta(hours=EVENT_HOURS)).strftime("%Y-%m-%dT%H:%M:%SZ")
        events = by_plural("events")
        for record in self._store.every(events):
            obj = record.obj
            seen = obj.get("lastTimestamp") or obj.get("eventTime") or obj["metadata"]["creationTimestamp"]
            if str(seen) < oldest:
                self._store.remove(events, copy_of(record))


def _blocks(dependant: dict[str, Any], uid: str) -> bool:
    refs = dependant["metadata"].get("ownerReferences") or ()
    return any(ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in refs)


def _held(meta: dict[str, Any]) -> bool:
    return bool({ORPHAN, FOREGROUND} & set(meta.get("finalizers") or ()))
