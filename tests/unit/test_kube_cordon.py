"""Cordons that can be taken back, on a real API server: by whomever, whenever the one who cordoned was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer

from steps.errors import Refused
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.cordon import ANNOTATION, Cordon, cordon, is_cordoned, noted, read, release

NODE = "worker"
MINE = Cordon("drill-1", "tiphys", "2026-11-21T12:00:00+00:00")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    running = ApiServer(tmp_path_factory.mktemp("cordon"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def kube(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
    made = client.connect("tiphys")
    made.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "annotations": {"a": "b"}}})
    yield made
    made.delete("nodes", NODE)
    made.close()


def state(kube: Kube) -> tuple[bool, bool]:
    """Whether the node is cordoned, and whether it carries a note."""
    node = kube.get("nodes", NODE)
    assert node["metadata"]["annotations"]["a"] == "b", "a stranger's annotation is gone"
    return is_cordoned(node), read(node) is not None


def test_a_cordon_says_whose_it_is_and_goes_without_a_trace(kube: Kube) -> None:
    assert cordon(kube, NODE, MINE) == MINE
    assert state(kube) == (True, True) and noted(kube) == [(NODE, MINE)]
    assert cordon(kube, NODE, MINE) == MINE, "again is no change: the state before is that before the first time"
    assert "uncordoned" in release(kube, NODE, "drill-1")
    assert state(kube) == (False, False) and noted(kube) == []
    assert release(kube, NODE, "drill-1") == "" and state(kube) == (False, False)


def test_somebody_else_s_cordon_stays(kube: Kube) -> None:
    kube.patch("nodes", NODE, {"spec": {"unschedulable": True}})
    assert cordon(kube, NODE, MINE).before is True
    assert "stays cordoned" in release(kube, NODE, "drill-1")
    assert state(kube) == (True, False)
    assert release(kube, NODE, "drill-1") == "" and state(kube) == (True, False)


def test_one_who_uncordons_meanwhile_is_not_overruled(kube: Kube) -> None:
    kube.patch("nodes", NODE, {"spec": {"unschedulable": True}})
    cordon(kube, NODE, MINE)
    kube.patch("nodes", NODE, {"spec": {"unschedulable": None}})
    release(kube, NODE, "drill-1")
    assert state(kube) == (False, False)


def test_another_drill_s_note_is_left_alone(kube: Kube) -> None:
    cordon(kube, NODE, MINE)
    with pytest.raises(Refused, match="drill-1"):
        cordon(kube, NODE, Cordon("drill-2", "tiphys", "now"))
    assert release(kube, NODE, "drill-2") == "" and state(kube) == (True, True)
    stranger = kube.within("other")
    assert noted(stranger) == [] and release(stranger, NODE, "drill-1") == "", "a run of that name in another namespace"
    assert state(kube) == (True, True)


def test_a_note_that_cannot_be_read_is_nobody_s_and_keeps_its_cordon(kube: Kube) -> None:
    kube.patch("nodes", NODE, {"metadata": {"annotations": {ANNOTATION: "{"}}, "spec": {"unschedulable": True}})
    with pytest.raises(Refused):
        cordon(kube, NODE, MINE)
    assert noted(kube) == [] and release(kube, NODE, "drill-1") == "" and state(kube) == (True, True)


def test_a_write_of_somebody_else_in_between_is_seen(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator cordons between our look and our write: that is theirs, and stays."""
    real = kube.get
    meddled: list[bool] = []

    def get(resource: str, name: str) -> dict[str, Any]:
        found = real(resource, name)
        if not meddled:
            meddled.append(True)
            kube.patch("nodes", NODE, {"spec": {"unschedulable": True}})
        return found

    monkeypatch.setattr(kube, "get", get)
    assert cordon(kube, NODE, MINE).before is True
    monkeypatch.undo()


KILLED = """
import os, signal, sys
from steps.kube.client import Kube, connect
from steps.kube.cordon import Cordon, cordon, release
real, writes = Kube.patch, []
def patch(self, *arguments, **named):
    at, when = int(sys.argv[1]), sys.argv[2]
    writes.append(1)
    if len(writes) == at and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(self, *arguments, **named)
    if len(writes) == at and when == "after":
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Kube.patch = patch
kube = connect("tiphys")
cordon(kube, "worker", Cordon("drill-1", "tiphys", "now"))
release(kube, "worker", "drill-1")
"""


@pytest.mark.parametrize("cordoned", [False, True], ids=["free", "cordoned by hand"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", [1, 2])
def test_killed_at_any_write_it_is_put_back(
    server: ApiServer, kube: Kube, write: int, when: str, cordoned: bool
) -> None:
    if cordoned:
        kube.patch("nodes", NODE, {"spec": {"unschedulable": True}})
    environment = {**os.environ, "KUBECONFIG": str(server.settings.kubeconfig)}
    command = [sys.executable, "-c", KILLED, str(write), when]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    at_work = (write, when) in ((1, "after"), (2, "before"))
    assert state(kube) == (cordoned or at_work, at_work)
    for name, note in noted(kube):
        release(kube, name, note.workflow)
    assert state(kube) == (cordoned, False)


def test_the_note_is_read_with_fields_that_are_not_known_yet() -> None:
    text = json.dumps({"workflow": "w", "namespace": "n", "since": "t", "newer": 1})
    assert read({"metadata": {"annotations": {ANNOTATION: text}}}) == Cordon("w", "n", "t")
    assert read({"metadata": {}}) is None
