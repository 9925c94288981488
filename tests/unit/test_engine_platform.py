"""The engine as a process, with the real API server, scheduler and kubelet; steps are commands of this machine."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from moto.server import ThreadedMotoServer
from platform_help import new_home, running

from tiphys.local.client import AlreadyExists, Kube, NotFound
from tiphys.local.engine.artifacts import Store
from tiphys.local.engine.model import pod_name
from tiphys.local.platform.supervisor import part_environment
from tiphys.local.settings import Settings

Json = dict[str, Any]
pytestmark = pytest.mark.asyncio(loop_scope="module")


class EngineProcess:
    """The engine, to be killed and started again."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.settings.home / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tiphys.local.engine", "--home", str(self.settings.home)],
                stdout=log,
                stderr=log,
                env=part_environment(self.settings.home),
            )

    def kill(self, how: int = signal.SIGKILL) -> int:
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(60)

    @property
    def log(self) -> str:
        return (self.settings.home / "engine.log").read_text()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    settings = new_home(tmp_path_factory.mktemp("home"))
    engine = EngineProcess(settings)
    with ExitStack() as stack:
        for part in ("apiserver", "controllers", "kubelet"):
            stack.enter_context(running(f"tiphys.local.{part}", settings))
        engine.start()
        yield engine
        assert engine.kill(signal.SIGTERM) == 0, "it stops cleanly"
    faults = [line for line in engine.log.splitlines() if '"trace"' in line]
    assert not faults


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kube(engine: EngineProcess) -> AsyncIterator[Kube]:
    async with Kube.from_home(engine.settings.home) as kube:
        await kube.wait_ready()
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tiphys"}}
        with suppress(AlreadyExists):
            await kube.create("namespaces", namespace)
        yield kube


async def submit(kube: Kube, name: str, spec: str | Json) -> None:
    manifest = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": name, "namespace": "tiphys"},
        "spec": yaml.safe_load(spec) if isinstance(spec, str) else spec,
    }
    await kube.create("workflows", manifest)


async def until(kube: Kube, name: str, ready: Any, seconds: float = 90.0) -> Json:
    """Wait until the workflow is as `ready` wants it."""
    workflow: Json = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        workflow = await kube.get("workflows", name, "tiphys")
        if ready(workflow.get("status") or {}):
            return workflow
        await asyncio.sleep(0.05)
    raise AssertionError(f"it did not happen: {workflow.get('status')}")


def ended(status: Json) -> bool:
    return bool(status.get("finishedAt"))


def node(workflow: Json, name: str) -> Json:
    return next(n for n in workflow["status"]["nodes"].values() if n["displayName"] == name)


def phase_of(name: str, phase: str) -> Any:
    def ready(status: Json) -> bool:
        return any(n["displayName"] == name and n["phase"] == phase for n in (status.get("nodes") or {}).values())

    return ready


def shell(name: str, command: str, **more: Any) -> Json:
    container = {"image": "localhost/host:1", "command": ["sh", "-c"], "args": [command]}
    return {"name": name, "container": container, **more}


def in_turn(*templates: Json, **spec: Any) -> Json:
    """A spec that runs the templates one after the other."""
    steps = [[{"name": item["name"], "template": item["name"]}] for item in templates]
    return {"entrypoint": "main", "templates": [{"name": "main", "steps": steps}, *templates], **spec}


FLOW = """
entrypoint: main
onExit: bye
arguments: {parameters: [{name: who, value: world}]}
templates:
- name: main
  steps:
  - - {name: a, template: say, arguments: {parameters: [{name: x, value: "{{workflow.parameters.who}}"}]}}
  - - {name: b, template: say, arguments: {parameters: [{name: x, value: "hello {{steps.a.outputs.parameters.out}}"}]}}
    - {name: c, template: say, when: "{{steps.a.outputs.parameters.out}} == moon"}
- name: say
  inputs: {parameters: [{name: x}]}
  outputs: {parameters: [{name: out, globalName: said, valueFrom: {path: /tmp/outputs/out}}]}
  container:
    image: localhost/host:1
    command: [sh, -c]
    args: ['mkdir -p tmp/outputs; echo "$SAID" > tmp/outputs/out; echo "$SAID"']
    env: [{name: SAID, value: "{{inputs.parameters.x}}"}]
- name: bye
  container: {image: "localhost/host:1", command: [sh, -c], args: ["test {{workflow.status}} = Succeeded"]}
"""


