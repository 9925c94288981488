"""Scratch clusters against a real API server: whose they are, what they copy, and that nothing of them stays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from apiserver_help import ApiServer

from steps.backup import verify_scratch
from steps.backup.verify_record import Order
from steps.backup.verify_scratch import FINALIZER, LABEL, bring, orphans, remove, scratch_cluster, scratch_name
from steps.drill import reap as reaping
from steps.drill.reap import OVER, reap
from steps.errors import Refused, Temporary
from steps.kube.client import Kube, connect
from steps.mysql.definition import Asked, new_cluster
from steps.parameters import CLUSTER_NAME

NAMESPACE = "tiphys"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    made = ApiServer(tmp_path_factory.mktemp("api"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
def kube(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
    made = connect(NAMESPACE)
    for name, asked in (("demo", Asked(3, 2, version="9.7.1", mycnf="max_connections=77", storage="9Gi")),):
        if made.find("innodbclusters", name) is None:
            made.create("innodbclusters", new_cluster(name, asked))
    yield made
    for resource in ("innodbclusters", "secrets", "persistentvolumeclaims", "workflows", "pods"):
        for found in made.all(resource):
            if found["metadata"].get("finalizers"):
                made.patch(resource, found["metadata"]["name"], {"metadata": {"finalizers": []}})
            if made.find(resource, found["metadata"]["name"]):
                made.delete(resource, found["metadata"]["name"], grace_seconds=0)
    made.close()


def order(cluster: str = "demo", workflow: str = "verify-1", **more: Any) -> Order:
    scratch = scratch_name(cluster, workflow)
    return Order(workflow, NAMESPACE, cluster, "b", "s3://x", "full", "", scratch=scratch, **more)


def workflow(kube: Kube, name: str, phase: str = "Running") -> str:
    spec = {"entrypoint": "x", "templates": [{"name": "x", "container": {"image": "localhost/host:1"}}]}
    made = kube.create(
        "workflows",
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec},
    )
    kube.patch("workflows", name, {"status": {"phase": phase}})
    return str(made["metadata"]["uid"])


def claim(kube: Kube, name: str) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    about = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
    kube.create("persistentvolumeclaims", about)


def names(kube: Kube, resource: str) -> set[str]:
    return {str(found["metadata"]["name"]) for found in kube.all(resource)}


@pytest.mark.parametrize("cluster", ["a", "demo", "shop-of-the-north-sea", "fourteen-chars-and", "x" * 28])
def test_every_workflow_has_a_name_of_its_own_that_the_operator_takes(cluster: str) -> None:
    made = {scratch_name(cluster, f"verify-{number}") for number in range(50)}
    assert len(made) == 50 and scratch_name(cluster, "w") == scratch_name(cluster, "w")
    for name in made:
        assert CLUSTER_NAME.convert(name, None, None) == name and "--" not in name


def test_it_is_made_like_the_cluster_itself_but_for_nobody_else(kube: Kube) -> None:
    uid = workflow(kube, "verify-1")
    made = bring(kube, order(servers=2), "verify-1")
    spec, metadata = made["spec"], made["metadata"]
    assert (spec["version"], spec["mycnf"]) == ("9.7.1", "[mysqld]\nmax_connections=77\n")
    assert spec["datadirVolumeClaimTemplate"]["resources"]["requests"]["storage"] == "9Gi"
    assert (spec["instances"], spec["router"]["instances"]) == (2, 0)
    assert spec["secretName"] == f"{metadata['name']}-root" != "demo-root"
    assert metadata["labels"][LABEL] == "verify-1" and metadata["labels"]["tiphys.dev/drills"] == "forbidden"
    assert "tiphys.dev/backups" not in metadata["labels"]
    (owner,) = metadata["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("Workflow", "verify-1", uid)
    (owner,) = kube.get("secrets", spec["secretName"])["metadata"]["ownerReferences"]
    assert owner["uid"] == uid
    again = bring(kube, order(servers=2), "verify-1")
    assert again["metadata"]["uid"] == metadata["uid"], "a second attempt of the step goes on with it"


def test_the_cluster_itself_may_be_gone(kube: Kube) -> None:
    made = scratch_cluster("verify-x-1", "w", None, None, order("gone"))
    assert "version" not in made["spec"] and "ownerReferences" not in made["metadata"]
    assert bring(kube, order("gone", "by-hand"), "by-hand")["metadata"]["finalizers"] == [FINALIZER]


def test_another_clusters_name_is_refused_and_it_is_left_alone(kube: Kube) -> None:
    taken = scratch_name("demo", "verify-2")
    kube.create("innodbclusters", new_cluster(taken, Asked(1, 0)))
    with pytest.raises(Refused, match="is not this run's scratch cluster"):
        bring(kube, order(workflow="verify-2"), "verify-2")
    assert remove(kube, taken, "verify-2") is False
    assert not kube.get("innodbclusters", taken)["metadata"].get("deletionTimestamp")


def test_nothing_stays_of_it_and_nothing_else_goes(kube: Kube) -> None:
    workflow(kube, "verify-1")
    name = str(bring(kube, order(), "verify-1")["metadata"]["name"])
    for volume in (
        f"datadir-{name}-0",
        f"datadir-{name}-1",
        "datadir-demo-0",
        f"datadir-{name}-x-0",
        f"other-{name}-0",
    ):
        claim(kube, volume)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "demo-root"}}
    kube.create("secrets", secret)
    assert remove(kube, name, "verify-1") is True
    assert names(kube, "innodbclusters") == {"demo"} and "demo-root" in names(kube, "secrets")
    assert f"{name}-root" not in names(kube, "secrets")
    assert names(kube, "persistentvolumeclaims") == {"datadir-demo-0", f"datadir-{name}-x-0", f"other-{name}-0"}
    assert remove(kube, name, "verify-1") is False, "there is none any more, and that is no error"


def test_volumes_go_after_the_servers(kube: Kube) -> None:
    name = str(bring(kube, order(), "verify-1")["metadata"]["name"])
    claim(kube, f"datadir-{name}-0")
    labels = {"mysql.oracle.com/cluster": name, "component": "mysqld"}
    about = {"name": f"{name}-0", "labels": labels}
    containers = [{"name": "main", "image": "localhost/host:1"}]
    kube.create("pods", {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {"containers": containers}})
    with pytest.raises(Temporary, match="1 pods of scratch cluster"):
        remove(kube, name, "verify-1", seconds=0.2)
    found = kube.get("innodbclusters", name)
    assert found["metadata"]["deletionTimestamp"] and FINALIZER in found["metadata"]["finalizers"]
    assert f"datadir-{name}-0" in names(kube, "persistentvolumeclaims")
    kube.delete("pods", f"{name}-0", grace_seconds=0)
    assert remove(kube, name, "verify-1") is True
    assert names(kube, "persistentvolumeclaims") == set() and name not in names(kube, "innodbclusters")


def test_reap_removes_those_whose_workflow_is_gone_or_over_and_no_other(kube: Kube) -> None:
    for run, phase in (("verify-1", "Running"), ("verify-2", "Failed"), ("verify-3", "")):
        workflow(kube, run, phase)
        bring(kube, order(workflow=run), run)
    bring(kube, order(workflow="verify-4"), "verify-4")  # its workflow is gone
    clusters = kube.all("innodbclusters")
    phases = {"verify-1": "Running", "verify-2": "Failed", "verify-3": ""}
    gone = {scratch_name("demo", "verify-2"), scratch_name("demo", "verify-4")}
    assert {name for name, _ in orphans(clusters, phases, OVER)} == gone
    assert reap.function(namespace=NAMESPACE).reaped == 2
    kept = {scratch_name("demo", "verify-1"), scratch_name("demo", "verify-3")}
    assert names(kube, "innodbclusters") == {"demo", *kept}
    assert names(kube, "secrets") == {f"{name}-root" for name in kept}


def test_a_cluster_that_was_copied_from_a_scratch_cluster_is_somebodys(kube: Kube) -> None:
    made = bring(kube, order(workflow="verify-5"), "verify-5")
    mine = {**made, "metadata": {"name": "mine", "labels": made["metadata"]["labels"]}}
    kube.create("innodbclusters", mine)
    claim(kube, "datadir-mine-0")
    assert remove(kube, "mine", "verify-5") is False
    assert reap.function(namespace=NAMESPACE).reaped == 1
    assert names(kube, "innodbclusters") == {"demo", "mine"}
    assert names(kube, "persistentvolumeclaims") == {"datadir-mine-0"}


def test_one_that_does_not_go_does_not_keep_reap_from_the_next(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reaping, "REMOVE_SECONDS", 0.2)
    made = sorted(str(bring(kube, order(workflow=run), run)["metadata"]["name"]) for run in ("verify-1", "verify-2"))
    labels = {"mysql.oracle.com/cluster": made[0], "component": "mysqld"}
    containers = [{"name": "main", "image": "localhost/host:1"}]
    about = {"name": f"{made[0]}-0", "labels": labels}
    kube.create("pods", {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": {"containers": containers}})
    with pytest.raises(Temporary, match=rf"1 pods of scratch cluster {made[0]}"):
        reap.function(namespace=NAMESPACE)
    assert names(kube, "innodbclusters") == {"demo", made[0]}


def test_the_exit_handler_finds_it_by_the_workflows_name_alone(kube: Kube) -> None:
    name = str(bring(kube, order(workflow="verify-7"), "verify-7")["metadata"]["name"])
    verify_scratch.verify_remove.function(namespace=NAMESPACE, cluster="demo", workflow="verify-8")
    assert name in names(kube, "innodbclusters")
    verify_scratch.verify_remove.function(namespace=NAMESPACE, cluster="demo", workflow="verify-7")
    assert name not in names(kube, "innodbclusters") and f"{name}-root" not in names(kube, "secrets")
