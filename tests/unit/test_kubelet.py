"""The kubelet against a real API server, with real processes as containers."""

from __future__ import annotations

import base64
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pods_help import (
    Cluster,
    cluster,
    condition,
    gone,
    main_status,
    phase_is,
    pod,
    signal_main,
    until,
    wait_pod,
)

from tiphys.local.client import Conflict, Kube, NotFound
from tiphys.local.kubelet.launch import LaunchError, exec_env, exec_launch, main_process

FOREVER = "trap 'exit 0' TERM; echo up; while :; do sleep 0.02; done"
DEAF = "trap '' TERM; echo up; while :; do sleep 0.02; done"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("kubelet"), "kubelet") as made:
        yield made


@pytest.fixture
async def kube(platform: Cluster) -> AsyncIterator[Kube]:
    async with Kube.from_home(platform.home) as client:
        await client.wait_ready()
        yield client
        for item in await client.list("pods", "tiphys"):
            if item["metadata"].get("finalizers"):
                patch = {"metadata": {"finalizers": None}}
                await client.patch("pods", item["metadata"]["name"], patch, "tiphys")
            with suppress(NotFound):
                await client.delete("pods", item["metadata"]["name"], "tiphys", grace=0)

        await until(lambda: not platform.processes(), "the end of all processes")


def running(pod: dict[str, Any]) -> bool:
    return "running" in main_status(pod)["state"]


def log_of(platform: Cluster, pod: dict[str, Any], suffix: str = "log") -> str:
    try:
        return (platform.folder(pod) / f"main.{suffix}").read_text()
    except FileNotFoundError:
        return ""


async def test_a_step_runs_once_with_its_environment_and_files(platform: Cluster, kube: Kube) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "tiphys"}}
    await kube.create("secrets", secret | {"data": {"word": base64.b64encode(b"s3cret").decode()}})
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "conf", "namespace": "tiphys"}}
    await kube.create("configmaps", config | {"data": {"my.cnf": "[mysqld]\n", "COLOUR": "blue"}})
    env = [
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "word"}}},
        {"name": "NONE", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "no", "optional": True}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "KIND", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['kind']"}}},
        {"name": "BOTH", "value": "$(WORD)-$(IP)-$(UNKNOWN)-$$(WORD)"},
    ]
    made = await kube.create(
        "pods",
        pod(
            "step",
            'echo "$WORD ${NONE-unset} $IP $KIND $COLOUR"; echo "$BOTH"; cat etc/conf/my.cnf; exit 20',
            labels={"kind": "drill"},
            env=env,
            envFrom=[{"configMapRef": {"name": "conf"}}],
            volumes=[{"name": "c", "configMap": {"name": "conf", "items": [{"key": "my.cnf", "path": "my.cnf"}]}}],
            volumeMounts=[{"name": "c", "mountPath": "/etc/conf"}],
        ),
    )
    ended = await wait_pod(kube, "step", phase_is("Failed", "Succeeded"))
    address = ended["status"]["podIP"]
    assert log_of(platform, made) == (
        f"s3cret unset {address} drill blue\ns3cret-{address}-$(UNKNOWN)-$(WORD)\n[mysqld]\n"
    )
    assert ended["status"]["phase"] == "Failed"
    assert main_status(ended)["state"]["terminated"]["exitCode"] == 20
    assert main_status(ended)["state"]["terminated"]["reason"] == "Error"
    assert main_status(ended)["restartCount"] == 0
    assert address.startswith(f"127.{platform.settings.network}.1.")
    assert condition(ended, "PodScheduled")["status"] == "True"
    assert condition(ended, "Ready")["status"] == "False"
    launch = platform.folder(made) / "main.launch.json"
    assert launch.stat().st_mode & 0o077 == 0, "it holds secrets"
    assert exec_env(platform.home, made, "main")["WORD"] == "s3cret"
    with pytest.raises(LaunchError, match="not been started"):
        exec_launch(platform.home, made, "other", ["true"])


