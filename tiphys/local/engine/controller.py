"""The edge of the engine: watches workflows, pods and templates, and writes what the core decides.

Order of every pass: the workflow is written first, then its pods are created, then locks are given back and
finished pods let go. So a kill at any moment leaves a state from which the next start goes on: a node that is
written without its pod gets it (the name is deterministic, AlreadyExists means ours), a pod is held by a
finalizer until its result is in the workflow, and a lock that a running step relies on is always written.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from tiphys.local.client import AlreadyExists, ApiError, Conflict, Informer, Kube, NotFound, Unreachable, WorkQueue
from tiphys.local.engine.artifacts import collect
from tiphys.local.engine.locks import Locks
from tiphys.local.engine.model import (
    COMPLETED_LABEL,
    NODE_ID,
    POD_FINALIZER,
    WORKFLOW_LABEL,
    Collected,
    Json,
    PodView,
    SpecError,
    any_int,
    fulfilled,
    parse_time,
    version_of,
)
from tiphys.local.engine.operate import ENDED, Outcome, advance
from tiphys.local.informer import Key, key_of
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)

TEMPLATE_RESOURCES = {
    "WorkflowTemplate": "workflowtemplates",
    "ClusterWorkflowTemplate": "clusterworkflowtemplates",
    "ConfigMap": "configmaps",
}


class Engine:
    """Runs every workflow of one API server.

    Attributes:
        queue: keys of the workflows to look at.
        workflows: informer of the workflows, shared with the cron controller.
    """

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self.kube, self.settings = kube, settings
        self.queue = WorkQueue()
        self.workflows = Informer(kube, "workflows")
        self.pods = Informer(kube, "pods", labels=WORKFLOW_LABEL)
        self.others = {kind: Informer(kube, name) for kind, name in TEMPLATE_RESOURCES.items()}
        self.locks = Locks(self._limit, self._granted)
        self._pods_of: dict[Key, dict[str, Json]] = {}
        self._written: dict[Key, Json] = {}
        self._collected: dict[str, Collected] = {}
        self._collecting: dict[str, asyncio.Task[None]] = {}
        self._refused: dict[Key, dict[str, PodView]] = {}
        self.workflows.on_change(self._workflow_changed)
        self.pods.on_change(self._pod_changed)
        self.others["ConfigMap"].on_change(self._config_map_changed)

    def informers(self) -> list[Informer]:
        """Return the informers that have to run."""
        return [*self.others.values(), self.pods, self.workflows]

    async def start(self) -> None:
        """Wait for the caches, then take over the locks that were held when the engine last stopped.

        Until this has returned no key may be worked on.
        """
        for informer in self.informers():
            await informer.synced()
        unfinished = [
            workflow
            for workflow in self.workflows.objects.values()
            if (workflow.get("status") or {}).get("phase") not in ENDED
        ]
        unfinished.sort(key=lambda workflow: (workflow["metadata"]["creationTimestamp"], version_of(workflow)))
        for workflow in unfinished:
            for kind, shown in ((workflow.get("status") or {}).get("synchronization") or {}).items():
                for entry in shown.get("holding") or []:
                    for holder in [entry["holder"]] if kind == "mutex" else entry["holders"]:
                        self.locks.hold(holder, entry[kind])
        for workflow in unfinished:
            self.queue.add(key_of(workflow))

    # What happens around us

    def _workflow_changed(self, change: str, workflow: Json) -> None:
        key = key_of(workflow)
        written = self._written.get(key)
        if change != "DELETED" and written and version_of(workflow) <= version_of(written):
            return  # our own writing comes back
        self.queue.add(key)

    def _pod_changed(self, change: str, pod: Json) -> None:
        meta = pod["metadata"]
        key = (meta["namespace"], meta["labels"][WORKFLOW_LABEL])
        node = (meta.get("annotations") or {}).get(NODE_ID)
        if node is None:
            return
        if change == "DELETED":
            if self._pods_of.get(key, {}).get(node, pod)["metadata"]["uid"] == meta["uid"]:
                self._pods_of.get(key, {}).pop(node, None)
            if not self._pods_of.get(key, True):
                del self._pods_of[key]
            self._collected.pop(meta["uid"], None)
        else:
            self._pods_of.setdefault(key, {})[node] = pod
        self.queue.add(key)

    def _config_map_changed(self, change: str, config_map: Json) -> None:
        self.locks.serve()  # a semaphore's limit may have grown

    def _granted(self, holder: str) -> None:
        namespace, name = holder.split("/")[:2]
        self.queue.add((namespace, name))

    def _limit(self, key: str) -> int:
        namespace, kind, name, *rest = key.split("/")
        if kind == "Mutex":
            return 1
        found = self.others["ConfigMap"].objects.get((namespace, name))
        value = ((found or {}).get("data") or {}).get(rest[0])
        if value is None:
            raise SpecError(f"ConfigMap {namespace}/{name} has no key {rest[0]!r}, which a semaphore needs")
        return any_int(value, f"ConfigMap {namespace}/{name}: {rest[0]}")

    def _lookup(self, namespace: str) -> Any:
        def lookup(kind: str, name: str) -> Json | None:
            place = "" if kind == "ClusterWorkflowTemplate" else namespace
            return self.others[kind].objects.get((place, name))

        return lookup

    # One workflow

    async def reconcile(self, key: Key) -> float | None:
        """Bring one workflow as far as it goes now; return the seconds after which to look again."""
        workflow = self.workflows.objects.get(key)
        written = self._written.get(key)
        if workflow is None:
            await self._gone(key)
            return None
        if written is not None:
            if version_of(written) > version_of(workflow):
                workflow = written  # the cache has not caught up with our own writing yet
            else:
                del self._written[key]
        views = self._views(key, workflow["metadata"]["uid"])
        now = datetime.now(UTC)
        outcome = advance(workflow, views, now, self._lookup(key[0]), self.locks)
        if outcome.workflow != workflow:
            try:
                self._written[key] = await self.kube.replace("workflows", outcome.workflow)
            except Conflict:
                self._written[key] = await self.kube.get("workflows", key[1], key[0])
                return 0.0
            except NotFound:
                return None  # its deletion is on its way to us
        await self._act(key, outcome)
        await self._let_go(views, outcome.workflow)
        return await self._next_look(outcome, now)

    def _views(self, key: Key, uid: str) -> dict[str, PodView]:
        """Return the workflow's pods, and begin to collect the outputs of those that have finished."""
        views = dict(self._refused.get(key, {}))
        for node, pod in self._pods_of.get(key, {}).items():
            meta = pod["metadata"]
            if all(owner["uid"] != uid for owner in meta.get("ownerReferences") or []):
                continue  # of an earlier workflow of the same name
            view = views[node] = PodView(pod)
            if not view.finished:
                continue
            if POD_FINALIZER not in (meta.get("finalizers") or []):
                view.collected = Collected()
            elif meta["uid"] in self._collected:
                view.collected = self._collected[meta["uid"]]
            elif meta["uid"] not in self._collecting:
                self._collecting[meta["uid"]] = asyncio.create_task(self._collect(key, pod))
        return views

    async def _collect(self, key: Key, pod: Json) -> None:
        uid = pod["metadata"]["uid"]
        try:
            self._collected[uid] = await collect(self.kube, pod, self.settings.pod_folder(uid))
        except Exception as error:
            log.exception("outputs not collected", extra={"pod": pod["metadata"]["name"]})
            self._collected[uid] = Collected(problem=f"the outputs could not be collected: {error}")
        finally:
            del self._collecting[uid]
            self.queue.add(key)

    async def _act(self, key: Key, outcome: Outcome) -> None:
        """Create and stop pods, and give back locks."""
        await asyncio.gather(*(self._create(key, pod) for pod in outcome.create))
        await asyncio.gather(*(self._stop(key, name) for name in outcome.stop))
        for holder in outcome.release:
            self.locks.release(holder)

    async def _create(self, key: Key, pod: Json) -> None:
        name, node = pod["metadata"]["name"], pod["metadata"]["annotations"][NODE_ID]
        try:
            await self.kube.create("pods", pod)
        except AlreadyExists:
            found = await self.kube.get("pods", name, key[0])
            owners = {owner["uid"] for owner in found["metadata"].get("ownerReferences") or []}
            if pod["metadata"]["ownerReferences"][0]["uid"] not in owners:
                log.info("a pod of an earlier workflow of this name is still there", extra={"pod": name})
                raise
        except Unreachable:
            raise
        except ApiError as error:
            log.warning("pod refused", extra={"pod": name, "error": str(error)})
            state = {"waiting": {"reason": error.reason, "message": error.message}}
            status = {"phase": "Failed", "containerStatuses": [{"name": "main", "state": state}]}
            refused = PodView({**pod, "status": status}, Collected())
            self._refused.setdefault(key, {})[node] = refused
            self.queue.add(key)

    async def _stop(self, key: Key, name: str) -> None:
        """Have a pod ended.

        One that runs gets a deadline that is over: its process gets SIGTERM and its grace, and the pod stays,
        with its logs, as it does when Argo ends a step. One that no node has is deleted.
        """
        pod = next((pod for pod in self._pods_of.get(key, {}).values() if pod["metadata"]["name"] == name), None)
        try:
            if pod is None or not pod["spec"].get("nodeName"):
                await self.kube.delete("pods", name, key[0])
            elif pod["spec"].get("activeDeadlineSeconds") != 1:
                await self.kube.patch("pods", name, {"spec": {"activeDeadlineSeconds": 1}}, key[0])
        except NotFound:
            return

    async def _let_go(self, views: dict[str, PodView], workflow: Json) -> None:
        """Drop the finalizer of pods whose result is written."""
        nodes = workflow["status"].get("nodes") or {}
        done = [
            view.pod
            for node, view in views.items()
            if view.collected is not None and node in nodes and fulfilled(nodes[node])
        ]
        await asyncio.gather(*(self._release_pod(pod) for pod in done))

    async def _release_pod(self, pod: Json) -> None:
        meta = pod["metadata"]
        held = meta.get("finalizers") or []
        if POD_FINALIZER not in held:
            return
        rest = [name for name in held if name != POD_FINALIZER]
        patch = {"metadata": {"finalizers": rest or None, "labels": {COMPLETED_LABEL: "true"}}}
        try:
            await self.kube.patch("pods", meta["name"], patch, meta["namespace"])
        except NotFound:
            return

    async def _gone(self, key: Key) -> None:
        """Look after what a deleted workflow leaves: its locks, and pods that our finalizer holds."""
        self._written.pop(key, None)
        self._refused.pop(key, None)
        prefix = "/".join(key)
        holders = {holder for holders in self.locks.holders.values() for holder in holders} | set(self.locks.waiters)
        for holder in holders:
            if holder == prefix or holder.startswith(f"{prefix}/"):
                self.locks.release(holder)
        pods = list(self._pods_of.get(key, {}).values())
        for pod in pods:
            if not pod["metadata"].get("deletionTimestamp"):
                with suppress(NotFound):
                    await self.kube.delete("pods", pod["metadata"]["name"], key[0])
        await asyncio.gather(*(self._release_pod(pod) for pod in _finished(pods)))

    async def _next_look(self, outcome: Outcome, now: datetime) -> float | None:
        """Return the seconds until the next pass; a workflow whose time to live is over is deleted."""
        workflow = outcome.workflow
        status = workflow.get("status") or {}
        if status.get("phase") not in ENDED:
            if outcome.wake is None:
                return None
            return max(0.0, (outcome.wake - datetime.now(UTC)).total_seconds())
        meta = workflow["metadata"]
        self._refused.pop((meta["namespace"], meta["name"]), None)
        end = expiry(workflow)
        if end is None:
            return None
        if now < end:
            return (end - now).total_seconds()
        try:
            await self.kube.delete("workflows", meta["name"], meta["namespace"], uid=meta["uid"])
        except (NotFound, Conflict):
            return None
        return None


def _finished(pods: Iterable[Json]) -> list[Json]:
    return [pod for pod in pods if PodView(pod).finished]


def expiry(workflow: Json) -> datetime | None:
    """Return when an ended workflow is to be deleted by its ttlStrategy, None if never."""
    status = workflow["status"]
    spec = status.get("storedWorkflowTemplateSpec") or workflow.get("spec") or {}
    strategy = spec.get("ttlStrategy") or {}
    field = "secondsAfterSuccess" if status["phase"] == "Succeeded" else "secondsAfterFailure"
    seconds = strategy.get(field, strategy.get("secondsAfterCompletion"))
    if seconds is None:
        return None
    return parse_time(status["finishedAt"]) + timedelta(seconds=any_int(seconds, f"ttlStrategy.{field}"))
