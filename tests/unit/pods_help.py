"""An API server, controllers, kubelet and proxy of their own for tests, as real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from platform_help import PATIENCE, free_network

from tiphys.local.client import Kube, NotFound
from tiphys.local.kubelet.launch import main_process
from tiphys.local.settings import Settings


class Cluster:
    """The processes of a small platform."""

    def __init__(self, home: Path, *parts: str):
        self.settings = Settings(home=home, network=free_network())
        self.settings.save()
        self.home = home
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for part in ("apiserver", *parts):
            self.start(part)

    def start(self, part: str) -> None:
        with (self.home / f"{part}.log").open("ab") as log:
            command = [sys.executable, "-m", f"tiphys.local.{part}", "--home", str(self.home)]
            self._running[part] = subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, part: str, number: signal.Signals = signal.SIGKILL) -> None:
        process = self._running.pop(part)
        process.send_signal(number)
        process.wait(PATIENCE)

    def log(self, part: str) -> str:
        return (self.home / f"{part}.log").read_text()

    def folder(self, pod: dict[str, Any]) -> Path:
        return self.settings.pod_folder(pod["metadata"]["uid"])

    def processes(self) -> list[int]:
        """Return the living processes that this platform's kubelet started."""
        mark = f"TIPHYS_PLATFORM={self.home}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
        return [pid for pid in found if pid not in {process.pid for process in self._running.values()}]

    def stop(self) -> None:
        for part in list(self._running):
            self.kill(part, signal.SIGTERM)
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def cluster(home: Path, *parts: str) -> Iterator[Cluster]:
    made = Cluster(home, *parts)
    try:
        yield made
    finally:
        made.stop()


def signal_main(platform: Cluster, uid: str, number: signal.Signals, container: str = "main") -> None:
    """Send a signal to the main process of a pod's container, and to nothing else."""
    pid = main_process(platform.home, uid, container)
    assert pid is not None and pid > 1, f"container {container!r} of the pod with uid {uid} does not run"
    os.kill(pid, number)


async def until(
    look: Callable[[], Awaitable[Any]] | Callable[[], Any], what: str = "it", seconds: float = PATIENCE
) -> Any:
    """Return what `look` finds as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        await asyncio.sleep(0.02)


async def wait_pod(kube: Kube, name: str, good: Callable[[dict[str, Any]], Any], what: str = "") -> dict[str, Any]:
    """Return the pod as soon as `good` holds for it."""
    seen: dict[str, Any] = {}

    async def look() -> dict[str, Any] | None:
        nonlocal seen
        try:
            seen = await kube.get("pods", name, "tiphys")
        except NotFound:
            return None
        return seen if good(seen) else None

    try:
        found: dict[str, Any] = await until(look, what)
    except AssertionError as error:
        raise AssertionError(f"pod {name}: {error}; last seen {seen.get('status')}") from error
    return found


async def gone(kube: Kube, resource: str, name: str) -> None:
    """Wait until there is no such object."""

    async def look() -> bool:
        try:
            await kube.get(resource, name, "tiphys")
        except NotFound:
            return True
        return False

    await until(look, f"the end of {resource}/{name}")


def pod(name: str, script: str | list[str], node: str | None = "node-1", **more: Any) -> dict[str, Any]:
    """Return a pod that runs a shell script (or a command) on the host; `more` goes into container or spec."""
    command = ["sh", "-c", script] if isinstance(script, str) else script
    container: dict[str, Any] = {"name": "main", "image": "localhost/host:1", "command": command}
    spec: dict[str, Any] = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 5}
    meta: dict[str, Any] = {"name": name, "namespace": "tiphys"}
    for key, value in more.items():
        place = container if key in _CONTAINER else meta if key in _META else spec
        place[key] = value
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


_CONTAINER = (
    "env",
    "envFrom",
    "image",
    "lifecycle",
    "livenessProbe",
    "ports",
    "readinessProbe",
    "startupProbe",
    "volumeMounts",
)
_META = ("annotations", "finalizers", "labels")


def main_status(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the status of the first container."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or [{"state": {}, "lastState": {}, "restartCount": 0}]
    found: dict[str, Any] = statuses[0]
    return found


def condition(pod: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return a condition of a pod, empty when it has none of that type."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return next((item for item in conditions if item["type"] == kind), {})


def phase_is(*phases: str) -> Callable[[dict[str, Any]], bool]:
    """Return a check of a pod's phase."""
    return lambda pod: (pod.get("status") or {}).get("phase") in phases
