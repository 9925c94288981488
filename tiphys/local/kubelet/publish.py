"""Writes a pod's status to the API server and keeps it there, without treading on what others write.

A status is replaced whole under its resourceVersion, so a condition that somebody else set meanwhile makes a
conflict and is taken over; whatever overwrites ours is noticed by the watch and put right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from tiphys.local.client import ApiError, Conflict, Invalid, Kube, NotFound

log = logging.getLogger(__name__)


def version(obj: dict[str, Any]) -> int:
    """Return an object's resourceVersion as a number: it grows, so it tells the newer of two states."""
    return int(obj["metadata"].get("resourceVersion") or 0)


class StatusWriter:
    """Keeps one pod's status as it should be.

    Attributes:
        pod: the newest known object.
    """

    def __init__(self, kube: Kube, pod: dict[str, Any], wanted: Callable[[dict[str, Any]], dict[str, Any]]):
        """Prepare a writer.

        Args:
            kube: client.
            pod: the pod.
            wanted: returns the status that the given newest object should have.
        """
        self.pod = pod
        self.gone = False
        self._kube = kube
        self._wanted = wanted
        self._dirty = asyncio.Event()
        self._idle = asyncio.Event()

    def observe(self, pod: dict[str, Any]) -> None:
        """Take note of a state of the object, unless a newer one is known."""
        if version(pod) > version(self.pod):
            self.pod = pod
            self.mark()

    def mark(self) -> None:
        """Say that the status may have changed."""
        self._idle.clear()
        self._dirty.set()

    async def flushed(self) -> None:
        """Wait until the status is written as it is now (or the pod's object is gone)."""
        if not self.gone:
            self.mark()
            await self._idle.wait()

    async def run(self) -> None:
        """Write until cancelled or the object is gone; outages of the API server are waited out."""
        pause = 0.1
        while not self.gone:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._write()
                pause = 0.1
            except NotFound:
                self.gone = True
            except ApiError as error:
                level = logging.ERROR if isinstance(error, Invalid) else logging.INFO
                log.log(level, "status not written yet", extra={"pod": self._name(), "error": str(error)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)
                self._dirty.set()
                continue
            if not self._dirty.is_set():
                self._idle.set()
        self._idle.set()

    async def _write(self) -> None:
        while True:
            pod = self.pod
            status = self._wanted(pod)
            if status == pod.get("status"):
                return
            try:
                self.pod = await self._kube.replace("pods", {**pod, "status": status}, subresource="status")
                return
            except Conflict:
                meta = pod["metadata"]
                fresh = await self._kube.get("pods", meta["name"], meta["namespace"])
                if fresh["metadata"]["uid"] != meta["uid"]:
                    raise NotFound(404, "NotFound", f"pod {self._name()} was replaced by another") from None
                self.pod = fresh

    def _name(self) -> str:
        return f"{self.pod['metadata']['namespace']}/{self.pod['metadata']['name']}"
