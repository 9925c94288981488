"""The edge of the engine: watches workflows, pods and templates, and writes what the core decides.

Order of every pass: the workflow is written first, then its pods are created, then locks are given back and
finished pods let go. So a kill at any moment leaves a state from which the next start goes on: a node that is
written without its pod gets it (the name is deterministic, AlreadyExists means ours), a pod is held by a
finalizer until its result is in the workflow, and a lock that a running step relies on is always written.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tiphys.local.client import (
    Conflict,
    Informer,
    Invalid,
    Kube,
    NotFound,
    WorkQueue,
)
from tiphys.local.engine.locks import Locks
from tiphys.local.engine.model import (
    COMPLETED_LABEL,
    PHASE_LABEL,
    Json,
    PodView,
    SpecError,
    any_int,
    parse_time,
    stamp,
    version_of,
)
from tiphys.local.engine.operate import ENDED, Outcome, advance
from tiphys.local.engine.podkeeper import PodKeeper
from tiphys.local.engine.spec import Lookup
from tiphys.local.informer import Key, key_of
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)

TEMPLATE_RESOURCES = {
    "WorkflowTemplate": "workflowtemplates",
    "ClusterWorkflowTemplate": "clusterworkflowtemplates",
    "ConfigMap": "configmaps",
}

REPOSITORIES = "artifact-repositories"
"""ConfigMap without which the engine has its own key format; that it is missing is nothing to be looked into."""


class Engine:
    """Runs every workflow of one API server.

    Attributes:
        queue: keys of the workflows to look at.
        workflows: informer of the workflows, shared with the cron controller.
    """

    def __init__(self, kube: Kube, settings: Settings) -> None:
        self.kube = kube
        self.queue = WorkQueue()
        self.workflows = Informer(kube, "workflows")
        self.pods = PodKeeper(kube, settings, self.queue.add)
        self.others = {kind: Informer(kube, name) for kind, name in TEMPLATE_RESOURCES.items()}
        self.locks = Locks(self._limit, self._granted)
        self._written: dict[Key, Json] = {}
        self._uid: dict[Key, str] = {}
        self._missed: set[tuple[str, str, str]] = set()
        self._read: dict[tuple[str, str, str], Json] = {}
        self.workflows.on_change(self._workflow_changed)
        self.others["ConfigMap"].on_change(self._config_map_changed)

    def informers(self) -> list[Informer]:
        """Return the informers that have to run."""
        return [*self.others.values(), self.pods.informer, self.workflows]

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
        unfinished.sort(key=lambda workflow: (workflow["metadata"]["creationTimestamp"], key_of(workflow)))
        for workflow in unfinished:
            self._take_over(workflow)
        for workflow in unfinished:
            self.queue.add(key_of(workflow))
        self.locks.serve()

    def _take_over(self, workflow: Json) -> None:
        """Enter into the table of locks what a workflow's status says of them."""
        spec, waits = (workflow.get("spec") or {}), defaultdict[str, list[str]](list)
        for kind, shown in ((workflow.get("status") or {}).get("synchronization") or {}).items():
            for state in ("holding", "waiting"):
                for entry in shown.get(state) or []:
                    for holder in [entry["holder"]] if kind == "mutex" else entry["holders"]:
                        if state == "holding":
                            self.locks.hold(holder, entry[kind])
                        else:
                            waits[holder].append(entry[kind])
        for holder, keys in waits.items():
            priority = any_int(spec.get("priority", 0), "spec.priority")
            self.locks.wait(holder, tuple(keys), priority, workflow["metadata"]["creationTimestamp"])

    # What happens around us

    def _workflow_changed(self, change: str, workflow: Json) -> None:
        key = key_of(workflow)
        written = self._written.get(key)
        if change != "DELETED" and written and version_of(workflow) <= version_of(written):
            return  # our own writing comes back
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
        found = self._find("ConfigMap", namespace, name)
        value = ((found or {}).get("data") or {}).get(rest[0])
        if value is None:
            raise SpecError(f"ConfigMap {namespace}/{name} has no key {rest[0]!r}, which a semaphore needs")
        return any_int(value, f"ConfigMap {namespace}/{name}: {rest[0]}")

    def _find(self, kind: str, namespace: str, name: str) -> Json | None:
        place = "" if kind == "ClusterWorkflowTemplate" else namespace
        found = self.others[kind].objects.get((place, name)) or self._read.get((kind, place, name))
        if found is None and name != REPOSITORIES:
            self._missed.add((kind, place, name))
        return found

    def _lookup(self, namespace: str) -> Lookup:
        return lambda kind, name: self._find(kind, namespace, name)

    # One workflow

    async def reconcile(self, key: Key) -> float | None:
        """Bring one workflow as far as it goes now; return the seconds after which to look again."""
        workflow = self.workflows.objects.get(key)
        if workflow is None:
            await self._gone(key, "")
            return None
        uid = workflow["metadata"]["uid"]
        if self._uid.get(key, uid) != uid and not await self._gone(key, uid):
            return 0.2  # the earlier workflow of this name still has pods that run
        self._uid[key] = uid
        written = self._written.get(key)
        if written is not None:
            if version_of(written) > version_of(workflow):
                workflow = written  # the cache has not caught up with our own writing yet
            else:
                del self._written[key]
        views = self.pods.views(key, uid)
        now = datetime.now(UTC)
        outcome = await self._advance(key, workflow, views, now)
        if outcome.workflow != workflow:
            try:
                self._written[key] = await self.kube.replace("workflows", outcome.workflow)
            except Conflict:
                self._written[key] = await self.kube.get("workflows", key[1], key[0])
                return 0.0
            except NotFound:
                return None  # its deletion is on its way to us
            except Invalid as error:
                await self._reject(workflow, error.message)
                return 0.0
        await self._act(key, outcome)
        await self.pods.let_go(views, outcome.workflow)
        return await self._next_look(outcome, now)

    async def _advance(self, key: Key, workflow: Json, views: dict[str, PodView], now: datetime) -> Outcome:
        """Do one pass; what the caches do not have is read directly, since it may have been made just now."""
        tried: set[tuple[str, str, str]] = set()
        read: dict[tuple[str, str, str], Json] = {}
        while True:
            # Nothing is awaited while these are set, so no other workflow's pass sees them.
            self._missed, self._read = set(), read
            try:
                outcome = advance(workflow, views, now, self._lookup(key[0]), self.locks)
            except Exception as error:
                # A fault of ours: as in Argo it ends this workflow, and is not met again and again.
                log.exception("a pass failed", extra={"workflow": "/".join(key)})
                await self._reject(workflow, f"the local engine failed at this workflow: {error!r}; see its log")
                return Outcome(workflow)
            finally:
                self._read = {}
            missed = self._missed - tried
            tried |= missed
            known = len(read)
            for kind, namespace, name in missed:
                with suppress(NotFound):
                    found = await self.kube.get(TEMPLATE_RESOURCES[kind], name, namespace or None)
                    read[kind, namespace, name] = found
            if len(read) == known:
                return outcome

    async def _reject(self, workflow: Json, why: str) -> None:
        """End a workflow whose new state the API server refuses, such as a label that is none."""
        now, meta = stamp(datetime.now(UTC)), workflow["metadata"]
        labels = {PHASE_LABEL: "Error", COMPLETED_LABEL: "true"}
        status = {"phase": "Error", "message": why, "startedAt": now, "finishedAt": now}
        patch = {"metadata": {"labels": labels}, "status": status}
        await self.kube.patch("workflows", meta["name"], patch, meta["namespace"])

    async def _act(self, key: Key, outcome: Outcome) -> None:
        """Create and stop pods, and give back locks."""
        await asyncio.gather(*(self.pods.create(key, pod) for pod in outcome.create))
        await asyncio.gather(*(self.pods.stop(key, name) for name in outcome.stop))
        for holder in outcome.release:
            self.locks.release(holder)

    async def _gone(self, key: Key, heir: str) -> bool:
        """Look after what a deleted workflow leaves; `heir` is the uid of one that has its name now.

        Locks are given back when nothing of it runs any more; returns whether that is so.
        """
        self._written.pop(key, None)
        if not await self.pods.clear(key, heir):
            return False
        prefix = "/".join(key)
        for holder in self.locks.everybody():
            if holder == prefix or holder.startswith(f"{prefix}/"):
                self.locks.release(holder)
        self._uid.pop(key, None)
        return True

    async def _next_look(self, outcome: Outcome, now: datetime) -> float | None:
        """Return the seconds until the next pass; a workflow whose time to live is over is deleted."""
        workflow = outcome.workflow
        status = workflow.get("status") or {}
        if status.get("phase") not in ENDED:
            if outcome.wake is None:
                return None
            return max(0.0, (outcome.wake - datetime.now(UTC)).total_seconds())
        meta = workflow["metadata"]
        self.pods.forget((meta["namespace"], meta["name"]))
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
