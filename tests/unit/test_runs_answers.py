"""`tiphys resume`, `stop` and `terminate`: what they change of a run, through nothing but a kubeconfig.

The API server is the real one of the local platform. No engine and no server of Argo runs.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from gateway_help import create, in_kube, objects, workflows
from http_help import Quiet, serving
from platform_help import new_home, running
from test_runs import call, node, put_run

from steps.errors import BadParameters
from steps.kube.workflows import nodes_of, resume_patch, waiting
from tiphys.local.client import Kube
from tiphys.local.platform.access import write_kubeconfig
from tiphys.local.settings import Settings
from tiphys.runs.api import Address, Cluster, Object
from tiphys.runs.resuming import TRIES, let_go_on, shut_down

ASKED = {"parameters": [{"name": "approve", "valueFrom": {"supplied": {}, "default": "NO"}}]}
INPUTS = {"parameters": [{"name": "approve", "value": "NO", "enum": ["YES", "NO"]}]}
FORM = node("form", "Suspend", "Running", "asks", inputs=INPUTS, outputs=ASKED)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = new_home(tmp_path_factory.mktemp("home"))
    with running("tiphys.local.apiserver", settings):
        create(settings.home, objects())
        write_kubeconfig(settings)
        yield settings


@pytest.fixture
def elsewhere(platform: Settings, tmp_path: Path) -> str:
    """A kubeconfig that is not a platform's own: the cluster is then as good as any."""
    file = tmp_path / "of-a-cluster"
    file.write_text(platform.kubeconfig.read_text())
    return str(file)


def patch(platform: Settings, name: str, change: Object) -> None:
    async def change_it(kube: Kube) -> None:
        await kube.patch("workflows", name, change, "tiphys")

    in_kube(platform.home, change_it)


def test_stop_and_terminate_ask_argo_to_shut_down(platform: Settings, elsewhere: str) -> None:
    for command, how in (("stop", "Stop"), ("terminate", "Terminate")):
        put_run(platform, f"to-{command}", "Running", [])
        assert call(platform, command, f"to-{command}", kubeconfig=elsewhere).returncode == 0
        assert workflows(platform.home)[f"to-{command}"]["spec"]["shutdown"] == how
    late = call(platform, "stop", "to-terminate", "--kubeconfig", elsewhere)
    assert late.returncode == 1 and "is being terminated already, without its exit handler" in late.stderr
    assert call(platform, "terminate", "to-stop").returncode == 0, "who is in a hurry may still say so"
    put_run(platform, "over", "Succeeded", [])
    for command in ("stop", "terminate", "resume"):
        done = call(platform, command, "over", kubeconfig=elsewhere)
        assert done.returncode == 1 and "run over has ended already: Succeeded" in done.stderr
        unknown = call(platform, command, "not-there", kubeconfig=elsewhere)
        assert unknown.returncode == 1 and "no run not-there in namespace tiphys" in unknown.stderr
    assert "shutdown" not in workflows(platform.home)["over"]["spec"]


def test_a_run_that_argo_would_not_stop_is_ended_all_the_same(platform: Settings, elsewhere: str) -> None:
    put_run(platform, "waits", "Pending", [])
    done = call(platform, "stop", "waits", kubeconfig=elsewhere)
    assert done.returncode == 0 and "waits had not begun, and is ended at once" in done.stdout
    assert workflows(platform.home)["waits"]["spec"]["shutdown"] == "Terminate"
    put_run(platform, "asleep", "Running", [node("asleep", "Steps", "Running")])
    patch(platform, "asleep", {"spec": {"suspend": True}})
    assert call(platform, "stop", "asleep", kubeconfig=elsewhere).returncode == 0
    spec = workflows(platform.home)["asleep"]["spec"]
    assert spec["shutdown"] == "Stop" and "suspend" not in spec


def test_a_run_that_begins_while_it_is_stopped_keeps_its_exit_handler(platform: Settings) -> None:
    put_run(platform, "begins", "Pending", [])
    busy = Busy(platform, 1)
    assert shut_down(busy, "begins", "Stop") == "Stop"
    assert workflows(platform.home)["begins"]["spec"]["shutdown"] == "Stop"


def test_resume_answers_what_is_asked(platform: Settings, elsewhere: str) -> None:
    put_run(platform, "asks", "Running", [node("asks", "Steps", "Running"), FORM])
    late = call(platform, "wait", "asks", "--timeout", "0.1").stderr.splitlines()
    hint = "waits for a person: tiphys resume asks -p approve=YES|NO"
    assert late[-1].endswith(f"it {hint}") and any(line.endswith(f"form Suspended: {hint}") for line in late)
    for words, said in (
        ([], "approve must be given: add -p approve=YES|NO"),
        (["-p", "approve=MAYBE"], "not one of: YES, NO"),
        (["-p", "agree=YES"], "nobody asks for agree; asked for: approve"),
    ):
        done = call(platform, "resume", "asks", *words, kubeconfig=elsewhere)
        assert done.returncode == 1 and said in done.stderr
    assert call(platform, "resume", "asks", "-p", "approve=YES", kubeconfig=elsewhere).returncode == 0
    now = workflows(platform.home)["asks"]["status"]["nodes"]["form"]
    assert now["phase"] == "Succeeded" and now["outputs"]["parameters"] == [{"name": "approve", "value": "YES"}]
    again = call(platform, "resume", "asks")
    assert again.returncode == 1 and "does not wait for anybody" in again.stderr


