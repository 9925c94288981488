"""Keeps the ReplicaSets and the status of Deployments."""

from __future__ import annotations

from typing import Any

from tiphys.local.client import AlreadyExists, Conflict, NotFound, WorkQueue, reconcile_loop
from tiphys.local.controllers.deployment_plan import (
    REVISION,
    Scale,
    is_newest,
    limits,
    new_set,
    next_scales,
    recreate_scales,
    revision_of,
)
from tiphys.local.controllers.podstate import is_deleted, owned_by, owner_reference, with_condition
from tiphys.local.controllers.watching import Caches


def status(deployment: dict[str, Any], new: dict[str, Any] | None, sets: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a Deployment's status from the statuses of its ReplicaSets."""

    def total(field: str, found: list[dict[str, Any]]) -> int:
        return sum(int((item.get("status") or {}).get(field) or 0) for item in found)

    old = dict(deployment.get("status") or {})
    replicas = int(deployment["spec"].get("replicas", 1))
    available = total("availableReplicas", sets)
    updated = total("replicas", [new] if new else [])
    _, missing = limits(deployment, replicas)
    conditions = list(old.get("conditions") or [])
    enough = available >= replicas - missing
    conditions = with_condition(
        conditions,
        "Available",
        enough,
        "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        f"{available} of {replicas} replicas are available",
    )
    done = updated == replicas == available == total("replicas", sets)
    reason = "NewReplicaSetAvailable" if done else "ReplicaSetUpdated"
    conditions = with_condition(conditions, "Progressing", True, reason)
    return old | {
        "observedGeneration": deployment["metadata"].get("generation", 1),
        "replicas": total("replicas", sets),
        "updatedReplicas": updated,
        "readyReplicas": total("readyReplicas", sets),
        "availableReplicas": available,
        "unavailableReplicas": max(0, replicas - available),
        "conditions": conditions,
    }


class DeploymentController:
    """Makes each Deployment's ReplicaSets agree with it."""

    def __init__(self, caches: Caches):
        self._caches = caches
        self._queue = WorkQueue()
        caches.enqueue_own("deployments", self._queue)
        caches.enqueue_controllers("replicasets", "Deployment", self._queue)

    async def run(self) -> None:
        """Work until cancelled."""
        await reconcile_loop(self._queue, self._reconcile)

    async def _reconcile(self, key: tuple[str, str]) -> None:
        deployment = self._caches.find("deployments", *key)
        if deployment is None or is_deleted(deployment):
            return
        sets = [item for item in self._caches.within("replicasets", key[0]) if owned_by(item, deployment)]
        sets.sort(key=revision_of)
        new = next((item for item in sets if is_newest(item, deployment)), None)
        if new is None:
            await self._create(deployment, 1 + max((revision_of(item) for item in sets), default=0))
        elif not deployment["spec"].get("paused"):
            await self._scale(deployment, new, [item for item in sets if item is not new])
            await self._forget(deployment, [item for item in sets if item is not new])
        await self._write(deployment, status(deployment, new, sets))

    async def _create(self, deployment: dict[str, Any], revision: int) -> None:
        made = new_set(deployment, revision)
        made["metadata"]["ownerReferences"] = [owner_reference(deployment)]
        try:
            await self._caches.kube.create("replicasets", made)
        except AlreadyExists:
            return
        annotation = {"metadata": {"annotations": {REVISION: str(revision)}}}
        meta = deployment["metadata"]
        await self._caches.kube.patch("deployments", meta["name"], annotation, meta["namespace"])

    async def _scale(self, deployment: dict[str, Any], new: dict[str, Any], old: list[dict[str, Any]]) -> None:
        replicas = int(deployment["spec"].get("replicas", 1))
        scales = [_scale_of(item) for item in old]
        if (deployment["spec"].get("strategy") or {}).get("type") == "Recreate":
            pods = sum(int((item.get("status") or {}).get("replicas") or 0) for item in old)
            changes = recreate_scales(replicas, _scale_of(new), scales, pods)
        else:
            surge, missing = limits(deployment, replicas)
            changes = next_scales(replicas, surge, missing, _scale_of(new), scales)
        by_name = {item["metadata"]["name"]: item for item in [new, *old]}
        for name, count in changes.items():
            item = by_name[name]
            version = {"resourceVersion": item["metadata"]["resourceVersion"]}
            patch = {"metadata": version, "spec": {"replicas": count}}
            try:
                await self._caches.kube.patch("replicasets", name, patch, item["metadata"]["namespace"])
            except (Conflict, NotFound):
                continue
            message = (
                f"Scaled {'up' if count > int(item['spec']['replicas']) else 'down'} replica set {name} to {count}"
            )
            await self._caches.kube.event(deployment, "ScalingReplicaSet", message, component="deployment")

    async def _forget(self, deployment: dict[str, Any], old: list[dict[str, Any]]) -> None:
        """Delete old ReplicaSets beyond ``revisionHistoryLimit`` that have no pods any more."""
        limit = deployment["spec"].get("revisionHistoryLimit")
        keep = 10 if limit is None else int(limit)
        empty = [
            item for item in old if not item["spec"].get("replicas") and not (item.get("status") or {}).get("replicas")
        ]
        for item in empty[: max(0, len(empty) - keep)]:
            meta = item["metadata"]
            try:
                await self._caches.kube.delete("replicasets", meta["name"], meta["namespace"], uid=meta["uid"])
            except (NotFound, Conflict):
                continue

    async def _write(self, deployment: dict[str, Any], wanted: dict[str, Any]) -> None:
        if wanted == (deployment.get("status") or {}):
            return
        try:
            await self._caches.kube.replace("deployments", {**deployment, "status": wanted}, subresource="status")
        except (Conflict, NotFound):
            return


def _scale_of(item: dict[str, Any]) -> Scale:
    status = item.get("status") or {}
    return Scale(
        item["metadata"]["name"], int(item["spec"].get("replicas", 1)), int(status.get("availableReplicas") or 0)
    )
