"""The scale subresource of StatefulSets, Deployments and ReplicaSets (autoscaling/v1)."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tiphys.local.apiserver import patches
from tiphys.local.apiserver.errors import bad, conflict, invalid, not_allowed, not_found
from tiphys.local.apiserver.lifecycle import Lifecycle, copy_of
from tiphys.local.apiserver.requests import Target, as_object, is_dry_run, read_body
from tiphys.local.apiserver.selectors import selector_text
from tiphys.local.apiserver.verbs import answer


def scale_of(obj: dict[str, Any]) -> dict[str, Any]:
    """Return the Scale object of a workload."""
    meta = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in kept if key in meta},
        "spec": {"replicas": obj["spec"].get("replicas", 0)},
        "status": {
            "replicas": (obj.get("status") or {}).get("replicas", 0),
            "selector": selector_text(obj["spec"].get("selector")),
        },
    }


async def handle_scale(request: web.Request, target: Target, lifecycle: Lifecycle) -> web.Response:
    """Answer GET, PUT and PATCH of a scale."""
    kind, name = target.kind, target.name or ""
    body = await read_body(request) if request.method in ("PUT", "PATCH") else None
    record = lifecycle.store.get(kind, target.namespace, name)
    if record is None:
        raise not_found(kind, name)
    if request.method == "GET":
        return answer(scale_of(record.obj))
    if request.method == "PUT":
        scale = as_object(body)
    elif request.method == "PATCH":
        scale = patches.patched(kind, scale_of(record.obj), request.content_type, body)
    else:
        raise not_allowed()
    meta, spec = scale.get("metadata") or {}, scale.get("spec") or {}
    if meta.get("resourceVersion") not in (None, "", record.obj["metadata"]["resourceVersion"]):
        raise conflict(kind, name)
    replicas = spec.get("replicas", 0)
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise invalid(kind, name, [bad("spec.replicas", replicas, "must be greater than or equal to 0")])
    obj = copy_of(record)
    obj["spec"]["replicas"] = replicas
    made = lifecycle.update(kind, target.namespace, name, obj, dry=is_dry_run(request), patched=True)
    return answer(scale_of(made))
