"""Keeps the Endpoints of Services: which pod addresses stand behind each, ready and not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tiphys.local.client import AlreadyExists, Conflict, NotFound, WorkQueue, reconcile_loop
from tiphys.local.controllers.podstate import is_deleted, is_finished, is_ready, labels, owner_reference
from tiphys.local.controllers.watching import Caches

Object = Mapping[str, Any]


def target_port(pod: Object, port: Object) -> int | None:
    """Return the number of a Service's target port on `pod`; None if the pod has no port of that name."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int) or str(target).isdigit():
        return int(target) or int(port["port"])
    for container in pod["spec"]["containers"]:
        for item in container.get("ports") or []:
            if item.get("name") == target:
                return int(item["containerPort"])
    return None


def subsets(service: Object, pods: Sequence[Object]) -> list[dict[str, Any]]:
    """Return the subsets of a Service's Endpoints: pods with the same ports together.

    A pod that is being deleted or has ended is in none. One that is not ready is listed as such, unless the
    Service publishes it anyway (``publishNotReadyAddresses``).
    """
    everyone = bool(service["spec"].get("publishNotReadyAddresses"))
    groups: dict[tuple[tuple[str, int, str], ...], dict[str, list[dict[str, Any]]]] = {}
    for pod in sorted(pods, key=lambda item: str(item["metadata"]["name"])):
        address = (pod.get("status") or {}).get("podIP")
        gone = is_finished(pod) or (is_deleted(pod) and not everyone)
        if not address or gone:
            continue
        ports = tuple(
            (port.get("name", ""), number, port.get("protocol", "TCP"))
            for port in service["spec"].get("ports") or []
            if (number := target_port(pod, port)) is not None
        )
        entry = {
            "ip": address,
            "nodeName": pod["spec"].get("nodeName", ""),
            "targetRef": {
                "kind": "Pod",
                "namespace": pod["metadata"]["namespace"],
                "name": pod["metadata"]["name"],
                "uid": pod["metadata"]["uid"],
            },
        }
        if pod["spec"].get("subdomain") == service["metadata"]["name"] and pod["spec"].get("hostname"):
            entry["hostname"] = pod["spec"]["hostname"]
        group = groups.setdefault(ports, {"addresses": [], "notReadyAddresses": []})
        group["addresses" if everyone or is_ready(pod) else "notReadyAddresses"].append(entry)
    return [
        {key: value for key, value in group.items() if value}
        | {
            "ports": [
                ({"name": name} if name else {}) | {"port": number, "protocol": protocol}
                for name, number, protocol in ports
            ]
        }
        for ports, group in sorted(groups.items())
    ]


class EndpointsController:
    """Makes the Endpoints of each Service with a selector follow its pods."""

    def __init__(self, caches: Caches):
        self._caches = caches
        self._queue = WorkQueue()
        caches.enqueue_own("services", self._queue)
        caches.enqueue_own("endpoints", self._queue)
        self._pod_services: dict[str, set[tuple[str, str]]] = {}
        caches["pods"].on_change(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await reconcile_loop(self._queue, self._reconcile)

    def _pod_changed(self, change: str, pod: dict[str, Any]) -> None:
        # Also the Services that selected the pod before: its labels may have changed.
        uid = pod["metadata"]["uid"]
        selected = {
            (service["metadata"]["namespace"], service["metadata"]["name"])
            for service in self._caches.within("services", pod["metadata"]["namespace"])
            if _selects(service, pod)
        }
        for key in selected | self._pod_services.get(uid, set()):
            self._queue.add(key)
        if change == "DELETED":
            self._pod_services.pop(uid, None)
        else:
            self._pod_services[uid] = selected

    async def _reconcile(self, key: tuple[str, str]) -> None:
        service, current = self._caches.find("services", *key), self._caches.find("endpoints", *key)
        if service is None or not service["spec"].get("selector"):
            return  # those of a deleted Service go with their owner; those without selector are somebody else's
        pods = [pod for pod in self._caches.within("pods", key[0]) if _selects(service, pod)]
        wanted = subsets(service, pods)
        kube = self._caches.kube
        try:
            if current is None:
                made = {
                    "apiVersion": "v1",
                    "kind": "Endpoints",
                    "metadata": {
                        "name": key[1],
                        "namespace": key[0],
                        "labels": labels(service),
                        "ownerReferences": [owner_reference(service)],
                    },
                    "subsets": wanted,
                }
                await kube.create("endpoints", made)
            elif (current.get("subsets") or []) != wanted:
                await kube.replace("endpoints", {**current, "subsets": wanted})
        except (AlreadyExists, Conflict, NotFound):
            return  # the newer state comes through the watch, and the key with it


def _selects(service: Object, pod: Object) -> bool:
    selector = service["spec"].get("selector")
    return bool(selector) and selector.items() <= labels(pod).items()