def test_a_run_that_is_suspended_as_a_whole_goes_on(platform: Settings, elsewhere: str) -> None:
    put_run(platform, "held", "Running", [node("held", "Steps", "Running")])
    patch(platform, "held", {"spec": {"suspend": True}})
    assert call(platform, "resume", "held", kubeconfig=elsewhere).returncode == 0
    assert "suspend" not in workflows(platform.home)["held"]["spec"]


def test_a_run_that_is_being_shut_down_cannot_go_on(platform: Settings) -> None:
    put_run(platform, "ending", "Running", [FORM])
    patch(platform, "ending", {"spec": {"shutdown": "Stop"}})
    done = call(platform, "resume", "ending", "-p", "approve=YES")
    assert done.returncode == 1 and "run ending is being shut down (Stop); it cannot go on" in done.stderr


def test_nodes_that_argo_packed_are_answered_where_they_are() -> None:
    nodes = {"asks": node("asks", "Steps", "Running"), "form": FORM}
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    run = {"metadata": {"name": "asks", "resourceVersion": "7"}, "status": {"compressedNodes": packed}}
    made = resume_patch(run, {"approve": "YES"})
    assert "nodes" not in made["status"], "Argo reads the packed ones only where there are no others"
    assert made["metadata"] == {"resourceVersion": "7"}
    after = nodes_of({"status": made["status"]})
    assert after["asks"] == nodes["asks"] and after["form"]["phase"] == "Succeeded"
    assert after["form"]["outputs"]["parameters"] == [{"name": "approve", "value": "YES"}]
    both = {"nodes": {"form": {**FORM, "phase": "Succeeded"}}, "compressedNodes": packed}
    assert not waiting({"status": both})
    with pytest.raises(BadParameters, match="in the database of Argo's server.*`argo resume far`"):
        resume_patch({"metadata": {"name": "far"}, "status": {"offloadNodeStatusVersion": "fnv:1"}}, {})


class Busy(Cluster):
    """A cluster whose controller writes the run between every reading of it and the answer, some times."""

    def __init__(self, platform: Settings, times: int):
        super().__init__(Address(platform.kubeconfig, platform, None))
        self.platform, self.times = platform, times

    def workflow(self, name: str) -> Object:
        found = super().workflow(name)
        if self.times:
            self.times -= 1
            patch(self.platform, name, {"status": {"nodes": {"form": {"message": f"written {self.times}"}}}})
        return found


def test_an_answer_to_a_run_that_changes_meanwhile_is_given_again(platform: Settings) -> None:
    put_run(platform, "moves", "Running", [FORM])
    with pytest.raises(Exception, match=f"run moves changed each of {TRIES} times that it was answered; try again"):
        let_go_on(Busy(platform, TRIES), "moves", {"approve": "YES"})
    assert workflows(platform.home)["moves"]["status"]["nodes"]["form"]["phase"] == "Running"
    let_go_on(Busy(platform, 2), "moves", {"approve": "YES"})
    form = workflows(platform.home)["moves"]["status"]["nodes"]["form"]
    assert (form["phase"], form["message"]) == ("Succeeded", "written 0")


def test_who_may_not_is_told_so(platform: Settings, tmp_path: Path) -> None:
    put_run(platform, "mine", "Running", [FORM])
    run = workflows(platform.home)["mine"]
    with only_reading(run) as port:
        file = tmp_path / "reader"
        file.write_text(platform.kubeconfig.read_text().replace(platform.api_tls_url, f"http://127.0.0.1:{port}"))
        for command in (["stop"], ["terminate"], ["resume", "-p", "approve=YES"]):
            done = call(platform, command[0], "mine", *command[1:], "--kubeconfig", str(file))
            assert done.returncode == 1 and "not allowed (403): User reader cannot patch" in done.stderr
            assert "ask for the right" in done.stderr
        done = call(platform, "stop", "another", "--kubeconfig", str(file))
        assert done.returncode == 1 and "no run another in namespace tiphys; you may not list" in done.stderr


@contextmanager
def only_reading(run: Object) -> Iterator[int]:
    """An API server that shows one run and lets nobody list or change any; it yields its port."""

    class Answers(Quiet):
        def do_GET(self) -> None:
            *_, collection, name = self.path.split("/")
            if (collection, name) == ("workflows", run["metadata"]["name"]):
                self._say(200, run)
            elif name == "workflows":
                self._say(403, {"message": "User reader cannot list resource workflows"})
            else:
                self._say(404, {"message": "not found"})

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._say(403, {"message": "User reader cannot patch resource workflows"})

        def _say(self, status: int, body: Object) -> None:
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

    with serving(Answers) as port:
        yield port
