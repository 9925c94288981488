"""Keeps the pods, claims and status of StatefulSets."""

from __future__ import annotations

import logging
from typing import Any

from tiphys.local.client import AlreadyExists, ApiError, Conflict, NotFound, WorkQueue, reconcile_loop
from tiphys.local.controllers.podstate import owned_by
from tiphys.local.controllers.statefulset_plan import Plan, plan, status
from tiphys.local.controllers.watching import Caches

log = logging.getLogger(__name__)


class StatefulSetController:
    """Makes each set's pods agree with it."""

    def __init__(self, caches: Caches):
        self._caches = caches
        self._queue = WorkQueue()
        caches.enqueue_own("statefulsets", self._queue)
        caches.enqueue_controllers("pods", "StatefulSet", self._queue)
        # A claim that was deleted under a waiting pod is made anew.
        caches["persistentvolumeclaims"].on_change(self._claim_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await reconcile_loop(self._queue, self._reconcile)

    def _claim_changed(self, change: str, claim: dict[str, Any]) -> None:
        if change == "DELETED":
            for owner in self._caches.within("statefulsets", claim["metadata"]["namespace"]):
                self._queue.add((owner["metadata"]["namespace"], owner["metadata"]["name"]))

    async def _reconcile(self, key: tuple[str, str]) -> None:
        owner = self._caches.find("statefulsets", *key)
        if owner is None:
            return
        pods = [pod for pod in self._caches.within("pods", key[0]) if owned_by(pod, owner)]
        claims = {claim["metadata"]["name"] for claim in self._caches.within("persistentvolumeclaims", key[0])}
        await self._act(owner, plan(owner, pods, claims))
        wanted = status(owner, pods)
        if wanted != (owner.get("status") or {}):
            try:
                await self._caches.kube.replace("statefulsets", {**owner, "status": wanted}, subresource="status")
            except (Conflict, NotFound):
                return  # the watch brings the newer state, and the key with it

    async def _act(self, owner: dict[str, Any], wanted: Plan) -> None:
        kube = self._caches.kube
        for claim in wanted.claims:
            try:
                await kube.create("persistentvolumeclaims", claim)
            except AlreadyExists:
                continue
            except ApiError as error:
                name = claim["metadata"]["name"]
                await kube.event(owner, "FailedCreate", f"create Claim {name} failed: {error.message}", "Warning")
                raise
        created = []
        for pod in wanted.create:
            name = pod["metadata"]["name"]
            try:
                await kube.create("pods", pod)
            except AlreadyExists:
                # Ours, which the watch has not shown yet, or a stranger's: the set waits until the name is free.
                continue
            except ApiError as error:
                await kube.event(owner, "FailedCreate", f"create Pod {name} failed: {error.message}", "Warning")
                raise
            created.append(name)
        # After the last one: telling about it must not delay the next pod.
        for name in created:
            await kube.event(owner, "SuccessfulCreate", f"create Pod {name} successful", component="statefulset")
        for old, why in wanted.delete:
            name = old["metadata"]["name"]
            try:
                await kube.delete("pods", name, old["metadata"]["namespace"], uid=old["metadata"]["uid"])
            except (NotFound, Conflict):
                continue
            log.info("deleted a pod", extra={"pod": name, "why": why})
            await kube.event(owner, "SuccessfulDelete", f"delete Pod {name} successful", component="statefulset")