async def test_a_workflow_runs(kube: Kube) -> None:
    await submit(kube, "flow", FLOW)
    workflow = await until(kube, "flow", ended)
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    assert workflow["status"]["outputs"]["parameters"] == [{"name": "said", "value": "hello world"}]
    assert node(workflow, "c")["phase"] == "Skipped"
    assert node(workflow, "b")["outputs"]["exitCode"] == "0" and node(workflow, "b")["hostNodeName"]
    deadline = time.monotonic() + 30.0
    while True:  # the engine lets go of the pods after it has written the workflow's end
        pods = await kube.list("pods", "tiphys", labels="workflows.argoproj.io/workflow=flow")
        held = [pod["metadata"]["name"] for pod in pods if pod["metadata"].get("finalizers")]
        assert len(pods) == 3
        if not held:
            break
        assert time.monotonic() < deadline, held
        await asyncio.sleep(0.05)


async def test_killed_at_any_moment_it_goes_on_and_runs_no_step_twice(
    kube: Kube, engine: EngineProcess, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger"
    steps = [shell(f"s{n}", f"echo s{n} >> {ledger}; sleep 0.3") for n in range(5)]
    wait = {"name": "wait", "suspend": {"duration": "1s"}}
    await submit(kube, "killed", in_turn(*steps[:3], wait, *steps[3:]))
    for pause in (0.02, 0.35, 0.6, 0.9, 1.2):
        await asyncio.sleep(pause)
        engine.kill()
        await asyncio.sleep(0.1)
        engine.start()
    workflow = await until(kube, "killed", ended)
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
    assert ledger.read_text().split() == ["s0", "s1", "s2", "s3", "s4"]


async def test_a_step_that_ended_while_the_engine_was_away_is_not_lost(
    kube: Kube, engine: EngineProcess, tmp_path: Path
) -> None:
    command = f"echo ran >> {tmp_path}/ledger; mkdir -p tmp; echo fine > tmp/out"
    outputs = {"parameters": [{"name": "o", "globalName": "o", "valueFrom": {"path": "/tmp/out"}}]}
    await submit(kube, "away", in_turn(shell("a", f"sleep 0.5; {command}", outputs=outputs)))
    await until(kube, "away", phase_of("a", "Running"))
    engine.kill()
    for _ in range(200):
        [pod] = await kube.list("pods", "tiphys", labels="workflows.argoproj.io/workflow=away")
        if pod["status"]["phase"] == "Succeeded":
            break
        await asyncio.sleep(0.05)
    await kube.delete("pods", pod["metadata"]["name"], "tiphys")  # the finalizer keeps it until it was read
    engine.start()
    workflow = await until(kube, "away", ended)
    assert workflow["status"]["outputs"]["parameters"] == [{"name": "o", "value": "fine"}]
    assert (tmp_path / "ledger").read_text() == "ran\n"


async def test_a_lock_is_never_held_twice_across_restarts(kube: Kube, engine: EngineProcess, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    critical = shell("a", f"mkdir {inside} || exit 9; sleep 0.4; rmdir {inside}")
    lock = {"mutexes": [{"name": "m"}]}
    for n in range(4):
        await submit(kube, f"lock{n}", in_turn(critical, synchronization=lock))
    waiting = await until(kube, "lock3", lambda status: status.get("phase") == "Pending")
    assert waiting["status"]["message"] == "Waiting for tiphys/Mutex/m lock. Lock status: 0/1"
    for _ in range(2):
        await asyncio.sleep(0.5)
        engine.kill()
        engine.start()
    ends = [await until(kube, f"lock{n}", ended) for n in range(4)]
    assert [workflow["status"]["phase"] for workflow in ends] == ["Succeeded"] * 4
    starts = [workflow["status"]["startedAt"] for workflow in ends]
    assert starts == sorted(starts)


async def test_stop_lets_a_step_finish_its_work_and_runs_the_exit_handler(kube: Kube, engine: EngineProcess) -> None:
    command = "trap 'mkdir -p tmp; echo ABORTED > tmp/v; exit 22' TERM; echo begun; sleep 60 & wait"
    outputs = {"parameters": [{"name": "verdict", "globalName": "verdict", "valueFrom": {"path": "/tmp/v"}}]}
    bye = shell("bye", "test '{{workflow.outputs.parameters.verdict}}' = ABORTED")
    spec = in_turn(shell("a", command, outputs=outputs), onExit="bye")
    spec["templates"].append(bye)
    await submit(kube, "stopped", spec)
    await until(kube, "stopped", phase_of("a", "Running"))
    await kube.patch("workflows", "stopped", {"spec": {"shutdown": "Stop"}}, "tiphys")
    workflow = await until(kube, "stopped", ended)
    assert (workflow["status"]["phase"], workflow["status"]["message"]) == ("Failed", "Stopped with strategy 'Stop'")
    assert node(workflow, "stopped.onExit")["phase"] == "Succeeded"
    assert workflow["status"]["outputs"]["parameters"] == [{"name": "verdict", "value": "ABORTED"}]
    pods = await kube.list("pods", "tiphys", labels="workflows.argoproj.io/workflow=stopped")
    assert len(pods) == 2, "the stopped pod is still there to be looked at"
    pod = next(
        pod for pod in pods if "onexit" not in pod["metadata"]["name"].lower() and "-a-" in pod["metadata"]["name"]
    )
    assert "begun" in (engine.settings.pod_folder(pod["metadata"]["uid"]) / "main.log").read_text()


async def test_an_evicted_step_is_an_error_and_is_tried_again(kube: Kube, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    retry = {"limit": 2, "retryPolicy": "OnError"}
    await submit(
        kube, "evicted", in_turn(shell("a", f"test -e {flag} || (touch {flag}; sleep 60)", retryStrategy=retry))
    )
    workflow = await until(kube, "evicted", phase_of("a(0)", "Running"))
    while not flag.exists():
        await asyncio.sleep(0.02)
    [pod] = await kube.list("pods", "tiphys", labels="workflows.argoproj.io/workflow=evicted")
    await kube.delete("pods", pod["metadata"]["name"], "tiphys", grace=1)
    workflow = await until(kube, "evicted", ended)
    assert workflow["status"]["phase"] == "Succeeded"
    assert (node(workflow, "a(0)")["phase"], node(workflow, "a(0)")["message"]) == ("Error", "pod deleted")
    assert node(workflow, "a(1)")["phase"] == "Succeeded"


async def test_a_deleted_workflow_takes_its_pods_and_its_lock_along(kube: Kube) -> None:
    spec = in_turn(shell("a", "trap 'exit 0' TERM; sleep 60 & wait"), synchronization={"mutexes": [{"name": "gone"}]})
    await submit(kube, "gone", spec)
    await until(kube, "gone", phase_of("a", "Running"))
    await submit(kube, "heir", in_turn(shell("a", "true"), synchronization={"mutexes": [{"name": "gone"}]}))
    await kube.delete("workflows", "gone", "tiphys")
    assert (await until(kube, "heir", ended))["status"]["phase"] == "Succeeded"
    for _ in range(400):
        if not await kube.list("pods", "tiphys", labels="workflows.argoproj.io/workflow=gone"):
            break
        await asyncio.sleep(0.05)
    else:
        raise AssertionError("its pod is still there")


async def test_a_pod_that_is_refused_is_an_error(kube: Kube) -> None:
    bad = shell("a", "true", metadata={"labels": {"bad label!": "x"}})
    await submit(kube, "refused", in_turn(bad))
    workflow = await until(kube, "refused", ended)
    assert node(workflow, "a")["phase"] == "Error"
    assert "bad label!" in node(workflow, "a")["message"]


async def test_a_missed_schedule_is_made_up_for_once(kube: Kube, engine: EngineProcess) -> None:
    cron = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": "nightly", "namespace": "tiphys"},
        "spec": {
            "schedules": ["0 0 * * *"],
            "startingDeadlineSeconds": 86400,
            "concurrencyPolicy": "Forbid",
            "workflowSpec": in_turn(shell("a", "echo {{workflow.scheduledTime}}")),
        },
        "status": {"lastScheduledTime": "2026-01-01T00:00:00Z"},
    }
    await kube.create("cronworkflows", cron)
    status: Json = {}
    for _ in range(400):
        status = (await kube.get("cronworkflows", "nightly", "tiphys")).get("status") or {}
        if status.get("succeeded"):
            break
        await asyncio.sleep(0.05)
    assert (status["succeeded"], status["failed"], status["active"]) == (1, 0, [])
    assert status["lastScheduledTime"] > "2026-01-01T00:00:00Z"
    engine.kill()
    engine.start()
    await submit(kube, "after", in_turn(shell("a", "true")))
    await until(kube, "after", ended)
    runs = await kube.list("workflows", "tiphys", labels="workflows.argoproj.io/cron-workflow=nightly")
    assert len(runs) == 1 and runs[0]["status"]["phase"] == "Succeeded"
    await kube.delete("cronworkflows", "nightly", "tiphys")


async def test_a_workflow_is_deleted_when_its_time_to_live_is_over(kube: Kube) -> None:
    await submit(kube, "short", in_turn(shell("a", "true"), ttlStrategy={"secondsAfterSuccess": 1}))
    for _ in range(400):
        try:
            await kube.get("workflows", "short", "tiphys")
        except NotFound:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("it is still there")


ARTIFACTS = """
entrypoint: main
volumes: [{name: scratch, emptyDir: {}}]
templates:
- name: main
  steps:
  - - {name: make, template: make}
  - - {name: use, template: use, arguments: {artifacts: [{name: in, from: "{{steps.make.outputs.artifacts.report}}"}]}}
- name: make
  outputs:
    artifacts:
    - {name: report, path: /tmp/outputs/report.html, archive: {none: {}}, globalName: report}
    - {name: extra, path: /tmp/outputs/extra, archive: {none: {}}, optional: true}
  container:
    image: localhost/host:1
    command: [sh, -c, "mkdir -p tmp/outputs; echo hi > tmp/outputs/report.html"]
    volumeMounts: [{name: scratch, mountPath: /tmp}]
- name: use
  inputs: {artifacts: [{name: in, path: /tmp/inputs/report.html}]}
  container:
    image: localhost/host:1
    command: [sh, -c, "test $(cat tmp/inputs/report.html) = hi"]
    volumeMounts: [{name: scratch, mountPath: /tmp}]
"""


async def test_artifacts_wait_for_s3_and_go_from_step_to_step(kube: Kube, engine: EngineProcess) -> None:
    settings = engine.settings
    values = {
        "accessKey": "k",
        "secretKey": "s",
        "endpoint": settings.s3_url,
        "region": "us-east-1",
        "bucket": "tiphys",
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tiphys-s3", "namespace": "tiphys"},
        "stringData": values,
    }
    await submit(kube, "files", ARTIFACTS)

    def waits_for(what: str) -> Any:
        def ready(status: Json) -> bool:
            said = [n.get("message", "") for n in (status.get("nodes") or {}).values()]
            return any("waiting for S3" in message and what in message for message in said)

        return ready

    await until(kube, "files", waits_for("its Secret tiphys/tiphys-s3 is not there yet"))
    await kube.create("secrets", secret)
    await until(kube, "files", waits_for("artifact runs/files/"))
    await submit(kube, "meanwhile", in_turn(shell("a", "true")))
    assert (await until(kube, "meanwhile", ended))["status"]["phase"] == "Succeeded", "others are not held up"
    assert (await kube.get("workflows", "files", "tiphys"))["status"]["phase"] == "Running"
    server = ThreadedMotoServer(settings.s3_host, settings.s3_port, verbose=False)
    await asyncio.to_thread(server.start)
    try:
        client = Store.from_secret({"stringData": values}).client()
        await asyncio.to_thread(client.create_bucket, Bucket="tiphys")
        workflow = await until(kube, "files", ended)
        assert workflow["status"]["phase"] == "Succeeded", workflow["status"]
        assert not any("waiting" in n.get("message", "") for n in workflow["status"]["nodes"].values())
        [stored] = workflow["status"]["outputs"]["artifacts"]
        pod = pod_name("files", node(workflow, "make")["name"], "make")
        assert stored["name"] == "report" and stored["s3"] == {"key": f"runs/files/{pod}/report"}
        found = await asyncio.to_thread(client.get_object, Bucket="tiphys", Key=stored["s3"]["key"])
        assert (found["Body"].read(), found["ContentType"]) == (b"hi\n", "text/html")
    finally:
        await asyncio.to_thread(server.stop)


async def test_an_output_that_is_missing_is_an_error(kube: Kube) -> None:
    outputs = {"parameters": [{"name": "o", "valueFrom": {"path": "/tmp/none"}}]}
    await submit(kube, "missing", in_turn(shell("a", "true", outputs=outputs)))
    workflow = await until(kube, "missing", ended)
    assert node(workflow, "a")["phase"] == "Error"
    assert "output parameter 'o' could not be read from /tmp/none" in node(workflow, "a")["message"]
    outside = {"parameters": [{"name": "o", "valueFrom": {"path": "/../../../../../../../etc/passwd"}}]}
    await submit(kube, "outside", in_turn(shell("a", "true", outputs=outside)))
    workflow = await until(kube, "outside", ended)
    assert "points out of the pod's files" in node(workflow, "a")["message"]


async def test_a_template_made_a_moment_ago_is_found(kube: Kube) -> None:
    for n in range(10):
        library = in_turn(shell("inner", "true"))
        template = {"apiVersion": "argoproj.io/v1alpha1", "kind": "WorkflowTemplate", "spec": library}
        for name in (f"library{n}", f"fresh{n}"):
            if name.startswith("fresh"):
                steps = [[{"name": "a", "templateRef": {"name": f"library{n}", "template": "main"}}]]
                template["spec"] = {"entrypoint": "main", "templates": [{"name": "main", "steps": steps}]}
            await kube.create("workflowtemplates", {**template, "metadata": {"name": name, "namespace": "tiphys"}})
        await submit(kube, f"fresh{n}", {"workflowTemplateRef": {"name": f"fresh{n}"}})
    for n in range(10):
        assert (await until(kube, f"fresh{n}", ended))["status"]["phase"] == "Succeeded"
    await submit(kube, "none", {"workflowTemplateRef": {"name": "none"}})
    workflow = await until(kube, "none", ended)
    assert workflow["status"]["message"] == "WorkflowTemplate 'none' not found: apply it first"


async def test_a_workflow_made_again_under_its_name_waits_for_what_is_left(kube: Kube, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    critical = shell("a", f"trap 'sleep 0.5; rmdir {inside}; exit 0' TERM; mkdir {inside} || exit 9; sleep 60 & wait")
    lock = {"mutexes": [{"name": "again"}]}
    await submit(kube, "again", in_turn(critical, synchronization=lock))
    while not inside.exists():
        await asyncio.sleep(0.02)
    await kube.delete("workflows", "again", "tiphys")
    await submit(kube, "again", in_turn(shell("a", f"mkdir {inside} || exit 9"), synchronization=lock))
    workflow = await until(kube, "again", ended)
    assert workflow["status"]["phase"] == "Succeeded", workflow["status"]


async def test_a_label_that_is_none_ends_the_workflow(kube: Kube) -> None:
    spec = in_turn(shell("a", "true"), workflowMetadata={"labels": {"who": "not a label!"}})
    await submit(kube, "labelled", spec)
    workflow = await until(kube, "labelled", ended)
    assert workflow["status"]["phase"] == "Error" and "not a label!" in workflow["status"]["message"]


async def test_a_step_that_takes_too_long_is_ended(kube: Kube) -> None:
    await submit(kube, "slow", in_turn(shell("a", "sleep 60", timeout="1s")))
    workflow = await until(kube, "slow", ended)
    assert workflow["status"]["phase"] == "Failed"
    assert "deadline" in node(workflow, "a")["message"]


async def test_a_form_is_answered_by_patching_the_node(kube: Kube) -> None:
    ask = {
        "name": "ask",
        "inputs": {"parameters": [{"name": "approve", "default": "NO", "enum": ["YES", "NO"]}]},
        "outputs": {"parameters": [{"name": "approve", "valueFrom": {"supplied": {}}}]},
        "suspend": {},
    }
    spec = in_turn(ask, shell("go", "true"))
    spec["templates"][0]["steps"][1][0]["when"] = "{{steps.ask.outputs.parameters.approve}} == YES"
    await submit(kube, "form", spec)
    workflow = await until(kube, "form", phase_of("ask", "Running"))
    answer = {"phase": "Succeeded", "outputs": {"parameters": [{"name": "approve", "value": "YES"}]}}
    patch = {"status": {"nodes": {node(workflow, "ask")["id"]: answer}}}
    await kube.patch("workflows", "form", patch, "tiphys")
    workflow = await until(kube, "form", ended)
    assert (workflow["status"]["phase"], node(workflow, "go")["phase"]) == ("Succeeded", "Succeeded")
