"""How long does it take to empty a node of 200 pods, against the time that its slowest pod needs by itself?

An API server and the controllers of the local platform run in a folder of their own: scheduler, ReplicaSets,
StatefulSets and disruption budgets are the real ones, and so is the drain (:mod:`steps.kube.eviction`). The pods have
no processes: in place of a kubelet, this program reports each as ready a moment after it got its node, and lets one
that was told to go do so after a time of its own. One pod takes ``--slowest`` seconds, the others a tenth to a third of
that. Twenty are members of StatefulSets behind budgets that let one go at a time, so each has to wait until the one
before it is ready on the other node.

Usage: ``python bench/drain.py [--pods 200] [--behind 20] [--groups 10] [--slowest 30] [--kubectl]``. Prints one JSON
line for each way of draining; ``ratio`` is the drain's time over the slowest pod's own, as that was measured.
``--kubectl`` drains the same again by ``kubectl drain``, to compare. Exit code 1 where our ratio is above 1.2.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from steps.kube.client import Kube, connect
from steps.kube.eviction import Action, Policy, decide, drain, patience, pods_on, stayed
from tiphys.local.client import ApiError, Informer
from tiphys.local.client import Kube as LocalKube
from tiphys.local.platform.access import write_kubeconfig
from tiphys.local.settings import Settings

LIMIT = 1.2
DRAINED, SPARE = "drained", "spare"
READY_SECONDS = 0.3
WAIT_SECONDS = 600.0


class Kubelet(threading.Thread):
    """In place of a kubelet: reports pods as ready, and lets those go that were told to, each after its own time.

    Attributes:
        own: UID of each pod that has gone, to the seconds that it took from being told to.
    """

    def __init__(self, home: Path, slowest: float) -> None:
        super().__init__(name="kubelet", daemon=True)
        self._home, self._slowest = home, slowest
        self._loop = asyncio.new_event_loop()
        self._seen: set[tuple[str, str]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.own: dict[str, float] = {}

    def run(self) -> None:
        """Work until stopped."""
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._main())

    def stop(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(self._loop)])
        self.join(30)

    async def _main(self) -> None:
        async with LocalKube.from_home(self._home) as kube:
            pods = Informer(kube, "pods")
            pods.on_change(lambda change, pod: self._changed(kube, change, pod))
            await pods.run()

    def _changed(self, kube: LocalKube, change: str, pod: dict[str, Any]) -> None:
        meta = pod["metadata"]
        if change == "DELETED":
            return
        if meta.get("deletionTimestamp"):
            self._once("go", meta["uid"], self._go(kube, pod))
        elif pod["spec"].get("nodeName"):
            self._once("start", meta["uid"], self._start(kube, pod))

    def _once(self, what: str, uid: str, work: Any) -> None:
        if (what, uid) in self._seen:
            work.close()
            return
        self._seen.add((what, uid))
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, kube: LocalKube, pod: dict[str, Any]) -> None:
        await asyncio.sleep(READY_SECONDS)
        conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "ContainersReady", "Ready")]
        status = {"status": {"phase": "Running", "conditions": conditions}}
        with suppress(ApiError):
            await kube.patch("pods", pod["metadata"]["name"], status, pod["metadata"]["namespace"], "status")

    async def _go(self, kube: LocalKube, pod: dict[str, Any]) -> None:
        meta, began = pod["metadata"], time.monotonic()
        await asyncio.sleep(self._time_of(pod))
        with suppress(ApiError):
            await kube.delete("pods", meta["name"], meta["namespace"], grace=0, uid=meta["uid"])
        self.own[meta["uid"]] = time.monotonic() - began

    def _time_of(self, pod: dict[str, Any]) -> float:
        app = pod["metadata"]["labels"]["app"]
        if app == "slow":
            return self._slowest
        if app.startswith("shy"):
            return self._slowest / 10
        return random.Random(pod["metadata"]["uid"]).uniform(self._slowest / 10, self._slowest / 3)


@click.command(help=(__doc__ or "").split("\n\n")[0])
@click.option("--pods", default=200, help="Pods on the node.")
@click.option("--behind", default=20, help="How many of them are behind budgets.")
@click.option("--groups", default=10, help="Budgets; each lets one of its pods go at a time.")
@click.option("--slowest", default=30.0, help="Seconds that the slowest pod takes to end.")
@click.option("--kubectl", is_flag=True, help="Drain the same by kubectl as well.")
def main(pods: int, behind: int, groups: int, slowest: float, kubectl: bool) -> None:
    """Build the node, empty it, and say how long that took."""
    with tempfile.TemporaryDirectory(prefix="tiphys-bench-drain-") as folder, platform(Path(folder)) as settings:
        kube = connect("tiphys")
        kubelet = Kubelet(settings.home, slowest)
        kubelet.start()
        fill(kube, pods, behind, groups)
        ours = empty(kube, kubelet, pods, behind, groups, by_kubectl=False)
        if kubectl:
            for node in (DRAINED, SPARE):
                kube.patch("nodes", node, {"spec": {"unschedulable": None if node == DRAINED else True}})
            for pod in kube.all("pods"):
                kube.delete("pods", pod["metadata"]["name"], grace_seconds=0)
            wait(lambda: filled(kube, pods), f"{pods} pods ready on the node again")
            empty(kube, kubelet, pods, behind, groups, by_kubectl=True)
        kubelet.stop()
    sys.exit(0 if ours <= LIMIT else 1)


def empty(kube: Kube, kubelet: Kubelet, pods: int, behind: int, groups: int, *, by_kubectl: bool) -> float:
    """Drain the node, print the figures, and return the ratio."""
    there = pods_on(kube, DRAINED)
    kube.patch("nodes", SPARE, {"spec": {"unschedulable": None}})
    load, began = os.getloadavg()[0], time.monotonic()
    attempts: int | None = None
    if by_kubectl:
        subprocess.run(["kubectl", "drain", DRAINED, "--timeout=1200s"], check=True, stdout=subprocess.DEVNULL)
    else:
        kube.patch("nodes", DRAINED, {"spec": {"unschedulable": True}})
        decisions = decide(there, Policy("bench", "tiphys", "none"))
        assert len([one for one in decisions if one.action is Action.EVICT]) == pods
        budgets = {
            pod["metadata"]["uid"]: app for pod in there if (app := pod["metadata"]["labels"]["app"]).startswith("shy")
        }
        ways = drain(kube, DRAINED, decisions, max(patience(decisions), WAIT_SECONDS), budgets=budgets)
        assert not stayed(ways), stayed(ways)
        attempts = sum(way.attempts for way in ways)
    took = time.monotonic() - began
    uids = {pod["metadata"]["uid"] for pod in there}
    assert not uids & {pod["metadata"]["uid"] for pod in pods_on(kube, DRAINED)}
    slowest = max(seconds for uid, seconds in kubelet.own.items() if uid in uids)
    figures = {
        "bench": "drain",
        "by": "kubectl" if by_kubectl else "tiphys",
        "pods": pods,
        "behind_budgets": behind,
        "budgets": groups,
        "drain_seconds": round(took, 2),
        "slowest_pod_seconds": round(slowest, 2),
        "ratio": round(took / slowest, 3),
        "evictions_asked": attempts,
        "load": round(load, 1),
        "cores": os.cpu_count(),
    }
    print(json.dumps(figures), flush=True)
    return took / slowest


def fill(kube: Kube, pods: int, behind: int, groups: int) -> None:
    """Put the pods on the node, and nothing on the other one."""
    for node in (DRAINED, SPARE):
        labels = {"kubernetes.io/hostname": node}
        spec = {"unschedulable": True} if node == SPARE else {}
        meta = {"name": node, "labels": labels}
        kube.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": meta, "spec": spec})
        status = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"pods": str(3 * pods)}}
        kube.patch("nodes", node, {"status": status}, subresource="status")
    for number in range(groups):
        app = f"shy-{number}"
        replicas = behind // groups + (1 if number < behind % groups else 0)
        budget = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": app}}}
        create(kube, "poddisruptionbudgets", "policy/v1", "PodDisruptionBudget", app, budget)
        more = {"serviceName": app, "podManagementPolicy": "Parallel"}
        create(kube, "statefulsets", "apps/v1", "StatefulSet", app, more | workload(app, replicas, 30))
    create(kube, "replicasets", "apps/v1", "ReplicaSet", "slow", workload("slow", 1, 300))
    left = pods - behind - 1
    for number in range(0, left, 30):
        app = f"web-{number // 30}"
        create(kube, "replicasets", "apps/v1", "ReplicaSet", app, workload(app, min(30, left - number), 30))
    wait(lambda: filled(kube, pods), f"{pods} pods ready on the node")


def filled(kube: Kube, pods: int) -> bool:
    """Tell whether all pods are ready on the node, and every budget knows its own."""
    ready = [
        pod
        for pod in pods_on(kube, DRAINED)
        if not pod["metadata"].get("deletionTimestamp")
        and any(one["type"] == "Ready" for one in (pod.get("status") or {}).get("conditions") or [])
    ]
    budgets = [one.get("status") or {} for one in kube.all("poddisruptionbudgets")]
    return len(ready) == pods and all(one.get("disruptionsAllowed") == 1 for one in budgets)


def workload(app: str, replicas: int, grace: int) -> dict[str, Any]:
    """Return what ReplicaSets and StatefulSets share."""
    container = {"name": "main", "image": "bench.invalid/none:1"}
    spec = {"containers": [container], "terminationGracePeriodSeconds": grace}
    template = {"metadata": {"labels": {"app": app}}, "spec": spec}
    return {"replicas": replicas, "selector": {"matchLabels": {"app": app}}, "template": template}


def create(kube: Kube, resource: str, version: str, kind: str, name: str, spec: dict[str, Any]) -> None:
    """Make an object."""
    kube.create(resource, {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})


def wait(until: Any, what: str) -> None:
    """Wait for something, not for ever."""
    limit = time.monotonic() + WAIT_SECONDS
    while not until():
        if time.monotonic() > limit:
            raise click.ClickException(f"not within {WAIT_SECONDS:.0f} s: {what}")
        time.sleep(0.5)


@contextmanager
def platform(home: Path) -> Iterator[Settings]:
    """Run an API server and the controllers, and point KUBECONFIG at them."""
    settings = Settings(home, network=random.randint(100, 199))
    settings.save()
    running = []
    with (home / "bench.log").open("ab") as log:
        for part in ("apiserver", "controllers"):
            command = [sys.executable, "-m", f"tiphys.local.{part}", "--home", str(home)]
            running.append(subprocess.Popen(command, stderr=log, stdin=subprocess.DEVNULL))
    try:
        wait(settings.token_file.exists, "the API server's token")
        write_kubeconfig(settings)
        os.environ["KUBECONFIG"] = str(settings.kubeconfig)
        kube = connect("tiphys")
        wait(lambda: answers(kube), "the API server answers")
        yield settings
    finally:
        for process in reversed(running):
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def answers(kube: Kube) -> bool:
    """Tell whether the API server answers."""
    try:
        kube.all("nodes")
    except Exception:
        return False
    return True


if __name__ == "__main__":
    main()
