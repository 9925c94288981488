"""Makes the Workflows that were accepted: each exactly once, for as long as it takes."""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import Any

from tiphys.local.client import AlreadyExists, ApiError, Kube
from tiphys.local.events.store import Store

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Workflows created at the same time."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 15.0
"""Seconds between two tries of a Workflow that could not be created."""


class Worker:
    """Takes Workflows from the store and creates them through the API."""

    def __init__(self, kube: Kube, store: Store):
        self._kube = kube
        self._store = store
        self._wake = asyncio.Event()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._busy: dict[int, asyncio.Task[None]] = {}

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
                for identity, workflow in self._store.waiting():
                    if identity not in self._busy:
                        task = asyncio.create_task(self._make(identity, workflow))
                        self._busy[identity] = task
                        task.add_done_callback(partial(self._ended, identity))
        finally:
            for task in list(self._busy.values()):
                task.cancel()

    def _ended(self, identity: int, task: asyncio.Task[None]) -> None:
        del self._busy[identity]
        if not task.cancelled() and (error := task.exception()):
            log.error("a workflow was not created, will try again", extra={"error": repr(error)})
            asyncio.get_running_loop().call_later(LONGEST_PAUSE, self.wake)

    async def _make(self, identity: int, workflow: dict[str, Any]) -> None:
        meta = workflow["metadata"]
        pause, started = FIRST_PAUSE, time.monotonic()
        labels = {**meta.get("labels", {}), "events.argoproj.io/action-timestamp": str(int(time.time() * 1000))}
        body = {**workflow, "metadata": {**meta, "labels": labels}}
        while True:
            async with self._room:
                error = await self._create(body)
            if error is None:
                break
            log.warning(
                "a workflow could not be created, will try again",
                extra={"workflow": meta["name"], "pause": pause, "error": error},
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        await self._store.created(identity)
        took = round(time.monotonic() - started, 3)
        log.info("workflow created", extra={"workflow": meta["name"], "seconds": took})

    async def _create(self, workflow: dict[str, Any]) -> str | None:
        """Create a Workflow; return what went wrong, or None."""
        try:
            await self._kube.create("workflows", workflow)
        except AlreadyExists:
            # Ours from before a crash, or the caller's own: either way the name that was answered is there.
            return None
        except ApiError as error:
            return str(error)
        return None
