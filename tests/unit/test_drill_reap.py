"""The reaper over several clusters, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
    for name, fault in (("a", "freeze"), ("b", "of-a-later-version")):
        make_cluster(kube, name)
        intent.write(kube, name, intent.Intent(f"gone-{name}", fault, intent.now()))
    with pytest.raises(StepError, match="gone"):
        reap.function(namespace="tiphys")
    assert intent.read(kube.cluster("a")) is not None, "it cannot be undone without the cluster's Secret"
    assert intent.read(kube.cluster("b")) is None
    assert [(entry.cluster, entry.intent.workflow) for entry in book.entries(kube)] == [("a", "gone-a")]


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
