"""Entry point: ``python -m tiphys.local.proxy --home HOME``."""

from __future__ import annotations

import sys
from pathlib import Path

from tiphys.local.client import Kube
from tiphys.local.proxy.proxy import ServiceProxy
from tiphys.local.service import run_part


async def run(home: Path) -> None:
    """Run the service proxy of the platform in `home` until cancelled."""
    async with Kube.from_home(home) as kube:
        await kube.wait_ready()
        await ServiceProxy(kube).run()


if __name__ == "__main__":
    sys.exit(run_part("proxy", run))