async def test_a_step_image_gets_its_folders(platform: Cluster, kube: Kube) -> None:
    script = 'echo "$KUBECONFIG $KUBERNETES_NAMESPACE"; echo 17 > "$STEP_OUTPUTS/n"; cd "$STEP_INPUTS"; cd "$TMPDIR"'
    made = await kube.create("pods", pod("image", script, image="ghcr.io/tiphys/step:0.1.0"))
    await wait_pod(kube, "image", phase_is("Succeeded"))
    assert (platform.folder(made) / "root/tmp/outputs/n").read_text() == "17\n"
    assert log_of(platform, made) == f"{platform.home}/kubeconfig tiphys\n"


async def test_a_missing_secret_waits_with_its_reason_until_it_is_there(platform: Cluster, kube: Kube) -> None:
    env = [{"name": "W", "valueFrom": {"secretKeyRef": {"name": "later", "key": "word"}}}]
    made = await kube.create("pods", pod("waits", "echo $W", env=env))

    def refused(reason: str, word: str) -> Any:
        waiting = main_status
        return lambda pod: (
            waiting(pod)["state"].get("waiting", {}).get("reason") == reason
            and word in waiting(pod)["state"]["waiting"].get("message", "")
        )

    seen = await wait_pod(kube, "waits", refused("CreateContainerConfigError", "secret 'later' not found"))
    assert seen["status"]["phase"] == "Pending"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "later", "namespace": "tiphys"}}
    await kube.create("secrets", secret | {"data": {"other": "eA=="}})
    await wait_pod(kube, "waits", refused("CreateContainerConfigError", "'word'"))
    await kube.patch("secrets", "later", {"data": {"word": "aGVsbG8="}}, "tiphys")
    await wait_pod(kube, "waits", phase_is("Succeeded"))
    assert log_of(platform, made) == "hello\n"


async def test_an_unknown_image_names_those_that_are_known(kube: Kube) -> None:
    await kube.create("pods", pod("image2", "true", image="docker.io/library/nginx:1"))
    seen = await wait_pod(
        kube, "image2", lambda pod: main_status(pod)["state"].get("waiting", {}).get("reason") == "ImagePullBackOff"
    )
    assert "ghcr.io/tiphys/step:" in main_status(seen)["state"]["waiting"]["message"]


async def test_a_program_that_is_not_there_fails_the_pod(kube: Kube) -> None:
    await kube.create("pods", pod("nothing", ["no-such-program"]))
    ended = await wait_pod(kube, "nothing", phase_is("Failed"))
    terminated = main_status(ended)["state"]["terminated"]
    assert (terminated["exitCode"], terminated["reason"]) == (128, "StartError")
    assert "no-such-program" in terminated["message"]


