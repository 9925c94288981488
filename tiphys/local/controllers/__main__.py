"""Entry point: ``python -m tiphys.local.controllers --home HOME``."""

from __future__ import annotations

import sys
from pathlib import Path

from tiphys.local.client import Kube
from tiphys.local.controllers.manager import run_controllers
from tiphys.local.service import run_part
from tiphys.local.settings import Settings


async def run(home: Path) -> None:
    """Run the controllers of the platform in `home` until cancelled."""
    async with Kube.from_home(home) as kube:
        await kube.wait_ready()
        await run_controllers(kube, Settings.load(home))


if __name__ == "__main__":
    sys.exit(run_part("controllers", run))
