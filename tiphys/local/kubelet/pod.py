"""The life of one pod: folders and address, init containers, containers, the end."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tiphys.local.client import ApiError, Kube, NotFound, Unreachable
from tiphys.local.kubelet import images
from tiphys.local.kubelet.addresses import Addresses, node_number
from tiphys.local.kubelet.container import Container, Deadline, PodView
from tiphys.local.kubelet.environment import (
    Reference,
    names_services,
    references,
    resolve,
    service_variables,
)
from tiphys.local.kubelet.inputs import fetch_inputs
from tiphys.local.kubelet.launch import Launch
from tiphys.local.kubelet.lifecycle import phase
from tiphys.local.kubelet.podfile import PodFile
from tiphys.local.kubelet.processes import CONTAINER_VARIABLE
from tiphys.local.kubelet.publish import StatusWriter
from tiphys.local.kubelet.status import pod_status
from tiphys.local.kubelet.supported import check_container
from tiphys.local.kubelet.volumes import mounted, prepare, volume_references
from tiphys.local.settings import Settings

log = logging.getLogger(__name__)

SLOW_START_SECONDS = 0.2
CACHED_SECONDS = 1.0
"""How long to wait for the newest state of a ConfigMap or Secret of which an older one is known."""

FINISHED = ("Succeeded", "Failed")


class PodWorker:
    """Runs one pod from the moment it is bound to a node until its object is gone."""

    def __init__(self, kube: Kube, settings: Settings, addresses: Addresses, pod: dict[str, Any]):
        meta = pod["metadata"]
        self.uid: str = meta["uid"]
        self.key = (meta["namespace"], meta["name"])
        self._kube, self._settings, self._addresses = kube, settings, addresses
        self._folder = settings.pod_folder(self.uid)
        self._node: str = pod["spec"]["nodeName"]
        self._host = settings.pod_address(node_number(self._node), 254)
        self._deadline: Deadline | None = None
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._removed = asyncio.Event()
        self._failure: tuple[str, str] | None = None
        self._stopped = False
        self._final: str | None = None
        self._events: set[asyncio.Task[None]] = set()
        self._inputs = asyncio.Lock()
        self._fetched: dict[Reference, dict[str, Any]] = {}
        self._finished_before = (pod.get("status") or {}).get("phase") in FINISHED
        (self._folder / "root").mkdir(parents=True, exist_ok=True, mode=0o700)
        self.file = PodFile.load(self._folder, pod)
        if not self._finished_before:
            self._take_address(pod)
        self._writer = StatusWriter(kube, pod, self._wanted)
        spec = pod["spec"]
        policy = spec.get("restartPolicy", "Always")
        view = PodView(settings.home, self._pod, self._prepare, self._writer.mark, self._event)
        # An init container is tried again after a failure also where the others are not started again.
        init_policy = "Never" if policy == "Never" else "OnFailure"
        self._init = [Container(view, item, init_policy, init=True) for item in spec.get("initContainers") or []]
        self._main = [Container(view, item, policy) for item in spec["containers"]]

    def update(self, pod: dict[str, Any]) -> None:
        """Take note of a new state of the pod's object."""
        self._writer.observe(pod)
        self._changed.set()
        if pod["metadata"].get("deletionTimestamp"):
            grace = pod["metadata"].get("deletionGracePeriodSeconds")
            self._ask_to_stop(self._grace() if grace is None else float(grace))

    def removed(self) -> None:
        """Take note that the object is gone: a deletion without grace, or the end that we asked for."""
        self._writer.gone = True
        self._writer.mark()
        self._removed.set()
        self._ask_to_stop(0.0)

    async def run(self, after: asyncio.Event | None = None) -> None:
        """Run the pod to its end and remove its folder; `after` is waited for before the first start.

        When cancelled (the kubelet ends), processes go on and are adopted by the next kubelet.
        """
        writer = asyncio.create_task(self._writer.run())
        try:
            self.update(self._writer.pod)
            if not self._finished_before:
                await self._live(after)
            self._addresses.release(self.uid)
            await self._writer.flushed()
            await self._stop.wait()
            await self._delete_object()
            await self._removed.wait()
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
        finally:
            writer.cancel()
            for container in (*self._init, *self._main):
                container.detach()
            with suppress(asyncio.CancelledError):
                await writer

    async def _live(self, after: asyncio.Event | None) -> None:
        """Run containers until the pod has finished or was told to stop; all processes have ended then."""
        for container in (*self._init, *self._main):
            container.adopt()
        work = asyncio.create_task(self._run_containers(after))
        stop = asyncio.create_task(self._stop.wait())
        try:
            await self._until_told(work, stop)
            if not work.done():
                if not self._stop.is_set():
                    limit = self._writer.pod["spec"].get("activeDeadlineSeconds")
                    self._failure = ("DeadlineExceeded", f"Pod was active longer than its deadline of {limit} s")
                    self._event("DeadlineExceeded", self._failure[1], "Warning")
                    self._deadline = Deadline(self._grace())
                await self._stop_containers(work)
            await work
        finally:
            for task in (work, stop):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._final = self._phase()
        if self._failure:
            self._final = "Failed"

    async def _until_told(self, work: asyncio.Task[None], stop: asyncio.Task[bool]) -> None:
        """Wait until the containers or the pod are to end, or activeDeadlineSeconds are over.

        They may be lowered while the pod runs: so the engine ends a step and leaves its pod to be looked at.
        """
        while not (work.done() or stop.done()):
            limit = self._writer.pod["spec"].get("activeDeadlineSeconds")
            left = None if limit is None else self.file.start_time + float(limit) - time.time()
            if left is not None and left <= 0:
                return
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            await asyncio.wait({work, stop, changed}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()

    async def _run_containers(self, after: asyncio.Event | None) -> None:
        if after is not None:
            await after.wait()
        # Most containers run a moment later; only a slow start is worth a status of its own.
        asyncio.get_running_loop().call_later(SLOW_START_SECONDS, self._writer.mark)
        for container in self._init:
            code = await container.run()
            if code != 0:
                return
        async with asyncio.TaskGroup() as group:
            for container in self._main:
                group.create_task(container.run())

    async def _stop_containers(self, work: asyncio.Task[None]) -> None:
        deadline = self._deadline or Deadline(self._grace())
        self._stopped = True
        containers = [*self._init, *self._main]
        await asyncio.gather(*(container.stop(deadline) for container in containers))
        # A pod that still waited for its predecessor, or was between two init containers, starts nothing more.
        if not any("running" in container.state for container in containers):
            done, _ = await asyncio.wait({work}, timeout=1.0)
            if not done:
                work.cancel()
                with suppress(asyncio.CancelledError):
                    await work

    async def _prepare(self, spec: Mapping[str, Any], container_id: str) -> Launch:
        """Make a container's volumes and environment and return what to run."""
        pod = self._pod()
        check_container(spec)
        wanted = references(spec) | volume_references([volume for _, volume in mounted(pod, spec)])
        found = await self._fetch(wanted)
        mounts = prepare(pod, spec, self._settings, found)
        async with self._inputs:
            await fetch_inputs(pod, self._settings, self._folder)
        services = service_variables(await self._kube.list("services", self.key[0])) if names_services(spec) else {}
        env = resolve(spec, pod, found, services)
        home, root = self._settings.home, self._folder / "root"
        made = images.launch(spec, pod, mounts, home, env)
        base = images.base_environment(pod, container_id, home, root, CONTAINER_VARIABLE)
        mark = {CONTAINER_VARIABLE: container_id}
        return Launch(list(made.argv), {**base, **made.env, **env, **mark}, made.cwd or root, made.note)

    async def _fetch(self, wanted: set[Reference]) -> dict[Reference, dict[str, Any]]:
        async def one(reference: Reference) -> dict[str, Any] | None:
            known = self._fetched.get(reference)
            try:
                async with asyncio.timeout(CACHED_SECONDS if known else None):
                    found = await self._kube.get(reference[0], reference[1], self.key[0])
            except NotFound:
                self._fetched.pop(reference, None)
                return None
            except (Unreachable, TimeoutError):
                if known is None:
                    raise
                return known  # a container is restarted also while the API server is away
            self._fetched[reference] = found
            return found

        ordered = sorted(wanted)
        objects = await asyncio.gather(*(one(reference) for reference in ordered))
        return {reference: obj for reference, obj in zip(ordered, objects, strict=True) if obj is not None}

    async def _delete_object(self) -> None:
        """Remove the object now that nothing runs any more; finalizers may still hold it."""
        pause = 0.1
        while not self._removed.is_set():
            try:
                await self._kube.delete("pods", self.key[1], self.key[0], grace=0, uid=self.uid)
                return
            except NotFound:
                self._removed.set()
            except ApiError as error:
                if error.status == 409:  # another pod has the name: ours is gone
                    self._removed.set()
                    return
                log.info("pod not removed yet", extra={"pod": "/".join(self.key), "error": str(error)})
                await asyncio.sleep(pause)
                pause = min(pause * 2, 5.0)

    def _ask_to_stop(self, grace: float) -> None:
        # At least a second, as the kubelet of Kubernetes grants it also to a forced deletion. The moment is
        # kept in a file: a kubelet that was restarted grants no second grace period.
        left = max(1.0, self.file.stop_began() + grace - time.time())
        if self._deadline is None:
            self._deadline = Deadline(left)
        else:
            self._deadline.earlier(left)
        if not self._stop.is_set():
            self._stop.set()

    def _grace(self) -> float:
        return float(self._writer.pod["spec"].get("terminationGracePeriodSeconds", 30))

    def _take_address(self, pod: dict[str, Any]) -> None:
        kept = self.file.address or (pod.get("status") or {}).get("podIP")
        if not (kept and self._addresses.claim(kept, self.uid)):
            kept = self._addresses.allocate(self._node, self.uid)
        self.file.keep_address(kept)

    def _pod(self) -> dict[str, Any]:
        """Return the pod as its containers should see it: with its addresses, written already or not."""
        pod = self._writer.pod
        status = (pod.get("status") or {}) | {"podIP": self.file.address, "hostIP": self._host}
        return {**pod, "status": status}

    def _phase(self) -> str:
        init = [container.status() for container in self._init]
        main = [container.status() for container in self._main]
        return phase(self._writer.pod["spec"], init, main, self._stopped)

    def _wanted(self, pod: dict[str, Any]) -> dict[str, Any]:
        if self._finished_before:
            return dict(pod.get("status") or {})
        init = [container.status() for container in self._init]
        main = [container.status() for container in self._main]
        now = self._final or phase(pod["spec"], init, main)
        addresses = (self.file.address, self._host)
        return pod_status(pod, now, init, main, addresses, self.file.start_time, time.time(), self._failure)

    def _event(self, reason: str, message: str, kind: str) -> None:
        about = {"apiVersion": "v1", "kind": "Pod", **self._writer.pod}
        task = asyncio.create_task(self._kube.event(about, reason, message, kind, "kubelet"))
        self._events.add(task)
        task.add_done_callback(self._events.discard)
