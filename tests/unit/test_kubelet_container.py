"""One container's life after a kubelet that ended at the worst moments."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tiphys.local.kubelet.container import Container, PodView
from tiphys.local.kubelet.launch import Launch
from tiphys.local.kubelet.processes import CONTAINER_VARIABLE, members
from tiphys.local.kubelet.records import Record
from tiphys.local.kubelet.runtime import UNKNOWN_EXIT, Exit, new_container_id

POD = {"metadata": {"name": "p", "namespace": "tiphys", "uid": "u"}, "spec": {}, "status": {"podIP": "127.82.1.1"}}


def container(home: Path, script: str, policy: str = "Never") -> Container:
    (home / "pods/u").mkdir(parents=True, exist_ok=True)

    async def prepare(_spec: Mapping[str, Any], identity: str) -> Launch:
        env = {"PATH": os.environ["PATH"], CONTAINER_VARIABLE: identity}
        return Launch(["sh", "-c", script], env, home)

    view = PodView(home, lambda: POD, prepare, lambda: None, lambda *_: None)
    return Container(view, {"name": "main", "image": "localhost/host:1"}, policy)


async def test_a_run_that_was_noted_but_not_started_is_started_once(tmp_path: Path) -> None:
    (tmp_path / "pods/u").mkdir(parents=True)
    Record.load(tmp_path / "pods/u/main").begin(new_container_id(), time.time())
    again = container(tmp_path, "echo ran >> once; exit 7")
    again.adopt()
    assert await again.run() == 7
    assert (tmp_path / "once").read_text() == "ran\n"
    assert again.record.restarts == 0


async def test_a_restart_that_was_noted_but_not_done_counts_once(tmp_path: Path) -> None:
    (tmp_path / "pods/u").mkdir(parents=True)
    record = Record.load(tmp_path / "pods/u/main")
    record.begin(new_container_id(), time.time())
    record.end(Exit(1, time.time()))
    record.begin(new_container_id(), time.time())
    again = container(tmp_path, "exit 0", "OnFailure")
    again.adopt()
    assert await again.run() == 0
    assert again.record.restarts == 1
    assert (again.record.last or {})["exitCode"] == 1


async def test_a_run_whose_shim_was_lost_is_an_unknown_end_and_not_done_twice(tmp_path: Path) -> None:
    (tmp_path / "pods/u").mkdir(parents=True)
    record = Record.load(tmp_path / "pods/u/main")
    identity = new_container_id()
    record.begin(identity, time.time())
    (tmp_path / "pods/u/main.shim").write_text(
        f"{identity}\n999999999 (sh) S 1 2 3 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0\n"
    )
    again = container(tmp_path, "echo ran >> once")
    again.adopt()
    assert await again.run() == UNKNOWN_EXIT
    assert not (tmp_path / "once").exists()
    assert (again.record.terminated or {})["reason"] == "ContainerStatusUnknown"
    assert members(identity) == []


@pytest.mark.parametrize("damage", ["", "{", "[1]", '{"no": "such field"}'])
async def test_a_damaged_record_does_not_start_a_container_that_runs_already(tmp_path: Path, damage: str) -> None:
    first = container(tmp_path, "echo ran >> once; while [ ! -e go ]; do sleep 0.02; done; exit 5")
    running = asyncio.create_task(first.run())
    async with asyncio.timeout(30):
        while not (tmp_path / "once").exists():
            await asyncio.sleep(0.01)
    identity = first.record.container_id
    first.detach()
    running.cancel()
    (tmp_path / "pods/u/main.run.json").write_text(damage)
    again = container(tmp_path, "exit 99")
    again.adopt()
    assert again.record.container_id == identity and "running" in again.state
    (tmp_path / "go").touch()
    assert await again.run() == 5
    assert (tmp_path / "once").read_text() == "ran\n"
    assert Record.load(tmp_path / "pods/u/main").terminated == again.record.terminated
