"""Binds PersistentVolumeClaims to folders, and removes a folder once its deleted claim is used by no pod."""

from __future__ import annotations

import asyncio
import logging
import shutil
from typing import Any

from tiphys.local.client import NotFound, WorkQueue, reconcile_loop
from tiphys.local.controllers.podstate import is_deleted, is_finished
from tiphys.local.controllers.watching import Caches
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)

PROTECTION = "kubernetes.io/pvc-protection"
"""Finalizer of Kubernetes: a claim in use stays until the last pod that mounts it is gone."""


def claims_of(pod: dict[str, Any]) -> list[str]:
    """Return the names of the claims that a pod mounts."""
    volumes = pod["spec"].get("volumes") or []
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]


class ClaimController:
    """One folder for each claim: ``<home>/volumes/<namespace>/<claim>``."""

    def __init__(self, caches: Caches, settings: Settings):
        self._caches, self._settings = caches, settings
        self._queue = WorkQueue()
        caches.enqueue_own("persistentvolumeclaims", self._queue)
        caches["pods"].on_change(self._pod_changed)

    async def run(self) -> None:
        """Bind claims until cancelled."""
        await reconcile_loop(self._queue, self._reconcile)

    def _pod_changed(self, change: str, pod: dict[str, Any]) -> None:
        if change == "DELETED" or is_finished(pod):
            for name in claims_of(pod):
                self._queue.add((pod["metadata"]["namespace"], name))

    async def _reconcile(self, key: tuple[str, str]) -> None:
        claim = self._caches.find("persistentvolumeclaims", *key)
        if claim is None:
            return
        finalizers = claim["metadata"].get("finalizers") or []
        try:
            if is_deleted(claim):
                if PROTECTION in finalizers and not self._used(key):
                    await self._remove(claim, finalizers)
            elif (claim.get("status") or {}).get("phase") != "Bound":
                await self._bind(claim, finalizers)
        except NotFound:
            return

    def _used(self, key: tuple[str, str]) -> bool:
        # Also a finished pod may still have its folder shown; but like Kubernetes, only running ones count.
        pods = self._caches.within("pods", key[0])
        return any(key[1] in claims_of(pod) and not is_finished(pod) for pod in pods)

    async def _bind(self, claim: dict[str, Any], finalizers: list[str]) -> None:
        meta, spec = claim["metadata"], claim["spec"]
        kube = self._caches.kube
        self._settings.claim_folder(meta["namespace"], meta["name"]).mkdir(parents=True, exist_ok=True, mode=0o700)
        patch: dict[str, Any] = {"spec": {"volumeName": f"pvc-{meta['uid']}"}}
        if PROTECTION not in finalizers:
            patch["metadata"] = {"finalizers": [*finalizers, PROTECTION], "resourceVersion": meta["resourceVersion"]}
        await kube.patch("persistentvolumeclaims", meta["name"], patch, meta["namespace"])
        status = {
            "phase": "Bound",
            "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
            "capacity": dict((spec.get("resources") or {}).get("requests") or {}),
        }
        await kube.patch(
            "persistentvolumeclaims", meta["name"], {"status": status}, meta["namespace"], subresource="status"
        )

    async def _remove(self, claim: dict[str, Any], finalizers: list[str]) -> None:
        meta = claim["metadata"]
        folder = self._settings.claim_folder(meta["namespace"], meta["name"])
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        rest = [item for item in finalizers if item != PROTECTION]
        patch = {"metadata": {"finalizers": rest or None, "resourceVersion": meta["resourceVersion"]}}
        await self._caches.kube.patch("persistentvolumeclaims", meta["name"], patch, meta["namespace"])
        log.info("removed a claim's folder", extra={"claim": f"{meta['namespace']}/{meta['name']}"})
