"""The pods of a cluster on real Kubernetes: what they name, and what their containers become in the one image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiphys.local import mysql_packages
from tiphys.local.operator import dressing, entrypoint, names
from tiphys.local.operator.dressing import POD, PROGRAM, dressed
from tiphys.local.operator.entrypoint import NotARole, launch_of
from tiphys.local.operator.images import write_clients
from tiphys.local.operator.mycnf import Identity, compose
from tiphys.local.operator.spec import parse
from tiphys.local.operator.workloads import router_deployment, stateful_set

IMAGE = "registry.example/mysql-local"
TOLD = {"POD_NAME": "demo-2", "POD_NAMESPACE": "here", "POD_UID": "u1", "POD_IP": "10.244.1.7"}
CLUSTER = {
    "apiVersion": "mysql.oracle.com/v2",
    "kind": "InnoDBCluster",
    "metadata": {"name": "demo", "namespace": "here", "uid": "5c1f"},
    "spec": {
        "secretName": "demo-root",
        "version": "9.7.4",
        "podSpec": {"containers": [{"name": "own", "image": "registry.example/own:1"}]},
    },
}


def template(monkeypatch: pytest.MonkeyPatch, image: str, made: str = "servers") -> dict[str, Any]:
    monkeypatch.setenv(dressing.IMAGE, image)
    obj = stateful_set(parse(CLUSTER), 5) if made == "servers" else router_deployment(parse(CLUSTER), 1)
    pod: dict[str, Any] = obj["spec"]["template"]["spec"]
    return pod


def test_without_an_image_of_ours_the_pods_name_oracles(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = template(monkeypatch, "")
    images = {one["name"]: one["image"] for one in pod["containers"] + pod["initContainers"]}
    assert images["mysql"] == f"{names.SERVER_IMAGE}:9.7.4"
    assert images["sidecar"] == f"{names.OPERATOR_IMAGE}:9.7.4"
    assert "securityContext" not in pod


def test_with_it_each_container_runs_its_role_of_the_clusters_version(monkeypatch: pytest.MonkeyPatch) -> None:
    pods = [template(monkeypatch, IMAGE), template(monkeypatch, IMAGE, "routers")]
    ours = [one for pod in pods for one in [*pod.get("initContainers", []), *pod["containers"]] if one["name"] != "own"]
    assert {one["name"]: one["command"] for one in ours} == {
        "initmysql": [PROGRAM, "initmysql"],
        "mysql": [PROGRAM, "server"],
        "sidecar": [PROGRAM, "sidecar"],
        "router": [PROGRAM, "router"],
    }
    assert {one["image"] for one in ours} == {f"{IMAGE}:9.7.4"}
    for one in ours:
        told = [item["name"] for item in one["env"]]
        assert set(POD) <= set(told) and len(told) == len(set(told))
        assert {"name": "tmp", "mountPath": "/tmp"} in one["volumeMounts"]
        assert one["resources"]["requests"]["cpu"] == ("500m" if "mysql" in one["name"] else "50m")
        assert one["securityContext"]["readOnlyRootFilesystem"] and one["securityContext"]["capabilities"]
    own = next(one for one in pods[0]["containers"] if one["name"] == "own")
    assert own == {"name": "own", "image": "registry.example/own:1"}
    for pod in pods:
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["fsGroup"] == dressing.USER
        assert {"name": "tmp", "emptyDir": {}} in pod["volumes"]


def test_a_backups_pod_keeps_the_name_of_its_backup() -> None:
    container = {"name": "operator-backup-job", "image": f"{names.OPERATOR_IMAGE}:9.7.4", "command": ["backup", "b1"]}
    (made,) = dressed({"containers": [container]}, IMAGE)["containers"]
    assert made["command"] == [PROGRAM, "backup", "b1"]


@pytest.mark.parametrize(
    ("words", "module", "rest"),
    [
        (["sidecar"], "sidecar", ["/var/run/mysqld/mysql.sock"]),
        (["router", "mysqlrouter"], "router_start", [f"{names.ROUTER_IMAGE}:VERSION"]),
        (["backup", "b1"], "backup_run", ["b1", "/mysqlsh/.aws"]),
    ],
)
def test_a_role_becomes_its_helper_which_finds_the_api_by_itself(
    words: list[str], module: str, rest: list[str]
) -> None:
    version = mysql_packages.ensure().version
    made = launch_of(words, TOLD, version)
    expected = ["--namespace", "here", "--pod", "demo-2", *[word.replace("VERSION", version) for word in rest]]
    assert list(made.argv) == [sys.executable, "-m", f"tiphys.local.operator.{module}", *expected]


def test_an_init_container_fills_a_folder_below_its_volume() -> None:
    version = mysql_packages.ensure().version
    made = launch_of(["initmysql", "mysqld"], {**TOLD, "MYSQL_INITIALIZE_ONLY": "1"}, version)
    assert list(made.argv)[-2:] == ["/var/lib/mysql/data", f"{names.SERVER_IMAGE}:{version}"]


def test_a_server_speaks_to_its_group_at_its_pods_own_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "mysql.sock.lock").write_text("1")
    monkeypatch.setattr(entrypoint, "FOLDERS", {"/var/lib/mysql": tmp_path / "data", "/var/run/mysqld": run})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    mysql = mysql_packages.ensure()
    environ = {**TOLD, names.BASE_SERVER_ID: "100"}
    made = launch_of(["server", "mysqld", "--max-connections=77"], environ, mysql.version)
    config = (tmp_path / "my.cnf").read_text()
    for line in ("server_id=102", "bind_address=10.244.1.7", "loose_group_replication_local_address=10.244.1.7:3306"):
        assert f"{line}\n" in config
    assert "admin_address" not in config and "127.0.0.0/8" not in config
    assert f"--defaults-file={tmp_path / 'my.cnf'}" in made.argv and made.argv[-1] == "--max-connections=77"
    assert not (run / "mysql.sock.lock").exists()
    assert "PATH" not in made.env


def test_locally_the_group_keeps_to_the_administrative_port(tmp_path: Path) -> None:
    text = compose(Identity("127.71.2.3", 1, tmp_path, tmp_path, tmp_path / "s", tmp_path / "p"), None)
    assert "loose_group_replication_ip_allowlist=127.0.0.0/8\n" in text
    assert f"loose_group_replication_local_address={names.group_address('127.71.2.3')}\n" in text
    assert f"admin_port={names.group_port('127.71.2.3')}\n" in text


@pytest.mark.parametrize(
    ("words", "environ", "said"),
    [
        ([], TOLD, "no role ''"),
        (["mysqld"], TOLD, "no role 'mysqld': the roles are operator, backup"),
        (["sidecar"], {**TOLD, "POD_IP": ""}, "role sidecar needs POD_IP"),
    ],
)
def test_what_is_no_container_of_a_cluster_is_refused(words: list[str], environ: dict[str, str], said: str) -> None:
    with pytest.raises(NotARole, match=said):
        launch_of(words, environ, "9.7.4")


def test_the_clients_of_the_image_run(tmp_path: Path) -> None:
    write_clients(mysql_packages.ensure(), tmp_path / "bin")
    ran = subprocess.run([str(tmp_path / "bin/mysqladmin"), "--version"], capture_output=True, text=True, timeout=60)
    assert "mysqladmin" in ran.stdout, ran.stderr
