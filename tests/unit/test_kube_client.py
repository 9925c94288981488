"""The steps' client against a real API server process: objects, patches, and errors with the right exit codes."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer

from steps.errors import BadParameters, Temporary
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.errors import Conflict, Forbidden, Invalid, NotFound, TooManyRequests, Unreachable, failed
from steps.mysql.definition import Asked, new_cluster, root_secret


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    running = ApiServer(tmp_path_factory.mktemp("api"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def kube(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
    made = client.connect("tiphys")
    for resource in ("configmaps", "pods", "innodbclusters", "poddisruptionbudgets"):
        for item in made.all(resource):
            made.delete(resource, item["metadata"]["name"], grace_seconds=0)
    yield made
    made.close()


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels or {}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def pod(name: str, **labels: str) -> dict[str, Any]:
    container = {"name": "main", "image": "localhost/host:1", "command": ["sleep", "60"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [container]},
    }


def test_objects_are_made_found_changed_and_deleted(kube: Kube) -> None:
    made = kube.create("configmaps", config_map("a", {"app": "x"}, one="1", two="2"))
    kube.create("configmaps", config_map("b", {"app": "y"}))
    assert kube.get("configmaps", "a")["data"] == {"one": "1", "two": "2"}
    assert [item["metadata"]["name"] for item in kube.all("configmaps", "app in (x,y)")] == ["a", "b"]
    assert [item["metadata"]["name"] for item in kube.all("configmaps", "app=y")] == ["b"]
    assert kube.patch("configmaps", "a", {"data": {"one": None, "three": "3"}})["data"] == {"two": "2", "three": "3"}
    assert kube.label("configmaps", "a", {"app": None, "env": "test"})["metadata"]["labels"] == {"env": "test"}
    assert kube.annotate("configmaps", "a", {"note": "n"})["metadata"]["annotations"] == {"note": "n"}
    with pytest.raises(Conflict):
        kube.delete("configmaps", "a", uid="00000000-0000-0000-0000-000000000000")
    kube.delete("configmaps", "a", uid=made["metadata"]["uid"])
    assert kube.find("configmaps", "a") is None


def test_a_patch_of_an_old_version_is_a_conflict(kube: Kube) -> None:
    made = kube.create("configmaps", config_map("a", one="1"))
    version = made["metadata"]["resourceVersion"]
    kube.patch("configmaps", "a", {"data": {"one": "2"}}, resource_version=version)
    with pytest.raises(Conflict):
        kube.patch("configmaps", "a", {"data": {"one": "3"}}, resource_version=version)
    assert kube.get("configmaps", "a")["data"]["one"] == "2"


def test_a_missing_object_is_a_bad_parameter(kube: Kube) -> None:
    with pytest.raises(NotFound, match="get configmaps/nix in namespace tiphys") as caught:
        kube.get("configmaps", "nix")
    assert caught.value.exit_code == 2


def test_a_missing_cluster_is_named_with_those_that_exist(kube: Kube) -> None:
    with pytest.raises(BadParameters, match="has none: deploy-cluster makes one"):
        kube.cluster("demo")
    for name in ("two", "one"):
        kube.create("innodbclusters", new_cluster(name, Asked(3, 2)))
    with pytest.raises(BadParameters, match="no InnoDBCluster 'demo'; it has: one, two"):
        kube.cluster("demo")
    assert kube.cluster("one")["spec"]["instances"] == 3


def test_what_the_schema_forbids_is_invalid_and_told(kube: Kube) -> None:
    with pytest.raises(Invalid, match="spec.instances") as caught:
        kube.create("innodbclusters", new_cluster("demo", Asked(99, 2)))
    assert caught.value.exit_code == 2


def test_making_it_twice_is_a_conflict(kube: Kube) -> None:
    kube.create("configmaps", config_map("a"))
    with pytest.raises(Conflict):
        kube.create("configmaps", config_map("a"))


def test_a_secret_comes_decoded(kube: Kube) -> None:
    kube.create("secrets", root_secret("demo", "geheim"))
    assert kube.secret("demo-root") == {"rootUser": "root", "rootHost": "%", "rootPassword": "geheim"}
    raw = kube.get("secrets", "demo-root")["data"]["rootPassword"]
    assert base64.b64decode(raw) == b"geheim"


def test_pods_of_a_cluster_by_what_they_run(kube: Kube) -> None:
    label = {"mysql.oracle.com/cluster": "demo"}
    kube.create("pods", pod("demo-1", component="mysqld", **label))
    kube.create("pods", pod("demo-0", component="mysqld", **label))
    kube.create("pods", pod("demo-router-x", component="mysqlrouter", **label))
    kube.create("pods", pod("other-0", component="mysqld", **{"mysql.oracle.com/cluster": "other"}))
    assert [item["metadata"]["name"] for item in kube.servers("demo")] == ["demo-0", "demo-1"]
    assert [item["metadata"]["name"] for item in kube.routers("demo")] == ["demo-router-x"]


def test_a_wrong_token_says_what_to_check(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "kubeconfig"
    wrong.write_text(server.settings.kubeconfig.read_text().replace(server.token(), "wrong"))
    monkeypatch.setenv("KUBECONFIG", str(wrong))
    with closing(client.connect("tiphys")) as kube, pytest.raises(Forbidden, match="Check KUBECONFIG") as caught:
        kube.get("configmaps", "a")
    assert caught.value.exit_code == 1


def test_a_server_that_is_down_is_temporary(server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = tmp_path / "kubeconfig"
    nobody.write_text(server.settings.kubeconfig.read_text().replace(":6444", ":6449"))
    monkeypatch.setenv("KUBECONFIG", str(nobody))
    started = time.monotonic()
    with pytest.raises(Unreachable, match="Connection refused") as caught:
        client.connect("tiphys").get("configmaps", "a")
    assert isinstance(caught.value, Temporary) and caught.value.exit_code == 75
    assert time.monotonic() - started < 60, "it must not wait for ever"


def test_no_way_to_kubernetes_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(BadParameters, match="Set KUBECONFIG"):
        client.connect("tiphys")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(BadParameters, match="missing is of no use"):
        client.connect("tiphys")


def test_exec_in_a_pod_that_does_not_run_is_an_error_of_its_own(kube: Kube) -> None:
    with pytest.raises(NotFound):
        kube.execute("nix", "main", ["true"])


@pytest.mark.parametrize(
    ("status", "kind", "exit_code"),
    [(401, Forbidden, 1), (403, Forbidden, 1), (404, NotFound, 2), (409, Conflict, 75), (422, Invalid, 2)]
    + [(429, TooManyRequests, 75), (500, Unreachable, 75), (503, Unreachable, 75)],
)
def test_each_status_has_its_error(status: int, kind: type, exit_code: int) -> None:
    made = failed(status, b'{"kind":"Status","message":"because"}', "get pods/a")
    assert type(made) is kind and made.exit_code == exit_code
    assert "because" in str(made) and "get pods/a" in str(made)
    assert "oops" in str(failed(status, "oops", "x")), "what is no Status is shown as it is"