async def test_the_first_restart_is_at_once_and_the_second_backs_off(platform: Cluster, kube: Kube) -> None:
    script = "echo run; sleep 0.05; exit 3"
    made = await kube.create("pods", pod("crash", script, restartPolicy="OnFailure"))
    seen = await wait_pod(
        kube, "crash", lambda pod: main_status(pod)["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
    )
    assert main_status(seen)["restartCount"] == 1
    assert main_status(seen)["lastState"]["terminated"]["exitCode"] == 3
    assert seen["status"]["phase"] == "Running"
    assert condition(seen, "Ready")["status"] == "False"
    assert log_of(platform, made, "log") == log_of(platform, made, "prev.log") == "run\n"


async def test_a_killed_server_comes_back_with_another_container_id(platform: Cluster, kube: Kube) -> None:
    made = await kube.create("pods", pod("server", FOREVER, restartPolicy="Always"))
    before = await wait_pod(kube, "server", running)
    assert condition(before, "Ready")["status"] == "True"
    await until(lambda: log_of(platform, made))
    signal_main(platform, made["metadata"]["uid"], signal.SIGKILL)
    after = await wait_pod(kube, "server", lambda pod: running(pod) and main_status(pod)["restartCount"] == 1)
    assert main_status(after)["containerID"] != main_status(before)["containerID"]
    assert main_status(after)["lastState"]["terminated"]["exitCode"] == 137
    assert after["status"]["podIP"] == before["status"]["podIP"]


async def test_init_containers_run_in_order_and_hold_back_the_others(platform: Cluster, kube: Kube) -> None:
    def init(name: str, script: str) -> dict[str, Any]:
        return {"name": name, "image": "localhost/host:1", "command": ["sh", "-c", script]}

    inits = [init("one", "sleep 0.1; echo 1 >> data/order"), init("two", "echo 2 >> data/order")]
    volume: dict[str, Any] = {"volumes": [{"name": "d", "emptyDir": {}}]}
    mount = {"volumeMounts": [{"name": "d", "mountPath": "/data"}]}
    inits = [item | mount for item in inits]
    made = await kube.create("pods", pod("inits", "cat data/order", initContainers=inits, **volume, **mount))
    ended = await wait_pod(kube, "inits", phase_is("Succeeded"))
    assert log_of(platform, made) == "1\n2\n"
    assert [status["ready"] for status in ended["status"]["initContainerStatuses"]] == [True, True]
    await kube.create("pods", pod("badinit", "true", initContainers=[init("one", "exit 4"), init("two", "true")]))
    ended = await wait_pod(kube, "badinit", phase_is("Failed"))
    assert "waiting" in main_status(ended)["state"]
    assert condition(ended, "Initialized")["status"] == "False"


async def test_readiness_follows_the_probe_and_others_gates_are_kept(platform: Cluster, kube: Kube) -> None:
    probe = {"exec": {"command": ["test", "-e", "ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    gates = [{"conditionType": "mysql.oracle.com/configured"}]
    made = await kube.create("pods", pod("probed", FOREVER, readinessProbe=probe, readinessGates=gates))
    seen = await wait_pod(kube, "probed", running)
    assert condition(seen, "Ready")["status"] == "False"
    (platform.folder(made) / "root/ready").touch()
    seen = await wait_pod(kube, "probed", lambda pod: condition(pod, "ContainersReady").get("status") == "True")
    assert condition(seen, "Ready")["reason"] == "ReadinessGatesNotReady"
    while True:
        fresh = await kube.get("pods", "probed", "tiphys")
        fresh["status"]["conditions"].append({"type": "mysql.oracle.com/configured", "status": "True"})
        try:
            await kube.replace("pods", fresh, "status")
            break
        except Conflict:
            continue
    seen = await wait_pod(kube, "probed", lambda pod: condition(pod, "Ready").get("status") == "True")
    (platform.folder(made) / "root/ready").unlink()
    seen = await wait_pod(kube, "probed", lambda pod: condition(pod, "Ready").get("status") == "False")
    assert condition(seen, "mysql.oracle.com/configured")["status"] == "True"
    assert main_status(seen)["restartCount"] == 0


async def test_what_somebody_else_writes_over_our_conditions_is_put_right(kube: Kube) -> None:
    await kube.create("pods", pod("stubborn", FOREVER))
    await wait_pod(kube, "stubborn", running)
    wrong = {"conditions": [{"type": "Ready", "status": "False"}, {"type": "theirs", "status": "True"}]}
    await kube.patch("pods", "stubborn", {"status": wrong}, "tiphys", "status")
    seen = await wait_pod(kube, "stubborn", lambda pod: condition(pod, "Ready").get("status") == "True")
    assert condition(seen, "theirs")["status"] == "True"


async def test_a_failed_liveness_probe_restarts_the_container(kube: Kube) -> None:
    probe = {"exec": {"command": ["sh", "-c", "exit 1"]}, "periodSeconds": 1, "failureThreshold": 1}
    await kube.create("pods", pod("dead", FOREVER, livenessProbe=probe, restartPolicy="Always"))
    await wait_pod(kube, "dead", lambda pod: main_status(pod)["restartCount"] == 1 and running(pod))


async def test_probes_by_tcp_and_http_at_the_pods_own_address(kube: Kube) -> None:
    serve = (
        "import http.server, os\n"
        "http.server.HTTPServer((os.environ['IP'], 8099), http.server.SimpleHTTPRequestHandler).serve_forever()"
    )
    await kube.create(
        "pods",
        pod(
            "http",
            ["python3", "-c", serve],
            env=[{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            ports=[{"name": "web", "containerPort": 8099}],
            startupProbe={"tcpSocket": {"port": 8099}, "periodSeconds": 1, "failureThreshold": 30},
            readinessProbe={"httpGet": {"port": "web", "path": "/"}, "periodSeconds": 1, "timeoutSeconds": 5},
        ),
    )
    seen = await wait_pod(kube, "http", lambda pod: condition(pod, "Ready").get("status") == "True")
    with socket.create_connection((seen["status"]["podIP"], 8099), timeout=5):
        pass


async def test_deletion_runs_the_hook_then_sigterm_and_removes_the_folder(
    platform: Cluster, kube: Kube, tmp_path: Path
) -> None:
    diary = tmp_path / "diary"
    script = f"trap 'echo term >> {diary}; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", f"echo hook $TIPHYS_MAIN_PID >> {diary}"]}}}
    made = await kube.create("pods", pod("polite", script, lifecycle=hook))
    await wait_pod(kube, "polite", running)
    await until(lambda: log_of(platform, made))
    pid = main_process(platform.home, made["metadata"]["uid"], "main")
    await kube.delete("pods", "polite", "tiphys")
    await gone(kube, "pods", "polite")
    assert diary.read_text() == f"hook {pid}\nterm\n"
    await until(lambda: not platform.folder(made).exists())


async def test_a_deaf_program_is_killed_after_its_grace_with_all_its_children(platform: Cluster, kube: Kube) -> None:
    script = f"setsid sleep 71 & {DEAF}"
    made = await kube.create("pods", pod("deaf", script, finalizers=["tests/hold"]))
    await wait_pod(kube, "deaf", running)
    await until(lambda: log_of(platform, made))
    await kube.delete("pods", "deaf", "tiphys", grace=1)
    ended = await wait_pod(kube, "deaf", phase_is("Failed"))
    assert main_status(ended)["state"]["terminated"]["exitCode"] == 137
    await until(lambda: not platform.processes())
    assert log_of(platform, made) == "up\n", "the folder stays as long as the object"
    await kube.patch("pods", "deaf", {"metadata": {"finalizers": None}}, "tiphys")
    await gone(kube, "pods", "deaf")
    await until(lambda: not platform.folder(made).exists())


async def test_a_pod_that_is_too_old_is_ended(kube: Kube) -> None:
    await kube.create("pods", pod("old", FOREVER, activeDeadlineSeconds=1))
    ended = await wait_pod(kube, "old", phase_is("Failed"))
    assert ended["status"]["reason"] == "DeadlineExceeded"


async def test_two_pods_never_share_an_address_and_a_freed_one_is_not_reused_soon(kube: Kube) -> None:
    seen = []
    for number in range(4):
        await kube.create("pods", pod(f"a{number}", "true"))
        ended = await wait_pod(kube, f"a{number}", phase_is("Succeeded"))
        seen.append(ended["status"]["podIP"])
    assert len(set(seen)) == 4


async def test_a_successor_of_the_same_name_waits_for_the_processes_before(platform: Cluster, kube: Kube) -> None:
    first = await kube.create("pods", pod("twin", DEAF))
    await until(lambda: log_of(platform, first))
    await kube.delete("pods", "twin", "tiphys", grace=0)
    script = f"kill -0 {main_process(platform.home, first['metadata']['uid'], 'main')} && exit 1; exit 0"
    await kube.create("pods", pod("twin", script))
    await wait_pod(kube, "twin", phase_is("Succeeded"))


async def test_processes_survive_their_kubelet_and_exits_in_between_are_learned(platform: Cluster, kube: Kube) -> None:
    stays = await kube.create("pods", pod("stays", FOREVER, restartPolicy="Always"))
    ends = await kube.create("pods", pod("ends", "while [ ! -e go ]; do sleep 0.02; done; exit 5"))
    goes = await kube.create("pods", pod("goes", DEAF))
    before = [await wait_pod(kube, name, running) for name in ("stays", "ends", "goes")]
    for item in (stays, goes):
        await until(lambda item=item: log_of(platform, item))
    pid = main_process(platform.home, stays["metadata"]["uid"], "main")
    platform.kill("kubelet")
    try:
        (platform.folder(ends) / "root/go").touch()
        await until(lambda: log_of(platform, ends, "exit"))
        await kube.delete("pods", "goes", "tiphys", grace=0)
    finally:
        platform.start("kubelet")
    ended = await wait_pod(kube, "ends", phase_is("Failed"))
    assert main_status(ended)["state"]["terminated"]["exitCode"] == 5
    await until(lambda: not platform.folder(goes).exists())
    new = await kube.create("pods", pod("new", "true"))
    new = await wait_pod(kube, "new", phase_is("Succeeded"))
    assert new["status"]["podIP"] not in [item["status"]["podIP"] for item in before]
    after = await kube.get("pods", "stays", "tiphys")
    assert main_process(platform.home, stays["metadata"]["uid"], "main") == pid
    assert main_status(after) == main_status(before[0])
    signal_main(platform, stays["metadata"]["uid"], signal.SIGKILL)
    again = await wait_pod(kube, "stays", lambda pod: running(pod) and main_status(pod)["restartCount"] == 1)
    assert main_status(again)["lastState"]["terminated"]["exitCode"] == 137


async def test_a_container_is_restarted_while_the_api_server_is_away(platform: Cluster, kube: Kube) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "colours", "namespace": "tiphys"}}
    await kube.create("configmaps", config | {"data": {"COLOUR": "green"}})
    source = [{"configMapRef": {"name": "colours"}}]
    script = f"echo $COLOUR; {FOREVER}"
    made = await kube.create("pods", pod("alone", script, restartPolicy="Always", envFrom=source))
    await wait_pod(kube, "alone", running)
    await until(lambda: log_of(platform, made))
    platform.kill("apiserver")
    try:
        signal_main(platform, made["metadata"]["uid"], signal.SIGKILL)
        await until(lambda: log_of(platform, made, "prev.log") and log_of(platform, made) == "green\nup\n")
    finally:
        platform.start("apiserver")
    await kube.wait_ready()
    await wait_pod(kube, "alone", lambda pod: running(pod) and main_status(pod)["restartCount"] == 1)


