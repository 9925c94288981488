"""The kubelet of all nodes: one worker for each pod that is bound to one of them."""

from __future__ import annotations

import asyncio
import logging
import shutil
from pathlib import Path
from typing import Any

from tiphys.local.client import Informer, Kube
from tiphys.local.kubelet.addresses import Addresses
from tiphys.local.kubelet.nodes import keep_registered, node_names
from tiphys.local.kubelet.pod import PodWorker
from tiphys.local.kubelet.policies import NetworkPolicies
from tiphys.local.kubelet.processes import kill_marked
from tiphys.local.kubelet.records import Record
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)


class Kubelet:
    """Follows the pods and runs those of its nodes."""

    def __init__(self, kube: Kube, settings: Settings):
        self._kube, self._settings = kube, settings
        self._addresses = Addresses(settings)
        self._nodes = set(node_names(settings))
        self._pods = Informer(kube, "pods")
        self._workers: dict[str, PodWorker] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ended: dict[str, asyncio.Event] = {}
        # Pods are taken only after strays were ended, since those may hold the same volumes and addresses.
        self._started = False

    async def run(self) -> None:
        """Run until cancelled; the pods' processes go on then."""
        self._pods.on_change(self._changed)
        background = [
            asyncio.create_task(self._pods.run()),
            asyncio.create_task(keep_registered(self._kube, self._settings)),
            asyncio.create_task(NetworkPolicies(self._kube, self._settings, self._pods, self._nodes).run()),
        ]
        try:
            await self._pods.synced()
            await self._remove_strays()
            self._started = True
            # Those that ran before come first: they have addresses, which no new pod may be given.
            for pod in sorted(self._pods.objects.values(), key=self._is_new):
                self._changed("ADDED", pod)
            log.info("kubelet is running", extra={"nodes": len(self._nodes), "pods": len(self._workers)})
            await asyncio.gather(*background)
        finally:
            for task in [*background, *self._tasks.values()]:
                task.cancel()
            await asyncio.gather(*background, *self._tasks.values(), return_exceptions=True)

    def _changed(self, change: str, pod: dict[str, Any]) -> None:
        if not self._started:
            return
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if change == "DELETED":
            if worker:
                worker.removed()
        elif worker:
            worker.update(pod)
        elif pod["spec"].get("nodeName") in self._nodes:
            self._begin(pod)

    def _is_new(self, pod: dict[str, Any]) -> bool:
        return not self._settings.pod_folder(pod["metadata"]["uid"]).exists()

    def _begin(self, pod: dict[str, Any]) -> None:
        uid = pod["metadata"]["uid"]
        try:
            worker = PodWorker(self._kube, self._settings, self._addresses, pod)
        except Exception:
            # One pod that cannot be taken must not keep the others from running.
            log.exception("cannot take this pod", extra={"pod": pod["metadata"]["name"], "uid": uid})
            return
        # A pod of the same name that still ends holds the same volumes: it goes first.
        before = [self._ended[other.uid] for other in self._workers.values() if other.key == worker.key]
        self._workers[uid] = worker
        self._ended[uid] = asyncio.Event()
        self._tasks[uid] = asyncio.create_task(self._run(worker, before[-1] if before else None))

    async def _run(self, worker: PodWorker, after: asyncio.Event | None) -> None:
        try:
            await worker.run(after)
        except Exception:
            log.exception("a pod's worker failed", extra={"pod": "/".join(worker.key), "uid": worker.uid})
        finally:
            self._ended.pop(worker.uid).set()
            self._addresses.release(worker.uid)
            del self._workers[worker.uid], self._tasks[worker.uid]

    async def _remove_strays(self) -> None:
        """End what is left of pods whose objects went away while no kubelet was looking."""
        folder = self._settings.home / "pods"
        known = {pod["metadata"]["uid"] for pod in self._pods.objects.values()}
        for place in folder.iterdir() if folder.exists() else ():
            if place.is_dir() and place.name not in known:
                await asyncio.to_thread(_remove, place)
                log.info("removed what was left of a deleted pod", extra={"uid": place.name})


def _remove(place: Path) -> None:
    for record in place.glob("*.run.json"):
        identity = Record.load(record.with_name(record.name.removesuffix(".run.json"))).container_id
        while identity and kill_marked({identity}):
            pass
    shutil.rmtree(place, ignore_errors=True)
