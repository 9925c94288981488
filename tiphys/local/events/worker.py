"""Makes the Workflows that were accepted: each exactly once, for as long as it takes.

Argo Events gives an event up after the trigger's retries, whatever went wrong, and leaves it in the dead letter. Here
only what the API server refuses comes there: while it does not answer, or says that it cannot now, waiting helps, and
an event on this platform has time. A trigger without a dead letter is tried for ever, but for a name that is taken.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from tiphys.local.client import AlreadyExists, ApiError, Kube
from tiphys.local.events.delivery import Backoff, Pace
from tiphys.local.events.store import Order, Store, fingerprint

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Workflows created at the same time."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 15.0
"""Seconds between two tries of a Workflow that could not be created."""


NOT_NOW = (408, 429)
"""HTTP statuses below 500 after which waiting helps."""


@dataclass(frozen=True)
class Failure:
    """A Workflow or letter that was not created.

    Attributes:
        reason: what the API server said.
        lasts: whether it refused, so that another try will hardly fare better.
        is_taken: whether the name is another run's, which no other try will change.
    """

    reason: str
    lasts: bool
    is_taken: bool = False


class Worker:
    """Takes Workflows from the store and creates them through the API."""

    def __init__(self, kube: Kube, store: Store):
        self._kube = kube
        self._store = store
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._busy: dict[int, asyncio.Task[None]] = {}
        self._paces: dict[tuple[str, ...], tuple[Any, Pace]] = {}

    def wake(self) -> None:
        """Say that the store has something new."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        self._wake.set()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                for order in self._store.waiting():
                    if order.identity not in self._busy:
                        task = asyncio.create_task(self._make(order))
                        self._busy[order.identity] = task
                        task.add_done_callback(partial(self._ended, order.identity))
        finally:
            for task in list(self._busy.values()):
                task.cancel()

    def _ended(self, identity: int, task: asyncio.Task[None]) -> None:
        del self._busy[identity]
        if not task.cancelled() and (error := task.exception()):
            log.error("a workflow was not created, will try again", extra={"error": repr(error)})
            asyncio.get_running_loop().call_later(LONGEST_PAUSE, self.wake)

    async def _make(self, order: Order) -> None:
        meta, started = order.workflow["metadata"], time.monotonic()
        retries = order.delivery.get("retryStrategy") if order.letter else None
        failure = await self._try("workflows", order.workflow, order, Backoff.of(retries) if order.letter else None)
        if failure is None:
            await self._store.created(order.identity)
            took = round(time.monotonic() - started, 3)
            log.info("workflow created", extra={"workflow": meta["name"], "seconds": took})
            return
        if order.letter is None:
            log.error("the name is another run's", extra={"workflow": meta["name"], "error": failure.reason})
            await self._store.refused(order.identity)
            return
        letter = dict(order.letter)
        # A letter that was written before a crash is the same letter afterwards.
        mark = hashlib.sha256(f"{order.identity} {meta['namespace']} {meta['name']}".encode()).hexdigest()[:10]
        letter["metadata"] = {"name": f"{letter['metadata'].get('generateName', '')}{mark}", **letter["metadata"]}
        letter["metadata"].pop("generateName", None)
        about = {"workflow": meta["name"], "letter": letter["metadata"]["name"], "error": failure.reason}
        lost = await self._try("configmaps", letter, order, Backoff.of(order.delivery.get("letterRetries")))
        if lost is not None:
            log.error("an event is lost: neither its workflow nor its letter", extra={**about, "why": lost.reason})
        else:
            log.error("a workflow was refused, its letter is written", extra=about)
        await self._store.refused(order.identity)

    async def _try(self, resource: str, wanted: dict[str, Any], order: Order, limit: Backoff | None) -> Failure | None:
        """Create an object, trying again.

        Args:
            resource: its plural.
            wanted: the object.
            order: what it is created for.
            limit: the tries where it is refused; None for as many as it takes.

        Returns:
            What was said the last time, None where it is there now.
        """
        meta = wanted["metadata"]
        pause, pauses = FIRST_PAUSE, limit.pauses() if limit else None
        while True:
            await self._keep_pace(order)
            labels = {**meta.get("labels", {}), "events.argoproj.io/action-timestamp": str(int(time.time() * 1000))}
            async with self._room:
                failure = await self._create(resource, {**wanted, "metadata": {**meta, "labels": labels}})
            if failure is None or (failure.is_taken and pauses is None):
                return failure
            wait = pause
            if failure.lasts and pauses is not None:
                try:
                    wait = next(pauses)
                except StopIteration:
                    return failure
            log.warning(
                "a workflow could not be created, will try again",
                extra={"object": f"{resource}/{meta['name']}", "pause": wait, "error": failure.reason},
            )
            await asyncio.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _keep_pace(self, order: Order) -> None:
        meta, limit = order.workflow["metadata"], order.delivery.get("rateLimit")
        labels = meta.get("labels", {})
        who = (meta["namespace"], *(labels.get(f"events.argoproj.io/{one}", "") for one in ("sensor", "trigger")))
        if limit is not None:
            if who not in self._paces or self._paces[who][0] != limit:
                self._paces[who] = (limit, Pace.of(limit))
            await asyncio.sleep(self._paces[who][1].wait(time.monotonic()))

    async def _create(self, resource: str, body: dict[str, Any]) -> Failure | None:
        """Create an object; return what went wrong, or None."""
        try:
            await self._kube.create(resource, body)
        except AlreadyExists as error:
            return await self._of_that_name(resource, body, str(error))
        except ApiError as error:
            return Failure(str(error), 400 <= error.status < 500 and error.status not in NOT_NOW)
        return None

    async def _of_that_name(self, resource: str, body: dict[str, Any], said: str) -> Failure | None:
        """Tell whether what exists is what was to be made: ours from before a crash, or the caller's own."""
        if resource != "workflows":
            return None
        try:
            found = await self._kube.get(resource, body["metadata"]["name"], body["metadata"]["namespace"])
        except ApiError as error:
            return Failure(str(error), False)
        return None if fingerprint(found) == fingerprint(body) else Failure(said, True, is_taken=True)
