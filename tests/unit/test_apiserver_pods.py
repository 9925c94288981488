"""What only pods have: eviction, binding, scale of their owners, logs and exec."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer, pod
from kubernetes import client, config
from kubernetes.client.rest import ApiException
from kubernetes.stream import stream

from tiphys.local.apiserver.logs import _start_of_tail
from tiphys.local.kubelet.launch import Launch, save_launch

SPACE = "default"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    made = ApiServer(tmp_path_factory.mktemp("home"))
    made.start()
    yield made
    made.stop()
    assert '"trace"' not in made.log()


@pytest.fixture
def core(server: ApiServer) -> Iterator[client.CoreV1Api]:
    with config.new_client_from_config(str(server.settings.kubeconfig)) as api:
        made = client.CoreV1Api(api)
        yield made
        made.delete_collection_namespaced_pod(SPACE, grace_period_seconds=0)
        client.PolicyV1Api(api).delete_collection_namespaced_pod_disruption_budget(SPACE)


def running(server: ApiServer, core: client.CoreV1Api, name: str = "a", ready: str = "True") -> Any:
    """A pod as a kubelet would show it, with the launch that exec reads."""
    core.create_namespaced_pod(SPACE, pod(name, SPACE, nodeName="node-1"))
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": ready}],
        "containerStatuses": [
            {
                "name": "main",
                "image": "x",
                "imageID": "x",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
            }
        ],
    }
    made = core.patch_namespaced_pod_status(name, SPACE, {"status": status})
    folder = server.home / "pods" / made.metadata.uid
    (folder / "root").mkdir(parents=True)
    launch = Launch(["sleep"], {"PATH": os.environ["PATH"], "ROOM": "pod"}, folder / "root")
    save_launch(server.home, made.metadata.uid, "main", launch)
    return made


def budget(core: client.CoreV1Api, allowed: int, name: str = "guard", **status: Any) -> None:
    policy = client.PolicyV1Api(core.api_client)
    body = {"metadata": {"name": name}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "x"}}}}
    policy.create_namespaced_pod_disruption_budget(SPACE, body)
    told = {"disruptionsAllowed": allowed, "observedGeneration": 1, "currentHealthy": 2, "desiredHealthy": 2}
    told |= {"expectedPods": 3, **status}
    policy.patch_namespaced_pod_disruption_budget_status(name, SPACE, {"status": told})


def evict(core: client.CoreV1Api, name: str = "a", **more: Any) -> Any:
    body = {"metadata": {"name": name, "namespace": SPACE}, **more}
    return core.create_namespaced_pod_eviction(name, SPACE, body)


# --- eviction


def test_a_budget_lets_pods_go_until_it_is_spent(server: ApiServer, core: client.CoreV1Api) -> None:
    for name in ("a", "b"):
        running(server, core, name)
    budget(core, allowed=1)
    assert core.read_namespaced_pod("a", SPACE).metadata.deletion_timestamp is None
    core.create_namespaced_pod_eviction("a", SPACE, {"metadata": {"name": "a"}}, dry_run="All")
    assert core.read_namespaced_pod("a", SPACE).metadata.deletion_timestamp is None
    evict(core, "a")
    assert core.read_namespaced_pod("a", SPACE).metadata.deletion_timestamp
    left = client.PolicyV1Api(core.api_client).read_namespaced_pod_disruption_budget("guard", SPACE).status
    assert left.disruptions_allowed == 0 and list(left.disrupted_pods) == ["a"]
    with pytest.raises(ApiException) as refused:
        evict(core, "b")
    told = json.loads(refused.value.body)
    assert refused.value.status == 429 and told["reason"] == "TooManyRequests"
    assert told["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
    assert told["details"]["causes"] == [
        {
            "reason": "DisruptionBudget",
            "message": "The disruption budget guard needs 2 healthy pods and has 2 currently",
        }
    ]
    assert core.read_namespaced_pod("b", SPACE).metadata.deletion_timestamp is None


def test_a_budget_that_nobody_has_counted_yet_forbids(server: ApiServer, core: client.CoreV1Api) -> None:
    running(server, core)
    budget(core, allowed=1, observedGeneration=0)
    with pytest.raises(ApiException) as refused:
        evict(core)
    assert refused.value.status == 429 and refused.value.headers["Retry-After"] == "10"
    assert "is still being processed" in refused.value.body


def test_pods_that_are_not_ready_may_go_when_the_rest_is_healthy(server: ApiServer, core: client.CoreV1Api) -> None:
    running(server, core, ready="False")
    budget(core, allowed=0, currentHealthy=1)
    with pytest.raises(ApiException, match="needs 2 healthy pods and has 1 currently"):
        evict(core)
    told = {"status": {"currentHealthy": 2}}
    client.PolicyV1Api(core.api_client).patch_namespaced_pod_disruption_budget_status("guard", SPACE, told)
    evict(core)


def test_eviction_without_a_budget_or_of_a_finished_pod_is_a_deletion(
    server: ApiServer, core: client.CoreV1Api
) -> None:
    running(server, core)
    evict(core, deleteOptions={"gracePeriodSeconds": 7})
    assert core.read_namespaced_pod("a", SPACE).metadata.deletion_grace_period_seconds == 7
    budget(core, allowed=0)
    running(server, core, "b")
    core.patch_namespaced_pod_status("b", SPACE, {"status": {"phase": "Succeeded"}})
    evict(core, "b")
    with pytest.raises(ApiException, match="not found"):
        evict(core, "b")
    budget(core, allowed=1, name="second")
    running(server, core, "c")
    with pytest.raises(ApiException, match="more than one PodDisruptionBudget"):
        evict(core, "c")


# --- binding and scale


def test_a_pod_is_bound_to_a_node_once(core: client.CoreV1Api) -> None:
    core.create_namespaced_pod(SPACE, pod("a", SPACE))
    body = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "node-2"}}
    core.create_namespaced_pod_binding("a", SPACE, body, _preload_content=False)
    bound = core.read_namespaced_pod("a", SPACE)
    assert bound.spec.node_name == "node-2"
    assert [(item.type, item.status) for item in bound.status.conditions] == [("PodScheduled", "True")]
    with pytest.raises(ApiException, match="already assigned to node"):
        core.create_namespaced_pod_binding("a", SPACE, body, _preload_content=False)


def test_scale_is_a_view_of_the_workload(core: client.CoreV1Api) -> None:
    apps = client.AppsV1Api(core.api_client)
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "m", "image": "i:1"}]}}
    spec = {"serviceName": "w", "selector": {"matchLabels": {"app": "w"}}, "template": template}
    apps.create_namespaced_stateful_set(SPACE, {"metadata": {"name": "w"}, "spec": spec})
    scale = apps.read_namespaced_stateful_set_scale("w", SPACE)
    assert (scale.spec.replicas, scale.status.selector) == (1, "app=w")
    apps.patch_namespaced_stateful_set_scale("w", SPACE, {"spec": {"replicas": 5}})
    scaled = apps.read_namespaced_stateful_set("w", SPACE)
    assert scaled.spec.replicas == 5 and scaled.metadata.generation == 2
    with pytest.raises(ApiException, match="the object has been modified"):
        apps.replace_namespaced_stateful_set_scale("w", SPACE, scale)
    with pytest.raises(ApiException, match="greater than or equal to 0"):
        apps.patch_namespaced_stateful_set_scale("w", SPACE, {"spec": {"replicas": -1}})
    wrong = {**spec, "selector": {"matchLabels": {"app": "other"}}}
    with pytest.raises(ApiException, match="does not match template"):
        apps.create_namespaced_stateful_set(SPACE, {"metadata": {"name": "v"}, "spec": wrong})
    with pytest.raises(ApiException, match="updates to statefulset spec for fields other than"):
        apps.patch_namespaced_stateful_set("w", SPACE, {"spec": {"serviceName": "v"}})
    apps.delete_namespaced_stateful_set("w", SPACE)


# --- logs


def test_a_log_is_read_whole_by_its_end_and_as_it_was_before(server: ApiServer, core: client.CoreV1Api) -> None:
    made = running(server, core)
    folder = server.home / "pods" / made.metadata.uid
    with pytest.raises(ApiException, match="is waiting to start"):
        core.read_namespaced_pod_log("a", SPACE)
    (folder / "main.log").write_text("".join(f"line {number}\n" for number in range(100)))
    assert core.read_namespaced_pod_log("a", SPACE, container="main").count("\n") == 100
    assert core.read_namespaced_pod_log("a", SPACE, tail_lines=2) == "line 98\nline 99\n"
    assert core.read_namespaced_pod_log("a", SPACE, limit_bytes=4) == "line"
    with pytest.raises(ApiException, match="previous terminated container"):
        core.read_namespaced_pod_log("a", SPACE, previous=True)
    (folder / "main.prev.log").write_text("before\n")
    assert core.read_namespaced_pod_log("a", SPACE, previous=True) == "before\n"
    for refused in ({"since_seconds": 3}, {"timestamps": True}):
        with pytest.raises(ApiException, match="is not known here"):
            core.read_namespaced_pod_log("a", SPACE, **refused)
    with pytest.raises(ApiException, match="container other is not valid for pod a"):
        core.read_namespaced_pod_log("a", SPACE, container="other")


@pytest.mark.parametrize(
    "text", ["", "\n", "a", "a\n", "a\nb", "a\nb\n", "\n\n\n", "x" * 600_000 + "\ny\n" + "z" * 300_000]
)
@pytest.mark.parametrize("lines", [0, 1, 2, 3, 9])
def test_the_tail_of_a_file_is_found_from_its_end(tmp_path: Path, text: str, lines: int) -> None:
    (tmp_path / "log").write_text(text)
    with (tmp_path / "log").open("rb") as file:
        file.seek(_start_of_tail(file, lines))
        found = file.read().decode()
    wanted = text.splitlines(keepends=True)[-lines:] if lines else []
    assert found == "".join(wanted)


def test_a_followed_log_ends_when_the_container_does(server: ApiServer, core: client.CoreV1Api) -> None:
    made = running(server, core)
    log = server.home / "pods" / made.metadata.uid / "main.log"
    log.write_text("first\n")
    seen: list[str] = []

    def follow() -> None:
        answer = core.read_namespaced_pod_log("a", SPACE, follow=True, _preload_content=False)
        seen.extend(line.decode() for line in answer)

    following = threading.Thread(target=follow)
    following.start()
    for number in range(3):
        with log.open("a") as file:
            file.write(f"more {number}\n")
        time.sleep(0.05)
    ended = {"name": "main", "image": "x", "imageID": "x", "ready": False, "restartCount": 0}
    ended["state"] = {"terminated": {"exitCode": 0}}
    core.patch_namespaced_pod_status("a", SPACE, {"status": {"containerStatuses": [ended]}})
    following.join(20)
    assert not following.is_alive()
    assert "".join(seen) == "first\nmore 0\nmore 1\nmore 2\n"


# --- exec


def run(core: client.CoreV1Api, *command: str, **more: Any) -> Any:
    options = {"stdout": True, "stderr": True, "stdin": False, "tty": False, "_preload_content": False, **more}
    return stream(core.connect_get_namespaced_pod_exec, "a", SPACE, command=list(command), **options)


def end(seen: Any) -> None:
    seen.close()
    if seen.sock.sock:  # websocket-client forgets to close it when the server closed first
        seen.sock.sock.close()


def test_a_command_runs_in_the_containers_environment(server: ApiServer, core: client.CoreV1Api) -> None:
    made = running(server, core)
    seen = run(core, "sh", "-c", "echo $ROOM; pwd; echo oops >&2; exit 3")
    seen.run_forever(timeout=60)
    root = server.home / "pods" / made.metadata.uid / "root"
    assert seen.read_stdout() == f"pod\n{root}\n" and seen.read_stderr() == "oops\n"
    assert seen.returncode == 3
    end(seen)
    good = run(core, "true")
    good.run_forever(timeout=60)
    assert good.returncode == 0
    end(good)


def test_a_command_reads_its_input(server: ApiServer, core: client.CoreV1Api) -> None:
    running(server, core)
    seen = run(core, sys.executable, "-c", "print(sum(len(input()) for _ in range(2)))", stdin=True)
    seen.write_stdin("x" * 200_000 + "\n")
    seen.write_stdin("yy\n")
    seen.run_forever(timeout=60)
    assert seen.read_stdout() == "200002\n" and seen.returncode == 0
    end(seen)


def test_a_terminal_is_a_terminal(server: ApiServer, core: client.CoreV1Api) -> None:
    running(server, core)
    seen = run(core, "sh", "-c", "test -t 0 && test -t 1 && read x && echo got $x", stdin=True, tty=True)
    seen.write_stdin("me\n")
    seen.run_forever(timeout=60)
    assert "got me" in seen.read_stdout() and seen.returncode == 0
    end(seen)


def test_a_command_ends_when_its_client_leaves(server: ApiServer, core: client.CoreV1Api) -> None:
    made = running(server, core)
    seen = run(core, "sh", "-c", "echo $$ > pid; sleep 300")
    file = server.home / "pods" / made.metadata.uid / "root" / "pid"
    deadline = time.monotonic() + 60
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    end(seen)
    number = int(file.read_text())
    while Path(f"/proc/{number}").exists():
        assert time.monotonic() < deadline, "the command outlives its client"
        time.sleep(0.02)


def test_what_cannot_be_run_says_why(server: ApiServer, core: client.CoreV1Api) -> None:
    running(server, core)
    seen = run(core, "/no/such/program")
    seen.run_forever(timeout=60)
    with pytest.raises(Exception):  # noqa: B017 - the client has no exit code to return and stumbles over it
        assert seen.returncode is None
    end(seen)
    core.create_namespaced_pod(SPACE, pod("b", SPACE))
    with pytest.raises(ApiException, match="is not running"):
        stream(core.connect_get_namespaced_pod_exec, "b", SPACE, command=["true"])
    place = f"/api/v1/namespaces/{SPACE}/pods/a/exec?command=true"
    code, body = server.request("POST", place)
    assert code == 400 and b"WebSockets only" in body
