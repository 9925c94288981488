"""The image for trials: a cluster of three comes up by it and outlives its primary's pod, if TIPHYS_E2E_MYSQL=1 asks.

The nodes must have the image (images/mysql-local) already, and nobody else's operator may care for InnoDBClusters.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from real import CommandFailed, Object, Real, eventually

MANIFESTS = Path(__file__).parents[2] / "manifests" / "mysql-local"
OPERATOR = "mysql-local"
ROLE = "mysql.oracle.com/cluster-role"
SECONDS = 900


def rendered(folder: Path) -> list[Object]:
    made = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(made.stdout))


@pytest.fixture
def operator(real: Real) -> Iterator[None]:
    """The stand-in operator, taken away again unless it was there before."""
    if not os.environ.get("TIPHYS_E2E_MYSQL"):
        pytest.skip("TIPHYS_E2E_MYSQL is not set: the nodes may not have the image")
    there = real.kubectl("get", "namespace", OPERATOR, "--ignore-not-found").strip()
    for kind in rendered(MANIFESTS / "crds"):
        if not real.kubectl("get", "crd", kind["metadata"]["name"], "--ignore-not-found").strip():
            real.apply(kind)
    if not there:
        real.kubectl("apply", "-k", str(MANIFESTS))
    yield
    if not there:
        real.kubectl("delete", "-k", str(MANIFESTS), "--wait=false")


def test_a_cluster_comes_up_and_outlives_its_primarys_pod(real: Real, operator: None, space: str) -> None:
    password = secrets.token_urlsafe(12)
    meta = {"name": "trial", "namespace": space}
    values = {"rootUser": "root", "rootHost": "%", "rootPassword": password}
    spec = {"secretName": "trial", "instances": 3, "version": "9.7.4", "router": {"instances": 1}}
    real.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": values},
        {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": meta, "spec": spec},
    )

    def whole() -> bool:
        state = (real.get("innodbclusters", "trial", space).get("status") or {}).get("cluster") or {}
        return (state.get("status"), state.get("onlineInstances")) == ("ONLINE", 3)

    def primaries() -> list[str]:
        selector = f"component=mysqld,{ROLE}=PRIMARY"
        pods = real.all("pods", "-n", space, "-l", selector)
        return [pod["metadata"]["name"] for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def sql(statement: str) -> str:
        """Ask through the Service, from the pod of a server that is there."""
        asker = next(name for name in ("trial-2", "trial-1") if name not in gone)
        command = f"MYSQL_PWD={password} exec mysql -h trial -N -uroot -e '{statement}'"
        try:
            return real.kubectl("exec", "-n", space, asker, "-c", "mysql", "--", "sh", "-c", command).strip()
        except CommandFailed as error:
            return f"failed: {error}"

    gone: list[str] = []
    try:
        eventually("three servers are ONLINE", whole, SECONDS)
        eventually("a Router leads to them", lambda: sql("SELECT 7") == "7", SECONDS)
        assert (
            sql("CREATE DATABASE shop; CREATE TABLE shop.t (id INT PRIMARY KEY); INSERT INTO shop.t VALUES (1)") == ""
        )
        gone += primaries()
        assert len(gone) == 1
        uid = real.get("pods", gone[0], space)["metadata"]["uid"]
        real.kubectl("delete", "pod", gone[0], "-n", space, "--wait=false")
        eventually("another is primary", lambda: primaries() and not set(primaries()) & set(gone), SECONDS)
        eventually("writes go on", lambda: sql("REPLACE INTO shop.t VALUES (2)") == "", SECONDS)
        eventually("its pod is a new one", lambda: uid not in {p["metadata"]["uid"] for p in real.pods(space)}, SECONDS)
        eventually("three servers are ONLINE again", whole, SECONDS)
        assert sql("SELECT GROUP_CONCAT(id ORDER BY id) FROM shop.t") == "1,2"
    finally:
        # The operator has to let it go: without it the namespace would stay for ever.
        real.kubectl("delete", "innodbclusters", "trial", "-n", space, "--wait=false")
        eventually("the cluster is gone", lambda: not real.all("innodbclusters", "-n", space), SECONDS)
