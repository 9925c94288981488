"""Runs all controllers of the platform in one process."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from tiphys.local.client import Kube
from tiphys.local.controllers.claims import ClaimController
from tiphys.local.controllers.deployment import DeploymentController
from tiphys.local.controllers.disruption import DisruptionController
from tiphys.local.controllers.endpoints import EndpointsController
from tiphys.local.controllers.replicaset import ReplicaSetController
from tiphys.local.controllers.scheduler import Scheduler
from tiphys.local.controllers.statefulset import StatefulSetController
from tiphys.local.controllers.watching import Caches
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)


class Controller(Protocol):
    """Something that keeps one kind of object as it should be."""

    async def run(self) -> None:
        """Work until cancelled."""


async def run_controllers(kube: Kube, settings: Settings) -> None:
    """Run every controller until cancelled."""
    caches = Caches(kube)
    controllers: list[Controller] = [
        Scheduler(caches),
        ClaimController(caches, settings),
        StatefulSetController(caches),
        ReplicaSetController(caches),
        DeploymentController(caches),
        DisruptionController(caches),
        EndpointsController(caches),
    ]
    async with asyncio.TaskGroup() as group:
        group.create_task(caches.run())
        # Acting on half-filled caches would create what is there already.
        await caches.synced()
        log.info("controllers are running", extra={"controllers": len(controllers)})
        for controller in controllers:
            group.create_task(controller.run())
