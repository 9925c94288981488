"""The pods of workflows: an index of them, their creation and end, and what they leave behind."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from tiphys.local.client import AlreadyExists, ApiError, Informer, Kube, NotFound, Unreachable
from tiphys.local.engine.artifacts import collect
from tiphys.local.engine.model import (
    COMPLETED_LABEL,
    NODE_ID,
    POD_FINALIZER,
    WORKFLOW_LABEL,
    Collected,
    Json,
    PodView,
    fulfilled,
)
from tiphys.local.informer import Key
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)


class PodKeeper:
    """Everything the engine does with pods.

    Attributes:
        informer: follows the pods of workflows.
    """

    def __init__(self, kube: Kube, settings: Settings, changed: Callable[[Key], None]) -> None:
        """Prepare it; `changed` is called with the key of a workflow one of whose pods shows something new."""
        self.kube, self.settings = kube, settings
        self.informer = Informer(kube, "pods", labels=WORKFLOW_LABEL)
        self._changed = changed
        self._pods_of: dict[Key, dict[str, Json]] = {}
        self._collected: dict[str, Collected] = {}
        self._collecting: dict[str, asyncio.Task[None]] = {}
        self._waits: dict[str, str] = {}
        self._refused: dict[Key, dict[str, PodView]] = {}
        self.informer.on_change(self._changed_pod)

    def _changed_pod(self, change: str, pod: Json) -> None:
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
        self._changed(key)

    def views(self, key: Key, uid: str) -> dict[str, PodView]:
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
            view.waits = self._waits.get(meta["uid"], "")
        return views

    async def _collect(self, key: Key, pod: Json) -> None:
        uid = pod["metadata"]["uid"]

        def tell(sentence: str) -> None:
            self._waits[uid] = sentence
            self._changed(key)

        try:
            self._collected[uid] = await collect(self.kube, pod, self.settings.pod_folder(uid), tell)
        except Exception as error:
            log.exception("outputs not collected", extra={"pod": pod["metadata"]["name"]})
            self._collected[uid] = Collected(problem=f"the outputs could not be collected: {error}")
        finally:
            del self._collecting[uid]
            self._waits.pop(uid, None)
            self._changed(key)

    async def create(self, key: Key, pod: Json) -> None:
        """Create a pod, or find that it was created before; one that the API server refuses is remembered.

        Raises:
            AlreadyExists: a pod of an earlier workflow has the name; try again later.
            Unreachable: no answer came; try again.
        """
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
            self._changed(key)

    async def stop(self, key: Key, name: str) -> None:
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

    async def let_go(self, views: dict[str, PodView], workflow: Json) -> None:
        """Drop the finalizer of pods whose result is written."""
        nodes = workflow["status"].get("nodes") or {}
        done = [
            view.pod
            for node, view in views.items()
            if view.collected is not None and node in nodes and fulfilled(nodes[node])
        ]
        await asyncio.gather(*(self._release(pod) for pod in done))

    async def _release(self, pod: Json) -> None:
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

    async def clear(self, key: Key, heir: str) -> bool:
        """Have the pods of a deleted workflow end, and let those go that have.

        Args:
            key: its key.
            heir: uid of the workflow that has its name now, empty without one.

        Returns:
            Whether nothing of it runs any more.
        """
        self._refused.pop(key, None)
        left = [
            pod
            for pod in self._pods_of.get(key, {}).values()
            if all(owner["uid"] != heir for owner in pod["metadata"].get("ownerReferences") or [])
        ]
        for pod in left:
            if not pod["metadata"].get("deletionTimestamp"):
                with suppress(NotFound):
                    await self.kube.delete("pods", pod["metadata"]["name"], key[0])
        finished = [pod for pod in left if PodView(pod).finished]
        await asyncio.gather(*(self._release(pod) for pod in finished))
        return len(finished) == len(left)

    def forget(self, key: Key) -> None:
        """Forget the pods that could not be created: the workflow has ended."""
        self._refused.pop(key, None)
