"""The fault `router-kill`: what it kills, what proves it, and when its Router is back."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import drill_story as story
import pytest

from steps.drill.evidence import Evidence, Target
from steps.drill.fault import Scene
from steps.drill.measurement import from_json, to_json
from steps.drill.router_kill import RouterKill
from steps.drill.samples import PodSample
from steps.drill.timeline import timeline
from steps.errors import StepError
from steps.kube.client import Executed, Kube, Object
from steps.mysql.connection import Credentials

FAULT = RouterKill()
ROUTER = PodSample(0.0, "demo-router-b", "uid-r", True, 0, "r1", False, "10.0.0.9", "node-1")


def pod(name: str, ready: str) -> Object:
    status = {"name": "router", "containerID": "r1", "restartCount": 0}
    conditions = [{"type": "Ready", "status": ready}]
    return {
        "metadata": {"name": name, "uid": "uid-r"},
        "status": {"containerStatuses": [status], "conditions": conditions},
    }


class Here:
    """An API server whose Routers' containers are this machine; `main` is the number of their process."""

    main = ""

    def routers(self, cluster: str) -> list[Object]:
        return [pod("demo-router-c", "True"), pod("demo-router-a", "False"), pod("demo-router-b", "True")]

    def execute(self, pod: str, container: str, command: Sequence[str], *, timeout: float) -> Executed:
        assert (pod, container) == ("demo-router-b", "router")
        environment = {**os.environ, "TIPHYS_MAIN_PID": self.main}
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)
        return Executed(done.returncode, done.stdout, done.stderr)


def scene(here: Here) -> Scene:
    return Scene(cast(Kube, here), "demo", Credentials("root", "secret"))


def target() -> Target:
    return replace(story.measurement().target, router=ROUTER)


def test_it_kills_the_first_router_that_is_ready() -> None:
    here = Here()
    chosen = FAULT.router(scene(here))
    assert chosen is not None and (chosen.pod, chosen.container) == ("demo-router-b", "r1")
    with subprocess.Popen(["sleep", "600"]) as running:
        here.main = str(running.pid)
        FAULT.inject(scene(here), target())
        assert running.wait(10) == -9


def test_a_kill_that_fails_is_an_error() -> None:
    here = Here()
    with subprocess.Popen(["true"]) as ended:
        pass
    here.main = str(ended.pid)
    with pytest.raises(StepError, match="demo-router-b failed with exit code"):
        FAULT.inject(scene(here), target())


def test_without_a_ready_router_it_is_refused() -> None:
    assert FAULT.obstacles(target()) == []
    (reason,) = FAULT.obstacles(replace(target(), router=None))
    assert "no Router is ready" in reason


def evidence(*pods: PodSample) -> Evidence:
    return Evidence(story.FAULT_AT, [ROUTER, *pods], [], [])


def test_it_is_proven_by_the_container_and_over_when_another_is_ready() -> None:
    ended = ROUTER._replace(at=4.3, ready=False, ended="r1", exit_code=137)
    again = ROUTER._replace(at=14.0, restarts=1, container="r2", ended="r1", exit_code=137)
    found = FAULT.proof(target(), evidence(ended))
    assert found is not None and found.at == 4.3 and "container router of demo-router-b ended" in found.text
    assert FAULT.proof(target(), evidence(ended._replace(pod="demo-router-c"))) is None, "another Router"
    assert FAULT.proof(target(), evidence(ended._replace(at=3.0))) is None, "before the fault"
    assert not FAULT.recovered(target(), evidence(ended))
    assert not FAULT.recovered(target(), evidence(ended, again._replace(ready=False)))
    assert FAULT.recovered(target(), evidence(ended, again))
    told = timeline(target(), evidence(ended, again), found, [])
    assert told.at("router-back") == 14.0 and told.phase("router-back") is not None
    assert told.at("elected") is None


def test_the_router_survives_the_file() -> None:
    made: Any = story.measurement(target=target())
    assert from_json(to_json(made)).target == made.target
