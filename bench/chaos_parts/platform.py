"""One running local platform: its runs, their pods and processes, as the tool, the API server and files tell them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from steps.drill.reap import OVER
from steps.kube.client import Kube, Object, connect
from steps.kube.errors import NotFound, Unreachable
from steps.mysql.topology import Topology, read_topology
from tiphys.local import client
from tiphys.local.registry import KINDS
from tiphys.local.settings import NAMESPACE

TIPHYS = str(Path(sys.executable).parent / "tiphys")
WORKFLOW_LABEL = "workflows.argoproj.io/workflow"
PATIENCE_SECONDS = 300.0
UNLISTED = ("selfsubjectaccessreviews",)
"""Kinds of which there are no objects."""


class Stuck(Exception):
    """Something that always ends did not: the text says what was waited for and what was seen."""


class Platform:
    """A platform in `home`, and the cluster that drills hit. It must be up, with the cluster in it."""

    def __init__(self, home: Path, cluster: str) -> None:
        self.home, self.cluster = home.resolve(), cluster
        os.environ["KUBECONFIG"] = str(self.home / "kubeconfig")
        self.kube: Kube = connect(NAMESPACE)

    def tiphys(self, *words: str) -> str:
        """Run the tool as a person would; return what it printed.

        Raises:
            Stuck: it failed.
        """
        environment = {**os.environ, "TIPHYS_HOME": str(self.home)}
        done = subprocess.run([TIPHYS, *words], capture_output=True, text=True, timeout=120, env=environment)
        if done.returncode:
            raise Stuck(f"tiphys {' '.join(words)} failed with exit code {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def submit(self, template: str, parameters: Mapping[str, object]) -> str:
        """Start a template; return the run's name."""
        given = [word for key, value in parameters.items() for word in ("-p", f"{key}={value}")]
        return self.tiphys("submit", template, *given, "-o", "name").strip()

    def reap(self) -> str:
        """Start what the CronWorkflow `reap` starts, as it would at its next time; return the run's name."""
        cron = self.kube.get("cronworkflows", "reap")
        body = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"generateName": "reap-now-"},
            "spec": cron["spec"]["workflowSpec"],
        }
        return str(self.kube.create("workflows", body)["metadata"]["name"])

    def workflow(self, name: str) -> Object:
        """Return a run; an API server that is away for a moment is asked again."""
        for _ in range(100):
            try:
                return self.kube.get("workflows", name)
            except Unreachable:
                time.sleep(0.2)
        return self.kube.get("workflows", name)

    def phase(self, name: str) -> str:
        """Return a run's phase, `Gone` for one that is not there."""
        try:
            return str((self.workflow(name).get("status") or {}).get("phase") or "")
        except NotFound:
            return "Gone"

    def over(self, name: str) -> bool:
        """Tell whether a run has ended."""
        return self.phase(name) in (*OVER, "Gone")

    def outputs(self, name: str) -> dict[str, str]:
        """Return a run's outputs; none of a run that is gone."""
        try:
            found = (self.workflow(name)["status"].get("outputs") or {}).get("parameters") or []
        except NotFound:
            return {}
        return {item["name"]: str(item.get("value", "")) for item in found}

    def pods(self, name: str) -> list[Object]:
        """Return the pods of a run."""
        return self.kube.all("pods", f"{WORKFLOW_LABEL}={name}")

    def topology(self) -> Topology:
        """Return the group as its members see it."""
        return read_topology(self.kube, self.cluster)

    def until(self, what: str, check: Callable[[], Any], seconds: float = PATIENCE_SECONDS, pause: float = 0.3) -> Any:
        """Wait until `check` returns something true, and return that.

        Raises:
            Stuck: it did not in time.
        """
        limit = time.monotonic() + seconds
        while not (found := check()):
            if time.monotonic() > limit:
                raise Stuck(f"{what}: not within {seconds:.0f} s")
            time.sleep(pause)
        return found

    def objects(self, *, without: tuple[str, ...] = ()) -> dict[str, list[Object]]:
        """Return every object of the API server by the plural name of its kind."""

        async def read() -> dict[str, list[Object]]:
            async with client.Kube.from_home(self.home) as kube:
                plurals = [kind.plural for kind in KINDS if kind.plural not in (*UNLISTED, *without)]
                return dict(zip(plurals, await asyncio.gather(*(kube.list(p) for p in plurals)), strict=True))

        return asyncio.run(read())

    def last_event(self, pod: Object) -> str:
        """Return the newest event that a step has logged: how far it was."""
        path = self.home / "pods" / str(pod["metadata"]["uid"]) / "main.log"
        try:
            lines = path.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        for line in reversed(lines):
            try:
                return str(json.loads(line)["event"])
            except (ValueError, KeyError, TypeError):
                continue
        return ""
