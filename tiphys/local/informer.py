"""Informer and work queue: how the platform's controllers follow objects and act upon them.

The pattern is that of Kubernetes' client-go: a cache kept by list and watch, whose changes put keys into a
queue; a worker takes a key, reads the cache, and makes the world agree, as often as needed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tiphys.local.kube_errors import ApiError, Gone, Unreachable

if TYPE_CHECKING:
    from tiphys.local.client import Kube

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace (empty for cluster-scoped objects) and name."""


def key_of(obj: dict[str, Any]) -> Key:
    """Return the namespace and name of an object."""
    meta = obj["metadata"]
    return meta.get("namespace", ""), meta["name"]


class Informer:
    """A cache of one resource, kept for ever by list and watch.

    Attributes:
        objects: the newest known state; treat the dicts as read-only.
    """

    def __init__(self, kube: Kube, resource: str, namespace: str | None = None, labels: str | None = None):
        self.objects: dict[Key, dict[str, Any]] = {}
        self._kube = kube
        self._resource = resource
        self._namespace = namespace
        self._labels = labels
        self._callbacks: list[Callable[[str, dict[str, Any]], None]] = []
        self._synced = asyncio.Event()

    def on_change(self, callback: Callable[[str, dict[str, Any]], None]) -> None:
        """Call `callback(type, object)` at every change; type is ADDED, MODIFIED or DELETED.

        After a broken watch, what happened meanwhile is told as the difference between the two states.
        """
        self._callbacks.append(callback)

    async def synced(self) -> None:
        """Wait until the first list is in the cache."""
        await self._synced.wait()

    async def run(self) -> None:
        """Keep the cache until cancelled; outages of the API server are waited out."""
        version: str | None = None
        pause = 0.05
        while True:
            try:
                if version is None:
                    version = await self._relist()
                    pause = 0.05
                async for event in self._kube.watch(
                    self._resource, self._namespace, self._labels, resource_version=version
                ):
                    pause = 0.05
                    version = event["object"]["metadata"]["resourceVersion"]
                    if event["type"] != "BOOKMARK":
                        self._apply(event["type"], event["object"])
            except Gone:
                version = None
            except Unreachable as error:
                log.info("watch interrupted", extra={"resource": self._resource, "error": error.message})
                await asyncio.sleep(pause)
                pause = min(pause * 2, 2.0)
            except ApiError as error:
                log.warning("list or watch refused", extra={"resource": self._resource, "error": str(error)})
                version = None
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    async def _relist(self) -> str:
        page = await self._kube.list_page(self._resource, self._namespace, self._labels)
        fresh = {key_of(item): item for item in page["items"]}
        for key in [key for key in self.objects if key not in fresh]:
            self._apply("DELETED", self.objects[key])
        for item in fresh.values():
            self._apply("ADDED", item)
        self._synced.set()
        version: str = page["metadata"]["resourceVersion"]
        return version

    def _apply(self, change: str, obj: dict[str, Any]) -> None:
        key = key_of(obj)
        old = self.objects.get(key)
        if change == "DELETED":
            if old is None:
                return
            del self.objects[key]
        else:
            if old and old["metadata"]["resourceVersion"] == obj["metadata"]["resourceVersion"]:
                return
            change = "MODIFIED" if old else "ADDED"
            if old and old["metadata"]["uid"] != obj["metadata"]["uid"]:
                # Deleted and created again while we did not look: two things happened, so tell both.
                self._tell("DELETED", old)
                change = "ADDED"
            self.objects[key] = obj
        self._tell(change, obj)

    def _tell(self, change: str, obj: dict[str, Any]) -> None:
        for callback in self._callbacks:
            try:
                callback(change, obj)
            except Exception:
                log.exception("a callback failed", extra={"resource": self._resource, "change": change})


class WorkQueue:
    """Keys waiting for work: each at most once, never two workers on one key, failures retried with back-off."""

    FIRST_RETRY = 0.05
    LONGEST_RETRY = 30.0

    def __init__(self) -> None:
        self._waiting: deque[Key] = deque()
        self._known: set[Key] = set()
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._changed = asyncio.Event()

    def add(self, key: Key) -> None:
        """Put a key in line; one that is being worked on comes again when that is done."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._known:
            self._known.add(key)
            self._waiting.append(key)
            self._changed.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Put a key in line after a while; the earliest of several such wishes counts."""
        loop = asyncio.get_running_loop()
        old = self._timers.get(key)
        if old is not None:
            if old.when() <= loop.time() + seconds:
                return
            old.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def retry(self, key: Key) -> float:
        """Put a key in line again after a failure; the pause doubles each time. Returns the pause, seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        pause = min(self.FIRST_RETRY * float(2 ** min(failures, 20)), self.LONGEST_RETRY)
        self.add_after(key, pause)
        return pause

    def forget(self, key: Key) -> None:
        """Forget a key's failures: the next pause is the first one again."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Take the next key; `done` must follow."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        key = self._waiting.popleft()
        self._known.discard(key)
        self._busy.add(key)
        return key

    def done(self, key: Key) -> None:
        """Say that the work on a key has ended, well or not."""
        self._busy.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)


Handler = Callable[[Key], Awaitable[float | None]]
"""Makes the world agree for one key; returns seconds after which to look again, or None."""


async def reconcile_loop(queue: WorkQueue, handler: Handler, workers: int = 4) -> None:
    """Work through the queue until cancelled; whatever a handler raises is logged and retried later.

    Args:
        queue: where the keys come from.
        handler: called with one key; never twice at once for the same key.
        workers: how many keys may be worked on at once.
    """

    async def work() -> None:
        while True:
            key = await queue.get()
            try:
                again = await handler(key)
                queue.forget(key)
                if again is not None:
                    queue.add_after(key, again)
            except ApiError as error:
                pause = queue.retry(key)
                log.info("will try again", extra={"key": "/".join(key), "pause": pause, "error": str(error)})
            except Exception:
                pause = queue.retry(key)
                log.exception("reconcile failed", extra={"key": "/".join(key), "pause": pause})
            finally:
                queue.done(key)

    tasks = [asyncio.create_task(work()) for _ in range(workers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
