"""Freezing and thawing a real process by the very commands that run in a container."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import drill_story as story
import pytest
from platform_help import eventually

from steps.drill.evidence import Evidence, Process
from steps.drill.fault import Scene
from steps.drill.freeze import _IDENTIFY, Freeze, _run
from steps.drill.target import memory
from steps.errors import StepError
from steps.kube.client import Executed, Kube, Object
from steps.mysql.connection import Credentials

FREEZE = Freeze()


class OnePod:
    """An API server with one pod, whose container is this machine."""

    def __init__(self) -> None:
        status = {"name": "mysql", "containerID": "c1", "restartCount": 0}
        meta = {"name": "demo-0", "uid": "uid-1"}
        self.pod: Object | None = {"metadata": meta, "status": {"containerStatuses": [status]}}
        self.commands = 0

    def find(self, resource: str, name: str) -> Object | None:
        return self.pod

    def execute(self, pod: str, container: str, command: Sequence[str], *, timeout: float) -> Executed:
        self.commands += 1
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
        return Executed(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def pod() -> OnePod:
    return OnePod()


@pytest.fixture
def scene(pod: OnePod) -> Scene:
    return Scene(cast(Kube, pod), "demo", Credentials("root", "secret"))


@pytest.fixture
def process(scene: Scene, tmp_path: Path) -> Iterator[Process]:
    """A process whose name has blanks and a bracket, as it is found by its pid file."""
    program = tmp_path / "my sql) d"
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "600"]) as running:
        file = tmp_path / "pid"
        file.write_text(str(running.pid))
        pid, started = _run(scene, "demo-0", _IDENTIFY % f"'{file}'").split()
        yield Process(int(pid), int(started))
        running.kill()


def state(process: Process) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2][:1]


def target(process: Process) -> Any:
    return replace(story.measurement().target, process=process)


def test_it_stops_and_undoing_lets_it_go_on_as_often_as_one_likes(scene: Scene, process: Process) -> None:
    aimed = target(process)
    assert FREEZE.inject(scene, aimed) == f"process {process.pid} (mysqld) of demo-0 is in state T (stopped)"
    assert state(process) == "T"
    noted = memory(aimed)
    assert FREEZE.undo(scene, noted) == [f"mysqld (process {process.pid}) in demo-0 goes on"]
    eventually(lambda: state(process) == "S")
    assert FREEZE.undo(scene, noted) == []
    FREEZE.inject(scene, aimed)
    FREEZE.stop(scene, aimed)
    eventually(lambda: state(process) == "S")


def test_what_is_another_process_by_now_is_neither_stopped_nor_let_go(scene: Scene, process: Process) -> None:
    FREEZE.inject(scene, target(process))
    other = target(replace(process, started=process.started + 1))
    assert FREEZE.undo(scene, memory(other)) == [] and state(process) == "T"
    FREEZE.stop(scene, target(process))
    with pytest.raises(StepError, match="did not stop"):
        FREEZE.inject(scene, other)
    eventually(lambda: state(process) == "S")


def test_nothing_is_run_in_another_pod_or_container(scene: Scene, pod: OnePod, process: Process) -> None:
    noted = memory(target(process))
    before = pod.commands
    assert FREEZE.undo(scene, {**noted, "uid": "uid-2"}) == []
    assert FREEZE.undo(scene, {**noted, "container": "c2"}) == []
    pod.pod = None
    assert FREEZE.undo(scene, noted) == []
    assert FREEZE.undo(scene, {"primary": "demo-0"}) == [], "another fault's note"
    assert pod.commands == before


def test_a_container_that_cannot_be_asked_is_an_error_and_not_undone(scene: Scene, process: Process) -> None:
    class Mute(OnePod):
        def execute(self, *_: Any, **__: Any) -> Executed:
            return Executed(1, "", "no shell")

    mute = Scene(cast(Kube, Mute()), "demo", scene.credentials)
    with pytest.raises(StepError, match="no shell"):
        FREEZE.undo(mute, memory(target(process)))


def test_process_one_is_refused_before_anything_is_changed() -> None:
    (reason,) = FREEZE.obstacles(target(Process(1, 5)))
    assert "process 1" in reason and "shareProcessNamespace" in reason
    assert FREEZE.obstacles(target(Process(12, 5))) == []


def test_the_proof_needs_both_the_state_and_the_silence() -> None:
    m = story.measurement(witness="process 7 (mysqld) of demo-0 is in state T (stopped)")
    found = FREEZE.proof(m.target, m.evidence())
    assert found is not None and found.text.endswith("is in state T (stopped); it no longer answers")
    assert story.FAULT_AT < found.at <= found.seen_at
    evidence = m.evidence()
    assert FREEZE.proof(m.target, replace(evidence, witness="")) is None
    talking = [s for s in m.members if s.view is not None]
    answers = Evidence(story.FAULT_AT, m.pods, talking, m.observed(), evidence.witness, evidence.witnessed_at)
    assert FREEZE.proof(m.target, answers) is None
