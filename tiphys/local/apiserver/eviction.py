"""pods/eviction and pods/binding: deletion that asks the PodDisruptionBudgets first, and placing onto a node."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tiphys.local.apiserver.errors import (
    Cause,
    bad_request,
    conflict,
    not_allowed,
    not_found,
    too_many_requests,
)
from tiphys.local.apiserver.lifecycle import DeleteOptions, Lifecycle, copy_of
from tiphys.local.apiserver.metadata import now
from tiphys.local.apiserver.requests import Target, as_object, is_dry_run, read_body
from tiphys.local.apiserver.selectors import selector_matches
from tiphys.local.apiserver.store import Record
from tiphys.local.apiserver.verbs import answer
from tiphys.local.kube_errors import ApiError
from tiphys.local.registry import by_plural

PODS, BUDGETS = by_plural("pods"), by_plural("poddisruptionbudgets")
_RETRY_SECONDS = 10


async def handle_eviction(request: web.Request, target: Target, lifecycle: Lifecycle) -> web.Response:
    """Answer a POST of an Eviction."""
    if request.method != "POST":
        raise not_allowed()
    body = as_object(await read_body(request))
    options = body.get("deleteOptions") or {}
    wanted = DeleteOptions(
        grace=options.get("gracePeriodSeconds"),
        propagation=options.get("propagationPolicy") or "",
        uid=(options.get("preconditions") or {}).get("uid") or "",
        version=(options.get("preconditions") or {}).get("resourceVersion") or "",
    )
    dry = is_dry_run(request, body) or is_dry_run(request, options)
    evict(lifecycle, target.namespace or "", target.name or "", wanted, dry)
    done = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
    return answer(done, 201)


def evict(lifecycle: Lifecycle, namespace: str, name: str, options: DeleteOptions, dry: bool) -> None:
    """Delete a pod if its budget allows a disruption now; budget and pod change together or not at all.

    Raises:
        ApiError: 404 without the pod, 429 if its budget forbids it for now, 500 if it has several budgets.
    """
    store = lifecycle.store
    pod = store.get(PODS, namespace, name)
    if pod is None:
        raise not_found(PODS, name)
    if options.uid and options.uid != pod.obj["metadata"]["uid"]:
        raise conflict(PODS, name, f"Precondition failed: UID in precondition: {options.uid}")
    budget = None if _exempt(pod.obj) else _budget_of(lifecycle, pod)
    with store.transaction():
        if budget is not None and _counts(pod.obj, budget.obj):
            _take_one(lifecycle, budget, name, dry)
        lifecycle.delete(PODS, namespace, name, options, dry)


def _exempt(pod: dict[str, Any]) -> bool:
    """Tell whether a pod may always be evicted: it is finished, was never placed, or is going already."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in ("Succeeded", "Failed", "Pending") or bool(pod["metadata"].get("deletionTimestamp"))


def _budget_of(lifecycle: Lifecycle, pod: Record) -> Record | None:
    meta = pod.obj["metadata"]
    found = [
        budget
        for budget in lifecycle.store.every(BUDGETS, meta["namespace"])
        if selector_matches((budget.obj.get("spec") or {}).get("selector"), meta.get("labels") or {})
    ]
    if len(found) > 1:
        names = [budget.obj["metadata"]["name"] for budget in found]
        why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support"
        raise ApiError(500, "InternalError", f"{why}: {', '.join(names)}")
    return found[0] if found else None


def _counts(pod: dict[str, Any], budget: dict[str, Any]) -> bool:
    """Tell whether losing the pod costs the budget something.

    A pod that is not ready does not count as healthy; it may go when the budget holds without it
    (IfHealthyBudget, the default) or always (AlwaysAllow).
    """
    conditions = (pod.get("status") or {}).get("conditions") or []
    if any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions):
        return True
    if (budget.get("spec") or {}).get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return False
    status = budget.get("status") or {}
    healthy, desired = int(status.get("currentHealthy") or 0), int(status.get("desiredHealthy") or 0)
    return not (healthy >= desired > 0)


def _take_one(lifecycle: Lifecycle, record: Record, pod: str, dry: bool) -> None:
    """Spend one allowed disruption of a budget, as its own controller will see the pod go a little later."""
    budget = copy_of(record)
    name, status = budget["metadata"]["name"], budget.setdefault("status", {})
    generation = int(budget["metadata"].get("generation") or 0)
    forbidden = "Cannot evict pod as it would violate the pod's disruption budget."
    if int(status.get("observedGeneration") or 0) < generation:
        told = f"The disruption budget {name} is still being processed by the server."
        raise too_many_requests(forbidden, [Cause("", "DisruptionBudget", told)], _RETRY_SECONDS)
    if int(status.get("disruptionsAllowed") or 0) <= 0:
        told = (
            f"The disruption budget {name} needs {status.get('desiredHealthy', 0)} healthy pods and has "
            f"{status.get('currentHealthy', 0)} currently"
        )
        raise too_many_requests(forbidden, [Cause("", "DisruptionBudget", told)])
    status["disruptionsAllowed"] = int(status["disruptionsAllowed"]) - 1
    status.setdefault("disruptedPods", {})[pod] = now()
    lifecycle.update(BUDGETS, budget["metadata"]["namespace"], name, budget, "status", dry=dry, patched=True)


async def handle_binding(request: web.Request, target: Target, lifecycle: Lifecycle) -> web.Response:
    """Answer a POST of a Binding: the scheduler's way to place a pod."""
    if request.method != "POST":
        raise not_allowed()
    body = as_object(await read_body(request))
    node = (body.get("target") or {}).get("name")
    if not node:
        raise bad_request("the Binding names no node: expected target.name")
    name = target.name or ""
    record = lifecycle.store.get(PODS, target.namespace, name)
    if record is None:
        raise not_found(PODS, name)
    if record.obj["spec"].get("nodeName"):
        raise conflict(PODS, name, f'pod {name} is already assigned to node "{record.obj["spec"]["nodeName"]}"')
    if record.obj["metadata"].get("deletionTimestamp"):
        raise conflict(PODS, name, f"pod {name} is being deleted, cannot be assigned to a host")
    obj = copy_of(record)
    obj["spec"]["nodeName"] = node
    dry = is_dry_run(request, body)
    lifecycle.update(PODS, target.namespace, name, obj, dry=dry, patched=True)
    record = lifecycle.store.get(PODS, target.namespace, name)
    if record is not None and not dry:
        obj = copy_of(record)
        conditions = [
            item for item in (obj.get("status") or {}).get("conditions") or [] if item.get("type") != "PodScheduled"
        ]
        placed = {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": now()}
        obj.setdefault("status", {})["conditions"] = [*conditions, placed]
        lifecycle.update(PODS, target.namespace, name, obj, "status", patched=True)
    return answer({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}, 201)
