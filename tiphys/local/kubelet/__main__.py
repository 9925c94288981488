"""Entry point: ``python -m tiphys.local.kubelet --home HOME``."""

from __future__ import annotations

import sys
from pathlib import Path

from tiphys.local.client import Kube
from tiphys.local.kubelet.kubelet import Kubelet
from tiphys.local.service import run_part
from tiphys.local.settings import Settings


async def run(home: Path) -> None:
    """Run the kubelet of the platform in `home` until cancelled."""
    async with Kube.from_home(home) as kube:
        await kube.wait_ready()
        await Kubelet(kube, Settings.load(home)).run()


if __name__ == "__main__":
    sys.exit(run_part("kubelet", run))
