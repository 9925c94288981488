"""Rolling restarts of a real group: the API server is real, its kubelet is a thread that starts servers again."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from apiserver_help import ApiServer
from book_help import make_book
from mysql_group import ROOT, Server, mysql_group

from steps.drill import intent
from steps.errors import Refused, StepError, VerdictAborted
from steps.kube import client
from steps.kube.client import Kube
from steps.mysql import restart as core
from steps.mysql.connection import close, query
from steps.mysql.restart import NotBack, Progress, identities, restart
from steps.mysql.restart_plan import Method, Wish, life_of
from steps.mysql.rolling_restart import NAME, Rolled, rolling_restart
from steps.mysql.topology import read_topology

NET = f"127.88.{os.getpid() % 250 + 1}"
ADDRESSES = [f"{NET}.{number}" for number in (31, 32, 33)]
READY = [{"type": "Ready", "status": "True"}]
RUN = "rolling-1"

pytestmark = pytest.mark.timeout(900)


def object_of(kind: str, name: str, version: str = "v1", **fields: Any) -> dict[str, Any]:
    labels = fields.pop("labels", {})
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, **fields}


class Kubelet(threading.Thread):
    """Ends and starts servers as a kubelet and the operator do: for pods that are deleted, for containers that end.

    Attributes:
        broken: pods whose server is not started again.
    """

    def __init__(self, kube: Kube, servers: list[Server]) -> None:
        super().__init__(name="kubelet", daemon=True)
        self.kube, self.broken = kube, set[str]()
        self.servers = {f"demo-{number}": server for number, server in enumerate(servers)}
        self._over = threading.Event()
        self._number = 0

    def make(self, name: str) -> None:
        labels = {"mysql.oracle.com/cluster": "demo", "component": "mysqld"}
        containers = [{"name": "mysql", "image": "localhost/host:1"}]
        spec = {"containers": containers, "nodeName": "node-1", "terminationGracePeriodSeconds": 9}
        self.kube.create("pods", object_of("Pod", name, labels=labels, spec=spec))
        self.tell(name)

    def tell(self, name: str) -> None:
        """Say that the server in a pod runs, and since when."""
        self._number += 1
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        running = {"name": "mysql", "containerID": f"c{self._number}", "state": {"running": {"startedAt": now}}}
        status = {"phase": "Running", "podIP": self.servers[name].address, "conditions": READY}
        self.kube.patch("pods", name, {"status": {**status, "containerStatuses": [running]}}, subresource="status")

    def run(self) -> None:
        while not self._over.wait(0.1):
            for pod in self.kube.servers("demo"):
                name = str(pod["metadata"]["name"])
                process = self.servers[name].process
                assert process is not None
                if pod["metadata"].get("deletionTimestamp"):
                    leave(self.servers[name])
                    self.kube.delete("pods", name, grace_seconds=0)
                    self.bring(name, self.make)
                elif process.poll() is not None:
                    self.bring(name, self.tell)

    def bring(self, name: str, tell: Any) -> None:
        if name not in self.broken:
            server = self.servers[name]
            server.start()
            server.wait()
            tell(name)  # a container is told of when it runs, long before its server is a member
            server.join()

    def stop(self) -> None:
        self._over.set()
        self.join(60)


def leave(server: Server) -> None:
    connection = server.connect()
    query(connection, "STOP GROUP_REPLICATION")
    close(connection)
    server.kill()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[Server]]]:
    with ExitStack() as stack:
        api = ApiServer(tmp_path_factory.mktemp("api"))
        api.start()
        stack.callback(api.stop)
        yield str(api.settings.kubeconfig), stack.enter_context(mysql_group(tmp_path_factory.mktemp("g"), ADDRESSES))


@pytest.fixture
def kubelet(place: tuple[str, list[Server]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubelet]:
    monkeypatch.setenv("KUBECONFIG", place[0])
    kube = client.connect("tiphys")
    made = Kubelet(kube, place[1])
    if kube.find("innodbclusters", "demo") is None:
        make_book(kube)
        login = {"rootUser": "root", "rootPassword": ROOT.password}
        kube.create("secrets", object_of("Secret", "demo-secret", stringData=login))
        spec = {"secretName": "demo-secret", "instances": 3, "router": {"instances": 0}}
        kube.create("innodbclusters", object_of("InnoDBCluster", "demo", "mysql.oracle.com/v2", spec=spec))
        for name in made.servers:
            made.make(name)
    for name in made.servers:
        made.tell(name)
    made.start()
    before = signal.getsignal(signal.SIGTERM)
    yield made
    signal.signal(signal.SIGTERM, before)
    made.broken.clear()
    intent.remove(kube, "demo", RUN)
    deadline = time.monotonic() + 60
    while not read_topology(kube, "demo").is_whole:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    made.stop()
    kube.close()


def started(kubelet: Kubelet) -> dict[str, int]:
    return {name: server.process.pid for name, server in kubelet.servers.items() if server.process}


def primary(kube: Kube) -> str:
    found = read_topology(kube, "demo").primary
    assert found is not None
    return found.pod


def note(kube: Kube) -> None:
    intent.write(kube, "demo", intent.Intent(RUN, NAME, intent.now()))


def run(kubelet: Kubelet, wish: Wish, **more: Any) -> list[Progress]:
    told: list[Progress] = []
    restart(kubelet.kube, "demo", ROOT, wish, workflow=RUN, on_progress=told.append, **more)
    return told


def test_each_server_is_restarted_once_and_the_primary_last_as_a_secondary(kubelet: Kubelet) -> None:
    before, old = started(kubelet), primary(kubelet.kube)
    done = rolling_restart.function(
        namespace="tiphys",
        cluster="demo",
        workflow=RUN,
        method="pod",
        since=None,
        member_timeout_seconds=0,
        measure=False,
        app_url=None,
        app_verify_tls=True,
        dry_run=False,
    )
    assert isinstance(done, Rolled)
    assert done.restarted == "demo-2,demo-1,demo-0" and old == "demo-0"
    assert done.new_primary == primary(kubelet.kube) == "demo-1"
    after = started(kubelet)
    assert all(after[name] != before[name] for name in before)
    assert "3 of 3 restarted" in done.summary and "primary demo-0 -> demo-1" in done.summary
    assert done.write_downtime_seconds is None
    assert intent.read(kubelet.kube.cluster("demo")) is None


def test_a_server_alone_is_ended_by_sql_and_one_that_was_restarted_is_left_alone(kubelet: Kubelet) -> None:
    before, old = started(kubelet), primary(kubelet.kube)
    spared, chosen = sorted(set(before) - {old})
    lives = {str(pod["metadata"]["name"]): life_of(pod) for pod in kubelet.kube.servers("demo")}
    known = {spared: "another life", old: "another life"}
    assert identities(lives, Method.SERVER)[chosen]
    note(kubelet.kube)
    told = run(kubelet, Wish(Method.SERVER, known=known))  # it is the chosen one's first life that is not known
    after = started(kubelet)
    assert [each.kind for each in told] == ["restarting", "restarted"] and told[0].pod == chosen
    assert {name for name in before if after[name] != before[name]} == {chosen}
    assert primary(kubelet.kube) == old


def test_it_stops_at_a_member_that_does_not_come_back_and_is_taken_up_there(kubelet: Kubelet) -> None:
    before, old = started(kubelet), primary(kubelet.kube)
    first = max(set(before) - {old})
    lives = {str(pod["metadata"]["name"]): life_of(pod) for pod in kubelet.kube.servers("demo")}
    known = identities(lives, Method.SERVER)
    kubelet.broken.add(first)
    note(kubelet.kube)
    with pytest.raises(NotBack, match=f"{first} did not come back within 3 s.*2/3 ONLINE.*not yet restarted") as raised:
        run(kubelet, Wish(Method.SERVER, seconds=3, known=known))
    assert raised.value.pod == first
    assert {name for name, pid in started(kubelet).items() if pid != before[name]} == set(), "no other was touched"
    with pytest.raises(Refused, match=r"nothing was changed: the group is not whole \(2/3 ONLINE"):
        run(kubelet, Wish(Method.SERVER))
    kubelet.broken.clear()
    told = run(kubelet, Wish(Method.SERVER, known=known))
    assert [each.pod for each in told if each.kind == "restarted"] == [*sorted(set(before) - {old, first}), old]
    assert next(each.pod for each in told if each.kind == "switched") != old


def test_a_budget_that_holds_a_pod_is_named_and_nothing_was_restarted(
    kubelet: Kubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, kube = started(kubelet), kubelet.kube
    monkeypatch.setattr(core, "HELD_SECONDS", 0.5)
    selector = {"matchLabels": {"mysql.oracle.com/cluster": "demo"}}
    spec = {"maxUnavailable": 0, "selector": selector}
    kube.create("poddisruptionbudgets", object_of("PodDisruptionBudget", "holds-all", "policy/v1", spec=spec))
    kube.patch("poddisruptionbudgets", "holds-all", {"status": {"disruptionsAllowed": 0}}, subresource="status")
    note(kube)
    try:
        with pytest.raises(Refused, match="was not restarted: a disruption budget has held its pod.*holds-all"):
            run(kubelet, Wish())
    finally:
        kube.delete("poddisruptionbudgets", "holds-all")
    assert started(kubelet) == before


def test_it_goes_on_only_under_its_own_note_and_until_it_is_told_to_stop(kubelet: Kubelet) -> None:
    before = started(kubelet)
    with pytest.raises(Refused, match="note on cluster demo .* is gone"):
        run(kubelet, Wish())
    note(kubelet.kube)
    with pytest.raises(VerdictAborted, match="enough"):
        run(kubelet, Wish(), stop_reason=lambda: "enough")
    assert started(kubelet) == before


def test_whoever_is_told_may_stop_it_before_the_next(kubelet: Kubelet) -> None:
    before = started(kubelet)

    def look(progress: Progress) -> None:
        if progress.kind == "restarted":
            raise StepError(f"{progress.pod} has not the value")

    note(kubelet.kube)
    with pytest.raises(StepError, match="has not the value"):
        restart(kubelet.kube, "demo", ROOT, Wish(Method.SERVER), workflow=RUN, on_progress=look)
    assert sum(pid != before[name] for name, pid in started(kubelet).items()) == 1


def test_a_member_is_back_only_when_it_has_what_the_primary_has(kubelet: Kubelet) -> None:
    kube, old = kubelet.kube, primary(kubelet.kube)
    chosen = max(set(kubelet.servers) - {old})
    connection = kubelet.servers[old].connect()
    query(connection, "CREATE SCHEMA IF NOT EXISTS t")
    query(connection, "CREATE TABLE IF NOT EXISTS t.t (id INT AUTO_INCREMENT PRIMARY KEY)")
    holder = kubelet.servers[chosen].connect()
    made = core._Run(kube, "demo", ROOT, Wish(), RUN, lambda progress: None, lambda: "")
    assert made._behind(read_topology(kube, "demo"), chosen) == ""
    query(holder, "FLUSH TABLES WITH READ LOCK")
    try:
        query(connection, "INSERT INTO t.t VALUES ()")
        assert "1 transactions left to apply" in made._behind(read_topology(kube, "demo"), chosen)
    finally:
        query(holder, "UNLOCK TABLES")
        close(holder)
        close(connection)
