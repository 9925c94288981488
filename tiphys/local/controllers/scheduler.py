"""Binds pods to nodes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from tiphys.local.client import ApiError, Conflict, NotFound, WorkQueue, reconcile_loop
from tiphys.local.controllers.placement import Decision, place
from tiphys.local.controllers.podstate import condition, is_deleted, is_finished, with_condition
from tiphys.local.controllers.watching import Caches

log = logging.getLogger(__name__)


class Scheduler:
    """Looks at each unbound pod; those without a place are looked at again when nodes, claims or pods change."""

    def __init__(self, caches: Caches):
        self._caches = caches
        self._queue = WorkQueue()
        # What was decided but has not come back through the watch yet: without it, pods created together
        # would all be put on the node that looks emptiest.
        self._assumed: dict[str, dict[str, Any]] = {}
        self._unplaced: set[tuple[str, str]] = set()
        self._telling: set[asyncio.Task[None]] = set()
        caches["pods"].on_change(self._pod_changed)
        for resource in ("nodes", "persistentvolumeclaims"):
            caches[resource].on_change(self._world_changed)
        self._node_views: dict[str, Any] = {}

    async def run(self) -> None:
        """Schedule until cancelled."""
        await reconcile_loop(self._queue, self._schedule, workers=8)

    def _pod_changed(self, change: str, pod: dict[str, Any]) -> None:
        key = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        if change == "DELETED":
            self._assumed.pop(pod["metadata"]["uid"], None)
            self._unplaced.discard(key)
        if pod["spec"].get("nodeName"):
            self._assumed.pop(pod["metadata"]["uid"], None)
            if change == "DELETED" or is_finished(pod) or change == "ADDED":
                self._try_again()
        elif change != "DELETED":
            self._queue.add(key)

    def _world_changed(self, change: str, obj: dict[str, Any]) -> None:
        if obj["kind"] == "Node":
            # Heartbeats change nothing for the scheduler.
            ready = condition(obj, "Ready").get("status")
            view = (change == "DELETED", ready, obj.get("spec"), obj["metadata"].get("labels"))
            if self._node_views.get(obj["metadata"]["name"]) == view:
                return
            self._node_views[obj["metadata"]["name"]] = view
        self._try_again()

    def _try_again(self) -> None:
        for key in self._unplaced:
            self._queue.add(key)

    async def _schedule(self, key: tuple[str, str]) -> None:
        pod = self._caches.find("pods", *key)
        if pod is None or pod["spec"].get("nodeName") or is_finished(pod) or is_deleted(pod):
            self._unplaced.discard(key)
            return
        if pod["metadata"]["uid"] in self._assumed or pod["spec"].get("schedulingGates"):
            return
        decision = self._decide(pod)
        if decision.node is None:
            self._unplaced.add(key)
            await self._say_unschedulable(pod, decision.message)
            return
        self._unplaced.discard(key)
        uid = pod["metadata"]["uid"]
        bound = {**pod, "spec": {**pod["spec"], "nodeName": decision.node}}
        self._assumed[uid] = bound
        try:
            patch = {"metadata": {"uid": uid}, "spec": {"nodeName": decision.node}}
            await self._caches.kube.patch("pods", key[1], patch, key[0])
        except NotFound:
            self._assumed.pop(uid, None)
            return
        except ApiError:
            self._assumed.pop(uid, None)
            raise
        message = f"Successfully assigned {'/'.join(key)} to {decision.node}"
        self._tell(pod, "Scheduled", message, "Normal")

    def _decide(self, pod: dict[str, Any]) -> Decision:
        namespace = pod["metadata"]["namespace"]
        bound = [other for other in self._caches["pods"].objects.values() if other["spec"].get("nodeName")]
        known = {other["metadata"]["uid"] for other in bound}
        bound += [other for uid, other in self._assumed.items() if uid not in known]
        claims = {
            claim["metadata"]["name"]: claim for claim in self._caches.within("persistentvolumeclaims", namespace)
        }
        return place(pod, list(self._caches["nodes"].objects.values()), bound, claims)

    async def _say_unschedulable(self, pod: dict[str, Any], message: str) -> None:
        old = condition(pod, "PodScheduled")
        if old.get("status") == "False" and old.get("message") == message:
            return
        status = dict(pod.get("status") or {})
        conditions = with_condition(
            list(status.get("conditions") or []), "PodScheduled", False, "Unschedulable", message
        )
        try:
            fresh = {**pod, "status": {**status, "conditions": conditions}}
            await self._caches.kube.replace("pods", fresh, subresource="status")
        except (Conflict, NotFound):
            return  # the newer state comes through the watch and is looked at again
        self._tell(pod, "FailedScheduling", message, "Warning")

    def _tell(self, pod: dict[str, Any], reason: str, message: str, kind: str) -> None:
        about = {"apiVersion": "v1", "kind": "Pod", **pod}
        task = asyncio.create_task(self._caches.kube.event(about, reason, message, kind, "scheduler"))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
