from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_help import clean, eventually, new_home

from tiphys.local.platform import processes
from tiphys.local.platform.ending import end_everything
from tiphys.local.platform.parts import Part
from tiphys.local.platform.processes import Process, of_platform
from tiphys.local.platform.record import Record, hold, is_up
from tiphys.local.platform.supervisor import part_environment, restart_delay
from tiphys.local.settings import Settings

PARTS = ("s3", "apiserver", "engine", "kubelet")
"""Stand-ins under the real parts' names; the kubelet starts a pod that outlives it and does not heed TERM."""

PART = """
import json, os, signal, socket, subprocess, sys, time
home = sys.argv[2]
def note(word):
    with open(home + "/told", "a") as file:
        file.write(word + " {name}\\n")
def end(*_):
    note("end")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("start")
if "{name}" == "kubelet" and not os.path.exists(home + "/pod"):
    script = "trap '' TERM; echo $$ > " + home + "/pod; while :; do sleep 0.1; done"
    subprocess.Popen(["sh", "-c", script], start_new_session=True)
if "{name}" == "engine" and os.path.exists(home + "/broken"):
    sys.exit(7)
if "{name}" == "apiserver":
    number = json.load(open(home + "/platform.json"))["network"]
    listening = socket.create_server((f"127.{{number}}.0.1", 6443))
time.sleep(1000)
"""

SUPERVISOR = """
import sys
from tiphys.local.platform.parts import Part
from tiphys.local.platform.supervisor import Supervisor
from tiphys.local.service import run_part
names = {names!r}
parts = [Part(name, "fakes." + name, "") for name in names] + [Part("ghost", "fakes.ghost", "")]
sys.exit(run_part("supervisor", lambda home: Supervisor(home, parts, 0.5).run()))
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    for name in PARTS:
        package = tmp_path / "code" / "fakes" / name
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        (package / "__main__.py").write_text(PART.format(name=name))
    (tmp_path / "code" / "fakes" / "__init__.py").touch()
    (tmp_path / "code" / "keeper.py").write_text(SUPERVISOR.format(names=PARTS))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"))
    settings = new_home(tmp_path / "home")
    yield settings
    clean(settings.home)


def start(settings: Settings) -> subprocess.Popen[bytes]:
    with (settings.home / "supervisor.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "keeper", "--home", str(settings.home)],
            stdout=log,
            stderr=log,
            env=part_environment(settings.home),
        )


def told(settings: Settings) -> list[str]:
    path = settings.home / "told"
    return path.read_text().splitlines() if path.exists() else []


def all_running(settings: Settings) -> bool:
    parts = Record.load(settings.home).parts
    return all(parts.get(name) and parts[name].state == "running" for name in PARTS) and len(told(settings)) >= 4


def pod_is_there(settings: Settings) -> bool:
    path = settings.home / "pod"
    return path.exists() and bool(path.read_text().strip()) and processes.read(int(path.read_text())) is not None


def test_parts_are_kept_and_ended_in_reverse_with_the_pods_in_between(settings: Settings) -> None:
    assert not is_up(settings.home)
    supervisor = start(settings)
    eventually(lambda: all_running(settings) and pod_is_there(settings))
    assert is_up(settings.home)
    record = Record.load(settings.home)
    assert record.parts["ghost"].state == "absent"

    os.kill(record.parts["engine"].pid, signal.SIGKILL)
    eventually(lambda: Record.load(settings.home).parts["engine"].restarts == 1 and all_running(settings))
    eventually(lambda: told(settings).count("start engine") == 2)
    assert Record.load(settings.home).parts["engine"].pid != record.parts["engine"].pid

    rival = start(settings)
    assert rival.wait(60) == 1, "two supervisors kept one platform"

    supervisor.send_signal(signal.SIGTERM)
    supervisor.send_signal(signal.SIGINT)  # an impatient second signal must not cut the ending short
    assert supervisor.wait(60) == 0
    assert not is_up(settings.home)
    assert [line for line in told(settings) if line.startswith("end")] == [
        "end kubelet",
        "end engine",
        "end apiserver",
        "end s3",
    ]
    assert not of_platform(settings.home), "a process was left"
    assert Record.load(settings.home).left == []


def test_a_killed_supervisor_leaves_the_pods_and_the_next_one_takes_over(settings: Settings) -> None:
    first = start(settings)
    eventually(lambda: all_running(settings) and pod_is_there(settings))
    pod = (settings.home / "pod").read_text()
    old = {name: part.pid for name, part in Record.load(settings.home).parts.items() if part.pid}
    first.kill()
    first.wait(60)
    assert not is_up(settings.home), "a dead supervisor was taken for a live one"
    assert all(processes.read(pid) for pid in old.values())

    second = start(settings)
    eventually(lambda: Record.load(settings.home).pid == second.pid and all_running(settings))
    assert not any(processes.read(pid) for pid in old.values()), "a part ran twice"
    assert pod_is_there(settings) and (settings.home / "pod").read_text() == pod
    second.kill()
    second.wait(60)

    # `tiphys down` without a supervisor.
    parts = [Part(name, f"fakes.{name}", "") for name in PARTS]
    said: list[str] = []
    left = end_everything(settings.home, lambda *words: said.append(" ".join(words).strip()), (), parts, 0.5)
    assert left == [] and of_platform(settings.home) == []
    assert said[0] == "kubelet stopping" and said[-1] == "s3 stopped"
    assert any(re.fullmatch(r"pods stopping [12] processes, .*", line) for line in said), said


def test_a_part_that_keeps_failing_is_tried_again_ever_more_slowly(settings: Settings) -> None:
    (settings.home / "broken").touch()
    supervisor = start(settings)
    eventually(lambda: Record.load(settings.home).parts.get("engine") is not None)
    eventually(lambda: Record.load(settings.home).parts["engine"].restarts >= 3)
    assert "ended with code 7" in Record.load(settings.home).parts["engine"].message
    (settings.home / "broken").unlink()
    eventually(lambda: all_running(settings))
    supervisor.terminate()
    assert supervisor.wait(60) == 0


def test_restarts_are_quick_first_and_bounded() -> None:
    delays = [restart_delay(ends) for ends in range(1, 12)]
    assert delays[0] < 0.5 and delays == sorted(delays) and delays[-1] == 30


def test_a_process_is_known_by_more_than_its_number(tmp_path: Path) -> None:
    child = subprocess.Popen(["sleep", "100"], env={**os.environ, "TIPHYS_PLATFORM": str(tmp_path)})
    try:
        (found,) = of_platform(tmp_path)
        assert found.pid == child.pid and processes.is_alive(found)
        namesake = Process(found.pid, found.parent, found.ticks - 1, found.words)
        assert not processes.is_alive(namesake)
        processes.send(namesake, signal.SIGKILL)
        assert child.poll() is None, "the signal went to another process of that number"
        assert of_platform(tmp_path / "other") == []
    finally:
        child.kill()
        child.wait(60)
    assert of_platform(tmp_path) == []


def test_the_lock_belongs_to_one(tmp_path: Path) -> None:
    handle = hold(tmp_path)
    assert handle is not None and is_up(tmp_path)
    assert hold(tmp_path, seconds=0.2) is None
    os.close(handle)
    assert not is_up(tmp_path)
