"""The reaper where the world moves under it: clusters that go, an API server that goes, another reaper, living pods."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer
from book_help import make_book

from steps.drill import book, intent, undo
from steps.drill.fault import Fault, Scene
from steps.drill.faults import FAULTS
from steps.drill.reap import reap
from steps.errors import Temporary
from steps.kube import client, cordon
from steps.kube.client import Kube

FAULT = "of-this-test"


class Meddler(Fault):
    """A fault in whose undoing something else happens."""

    name = FAULT

    def __init__(self, meddle: Callable[[str], None]) -> None:
        self._meddle = meddle

    def undo(self, scene: Scene, before: dict[str, Any]) -> list[str]:
        self._meddle(scene.cluster)
        return ["something"]


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
    make_book(made)
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "root"}, "stringData": {"rootPassword": "x"}}
    made.create("secrets", secret)
    yield made
    made.close()


def drilled(kube: Kube, name: str) -> None:
    """A cluster with the note of a drill whose workflow is gone, and its node."""
    spec = {"secretName": "root", "instances": 3}
    made = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": {"name": name}, "spec": spec}
    kube.create("innodbclusters", made)
    intent.write(kube, name, intent.Intent(f"drill-of-{name}", FAULT, intent.now()))


def noted(kube: Kube) -> list[str]:
    """Whose notes are on clusters and in the book."""
    found = [intent.read(cluster) for cluster in kube.all("innodbclusters")]
    return [note.workflow for note in found if note] + [entry.intent.workflow for entry in book.entries(kube)]


def run() -> int:
    return int(reap.function(namespace="tiphys").reaped)


def test_a_cluster_that_is_deleted_under_the_reaper_keeps_it_from_nothing(
    kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        drilled(kube, name)

    def delete(cluster: str) -> None:
        if cluster == "a":
            kube.delete("innodbclusters", "a")
            kube.delete("innodbclusters", "b")

    monkeypatch.setitem(FAULTS, FAULT, Meddler(delete))
    run()
    assert noted(kube) == [] and [c["metadata"]["name"] for c in kube.all("innodbclusters")] == ["c"]
    assert run() == 0


def test_an_api_server_that_goes_away_in_the_middle_is_worth_another_try(
    kube: Kube, server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drilled(kube, "a")
    drilled(kube, "b")
    monkeypatch.setitem(FAULTS, FAULT, Meddler(lambda cluster: end(server)))
    with pytest.raises(Temporary):
        run()
    server.start()
    assert sorted(set(noted(kube))) == ["drill-of-a", "drill-of-b"]
    with pytest.raises(Temporary):
        undo.drill_undo.function(namespace="tiphys", cluster="a", workflow="drill-of-a", keep_ledger=False)
    server.start()
    monkeypatch.setitem(FAULTS, FAULT, Meddler(lambda cluster: None))
    undo.drill_undo.function(namespace="tiphys", cluster="a", workflow="drill-of-a", keep_ledger=False)
    assert set(noted(kube)) == {"drill-of-b"}
    assert run() == 1 and noted(kube) == []


def end(server: ApiServer) -> None:
    server.stop()


def test_two_reapers_at_once_undo_everything_and_neither_fails(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(2, timeout=20)
    for name in ("a", "b"):
        drilled(kube, name)
        node = f"node-{name}"
        kube.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        cordon.cordon(kube, node, cordon.Cordon(f"drill-of-{name}", "tiphys", intent.now()))
    monkeypatch.setitem(FAULTS, FAULT, Meddler(lambda cluster: meet(both)))
    with ThreadPoolExecutor(2) as pool:
        assert all(future.result(60) >= 2 for future in [pool.submit(run), pool.submit(run)])
    assert noted(kube) == [] and cordon.noted(kube) == []
    assert not any(cordon.is_cordoned(node) for node in kube.all("nodes"))


def meet(both: threading.Barrier) -> None:
    both.wait()


def test_an_error_that_nobody_foresaw_keeps_nobody_else_from_being_reaped(
    kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    def strange(cluster: str) -> None:
        if cluster == "a":
            raise KeyError("of a bug")

    monkeypatch.setitem(FAULTS, FAULT, Meddler(strange))
    for name in ("a", "b"):
        drilled(kube, name)
    with pytest.raises(KeyError, match="of a bug"):
        run()
    assert set(noted(kube)) == {"drill-of-a"}


def test_a_slow_reaper_leaves_the_next_drills_note_alone(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    drilled(kube, "a")

    def another(cluster: str) -> None:
        """Somebody else has undone the drill, and the next has begun."""
        intent.remove(kube, "a", "drill-of-a")
        intent.write(kube, "a", intent.Intent("the-next", "crash", intent.now()))

    monkeypatch.setitem(FAULTS, FAULT, Meddler(another))
    run()
    assert noted(kube) == ["the-next", "the-next"]


def test_what_was_undone_while_a_reaper_waited_is_not_undone_again(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could be the next drill's fault by then: the same process, frozen again."""
    drilled(kube, "a")
    undone: list[str] = []
    monkeypatch.setitem(FAULTS, FAULT, Meddler(undone.append))

    def wait(kube: Kube, workflows: object) -> None:
        intent.remove(kube, "a", "drill-of-a")
        intent.write(kube, "a", intent.Intent("the-next", FAULT, intent.now()))

    monkeypatch.setattr("steps.drill.reap.wait_for_pods", wait)
    run()
    assert undone == [] and noted(kube) == ["the-next", "the-next"]


def test_a_step_that_still_ends_its_fault_is_waited_for(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    drilled(kube, "a")
    labels = {"workflows.argoproj.io/workflow": "drill-of-a"}
    spec = {"containers": [{"name": "main", "image": "localhost/host:1"}]}
    kube.create(
        "pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "step", "labels": labels}, "spec": spec}
    )
    kube.patch("pods", "step", {"status": {"phase": "Running"}}, subresource="status")
    seen: list[str] = []

    def look(cluster: str) -> None:
        seen.append(str(kube.get("pods", "step")["status"]["phase"]))

    def end() -> None:
        time.sleep(1.5)
        kube.patch("pods", "step", {"status": {"phase": "Failed"}}, subresource="status")

    monkeypatch.setitem(FAULTS, FAULT, Meddler(look))
    ending = threading.Thread(target=end)
    ending.start()
    run()
    ending.join()
    assert seen == ["Failed"] and noted(kube) == []


def test_a_node_that_cannot_be_given_back_keeps_nobody_else_from_it(
    kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    drilled(kube, "a")
    for node in ("node-a", "node-b"):
        kube.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        cordon.cordon(kube, node, cordon.Cordon("drill-of-a", "tiphys", intent.now()))
    release = cordon.release

    def busy(kube: Kube, name: str, workflow: str) -> str:
        if name == "node-a":
            raise Temporary("others kept writing to it")
        return release(kube, name, workflow)

    monkeypatch.setattr(cordon, "release", busy)
    monkeypatch.setitem(FAULTS, FAULT, Meddler(lambda cluster: None))
    with pytest.raises(Temporary, match="kept writing"):
        run()
    assert noted(kube) == []
    assert [cordon.is_cordoned(node) for node in kube.all("nodes")] == [True, False]
