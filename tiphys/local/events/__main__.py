"""``python -m tiphys.local.events --home HOME``: the gateway of a platform, for webhooks and calendars."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

from aiohttp import web

from tiphys.local.client import Kube
from tiphys.local.events import http
from tiphys.local.events.gateway import Gateway
from tiphys.local.events.occasions import Occasions
from tiphys.local.events.routes import Directory
from tiphys.local.events.store import Store
from tiphys.local.events.worker import Worker
from tiphys.local.service import run_part
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
API_SECONDS = 300.0
"""How long the start waits for the API server; later outages are waited out without a limit."""


async def run(home: Path) -> None:
    """Serve until cancelled."""
    settings = Settings.load(home)
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with Kube.from_home(home) as kube:
        await kube.wait_ready(API_SECONDS)
        store = Store(home / "events.sqlite")
        directory, worker = Directory(kube), Worker(kube, store)
        async with asyncio.TaskGroup() as tasks:
            for informer in directory.informers:
                tasks.create_task(informer.run())
            for informer in directory.informers:
                await informer.synced()
            tasks.create_task(worker.run())
            tasks.create_task(Occasions(kube, directory, store, worker).run())
            gateway = Gateway(kube, directory, store, worker)
            runner = http.runner(gateway.handle, access_log=None, auto_decompress=False)
            await runner.setup()
            try:
                # Every endpoint is served on the platform's one webhook port, whatever port its EventSource names:
                # several platforms share this machine.
                await web.TCPSite(runner, HOST, settings.webhook_port, backlog=1024).start()
                log.info("serving", extra={"url": f"http://{HOST}:{settings.webhook_port}"})
                await asyncio.Event().wait()
            finally:
                await runner.cleanup()
                await store.close()


def main() -> None:
    """Run the gateway."""
    sys.exit(run_part("gateway", run))


if __name__ == "__main__":
    main()
