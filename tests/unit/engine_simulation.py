"""A workflow run by the engine's core alone: pods end as a script says, time passes as the test says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from tiphys.local.engine.locks import Locks
from tiphys.local.engine.model import NODE_ID, NODE_NAME, OUTPUTS, Collected, PodView, SpecError, stamp
from tiphys.local.engine.operate import ENDED, advance

Json = dict[str, Any]


@dataclass
class End:
    """How a pod ends: exit code, output parameters, and which artifacts it wrote."""

    code: int = 0
    outputs: Mapping[str, str] = field(default_factory=dict)
    deleted: bool = False
    problem: str = ""


Script = Callable[[str, Json], End | None]
"""Node name and pod to how it ends; None lets it run on."""


class World:
    """Everything around the core: templates, config maps, locks, the clock."""

    def __init__(self, *manifests: str, limits: Mapping[str, int] | None = None) -> None:
        self.now = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
        self.manifests = [item for text in manifests for item in yaml.safe_load_all(text)]
        self.limits = limits or {}
        self.granted: list[str] = []
        self.locks = Locks(self._limit, self.granted.append)

    def _limit(self, key: str) -> int:
        if "/Mutex/" in key:
            return 1
        if key not in self.limits:
            raise SpecError(f"no limit for {key}")
        return self.limits[key]

    def lookup(self, kind: str, name: str) -> Json | None:
        found = (m for m in self.manifests if m["kind"] == kind and m["metadata"]["name"] == name)
        return next(found, None)


class Play:
    """One workflow in a world; `go` runs it until nothing more happens by itself."""

    def __init__(self, world: World, manifest: str | Json, script: Script | None = None) -> None:
        workflow = yaml.safe_load(manifest) if isinstance(manifest, str) else manifest
        meta = workflow.setdefault("metadata", {})
        meta.setdefault("name", "wf")
        meta |= {"namespace": "tiphys", "uid": f"uid-{meta['name']}", "creationTimestamp": stamp(world.now)}
        self.world, self.workflow = world, workflow
        self.script = script or (lambda node, pod: End())
        self.pods: dict[str, PodView] = {}
        self.created: list[str] = []
        self.stopped: list[str] = []

    @property
    def status(self) -> Json:
        return self.workflow.get("status") or {}

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    def step(self) -> bool:
        """One pass; return whether anything changed."""
        world = self.world
        outcome = advance(self.workflow, self.pods, world.now, world.lookup, world.locks)
        before = self.workflow
        # What the API server does to it: nothing but JSON survives.
        self.workflow = json.loads(json.dumps(outcome.workflow))
        for pod in outcome.create:
            node = pod["metadata"]["annotations"][NODE_ID]
            if node in self.pods:
                raise AssertionError(f"{node} would run twice")
            self.created.append(pod["metadata"]["annotations"][NODE_NAME])
            self.pods[node] = PodView({**pod, "spec": {**pod["spec"], "nodeName": "node-1"}})
        for name in outcome.stop:
            self.stopped.append(name)
            view = next(v for v in self.pods.values() if v.pod["metadata"]["name"] == name)
            view.pod["metadata"] |= {"deletionTimestamp": stamp(world.now), "deletionGracePeriodSeconds": 0}
            self.end(view, End(143))
        for holder in outcome.release:
            world.locks.release(holder)
        return self.workflow != before or bool(outcome.create)

    def end(self, view: PodView, end: End) -> None:
        """Let a pod end."""
        state = {"exitCode": end.code, "finishedAt": stamp(self.world.now)}
        state["reason"] = "Error" if end.code else "Completed"
        if end.deleted:
            view.pod["metadata"] |= {"deletionTimestamp": stamp(self.world.now), "deletionGracePeriodSeconds": 0}
        view.pod["status"] = {
            "phase": "Failed" if end.code else "Succeeded",
            "podIP": "127.85.1.9",
            "containerStatuses": [{"name": "main", "state": {"terminated": state}}],
        }
        declared = json.loads(view.pod["metadata"]["annotations"][OUTPUTS])
        known = {item["name"] for item in declared["parameters"]}
        artifacts = tuple({k: a[k] for k in ("name", "path", "s3")} for a in declared["artifacts"])
        view.collected = Collected({k: v for k, v in end.outputs.items() if k in known}, artifacts, end.problem)

    def go(self, passes: int = 60) -> Play:
        """Run until nothing happens any more without time passing or somebody acting."""
        for _ in range(passes):
            changed = self.step()
            for view in self.pods.values():
                if view.finished:
                    continue
                how = self.script(view.pod["metadata"]["annotations"][NODE_NAME], view.pod)
                if how is None:
                    if view.phase != "Running":
                        changed = True
                        state = {"name": "main", "state": {"running": {}}}
                        view.pod["status"] = {"phase": "Running", "containerStatuses": [state]}
                else:
                    self.end(view, how)
                    changed = True
            if not changed:
                return self
        raise AssertionError("the workflow does not come to rest")

    def wait(self, seconds: float) -> Play:
        """Let time pass, then go on."""
        self.world.now += timedelta(seconds=seconds)
        return self.go()

    def phases(self) -> dict[str, str]:
        """Node names without the workflow's, to phases."""
        name = self.workflow["metadata"]["name"]
        return {n["name"].removeprefix(name) or ".": n["phase"] for n in self.status.get("nodes", {}).values()}

    def node(self, name: str) -> Json:
        wf = self.workflow["metadata"]["name"]
        found: Json = next(n for n in self.status["nodes"].values() if n["name"] == f"{wf}{name}")
        return found

    def args(self, name: str) -> list[str]:
        """The arguments of the pod of a node."""
        args: list[str] = self.pods[self.node(name)["id"]].pod["spec"]["containers"][0]["args"]
        return args

    @property
    def ended(self) -> bool:
        return self.phase in ENDED
