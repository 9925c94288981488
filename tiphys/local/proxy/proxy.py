"""Keeps one listener for each Service address, as Services and Endpoints come, change and go."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from tiphys.local.client import Informer, Kube, WorkQueue, reconcile_loop
from tiphys.local.informer import Key, key_of
from tiphys.local.proxy.forward import Listener
from tiphys.local.proxy.routes import Address, routes

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0


class ServiceProxy:
    """The proxy of all Services of a platform."""

    def __init__(self, kube: Kube):
        self._services = Informer(kube, "services")
        self._endpoints = Informer(kube, "endpoints")
        self._listeners: dict[Key, dict[Address, Listener]] = {}
        self._queue = WorkQueue()

    async def run(self) -> None:
        """Serve until cancelled."""
        for informer in (self._services, self._endpoints):
            informer.on_change(self._changed)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.run())
            group.create_task(self._endpoints.run())
            await self._services.synced()
            await self._endpoints.synced()
            log.info("proxy is running", extra={"services": len(self._services.objects)})
            # One worker: an address can pass from one Service to another, and must be closed before.
            group.create_task(reconcile_loop(self._queue, self._reconcile, workers=1))

    def _changed(self, _change: str, obj: dict[str, Any]) -> None:
        self._queue.add(key_of(obj))

    async def _reconcile(self, key: Key) -> float | None:
        service = self._services.objects.get(key)
        wanted = routes(service, self._endpoints.objects.get(key)) if service else {}
        listeners = self._listeners.setdefault(key, {})
        for address in [address for address in listeners if address not in wanted]:
            listeners.pop(address).close()
        failed = False
        for address, targets in wanted.items():
            listener = listeners.setdefault(address, Listener(address))
            try:
                await listener.set_targets(targets)
            except OSError as error:
                failed = True
                what = {"service": "/".join(key), "address": f"{address[0]}:{address[1]}", "error": str(error)}
                log.warning("cannot listen for a service; will try again", extra=what)
        if not listeners:
            del self._listeners[key]
        return RETRY_SECONDS if failed else None
