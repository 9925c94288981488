"""Makes a cluster's objects exist, and follows the few parts of its spec that may change."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tiphys.local.client import AlreadyExists, Kube, NotFound
from tiphys.local.operator import objects
from tiphys.local.operator.objects import Object
from tiphys.local.operator.spec import ClusterSpec
from tiphys.local.operator.workloads import router_deployment, stateful_set


async def _create(kube: Kube, resource: str, made: Object) -> Object:
    """Return an object, created if it is missing; one that exists is left as it is."""
    meta = made["metadata"]
    with suppress(NotFound):
        return await kube.get(resource, meta["name"], meta["namespace"])
    try:
        return await kube.create(resource, made)
    except AlreadyExists:
        return await kube.get(resource, meta["name"], meta["namespace"])


async def ensure_objects(kube: Kube, spec: ClusterSpec, pre_stop_seconds: int) -> None:
    """Create what is missing of a cluster's objects, the StatefulSet last."""
    for made in objects.account_secrets(spec):
        await _create(kube, "secrets", made)
    await _create(kube, "configmaps", objects.initconf(spec))
    await _create(kube, "serviceaccounts", objects.service_account(spec))
    await _create(kube, "rolebindings", objects.role_binding(spec))
    for made in objects.services(spec):
        await _create(kube, "services", made)
    await _create(kube, "poddisruptionbudgets", objects.disruption_budget(spec))
    servers = await _create(kube, "statefulsets", stateful_set(spec, pre_stop_seconds))
    await _scale(kube, "statefulsets", servers, spec.instances)


async def _scale(kube: Kube, resource: str, obj: Object, replicas: int) -> None:
    meta: dict[str, Any] = obj["metadata"]
    if obj["spec"].get("replicas") != replicas and not meta.get("deletionTimestamp"):
        await kube.patch(resource, meta["name"], {"spec": {"replicas": replicas}}, meta["namespace"])


async def ensure_routers(kube: Kube, spec: ClusterSpec, complete: bool) -> None:
    """Make the Routers' Deployment as asked.

    Args:
        kube: the API.
        spec: the cluster.
        complete: all servers have joined: Routers are first started then, as the real operator does.
    """
    name = f"{spec.name}-router"
    try:
        found = await kube.get("deployments", name, spec.namespace)
    except NotFound:
        if spec.routers:
            await _create(kube, "deployments", router_deployment(spec, spec.routers if complete else 0))
        return
    if found["metadata"].get("deletionTimestamp"):
        return
    if not spec.routers:
        await kube.delete("deployments", name, spec.namespace)
    elif complete or found["spec"].get("replicas"):
        await _scale(kube, "deployments", found, spec.routers)


async def take_down(kube: Kube, name: str, namespace: str) -> None:
    """Stop a cluster's Routers and servers; the claims stay, and owned objects go with the InnoDBCluster."""
    with suppress(NotFound):
        await kube.delete("deployments", f"{name}-router", namespace)
    with suppress(NotFound):
        await _scale(kube, "statefulsets", await kube.get("statefulsets", name, namespace), 0)
