"""Enforces NetworkPolicies on this machine, as far as they can be: those that let nothing in or out of a pod.

A policy with rules would need a filter by address, and most of what these pods send comes from 127.0.0.1. So any other
policy is not enforced, and an Event on it says so. `tcp_keys` tells how a pod is cut off.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from tiphys.local.client import ApiError, Informer, Kube
from tiphys.local.controllers.selecting import selects
from tiphys.local.informer import key_of
from tiphys.local.kubelet.cutting import Cutter
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)

Object = dict[str, Any]
ANNOTATION = "tiphys.dev/network-policies"
"""On a pod that could not be cut off: why not. The drill `partition` looks for it before it begins."""

NOT_ENFORCED = "The local platform enforces only policies that let nothing in and nothing out, and not this one"


def not_enforced(policy: Object) -> str:
    """Return why a policy cannot be enforced here, empty where it can."""
    spec = policy.get("spec") or {}
    rules = [direction for direction in ("ingress", "egress") if spec.get(direction)]
    if rules:
        return f"it has rules for {' and '.join(rules)}"
    types = spec.get("policyTypes") or ["Ingress"]
    if set(types) != {"Ingress", "Egress"}:
        return f"it is for {' and '.join(types)} only"
    try:
        selects(spec.get("podSelector"), {})
    except (ValueError, KeyError, TypeError) as error:
        return f"its podSelector is not understood ({error})"
    return ""


def cut_off(policies: Collection[Object], pods: Collection[Object], nodes: Collection[str]) -> dict[str, Object]:
    """Return the pods that are to be cut off, by uid: those of these nodes that an enforceable policy selects."""
    chosen = {}
    enforced = [policy for policy in policies if not not_enforced(policy)]
    for pod in pods:
        meta, status = pod["metadata"], pod.get("status") or {}
        if pod["spec"].get("nodeName") not in nodes or status.get("phase") in ("Succeeded", "Failed"):
            continue
        for policy in enforced:
            same = policy["metadata"]["namespace"] == meta["namespace"]
            if same and selects(policy["spec"].get("podSelector"), meta.get("labels") or {}):
                chosen[meta["uid"]] = pod
    return chosen


class NetworkPolicies:
    """Follows the policies and pods and keeps those cut off that are to be.

    Args:
        kube: client.
        settings: of the platform.
        pods: of all nodes, followed by somebody else.
        nodes: whose pods are this kubelet's.
    """

    def __init__(self, kube: Kube, settings: Settings, pods: Informer, nodes: Collection[str]) -> None:
        self._kube, self._pods, self._nodes = kube, pods, nodes
        self._policies = Informer(kube, "networkpolicies")
        self._cutter = Cutter(settings.home / "pods")
        self._changed = asyncio.Event()
        self._told: set[tuple[str, str]] = set()
        self._checked: dict[str, tuple[str, ...]] = {}

    async def run(self) -> None:
        """Enforce until cancelled; what is cut off then stays so, until a kubelet runs again."""
        self._policies.on_change(self._wake)
        self._pods.on_change(self._wake)
        following = asyncio.create_task(self._policies.run())
        try:
            await self._pods.synced()
            await self._policies.synced()
            await self._heal_strays()
            while True:
                self._changed.clear()
                await self._enforce()
                await self._check()
                await self._changed.wait()
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await asyncio.to_thread(self._cutter.close)

    def _wake(self, _change: str, _obj: Object) -> None:
        self._changed.set()

    def _wanted(self) -> dict[str, Object]:
        return cut_off(self._policies.objects.values(), self._pods.objects.values(), self._nodes)

    async def _heal_strays(self) -> None:
        """Heal what was cut off by a policy that went away while no kubelet was looking."""
        wanted = self._wanted()
        others = [pod["metadata"]["uid"] for pod in self._pods.objects.values()]
        others = [uid for uid in others if uid not in wanted]
        try:
            healed = await asyncio.to_thread(self._cutter.heal, others)
        except Exception as error:  # the others of the kubelet's tasks go on
            log.warning("cannot look for pods that are still cut off", extra={"error": str(error)})
            return
        if healed:
            log.info("healed what was still cut off", extra={"sockets": healed})

    async def _enforce(self) -> None:
        wanted = self._wanted()
        addresses = {uid: (pod.get("status") or {}).get("podIP") or "" for uid, pod in wanted.items()}
        self._cutter.set(addresses)
        troubles = await asyncio.to_thread(self._cutter.settle)
        for policy in [*self._policies.objects.values()]:
            why = not_enforced(policy)
            if why:
                await self._tell(policy, "NotEnforced", f"{NOT_ENFORCED}: {why}.", "Warning")
                continue
            for uid, pod in cut_off([policy], wanted.values(), self._nodes).items():
                name = pod["metadata"]["name"]
                if uid in troubles:
                    await self._tell(policy, "NotEnforced", f"Pod {name} is not cut off: {troubles[uid]}", "Warning")
                    await self._annotate(pod, troubles[uid])
                else:
                    await self._tell(policy, "Enforced", f"Pod {name} is cut off from everybody.", "Normal")

    async def _check(self) -> None:
        """Say on each pod that could not be cut off why not, before anybody wants it to be."""
        here: set[str] = set()
        for pod in [*self._pods.objects.values()]:
            uid, status = pod["metadata"]["uid"], pod.get("status") or {}
            here.add(uid)
            running = [each for each in status.get("containerStatuses") or [] if "running" in each["state"]]
            containers = tuple(str(each.get("containerID")) for each in running)
            lasting = pod["spec"].get("restartPolicy", "Always") == "Always"
            ours = lasting and pod["spec"].get("nodeName") in self._nodes
            if not ours or not containers or self._checked.get(uid) == containers:
                continue
            self._checked[uid] = containers
            await self._annotate(pod, await asyncio.to_thread(self._cutter.obstacle, uid))
        self._checked = {uid: known for uid, known in self._checked.items() if uid in here}

    async def _annotate(self, pod: Object, why: str) -> None:
        meta = pod["metadata"]
        text = f"not enforced: {why}" if why else None
        if (meta.get("annotations") or {}).get(ANNOTATION) == text:
            return
        try:
            patch = {"metadata": {"annotations": {ANNOTATION: text}}}
            await self._kube.patch("pods", meta["name"], patch, meta["namespace"])
        except ApiError as error:
            log.info("pod not annotated", extra={"pod": meta["name"], "error": str(error)})

    async def _tell(self, policy: Object, reason: str, message: str, severity: str) -> None:
        """Record an Event once."""
        known = (str(policy["metadata"]["uid"]), message)
        if known in self._told:
            return
        self._told.add(known)
        log.info("network policy", extra={"policy": "/".join(key_of(policy)), "reason": reason, "text": message})
        about = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", **policy}
        await self._kube.event(about, reason, message, severity, "kubelet")