async def test_a_stop_that_began_is_finished_by_the_next_kubelet(platform: Cluster, kube: Kube) -> None:
    made = await kube.create("pods", pod("stopping", DEAF, terminationGracePeriodSeconds=60))
    await until(lambda: log_of(platform, made))
    await kube.delete("pods", "stopping", "tiphys", grace=2)
    await until(lambda: "stop_began" in (platform.folder(made) / "pod.json").read_text())
    platform.kill("kubelet")
    platform.start("kubelet")
    await gone(kube, "pods", "stopping")
    await until(lambda: not platform.processes())


async def test_nodes_are_registered_and_ready(kube: Kube) -> None:
    nodes = await kube.list("nodes")
    assert [node["metadata"]["name"] for node in nodes] == ["node-1", "node-2", "node-3"]
    assert all(condition(node, "Ready")["status"] == "True" for node in nodes)
    assert nodes[0]["metadata"]["labels"]["kubernetes.io/hostname"] == "node-1"


async def test_fields_that_are_not_honoured_are_errors_with_their_path(kube: Kube) -> None:
    hook = {"postStart": {"exec": {"command": ["true"]}}}
    await kube.create("pods", pod("hook", "true", lifecycle=hook))
    seen = await wait_pod(kube, "hook", lambda pod: main_status(pod)["state"].get("waiting", {}).get("message"))
    assert "containers[main].lifecycle.postStart" in main_status(seen)["state"]["waiting"]["message"]
