"""The reaper over several clusters, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer
from book_help import make_book

from steps.drill import book, intent, undo
from steps.drill.reap import reap
from steps.errors import BadParameters, StepError
from steps.kube import client, cordon
from steps.kube.client import Kube


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    running = ApiServer(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def kube(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
    made = client.connect("tiphys")
    yield made
    made.close()


def make_cluster(kube: Kube, name: str) -> None:
    spec = {"secretName": "gone", "instances": 3}
    made = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": {"name": name}, "spec": spec}
    kube.create("innodbclusters", made)


def test_a_cluster_that_cannot_be_undone_keeps_its_note_and_keeps_nobody_else_from_it(kube: Kube) -> None:
    make_book(kube)
    frozen = frozen_pod(kube, "a-0")
    for name, fault, before in (("a", "freeze", frozen), ("b", "of-a-later-version", {})):
        make_cluster(kube, name)
        intent.write(kube, name, intent.Intent(f"gone-{name}", fault, intent.now(), before))
    with pytest.raises(StepError, match="a-0"):
        reap.function(namespace="tiphys")
    assert intent.read(kube.cluster("a")) is not None, "nobody could look into its container"
    assert intent.read(kube.cluster("b")) is None
    assert [(entry.cluster, entry.intent.workflow) for entry in book.entries(kube)] == [("a", "gone-a")]


def frozen_pod(kube: Kube, name: str) -> dict[str, Any]:
    """A pod in whose container nobody can run anything, for no kubelet is there; what a freeze keeps of it."""
    containers = [{"name": "mysql", "image": "localhost/host:1"}]
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers}}
    uid = kube.create("pods", made)["metadata"]["uid"]
    status = {"containerStatuses": [{"name": "mysql", "containerID": "c1", "restartCount": 0}]}
    kube.patch("pods", name, {"status": status}, subresource="status")
    return {"primary": name, "uid": uid, "container": "c1", "process": {"pid": 7, "started": 1}}


def test_a_drill_is_undone_where_the_cluster_s_secret_is_gone(kube: Kube) -> None:
    """Putting back needs no password; with the Secret's going the note would have stood there for ever."""
    make_book(kube)
    for run, fault in (("a", "freeze"), ("b", "partition")):
        make_cluster(kube, run)
        intent.write(kube, run, intent.Intent(f"gone-{run}", fault, intent.now()))
    reap.function(namespace="tiphys")
    assert [intent.read(kube.cluster(name)) for name in ("a", "b")] == [None, None] and book.entries(kube) == []


@pytest.mark.parametrize(
    "spoilt", ['{"workflow": ["x"]}', '{"workflow": "x", "fault": []}', '["x"]', "7", '"workflow"']
)
def test_a_note_that_somebody_has_spoilt_keeps_nobody_from_being_reaped(kube: Kube, spoilt: str) -> None:
    make_book(kube)
    for name in ("a", "b"):
        make_cluster(kube, name)
    intent.write(kube, "b", intent.Intent("gone-b", "crash", intent.now()))
    kube.annotate("innodbclusters", "a", {intent.ANNOTATION: spoilt})
    kube.patch("configmaps", book.BOOK, {"data": {"gone-c": spoilt}})
    kube.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}})
    kube.annotate("nodes", "n", {cordon.ANNOTATION: '{"workflow": [], "namespace": "tiphys", "since": ""}'})
    reap.function(namespace="tiphys")
    assert [intent.read(kube.cluster(name)) for name in ("a", "b")] == [None, None] and book.entries(kube) == []
    assert cordon.read(kube.get("nodes", "n")) == cordon.Cordon("", "", "", before=True)


def test_a_drill_whose_cluster_was_deleted_is_undone_from_the_book(kube: Kube) -> None:
    """By reap and by the drill's own exit handler; never where the drill still runs."""
    make_book(kube)
    for run, workflow in (("drill-1", "Running"), ("drill-2", "Succeeded")):
        node = f"node-of-{run}"
        kube.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        make_cluster(kube, run)
        made = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": run}, "spec": {}}
        kube.create("workflows", made)
        kube.patch("workflows", run, {"status": {"phase": workflow}})
        intent.write(kube, run, intent.Intent(run, "drain-node", intent.now()))
        cordon.cordon(kube, node, cordon.Cordon(run, "tiphys", intent.now()))
        kube.delete("innodbclusters", run)
    assert reap.function(namespace="tiphys").reaped == 2, "the node, by its own note, and the entry"
    assert [entry.intent.workflow for entry in book.entries(kube)] == ["drill-1"]
    assert [cordon.is_cordoned(node) for node in kube.all("nodes")] == [True, False]
    for _ in range(2):
        undo.drill_undo.function(namespace="tiphys", cluster="drill-1", workflow="drill-1", keep_ledger=False)
        assert book.entries(kube) == [] and not any(cordon.is_cordoned(node) for node in kube.all("nodes"))


def test_nothing_begins_without_a_book_and_a_spoilt_entry_is_struck_out(kube: Kube) -> None:
    make_cluster(kube, "demo")
    with pytest.raises(BadParameters, match="tiphys-drills.*manifests"):
        intent.write(kube, "demo", intent.Intent("drill-1", "crash", intent.now()))
    assert intent.read(kube.cluster("demo")) is None
    make_book(kube)
    kube.patch("configmaps", book.BOOK, {"data": {"drill-2": "{", "drill-3": '{"cluster": 1, "before": []}'}})
    assert reap.function(namespace="tiphys").reaped == 2
    assert book.entries(kube) == []
