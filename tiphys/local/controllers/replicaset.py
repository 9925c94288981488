"""Keeps as many pods as a ReplicaSet asks for."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from typing import Any

from tiphys.local.client import Conflict, NotFound, WorkQueue, reconcile_loop
from tiphys.local.controllers.podstate import (
    is_active,
    is_deleted,
    is_ready,
    labels,
    owned_by,
    pod_from_template,
)
from tiphys.local.controllers.watching import Caches

log = logging.getLogger(__name__)

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters of Kubernetes' random names: no vowels, so no words."""


def removal_order(pod: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what orders pods for removal, as Kubernetes: unplaced, not ready, then the newest first."""
    created = str(pod["metadata"].get("creationTimestamp") or "")
    newest_first = tuple(-ord(letter) for letter in created)
    return bool(pod["spec"].get("nodeName")), is_ready(pod), newest_first, pod["metadata"]["name"]


def status(owner: Mapping[str, Any], pods: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the status of a ReplicaSet with these active pods."""
    ready = sum(is_ready(pod) for pod in pods)
    wanted = labels(owner["spec"]["template"])
    return {
        **(owner.get("status") or {}),
        "replicas": len(pods),
        "fullyLabeledReplicas": sum(wanted.items() <= labels(pod).items() for pod in pods),
        "readyReplicas": ready,
        "availableReplicas": ready,
        "observedGeneration": owner["metadata"].get("generation", 1),
    }


class ReplicaSetController:
    """Makes each ReplicaSet's pods agree with it."""

    def __init__(self, caches: Caches):
        self._caches = caches
        self._queue = WorkQueue()
        caches.enqueue_own("replicasets", self._queue)
        caches.enqueue_controllers("pods", "ReplicaSet", self._queue)

    async def run(self) -> None:
        """Work until cancelled."""
        await reconcile_loop(self._queue, self._reconcile)

    async def _reconcile(self, key: tuple[str, str]) -> None:
        owner = self._caches.find("replicasets", *key)
        if owner is None:
            return
        kube = self._caches.kube
        cached = [pod for pod in self._caches.within("pods", key[0]) if owned_by(pod, owner) and is_active(pod)]
        pods = cached
        want = 0 if is_deleted(owner) else int(owner["spec"].get("replicas", 1))
        if len(cached) != want and not is_deleted(owner):
            # Names are random, so a cache that lags would create too many: ask before acting.
            pods = [pod for pod in await kube.list("pods", key[0]) if owned_by(pod, owner) and is_active(pod)]
            for _ in range(want - len(pods)):
                pods.append(await kube.create("pods", self._pod(owner)))
            for pod in sorted(pods, key=removal_order)[: max(0, len(pods) - want)]:
                pods.remove(pod)
                await self._delete(pod)
        wanted = status(owner, pods)
        if wanted != (owner.get("status") or {}):
            try:
                await kube.replace("replicasets", {**owner, "status": wanted}, subresource="status")
            except (Conflict, NotFound):
                return

    def _pod(self, owner: dict[str, Any]) -> dict[str, Any]:
        pod = pod_from_template(owner["spec"]["template"], owner, {})
        suffix = "".join(secrets.choice(_ALPHABET) for _ in range(5))
        pod["metadata"]["name"] = f"{owner['metadata']['name']}-{suffix}"
        return pod

    async def _delete(self, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        try:
            await self._caches.kube.delete("pods", meta["name"], meta["namespace"], uid=meta["uid"])
        except (NotFound, Conflict):
            return
        log.info("deleted a pod", extra={"pod": meta["name"], "why": "its ReplicaSet has too many"})
