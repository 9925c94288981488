"""Run the stand-in operator: ``python -m tiphys.local.operator --home HOME``."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tiphys.local.client import Informer, Kube
from tiphys.local.operator import names
from tiphys.local.operator.backups import Backups
from tiphys.local.operator.cluster import Cluster, Parts
from tiphys.local.service import run_part, run_until_told
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)
logging.getLogger("mysql.connector").setLevel(logging.WARNING)  # it names its plugin at every login


class Operator:
    """Follows all InnoDBClusters and gives each a caretaker, and all MySQLBackups."""

    def __init__(self, parts: Parts, backups: Informer):
        self._parts, self._backups = parts, backups
        self._clusters: dict[tuple[str, str], tuple[Cluster, asyncio.Task[None]]] = {}

    async def run(self) -> None:
        """Care for clusters and backups until cancelled."""
        parts = self._parts
        parts.clusters.on_change(self._cluster_changed)
        parts.pods.on_change(self._pod_changed)
        watches = [asyncio.create_task(parts.pods.run())]
        # The pods first: a caretaker that saw no pods would think that there are none.
        await parts.pods.synced()
        watches.append(asyncio.create_task(parts.clusters.run()))
        watches.append(asyncio.create_task(self._backups.run()))
        watches.append(asyncio.create_task(Backups(parts.kube, self._backups, parts.pods).run()))
        try:
            await asyncio.gather(*watches)
        finally:
            tasks = [*watches, *(task for _, task in self._clusters.values())]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _cluster_changed(self, change: str, obj: dict[str, Any]) -> None:
        key = (obj["metadata"]["namespace"], obj["metadata"]["name"])
        if key in self._clusters:
            cluster, task = self._clusters[key]
            if change != "DELETED" and not task.done():
                cluster.wake.set()
                return
            task.cancel()
            del self._clusters[key]
        if change != "DELETED":
            cluster = Cluster(self._parts, *key)
            self._clusters[key] = (cluster, asyncio.create_task(cluster.run()))

    def _pod_changed(self, _change: str, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        found = self._clusters.get((meta["namespace"], meta["labels"][names.LABEL_CLUSTER]))
        if found:
            found[0].wake.set()


async def serve(kube: Kube, pre_stop_seconds: int) -> None:
    """Care for the clusters of an API server until cancelled."""
    await kube.wait_ready()
    pods = Informer(kube, "pods", labels=names.LABEL_CLUSTER)
    clusters = Informer(kube, "innodbclusters")
    with ThreadPoolExecutor(64, "sql") as threads:
        parts = Parts(kube, clusters, pods, threads, pre_stop_seconds)
        await Operator(parts, Informer(kube, "mysqlbackups")).run()


async def run(home: Path) -> int:
    """Run the operator of the platform in `home` until cancelled; never two at once."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(home / "operator.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.error("another operator runs in this home: two could start two groups", extra={"home": str(home)})
        return 1
    try:
        async with Kube.from_home(home) as kube:
            await serve(kube, Settings.load(home).pre_stop_seconds)
    finally:
        os.close(lock)
    return 0


def run_in_cluster() -> int:
    """Run the operator as a pod of a real cluster, until told to end; its Deployment sees that there is one."""

    async def work() -> None:
        async with Kube.from_home(None) as kube:
            await serve(kube, Settings.pre_stop_seconds)

    return run_until_told("operator", work())


if __name__ == "__main__":
    sys.exit(run_part("operator", run))
