"""The life of one container of a pod: started, probed, restarted with back-off, stopped."""

from __future__ import annotations

import asyncio
import logging
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiphys.local.kube_errors import ApiError
from tiphys.local.kubelet import probes
from tiphys.local.kubelet.commands import run_command
from tiphys.local.kubelet.launch import Launch, LaunchError, exec_launch, save_launch
from tiphys.local.kubelet.lifecycle import should_restart
from tiphys.local.kubelet.records import Record
from tiphys.local.kubelet.runtime import ContainerProcess, Exit, new_container_id
from tiphys.local.kubelet.status import timestamp

log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 0.5, 10.0


class Deadline:
    """When a pod's processes must have ended; it may be moved earlier while one waits for it."""

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then, not below 0."""
        return max(0.0, self.at - time.monotonic())

    def earlier(self, seconds: float) -> None:
        """Move the deadline to `seconds` from now, unless it is nearer already."""
        self.at = min(self.at, time.monotonic() + seconds)


@dataclass
class PodView:
    """What a container needs of its pod and its kubelet.

    Attributes:
        home: the platform's folder.
        pod: returns the newest known pod, with ``status.podIP`` set.
        prepare: makes volumes and environment; returns the launch for a container and the id of its new run.
        changed: called when the container's status has changed.
        event: records an event about the pod (reason, message, kind).
    """

    home: Path
    pod: Callable[[], dict[str, Any]]
    prepare: Callable[[Mapping[str, Any], str], Awaitable[Launch]]
    changed: Callable[[], None]
    event: Callable[[str, str, str], None]


class Container:
    """One container of a pod.

    Attributes:
        name: its name.
        state: its state as the API shows it.
        ready: whether it is ready.
        record: its runs.
    """

    def __init__(self, view: PodView, spec: Mapping[str, Any], policy: str, init: bool = False):
        pod = view.pod()
        self.name: str = spec["name"]
        self.record = Record.load(view.home / "pods" / pod["metadata"]["uid"] / self.name)
        self.ready = False
        self.started = False
        self._view, self._spec, self._policy, self._init = view, spec, policy, init
        self._base = view.home / "pods" / pod["metadata"]["uid"] / self.name
        self._process: ContainerProcess | None = None
        self._probes: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        # A probe's failure stops the container in a task of its own: the probe itself ends with the process.
        self._killer: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {
            "waiting": {"reason": "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"}
        }
        if self.record.terminated:
            self.state = {"terminated": self.record.terminated}
            self.ready = init and self.record.terminated["exitCode"] == 0

    def status(self) -> dict[str, Any]:
        """Return the container's status as the API shows it."""
        found: dict[str, Any] = {
            "name": self.name,
            "image": self._spec.get("image", ""),
            "imageID": self._spec.get("image", "") if self.record.container_id else "",
            "ready": self.ready,
            "started": self.started,
            "restartCount": self.record.restarts,
            "state": self.state,
            "lastState": {"terminated": self.record.last} if self.record.last else {},
        }
        if self.record.container_id:
            found["containerID"] = self.record.container_id
        return found

    def adopt(self) -> None:
        """Take over the run that another kubelet started, if it goes on."""
        if self.record.container_id and self.record.terminated is None:
            self._process = ContainerProcess.adopt(self._base, self.record.container_id, self.record.started_at)
            if self._process:
                self._running(adopted=True)

    async def run(self) -> int | None:
        """Run the container until it has ended for good; return its exit code (None: it never began)."""
        if self.record.container_id and not self.record.terminated and not self._process:
            await self._undo_unbegun()
        if not self.record.container_id and not await self._start():
            return None
        while True:
            if self.record.terminated is None:
                await self._until_ended()
            code = int((self.record.terminated or {})["exitCode"])
            if self._stopping.is_set() or not should_restart(self._policy, code):
                return code
            if not await self._back_off() or not await self._start():
                return code

    async def stop(self, deadline: Deadline) -> None:
        """End the container for good: preStop, SIGTERM, and SIGKILL at the deadline."""
        self._stopping.set()
        await self._end_process(deadline)

    def detach(self) -> None:
        """Let the container go on without this kubelet."""
        if self._process:
            self._process.detach()

    async def _start(self) -> bool:
        """Start a run, trying until it works; False when the pod stops before."""
        pause = FIRST_RETRY
        while not self._stopping.is_set():
            identity = new_container_id()
            try:
                launch = await self._view.prepare(self._spec, identity)
            except LaunchError as error:
                self._cannot_start(error.reason, str(error))
            except ApiError as error:
                log.info("cannot prepare a container yet", extra={"container": self.name, "error": str(error)})
            except OSError as error:
                self._cannot_start("CreateContainerError", str(error))
            else:
                if self._stopping.is_set():
                    return False
                self._launch(launch, identity)
                return True
            if await self._stopped_within(pause):
                return False
            pause = min(pause * 2, LONGEST_RETRY)
        return False

    def _launch(self, launch: Launch, identity: str) -> None:
        self.record.begin(identity, time.time())
        save_launch(self._view.home, self._view.pod()["metadata"]["uid"], self.name, launch)
        program = str(launch.argv[0])
        problem = "" if shutil.which(program, path=launch.env.get("PATH")) else f"{program!r} not found in PATH"
        if not problem:
            try:
                self._process = ContainerProcess.start(self._base, identity, launch)
            except OSError as error:
                problem = str(error)
        if problem:
            # As a container runtime: the run counts as ended, with 128, and the restart policy decides.
            self._process = None
            message = f"failed to start container {self.name!r}: {problem}"
            self.record.end(Exit(128, time.time()), "StartError", message)
            self.state = {"terminated": self.record.terminated}
            self._view.event("Failed", message, "Warning")
            self._view.changed()
            return
        self._running()
        self._view.event("Started", f"Started container {self.name}", "Normal")
        if launch.note:
            self._view.event("ImageSubstituted", f"Container {self.name}: {launch.note}", "Warning")

    def _cannot_start(self, reason: str, message: str) -> None:
        shown = (self.state.get("waiting") or {}).get("reason")
        if reason == "ErrImagePull" and shown in ("ErrImagePull", "ImagePullBackOff"):
            reason = "ImagePullBackOff"
        before = self.state
        self.state = {"waiting": {"reason": reason, "message": message}}
        if self.state != before:
            self._view.event("Failed", message, "Warning")
            self._view.changed()

    def _running(self, adopted: bool = False) -> None:
        """Show the run as running and start its probes; an adopted run keeps the readiness it had."""
        self.state = {"running": {"startedAt": timestamp(self.record.started_at)}}
        self.started = not self._spec.get("startupProbe")
        self.ready = self.started and not self._spec.get("readinessProbe") and not self._init
        if adopted:
            field = "initContainerStatuses" if self._init else "containerStatuses"
            for old in (self._view.pod().get("status") or {}).get(field) or []:
                if old["name"] == self.name and old.get("containerID") == self.record.container_id:
                    self.started, self.ready = bool(old.get("started")), bool(old["ready"])
        if any(self._spec.get(kind) for kind in ("startupProbe", "readinessProbe", "livenessProbe")):
            self._probes = asyncio.create_task(self._probe(delay=not adopted))
        self._view.changed()

    async def _undo_unbegun(self) -> None:
        """Forget a run that the kubelet before this one noted but did not come to start."""
        identity = self.record.container_id
        if ContainerProcess.began(self._base, identity):
            return
        # Its shim may be on the way this very moment: end it, then look again.
        await ContainerProcess(self._base, identity, 0, self.record.started_at).clean()
        if not ContainerProcess.began(self._base, identity):
            self.record.undo()

    async def _until_ended(self) -> None:
        process = self._process
        if process is None:
            ended = ContainerProcess.past_exit(self._base, self.record.container_id)
            process = ContainerProcess(self._base, self.record.container_id, 0, self.record.started_at)
        else:
            ended = await process.wait()
        if self._probes:
            self._probes.cancel()
        self._process = None
        await process.clean()
        self.record.end(ended)
        self.started = False
        self.ready = self._init and ended.code == 0
        self.state = {"terminated": self.record.terminated}
        self._view.changed()

    async def _back_off(self) -> bool:
        """Wait until the container may be started again; False when the pod stops before."""
        pause = self.record.resume_at - time.time()
        if pause <= 0:
            return not self._stopping.is_set()
        message = f"back-off {pause:.0f}s restarting failed container={self.name}"
        self.record.last = self.record.terminated
        self.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._view.event("BackOff", f"Back-off restarting failed container {self.name}", "Warning")
        self._view.changed()
        if await self._stopped_within(pause):
            self.state = {"terminated": self.record.terminated}
            self._view.changed()
            return False
        return True

    async def _stopped_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return False
        return True

    async def _end_process(self, deadline: Deadline) -> None:
        process = self._process
        if process is None:
            return
        over = asyncio.create_task(process.wait())
        await self._pre_stop(over, deadline)
        # Just started, the shim may not have written the program's number yet.
        while not over.done() and not process.signal(signal.SIGTERM) and deadline.left():
            await asyncio.wait({over}, timeout=0.01)
        while not over.done() and deadline.left():
            # In slices, because a second deletion may move the deadline.
            await asyncio.wait({over}, timeout=min(deadline.left(), 0.25))
        if not over.done():
            await process.kill()
        await over

    async def _pre_stop(self, over: asyncio.Task[Exit], deadline: Deadline) -> None:
        hook = (self._spec.get("lifecycle") or {}).get("preStop")
        if not hook:
            return
        work = asyncio.create_task(self._hook(hook, deadline.left()))
        while not work.done() and not over.done() and deadline.left():
            await asyncio.wait({work, over}, timeout=min(deadline.left(), 0.25), return_when="FIRST_COMPLETED")
        if not work.done():
            work.cancel()
        try:
            failure = await work
        except asyncio.CancelledError:
            failure = "" if over.done() else "it did not end within the grace period"
        if failure:
            self._view.event("FailedPreStopHook", f"preStop of {self.name}: {failure}", "Warning")
        # As Kubernetes: a hook that used all of the grace period leaves two seconds for SIGTERM.
        deadline.at = max(deadline.at, time.monotonic() + 2.0) if not deadline.left() else deadline.at

    async def _hook(self, hook: Mapping[str, Any], seconds: float) -> str:
        """Run a preStop hook; return what went wrong, empty if nothing."""
        if "sleep" in hook:
            await asyncio.sleep(float(hook["sleep"]["seconds"]))
            return ""
        if "exec" in hook:
            code, output = await run_command(self._command(list(hook["exec"]["command"])), seconds)
            return "" if code == 0 else f"exit code {code}: {output.strip()[:500]}"
        good, seen = await probes.check({**hook, "timeoutSeconds": max(seconds, 1.0)}, self._target())
        return "" if good else seen

    def _command(self, argv: list[str]) -> Launch:
        return exec_launch(self._view.home, self._view.pod(), self.name, argv)

    def _target(self) -> probes.Target:
        address = (self._view.pod().get("status") or {}).get("podIP", "")
        return probes.Target(address, self._spec, self._command)

    async def _probe(self, delay: bool) -> None:
        target = self._target()
        if (startup := self._spec.get("startupProbe")) and not self.started:
            await probes.watch(startup, target, self._startup_verdict, delay)
            if not self.started:
                return
        async with asyncio.TaskGroup() as group:
            if readiness := self._spec.get("readinessProbe"):
                group.create_task(probes.watch(readiness, target, self._readiness_verdict, delay))
            if liveness := self._spec.get("livenessProbe"):
                group.create_task(probes.watch(liveness, target, self._liveness_verdict, delay))

    async def _startup_verdict(self, good: bool, seen: str) -> bool:
        if not good:
            return self._unhealthy("Startup", seen)
        self.started = True
        self.ready = not self._spec.get("readinessProbe") and not self._init
        self._view.changed()
        return False

    async def _readiness_verdict(self, good: bool, seen: str) -> bool:
        if good != self.ready:
            self.ready = good
            if not good:
                self._view.event("Unhealthy", f"Readiness probe failed: {seen}", "Warning")
            self._view.changed()
        return True

    async def _liveness_verdict(self, good: bool, seen: str) -> bool:
        return good or self._unhealthy("Liveness", seen)

    def _unhealthy(self, kind: str, seen: str) -> bool:
        """End the run after a failed startup or liveness probe; the restart policy decides what follows."""
        self._view.event("Unhealthy", f"{kind} probe failed: {seen}", "Warning")
        if self._stopping.is_set():
            return False  # the pod is stopping already, with its own deadline
        self._view.event("Killing", f"Container {self.name} failed its {kind.lower()} probe: restarted", "Normal")
        probe = self._spec[f"{kind.lower()}Probe"]
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is None:
            grace = self._view.pod()["spec"].get("terminationGracePeriodSeconds", 30)
        self._killer = asyncio.create_task(self._end_process(Deadline(float(grace))))
        return False
