"""The reaper over several clusters, on a real API server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from apiserver_help import ApiServer

from steps.drill import intent
from steps.drill.reap import reap
from steps.errors import StepError
from steps.kube import client


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    running = ApiServer(tmp_path)
    running.start()
    yield running
    running.stop()


def test_a_cluster_that_cannot_be_undone_keeps_its_note_and_keeps_nobody_else_from_it(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
    kube = client.connect("tiphys")
    for name, fault in (("a", "freeze"), ("b", "of-a-later-version")):
        spec = {"secretName": "gone", "instances": 3}
        made = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": {"name": name}, "spec": spec}
        kube.create("innodbclusters", made)
        intent.write(kube, name, intent.Intent("no-such-workflow", fault, intent.now()))
    with pytest.raises(StepError, match="gone"):
        reap.function(namespace="tiphys")
    assert intent.read(kube.cluster("a")) is not None, "it cannot be undone without the cluster's Secret"
    assert intent.read(kube.cluster("b")) is None
    kube.close()
