"""kubectl, as people use it, against a real API server. Skipped where there is no kubectl."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from apiserver_help import ApiServer

from tiphys.local.kubelet.launch import Launch, save_launch

pytestmark = pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not on PATH")

OBJECTS = """
apiVersion: v1
kind: Node
metadata: {name: node-1}
status: {conditions: [{type: Ready, status: "True"}], addresses: [{type: InternalIP, address: 127.9.1.1}]}
---
apiVersion: v1
kind: Secret
metadata: {name: root}
stringData: {rootUser: root}
---
apiVersion: mysql.oracle.com/v2
kind: InnoDBCluster
metadata: {name: demo}
spec: {secretName: root, instances: 3, router: {instances: 2}, tlsUseSelfSigned: true}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: "i:1", env: [{name: A, value: "1"}]}, {name: side, image: "s:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: p}}
spec: {nodeName: node-1, containers: [{name: main, image: "localhost/host:1"}]}
---
apiVersion: argoproj.io/v1alpha1
kind: Workflow
metadata: {name: w}
spec: {entrypoint: x}
---
apiVersion: argoproj.io/v1alpha1
kind: CronWorkflow
metadata: {name: c}
spec: {schedules: ["0 3 * * *"], workflowSpec: {}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    made = ApiServer(tmp_path_factory.mktemp("home"))
    made.start()
    made.kubectl("apply", "-f", "-", given=OBJECTS)
    yield made
    made.stop()
    assert '"trace"' not in made.log()


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.strip()]


def test_tables_show_what_people_look_for(server: ApiServer) -> None:
    status = '{"status": {"cluster": {"status": "ONLINE", "onlineInstances": 3, "type": "9.7.4"}}}'
    server.kubectl("patch", "ic", "demo", "--subresource=status", "--type=merge", "-p", status)
    status = '{"status": {"phase": "Failed", "message": "no quorum", "startedAt": "2026-01-01T00:00:00Z"}}'
    server.kubectl("patch", "wf", "w", "--type=merge", "-p", status)
    shown = rows(server.kubectl("get", "innodbcluster"))
    assert shown[0] == ["NAME", "STATUS", "ONLINE", "INSTANCES", "ROUTERS", "TYPE", "AGE"]
    assert shown[1][:6] == ["demo", "ONLINE", "3", "3", "2", "9.7.4"]
    shown = rows(server.kubectl("get", "workflows"))
    assert shown[0] == ["NAME", "STATUS", "AGE", "MESSAGE"]
    assert shown[1][:2] == ["w", "Failed"] and shown[1][3:] == ["no", "quorum"]
    shown = rows(server.kubectl("get", "pods", "-o", "wide"))
    assert shown[0][:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert shown[1][:4] == ["p", "0/1", "Pending", "0"] and shown[1][6] == "node-1"
    assert rows(server.kubectl("get", "nodes"))[1][:2] == ["node-1", "Ready"]
    assert rows(server.kubectl("get", "deploy"))[1][:2] == ["web", "0/1"]
    assert rows(server.kubectl("get", "secret,pvc,cronworkflow", "--no-headers"))[1][1] == "Pending"
    assert "tiphys" in server.kubectl("get", "pods", "-A")


def test_outputs_and_descriptions(server: ApiServer) -> None:
    assert server.kubectl("get", "ic", "demo", "-o", "jsonpath={.spec.baseServerId}") == "1000"
    assert "kind: InnoDBCluster" in server.kubectl("get", "ic", "demo", "-o", "yaml")
    assert "Secret Name:" in server.kubectl("describe", "ic", "demo")
    for what in ("pod/p", "deploy/web", "node/node-1", "secret/root"):
        assert "Name:" in server.kubectl("describe", *what.split("/"))
    assert "innodbclusters" in server.kubectl("api-resources")
    assert server.kubectl("auth", "can-i", "delete", "pods").strip() == "yes"


@pytest.mark.parametrize("way", [[], ["--server-side", "--force-conflicts"]])
def test_apply_changes_adds_and_removes(server: ApiServer, way: list[str]) -> None:
    second = OBJECTS.replace(', {name: side, image: "s:1"}', "").replace('value: "1"', 'value: "2"')
    path = "jsonpath={range .spec.template.spec.containers[*]}{.name}{.env[*].value} {end}"
    server.kubectl("delete", "deploy", "web")
    server.kubectl("apply", *way, "-f", "-", given=OBJECTS)
    assert server.kubectl("get", "deploy", "web", "-o", path) == "main1 side "
    server.kubectl("scale", "deploy", "web", "--replicas=4")
    server.kubectl("apply", *way, "-f", "-", given=second)
    assert server.kubectl("get", "deploy", "web", "-o", path) == "main2 "
    assert server.kubectl("get", "deploy", "web", "-o", "jsonpath={.spec.replicas}") == "4"
    refused = OBJECTS.replace("instances: 3", "instnces: 3")
    assert 'unknown field "spec.instnces"' in server.kubectl("apply", *way, "-f", "-", given=refused, ok=False)
    refused = OBJECTS.replace("instances: 3", "instances: 30")
    assert "less than or equal to 9" in server.kubectl("apply", *way, "-f", "-", given=refused, ok=False)


def test_objects_made_from_words(server: ApiServer) -> None:
    server.kubectl("create", "configmap", "made", "--from-literal=a=b")
    server.kubectl("create", "secret", "generic", "made", "--from-literal=password=x")
    server.kubectl("create", "deployment", "made", "--image=i:1", "--replicas=2", "--port=80")
    server.kubectl("create", "namespace", "made")
    assert server.kubectl("get", "cm", "made", "-o", "jsonpath={.data.a}") == "b"
    assert server.kubectl("get", "secret", "made", "-o", "jsonpath={.data.password}") == "eA=="
    assert server.kubectl("get", "deploy", "made", "-o", "jsonpath={.spec.replicas}") == "2"
    assert "send JSON or YAML" in server.kubectl("create", "job", "made", "--image=i:1", ok=False)
    server.kubectl("label", "cm", "made", "x=y")
    server.kubectl("annotate", "cm", "made", "note=hello")
    assert "made" in server.kubectl("get", "cm", "-l", "x in (y)", "-o", "name")
    server.kubectl("patch", "cm", "made", "--type=json", "-p", '[{"op":"add","path":"/data/c","value":"d"}]')
    server.kubectl("patch", "cm", "made", "-p", '{"data":{"a":null}}')
    assert server.kubectl("get", "cm", "made", "-o", "jsonpath={.data}") == '{"c":"d"}'
    server.kubectl("delete", "cm,secret,deploy", "made")
    server.kubectl("delete", "namespace", "made", "--timeout=20s")
    assert "NotFound" in server.kubectl("get", "namespace", "made", ok=False)


def test_a_node_is_cordoned_and_drained(server: ApiServer) -> None:
    server.kubectl("apply", "-f", "-", given=OBJECTS)
    server.kubectl("cordon", "node-1")
    assert rows(server.kubectl("get", "nodes"))[1][1] == "Ready,SchedulingDisabled"
    # A pod that is still Pending is nobody's healthy pod, so it may go; no kubelet here, so it stays Terminating.
    told = server.kubectl("drain", "node-1", "--force", "--ignore-daemonsets", "--timeout=2s", ok=False)
    assert "evicting pod tiphys/p" in told
    assert rows(server.kubectl("get", "pod", "p"))[1][2] == "Terminating"
    server.kubectl("delete", "pod", "p", "--grace-period=0", "--force")
    server.kubectl("uncordon", "node-1")
    assert rows(server.kubectl("get", "nodes"))[1][1] == "Ready"


def test_logs_and_exec(server: ApiServer) -> None:
    server.kubectl("apply", "-f", "-", given=OBJECTS)
    status = (
        '{"status": {"phase": "Running", "containerStatuses": [{"name": "main", "ready": true, "restartCount": 0, '
        '"image": "x", "imageID": "x", "state": {"running": {}}}]}}'
    )
    server.kubectl("patch", "pod", "p", "--subresource=status", "--type=merge", "-p", status)
    folder = server.home / "pods" / server.kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.uid}")
    (folder / "root").mkdir(parents=True)
    (folder / "main.log").write_text("one\ntwo\n")
    save_launch(server.home, folder.name, "main", Launch([], {"PATH": os.environ["PATH"]}, folder / "root"))
    assert server.kubectl("logs", "p", "--tail=1") == "two\n"
    assert "previous terminated container" in server.kubectl("logs", "p", "--previous", ok=False)
    count = [sys.executable, "-c", "import sys; print(len(sys.stdin.read()))"]
    assert server.kubectl("exec", "-i", "p", "--", *count, given="x" * 100_000) == "100000\n"
    done = subprocess.run(
        ["kubectl", "--kubeconfig", str(server.settings.kubeconfig), "exec", "p", "--", "sh", "-c", "exit 7"],
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 7
    server.kubectl("delete", "pod", "p", "--grace-period=0", "--force")


def test_a_watch_prints_each_change(server: ApiServer) -> None:
    watching = subprocess.Popen(
        ["kubectl", "--kubeconfig", str(server.settings.kubeconfig), "get", "ic", "-w", "--no-headers"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout
    try:
        assert watching.stdout.readline().split()[-4] == "3"
        server.kubectl("patch", "ic", "demo", "--type=merge", "-p", '{"spec": {"instances": 5}}')
        assert watching.stdout.readline().split()[-4] == "5"
    finally:
        watching.terminate()
        watching.wait(60)
        watching.stdout.close()
