"""What the doctor says of controllers, of storage and of S3, each seen well and ill, on real servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from s3_real import own_s3
from test_install_local import kube as kube  # a fixture
from test_install_local import settings as settings  # another
from test_undelivered import letter, run

from tiphys.install import check_cluster, check_controllers, check_events, check_images, check_s3, ready, upstream
from tiphys.install.given import S3
from tiphys.install.kube import Kube
from tiphys.local.settings import Settings
from tiphys.runs import undelivered
from tiphys.runs.api import Address, Cluster
from tiphys.runs.errors import Forbidden

Object = dict[str, Any]
MERGE = "application/merge-patch+json"


def deployment(name: str, image: str, ready: int, labels: dict[str, str] | None = None, *args: str) -> Object:
    labels = labels or {"app": name}
    container = {"name": "main", "image": image, "args": list(args)}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    meta = {"name": name, "namespace": "tiphys", "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec, "status": status(ready)}


def status(ready: int) -> Object:
    return {"replicas": 1, "readyReplicas": ready}


def put(kube: Kube, one: Object) -> None:
    """Create an object, or bring it to this, its status as well, as its controller would."""
    kube.create(one)
    kube.call("PATCH", kube.path_of(one), {"spec": one.get("spec")}, content_type=MERGE)
    kube.call("PATCH", f"{kube.path_of(one)}/status", {"status": one["status"]}, content_type=MERGE)


def test_a_controller_is_seen_well_and_ill(kube: Kube) -> None:
    def seen(image: str, ready: int = 1, *args: str) -> tuple[str, str]:
        put(kube, deployment("workflow-controller", f"quay.io/argoproj/{image}", ready, None, *args))
        found = check_controllers.look(kube, upstream.WORKFLOWS)
        return found.level, found.text

    nobody = check_controllers.look(kube, upstream.WORKFLOWS)
    assert nobody.level == "warning" and not nobody.blocks, "it may run where it cannot be seen"
    assert nobody.text == "Argo Workflows: no controller seen in any namespace"
    assert nobody.fix[0] == "looked for: a Deployment or StatefulSet with the image workflow-controller,"
    assert seen("workflow-controller:v4.1.2")[0] == "ok"
    level, text = seen("workflow-controller:v4.1.2", 0)
    assert level == "error" and "none of its pods is ready" in text
    level, text = seen("workflow-controller:v3.5.1")
    assert level == "error" and "older than 3.7" in text
    assert seen("workflow-controller:v3.7.0")[0] == "warning"
    assert seen("workflow-controller:latest")[0] == "warning"
    assert seen("workflow-controller:v4.1.2", 1, "--namespaced")[0] == "ok", "it is in the namespace itself"
    level, text = seen("workflow-controller:v4.1.2", 1, "--namespaced", "--managed-namespace", "elsewhere")
    assert level == "error" and "elsewhere" in text
    # What Argo Events runs for a Sensor has its controller's image.
    put(kube, deployment("sensor", "quay.io/argoproj/argo-events:v1.9.11", 1, {"sensor-name": "runbooks"}))
    assert "no controller seen" in check_controllers.look(kube, upstream.EVENTS).text


def test_a_controller_is_known_under_another_name_by_its_labels(kube: Kube) -> None:
    labels = {"app.kubernetes.io/part-of": "argo-events", "app.kubernetes.io/component": "controller-manager"}
    put(kube, deployment("ae", "mirror.test/team/ae-build:v1.9.11", 1, labels))
    found = check_controllers.look(kube, upstream.EVENTS)
    assert (found.level, found.text) == ("ok", "Argo Events ae-build:v1.9.11 in tiphys")
    server = {"app.kubernetes.io/part-of": "argo-workflows", "app.kubernetes.io/component": "server"}
    workload = deployment("argo-server", "mirror.test/team/cli:v4.1.2", 1, server)
    assert list(check_controllers._controllers(upstream.WORKFLOWS, [workload])) == []


class Narrow(Kube):
    """A person who may look into some namespaces only."""

    def call(self, method: str, path: str, body: Object | None = None, **more: Any) -> Object:
        """Refuse to list what is in all namespaces."""
        if path.startswith("/apis/apps/") and "/namespaces/" not in path:
            raise Forbidden("no")
        return super().call(method, path, body, **more)


def test_who_may_not_look_everywhere_is_told_where_was_looked(kube: Kube) -> None:
    found = check_controllers.look(Narrow(kube.cluster, "dba"), upstream.EVENTS)
    assert found.level == "warning"
    assert found.text.endswith("no controller seen in argo-events, dba; you may not look elsewhere")


def test_an_operator_is_one_as_a_stateful_set_as_a_stand_in_and_never_as_a_cluster_s_sidecar(kube: Kube) -> None:
    image = "container-registry.oracle.com/mysql/community-operator:9.1.0-2.2.2"
    server = deployment("demo", image, 3, {"mysql.oracle.com/cluster": "demo"})
    stand_in_server = deployment("demo2", "ghcr.io/tiphys/mysql-local:9.7.4", 1, {"app": "x"}, "mysqld")
    assert list(check_controllers._controllers(upstream.MYSQL, [server, stand_in_server])) == []
    put(kube, deployment("mysql-local-operator", "ghcr.io/tiphys/mysql-local:9.7.4", 1, None, "operator"))
    found = check_controllers.look(kube, upstream.MYSQL)
    assert found.level == "ok" and "stand-in, for tests and trials only" in found.text
    put(kube, {**deployment("mysql-operator", image, 2), "kind": "StatefulSet"})
    assert check_controllers.look(kube, upstream.MYSQL).text.startswith("MySQL Operator community-operator:9.1.0-2.2.2")


def test_a_default_storage_class_is_looked_for(kube: Kube) -> None:
    path = "/apis/storage.k8s.io/v1/storageclasses"
    for one in kube.all(kube.resource("storage.k8s.io/v1", "StorageClass")):
        kube.delete(one)
    meta: Object = {"name": "disks"}
    made = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": meta, "provisioner": "x.test/disks"}
    kube.call("POST", path, made)
    found = check_cluster.storage_class(kube)
    assert found.level == "error" and "disks" in found.text
    annotations = {"metadata": {"annotations": {check_cluster.DEFAULT_CLASS: "true"}}}
    kube.call("PATCH", f"{path}/disks", annotations, content_type=MERGE)
    assert check_cluster.storage_class(kube).level == "ok"


def test_the_local_platform_needs_no_storage_class(settings: Settings) -> None:
    local = Kube(Cluster(Address(settings.kubeconfig, settings, "tiphys")), "tiphys")
    assert check_cluster.storage_class(local).level == "ok"


def test_an_event_that_became_no_run_is_warned_of(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(check_events.look(kube)) == []
    for one in (run(), letter("twice"), letter("lost", workflow="t-lost")):
        one["metadata"]["namespace"] = "tiphys"
        kube.create(one)
    (found,) = check_events.look(kube)
    assert found.level == "warning" and found.text.startswith(
        "events that were taken and became no run: 1, the last at 2"
    )
    assert found.fix == ("see which: tiphys undelivered -n tiphys",)
    monkeypatch.setattr(undelivered, "ARGO", "/apis/argoproj.io/v0")  # as where Argo's kinds are gone again
    assert list(check_events.look(kube)) == []


def test_an_installation_is_waited_for_until_its_pods_are_ready(kube: Kube) -> None:
    source = {"apiVersion": "argoproj.io/v1alpha1", "kind": "EventSource", "metadata": {"name": "bell"}, "spec": {}}
    kube.create(source)
    assert list(ready.watch(kube, [source], 0)) == [{"EventSource/bell": "Argo Events has not looked at it yet"}]
    put(kube, {**source, "status": {"conditions": [{"type": "Deployed", "status": "True"}]}})
    assert list(ready.watch(kube, [source], 0)) == [{"EventSource/bell": "0 of 1 pods are ready"}]
    made = deployment("bell", "quay.io/argoproj/argo-events:v1.9.11", 0, {"eventsource-name": "bell"})
    put(kube, made)
    assert list(ready.watch(kube, [source], 0)) == [{"EventSource/bell": "0 of 1 pods are ready"}]
    put(kube, {**made, "status": status(1)})
    generation = kube.call("GET", kube.path_of(made))["metadata"]["generation"]
    unready = [{"EventSource/bell": "0 of 1 pods are ready"}]
    assert list(ready.watch(kube, [source], 0)) == unready, "no controller has looked at the Deployment yet"
    seen = {"observedGeneration": generation, "readyReplicas": 1}
    put(kube, {**made, "status": {**seen, "replicas": 2, "updatedReplicas": 1}})
    assert list(ready.watch(kube, [source], 0)) == unready, "the pod from before the change is"
    put(kube, {**made, "status": {**seen, "replicas": 1, "updatedReplicas": 1}})
    assert list(ready.watch(kube, [source], 0)) == [{}]


@pytest.mark.usefixtures("versitygw")
def test_s3_is_asked_with_the_values_that_the_steps_get(kube: Kube, tmp_path: Path) -> None:
    with own_s3(tmp_path, 127) as (_, keys):
        given = S3(keys.bucket, keys.endpoint, keys.region, keys.access_key, keys.secret_key)
        assert check_s3.look(kube, given).level == "ok"
        bad = S3("elsewhere", keys.endpoint, keys.region, keys.access_key, keys.secret_key)
        found = check_s3.look(kube, bad)
        assert found.level == "error" and "elsewhere" in found.text
        wrong = S3(keys.bucket, keys.endpoint, keys.region, keys.access_key, "WRONG-SECRET")
        found = check_s3.look(kube, wrong)
        assert found.level == "error" and "WRONG-SECRET" not in found.text
    assert check_s3.look(kube, given).level == "error", "nobody answers any more"
    inside = S3("reports", "http://minio.storage.svc:9000", "r", "k", "s")
    assert check_s3.look(kube, inside).level == "warning", "from here nobody can tell"


def test_the_secret_that_images_are_pulled_with_is_looked_for(kube: Kube) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "a"}}
    pulling = account | {"imagePullSecrets": [{"name": "registry"}]}

    def found() -> list[tuple[str, str]]:
        return [(one.level, one.text) for one in check_images.look(kube, [account, pulling])]

    assert list(check_images.look(kube, [account])) == []
    assert found() == [("warning", f"no Secret registry in {kube.namespace}")]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry"}, "data": {"keystore": "/u3+7Q=="}}
    kube.create(secret)
    ((level, text),) = found()
    assert level == "warning" and "it has keystore)" in text
    kube.call("PATCH", kube.path_of(secret), {"data": {".dockerconfigjson": "e30="}}, content_type=MERGE)
    assert found() == [("ok", "Secret registry is there")]
