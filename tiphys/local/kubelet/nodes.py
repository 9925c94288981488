"""Registers the platform's nodes and tells every few seconds that they are well."""

from __future__ import annotations

import asyncio
import logging
import os
import platform
import time
import uuid
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tiphys.local.client import AlreadyExists, ApiError, Kube
from tiphys.local.kubelet.addresses import LAST_HOST
from tiphys.local.kubelet.status import timestamp
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 10.0
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Go's names, which Kubernetes uses, by the kernel's."""
_VERSION = version("tiphys")
_KUBERNETES = f"v1.36.0+tiphys{_VERSION}"


def node_names(settings: Settings) -> list[str]:
    """Return the names of the platform's nodes."""
    return [f"node-{number}" for number in range(1, settings.nodes + 1)]


def node_object(settings: Settings, number: int, now: float) -> dict[str, Any]:
    """Return the Node object of node `number` as it is first registered; each is a zone of its own."""
    name = f"node-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": ARCHITECTURES.get(platform.machine(), platform.machine()),
                "topology.kubernetes.io/region": "local",
                "topology.kubernetes.io/zone": f"local-{number}",
            },
        },
        "spec": {"podCIDR": f"127.{settings.network}.{number}.0/24"},
        "status": node_status(settings, number, now),
    }


def node_status(settings: Settings, number: int, now: float, since: str | None = None) -> dict[str, Any]:
    """Return the status of node `number`: ready, with this machine's size.

    Args:
        settings: the platform's settings.
        number: the node's number.
        now: seconds since the epoch.
        since: since when it has been ready; now if not known.
    """
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    capacity = {"cpu": str(os.cpu_count() or 1), "memory": f"{pages * size // 1024}Ki", "pods": str(LAST_HOST)}
    condition = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "kubelet is posting ready status",
        "lastHeartbeatTime": timestamp(now),
        "lastTransitionTime": since or timestamp(now),
    }
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "conditions": [condition],
        "addresses": [
            {"type": "InternalIP", "address": settings.pod_address(number, 254)},
            {"type": "Hostname", "address": f"node-{number}"},
        ],
        "nodeInfo": {
            "kubeletVersion": _KUBERNETES,
            "kubeProxyVersion": _KUBERNETES,
            "containerRuntimeVersion": f"tiphys://{_VERSION}",
            "kernelVersion": platform.release(),
            "osImage": "processes of this machine",
            "operatingSystem": "linux",
            "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
            # Of the node as it is here, not of the machine: every node is one of its own, and the same after a restart.
            "machineID": _identity(settings, number).hex,
            "systemUUID": str(_identity(settings, number)),
            "bootID": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        },
    }


def _identity(settings: Settings, number: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{settings.home}/node-{number}")


async def keep_registered(kube: Kube, settings: Settings) -> None:
    """Register the nodes and renew their status until cancelled; nodes that exist are never removed."""
    since: dict[int, str] = {}
    while True:
        for number in range(1, settings.nodes + 1):
            try:
                await _renew(kube, settings, number, since)
            except ApiError as error:
                log.info("node not renewed", extra={"node": f"node-{number}", "error": str(error)})
        await asyncio.sleep(HEARTBEAT_SECONDS if len(since) == settings.nodes else 0.2)


async def _renew(kube: Kube, settings: Settings, number: int, since: dict[int, str]) -> None:
    node = node_object(settings, number, time.time())
    name = node["metadata"]["name"]
    if number not in since:
        try:
            await kube.create("nodes", node)
        except AlreadyExists:
            known = await kube.get("nodes", name)
            for item in (known.get("status") or {}).get("conditions") or []:
                if item["type"] == "Ready" and item["status"] == "True":
                    since[number] = item["lastTransitionTime"]
    status = node_status(settings, number, time.time(), since.get(number))
    await kube.patch("nodes", name, {"status": status}, subresource="status")
    since[number] = status["conditions"][0]["lastTransitionTime"]
