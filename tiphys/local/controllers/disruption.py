"""Keeps the status of PodDisruptionBudgets: how many pods may be evicted now.

The eviction itself, which spends an allowed disruption and notes the pod in ``disruptedPods``, is the API
server's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from tiphys.local.client import Conflict, NotFound, WorkQueue, reconcile_loop
from tiphys.local.controllers.podstate import (
    controller_of,
    is_deleted,
    is_finished,
    is_ready,
    labels,
    with_condition,
)
from tiphys.local.controllers.selecting import selects
from tiphys.local.controllers.watching import Caches

Object = Mapping[str, Any]
DISRUPTED_SECONDS = 120.0
"""How long an eviction that the API server granted is believed in before the pod shows its deletion."""


def status(budget: Object, pods: Sequence[Object], scale: int, now: float) -> dict[str, Any]:
    """Return a budget's status.

    Args:
        budget: the PodDisruptionBudget.
        pods: the pods that it selects.
        scale: pods that the controllers of `pods` ask for, together.
        now: seconds since the epoch.

    Raises:
        ValueError: a limit is neither a number nor a percentage.
    """
    spec = budget["spec"]
    pods = [pod for pod in pods if not is_finished(pod)]
    old = dict(budget.get("status") or {})
    disrupted = _still_disrupted(old.get("disruptedPods") or {}, pods, now)
    healthy = sum(is_ready(pod) and not is_deleted(pod) and pod["metadata"]["name"] not in disrupted for pod in pods)
    if spec.get("maxUnavailable") is not None:
        expected = scale
        desired = max(0, expected - _limit(spec["maxUnavailable"], expected))
    else:
        least = spec.get("minAvailable", 1)
        expected = scale if isinstance(least, str) and least.endswith("%") else len(pods)
        desired = _limit(least, expected)
    allowed = max(0, healthy - desired) if expected > 0 else 0
    conditions = with_condition(
        list(old.get("conditions") or []),
        "DisruptionAllowed",
        allowed > 0,
        "SufficientPods" if allowed else "InsufficientPods",
    )
    conditions[-1]["observedGeneration"] = budget["metadata"].get("generation", 1)
    found = {
        "expectedPods": expected,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "disruptionsAllowed": allowed,
        "observedGeneration": budget["metadata"].get("generation", 1),
        "conditions": conditions,
    }
    old.pop("disruptedPods", None)
    return old | found | ({"disruptedPods": disrupted} if disrupted else {})


def _limit(value: int | str, total: int) -> int:
    """Return a limit as a number of pods; percentages are rounded up, as Kubernetes does for both kinds."""
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(float(value[:-1]) * total / 100)
    return int(value)


def _still_disrupted(noted: Mapping[str, str], pods: Sequence[Object], now: float) -> dict[str, str]:
    waiting = {pod["metadata"]["name"] for pod in pods if not is_deleted(pod)}
    kept = {}
    for name, since in noted.items():
        age = now - datetime.fromisoformat(since.replace("Z", "+00:00")).timestamp()
        if name in waiting and age < DISRUPTED_SECONDS:
            kept[name] = since
    return kept


class DisruptionController:
    """Makes each budget's status follow its pods."""

    def __init__(self, caches: Caches):
        self._caches = caches
        self._queue = WorkQueue()
        caches.enqueue_own("poddisruptionbudgets", self._queue)
        caches["pods"].on_change(lambda _, pod: self._touch(pod))
        for resource in ("statefulsets", "replicasets"):
            caches[resource].on_change(lambda _, obj: self._touch_namespace(obj["metadata"]["namespace"]))

    async def run(self) -> None:
        """Work until cancelled."""
        await reconcile_loop(self._queue, self._reconcile)

    def _touch(self, pod: dict[str, Any]) -> None:
        for budget in self._caches.within("poddisruptionbudgets", pod["metadata"]["namespace"]):
            if selects(budget["spec"].get("selector"), labels(pod)):
                self._queue.add((budget["metadata"]["namespace"], budget["metadata"]["name"]))

    def _touch_namespace(self, namespace: str) -> None:
        for budget in self._caches.within("poddisruptionbudgets", namespace):
            self._queue.add((namespace, budget["metadata"]["name"]))

    async def _reconcile(self, key: tuple[str, str]) -> float | None:
        budget = self._caches.find("poddisruptionbudgets", *key)
        if budget is None:
            return None
        selector = budget["spec"].get("selector")
        pods = [pod for pod in self._caches.within("pods", key[0]) if selects(selector, labels(pod))]
        wanted = status(budget, pods, self._scale(pods), time.time())
        if wanted != (budget.get("status") or {}):
            try:
                fresh = {**budget, "status": wanted}
                await self._caches.kube.replace("poddisruptionbudgets", fresh, subresource="status")
            except (Conflict, NotFound):
                return None
        return DISRUPTED_SECONDS if wanted.get("disruptedPods") else None

    def _scale(self, pods: Sequence[Object]) -> int:
        """Return how many pods the controllers of `pods` ask for; a pod without one counts as one."""
        total, seen = 0, set()
        for pod in pods:
            owner = controller_of(pod)
            if owner is None:
                total += 1
            elif owner["uid"] not in seen:
                seen.add(owner["uid"])
                resource = {"StatefulSet": "statefulsets", "ReplicaSet": "replicasets"}.get(owner["kind"])
                space = pod["metadata"]["namespace"]
                found = self._caches.find(resource, space, owner["name"]) if resource else None
                if found is None:
                    total += sum((controller_of(other) or {}).get("uid") == owner["uid"] for other in pods)
                else:
                    total += int(found["spec"].get("replicas", 1))
        return total
