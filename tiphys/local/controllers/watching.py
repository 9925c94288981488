"""The informers that all controllers share."""

from __future__ import annotations

import asyncio
from typing import Any

from tiphys.local.client import Informer, Kube, WorkQueue

RESOURCES = (
    "nodes",
    "pods",
    "persistentvolumeclaims",
    "statefulsets",
    "deployments",
    "replicasets",
    "poddisruptionbudgets",
    "services",
    "endpoints",
)


class Caches:
    """One informer for each resource that a controller looks at.

    Attributes:
        kube: the client.
    """

    def __init__(self, kube: Kube):
        self.kube = kube
        self._informers = {resource: Informer(kube, resource) for resource in RESOURCES}

    def __getitem__(self, resource: str) -> Informer:
        return self._informers[resource]

    def find(self, resource: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Return an object of the cache, or None."""
        return self[resource].objects.get((namespace, name))

    def within(self, resource: str, namespace: str) -> list[dict[str, Any]]:
        """Return the objects of one namespace."""
        return [obj for (space, _), obj in self[resource].objects.items() if space == namespace]

    async def run(self) -> None:
        """Keep all caches until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())

    async def synced(self) -> None:
        """Wait until every cache has its first list."""
        for informer in self._informers.values():
            await informer.synced()

    def enqueue_own(self, resource: str, queue: WorkQueue) -> None:
        """Put the key of each changed object of `resource` into `queue`."""
        self[resource].on_change(
            lambda _, obj: queue.add((obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))
        )

    def enqueue_controllers(self, resource: str, kind: str, queue: WorkQueue) -> None:
        """Put the key of the controller of `kind` of each changed object of `resource` into `queue`."""

        def changed(_change: str, obj: dict[str, Any]) -> None:
            for owner in obj["metadata"].get("ownerReferences") or []:
                if owner.get("controller") and owner["kind"] == kind:
                    queue.add((obj["metadata"]["namespace"], owner["name"]))

        self[resource].on_change(changed)
