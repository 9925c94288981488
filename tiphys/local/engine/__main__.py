"""``python -m tiphys.local.engine --home HOME``: the engine as a process of the platform."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from pathlib import Path

from tiphys.local.client import Kube, reconcile_loop
from tiphys.local.engine.controller import Engine
from tiphys.local.engine.cron import CronController
from tiphys.local.service import run_part
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)

WORKERS = 64
"""Workflows that may be worked on at once: each waits for the API server most of its time."""


async def run(home: Path) -> int | None:
    """Run the engine until it is told to stop."""
    async with Kube.from_home(home) as kube:
        await kube.wait_ready()
        engine = Engine(kube, Settings.load(home))
        cron = CronController(kube, engine.workflows)
        async with asyncio.TaskGroup() as group:
            for informer in [*engine.informers(), cron.crons]:
                group.create_task(informer.run())
            # boto3 takes its time to import: have that behind us when the first artifact comes.
            group.create_task(asyncio.to_thread(importlib.import_module, "boto3"))
            await engine.start()
            await cron.start()
            log.info("ready", extra={"workflows": len(engine.workflows.objects)})
            group.create_task(reconcile_loop(engine.queue, engine.reconcile, WORKERS))
            group.create_task(reconcile_loop(cron.queue, cron.reconcile, 4))
    return None


if __name__ == "__main__":
    sys.exit(run_part("engine", run))
