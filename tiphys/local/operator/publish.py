"""What the operator tells about a cluster through the API: labels, annotations, gates, finalizers, status."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tiphys.local.client import Conflict, Kube, NotFound
from tiphys.local.operator import names
from tiphys.local.operator.diagnose import Diagnosis
from tiphys.local.operator.member import Member, View, condition


def now() -> str:
    """Return the time as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def membership(member: Member, diagnosis: Diagnosis, old: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what to write about a member, without times; None where nothing is known that is not written.

    A server that says that it is out is out, even before its group has noticed. Else the group's word counts
    for a server that it has, and a server's own for one that it has not.
    """
    view, group = member.view, diagnosis.group
    uuid = view.uuid if view else old.get("memberId")
    if uuid is None:
        return None
    peer = next((peer for peer in group.peers if peer.uuid == uuid), None) if group else None
    if view and (peer is None or not view.in_group):
        peer = view.own
    if peer is None and view is None and member.running:
        return None
    return {
        "memberId": uuid,
        "groupViewId": _view_id(view, group),
        "status": peer.state if peer else "OFFLINE",
        "version": view.version if view else old.get("version", ""),
        "role": peer.role if peer else "",
    }


def _view_id(view: View | None, group: View | None) -> str:
    return (group.view_id if group else "") or (view.view_id if view else "")


async def publish_member(kube: Kube, pod: Mapping[str, Any], member: Member, diagnosis: Diagnosis) -> str | None:
    """Write a member's label, annotation and readiness gate where they differ; return its status if it changed."""
    meta = pod["metadata"]
    annotations = meta.get("annotations") or {}
    old = json.loads(annotations.get(names.ANNOTATION_MEMBERSHIP) or "{}")
    info = membership(member, diagnosis, old)
    if info is None:
        return None
    online = info["status"] == "ONLINE"
    role = info["role"] if online else None
    changed = None
    if (
        any(old.get(key) != value for key, value in info.items())
        or (meta.get("labels") or {}).get(names.LABEL_ROLE) != role
    ):
        time = now()
        joined = {"joinTime": time} if online and old.get("status") != "ONLINE" else {}
        if any(old.get(key) != info[key] for key in ("memberId", "status", "role")):
            old = {**old, "lastTransitionTime": time}
            changed = str(info["status"])
        text = json.dumps({**old, **info, "lastProbeTime": time, **joined})
        patch = {
            "labels": {names.LABEL_ROLE: role},
            "annotations": {names.ANNOTATION_MEMBERSHIP: text},
            "uid": meta["uid"],
        }
        await kube.patch("pods", meta["name"], {"metadata": patch}, meta["namespace"])
    if condition(pod, names.GATE_READY) != online:
        await set_condition(kube, pod, names.GATE_READY, online, info["status"].capitalize())
    return changed


async def set_condition(kube: Kube, pod: Mapping[str, Any], kind: str, value: bool, reason: str) -> None:
    """Set one condition of a pod's status; others may write it at the same time."""
    meta = pod["metadata"]
    for _ in range(10):
        try:
            fresh = await kube.get("pods", meta["name"], meta["namespace"])
            if fresh["metadata"]["uid"] != meta["uid"]:
                return
            conditions = [c for c in fresh.get("status", {}).get("conditions") or [] if c["type"] != kind]
            conditions.append({"type": kind, "status": str(value), "reason": reason, "lastTransitionTime": now()})
            fresh.setdefault("status", {})["conditions"] = conditions
            await kube.replace("pods", fresh, "status")
            return
        except Conflict:
            continue
        except NotFound:
            return


async def set_finalizer(kube: Kube, resource: str, obj: Mapping[str, Any], finalizer: str, present: bool) -> None:
    """Add or remove one finalizer of an object; others may change it at the same time."""
    meta = obj["metadata"]
    for _ in range(10):
        try:
            fresh = await kube.get(resource, meta["name"], meta["namespace"])
        except NotFound:
            return
        if fresh["metadata"]["uid"] != meta["uid"]:
            return
        have = list(fresh["metadata"].get("finalizers") or [])
        if (finalizer in have) == present or (present and fresh["metadata"].get("deletionTimestamp")):
            return
        want = [*have, finalizer] if present else [item for item in have if item != finalizer]
        patch = {"metadata": {"finalizers": want, "resourceVersion": fresh["metadata"]["resourceVersion"]}}
        try:
            await kube.patch(resource, meta["name"], patch, meta["namespace"])
            return
        except Conflict:
            continue
        except NotFound:
            return


async def publish_status(kube: Kube, cluster: Mapping[str, Any], status: str, online: int, created: bool) -> bool:
    """Write the cluster's status where it differs and is known; return whether it did.

    As with the real operator, ``lastProbeTime`` tells when something was last seen to change.
    """
    meta, old = cluster["metadata"], cluster.get("status") or {}
    seen = old.get("cluster") or {}
    patch: dict[str, Any] = {}
    if status and (seen.get("status") != status or seen.get("onlineInstances") != online):
        patch["cluster"] = {"status": status, "onlineInstances": online, "lastProbeTime": now()}
    if created and not old.get("createTime"):
        patch["createTime"] = now()
    if patch:
        await kube.patch("innodbclusters", meta["name"], {"status": patch}, meta["namespace"], "status")
    return bool(patch)
