"""switch-primary against a real group, a Router in front of it, and the real API server."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import mysql.connector
import pytest
from apiserver_help import ApiServer
from book_help import make_book
from http_help import Quiet, serving
from mysql_group import ROOT, Server, mysql_group
from router_help import router

from steps.drill import book, intent, observing, rows
from steps.errors import BadParameters, Refused
from steps.kube import client
from steps.kube.client import Kube
from steps.mysql.connection import close, query
from steps.mysql.rolling_restart import rolling_restart
from steps.mysql.scale_cluster import scale_cluster
from steps.mysql.set_topology import set_topology
from steps.mysql.switch_primary import NAME, Switched, node_trouble, switch_primary
from steps.mysql.topology import read_topology

NET = f"127.86.{os.getpid() % 250 + 1}"
ADDRESSES = [f"{NET}.{number}" for number in (11, 12, 13)]
ROUTER = f"{NET}.20"
NO_APP = {"app_url": None, "app_verify_tls": True}
READY = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "Ready")]


def object_of(kind: str, name: str, version: str = "v1", **fields: Any) -> dict[str, Any]:
    labels = fields.pop("labels", {})
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, **fields}


def make_pod(kube: Kube, name: str, address: str, component: str, container: str, node: str) -> None:
    labels = {"mysql.oracle.com/cluster": "demo", "component": component}
    spec = {"containers": [{"name": container, "image": "localhost/host:1"}], "nodeName": node}
    kube.create("pods", object_of("Pod", name, labels=labels, spec=spec))
    status = {"phase": "Running", "podIP": address, "conditions": READY}
    kube.patch("pods", name, {"status": status}, subresource="status")


def make_cluster(kube: Kube) -> None:
    make_book(kube)
    login = {"rootUser": "root", "rootPassword": ROOT.password}
    kube.create("secrets", object_of("Secret", "demo-secret", stringData=login))
    spec = {"secretName": "demo-secret", "instances": 3, "router": {"instances": 1}}
    kube.create("innodbclusters", object_of("InnoDBCluster", "demo", "mysql.oracle.com/v2", spec=spec))
    ports = [{"name": "rw", "port": 6446}]
    kube.create("services", object_of("Service", "demo", spec={"clusterIP": ROUTER, "ports": ports}))
    for number, address in enumerate(ADDRESSES):
        kube.create("nodes", object_of("Node", f"node-{number}"))
        kube.patch("nodes", f"node-{number}", {"status": {"conditions": READY[1:]}}, subresource="status")
        make_pod(kube, f"demo-{number}", address, "mysqld", "mysql", f"node-{number}")
    make_pod(kube, "demo-router-a", ROUTER, "mysqlrouter", "router", "node-0")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Server]]]:
    """Yield a kubeconfig and the servers."""
    with ExitStack() as stack:
        api = ApiServer(tmp_path_factory.mktemp("api"))
        api.start()
        stack.callback(api.stop)
        servers = stack.enter_context(mysql_group(tmp_path_factory.mktemp("group"), ADDRESSES))
        stack.enter_context(router(ROUTER, ADDRESSES))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KUBECONFIG", str(api.settings.kubeconfig))
            kube = client.connect("tiphys")
            make_cluster(kube)
            kube.close()
        yield api.settings.kubeconfig, servers


@pytest.fixture
def kube(place: tuple[Path, list[Server]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", str(place[0]))
    before = signal.getsignal(signal.SIGTERM)
    made = client.connect("tiphys")
    yield made
    made.close()
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def servers(place: tuple[Path, list[Server]]) -> list[Server]:
    return place[1]


def switch(to: str | None = None, *, measure: bool = False, dry_run: bool = False, **given: Any) -> Switched:
    values = {"transaction_seconds": 20, "timeout_seconds": 60, "workflow": "switch-1", **NO_APP, **given}
    made = switch_primary.function(
        namespace="tiphys", cluster="demo", to=to, measure=measure, dry_run=dry_run, **values
    )
    assert isinstance(made, Switched)
    return made


@contextmanager
def shop() -> Iterator[str]:
    """An application that always answers; it yields its address."""

    class Answers(Quiet):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

    with serving(Answers) as port:
        yield f"http://127.0.0.1:{port}/"


def primary(kube: Kube) -> str:
    found = read_topology(kube, "demo").primary
    assert found is not None
    return found.pod


def run(server: Server, sql: str) -> list[tuple[Any, ...]]:
    connection = server.connect()
    try:
        return query(connection, sql)
    finally:
        close(connection)


def another(kube: Kube) -> str:
    return next(pod for pod in ("demo-1", "demo-2") if pod != primary(kube))


def test_clients_write_through_the_switch_and_nothing_of_it_is_left(
    kube: Kube, servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    # On a busy machine a write takes long now and then; this is no test of that.
    monkeypatch.setattr(observing, "STEADY_SECONDS", 0.3)
    monkeypatch.setattr(observing, "STEADY_LIMIT_SECONDS", 120.0)
    old, new = primary(kube), another(kube)
    with shop() as url:
        told = switch(new, measure=True, app_url=url)
    assert (told.old_primary, told.new_primary, primary(kube)) == (old, new, new)
    assert told.app_downtime_seconds is not None and told.app_downtime_seconds >= 0
    assert re.search(r"the application: 0 of [1-9]\d* requests failed", told.summary)
    assert told.lost_writes == 0 and told.write_downtime_seconds is not None
    assert f"demo: primary {old} -> {new}" in told.summary and "writes: " in told.summary
    assert "acknowledged, 0 lost" in told.summary and "not checked" not in told.summary
    assert intent.read(kube.cluster("demo")) is None and book.entries(kube) == []
    connection = servers[int(new[-1])].connect()
    assert not rows.exists(connection), "what the clients wrote is gone"
    close(connection)


def test_the_heaviest_is_chosen_and_a_dry_run_only_says_so(kube: Kube, servers: list[Server]) -> None:
    old, heavy = primary(kube), another(kube)
    run(servers[int(heavy[-1])], "SET GLOBAL group_replication_member_weight = 90")
    try:
        told = switch(dry_run=True)
        assert told.summary.startswith(
            f"dry run: nothing was changed. This would switch the primary of demo from {old}"
        )
        # What the test before this one wrote may be still on its way.
        assert re.search(rf"{heavy}: weight 90, \d+ to apply, node node-{heavy[-1]}, chosen", told.summary)
        assert (told.old_primary, told.new_primary) == (old, heavy), "whom it would be"
        assert primary(kube) == old and told.write_downtime_seconds is None
        assert switch().new_primary == heavy == primary(kube)
    finally:
        run(servers[int(heavy[-1])], "SET GLOBAL group_replication_member_weight = 50")


def test_one_on_a_cordoned_node_is_not_chosen(kube: Kube) -> None:
    first = another(kube)
    node = f"node-{first[-1]}"
    kube.patch("nodes", node, {"spec": {"unschedulable": True}})
    try:
        told = switch(dry_run=True)
        assert f"its node {node} is cordoned" in told.summary and f"{first}: weight 50" in told.summary
        assert f"to {first}" not in told.summary.splitlines()[0]
    finally:
        kube.patch("nodes", node, {"spec": {"unschedulable": None}})
    assert node_trouble(kube, "node-9") == "its node node-9 is gone"


def test_the_primary_stays_where_it_is_asked_to_be(kube: Kube) -> None:
    old = primary(kube)
    told = switch(old)
    assert (told.old_primary, told.new_primary) == (old, old) and "is the primary already" in told.summary


def test_a_switch_that_was_cut_off_is_taken_up_and_not_made_again(kube: Kube) -> None:
    new = another(kube)
    before = {"from": primary(kube), "to": new}
    intent.write(kube, "demo", intent.Intent("switch-1", NAME, intent.now(), before))
    # Killed before it moved anything: the same member, though another might be the best by now.
    assert switch().new_primary == new == primary(kube)
    intent.write(kube, "demo", intent.Intent("switch-1", NAME, intent.now(), before))
    # Killed after it: only what is left is done.
    told = switch(measure=True)
    assert (told.old_primary, told.new_primary) == (before["from"], new) and primary(kube) == new
    assert "nothing was measured" in told.summary and intent.read(kube.cluster("demo")) is None


def test_it_keeps_away_from_a_cluster_with_anothers_note(kube: Kube) -> None:
    old = primary(kube)
    intent.write(kube, "demo", intent.Intent("drill-1", "crash", intent.now()))
    try:
        with pytest.raises(Refused, match="workflow 'drill-1'"):
            switch()
        with pytest.raises(Refused) as refused:
            switch(dry_run=True)
        told = refused.value.outputs
        assert "it would be refused" in told.summary and not told.new_primary
    finally:
        intent.remove(kube, "demo", "drill-1")
    assert primary(kube) == old


@pytest.mark.parametrize(
    ("runbook", "given", "plan"),
    [
        (
            switch_primary,
            {"to": None, "measure": False, "transaction_seconds": 20, "timeout_seconds": 60, **NO_APP},
            "summary",
        ),
        (
            rolling_restart,
            {"method": "pod", "since": None, "member_timeout_seconds": 0, "measure": False, **NO_APP},
            "summary",
        ),
        (
            set_topology,
            {"mode": "multi-primary", "primary": None, "lifetime": None, "accept": None, "timeout_seconds": 60},
            "summary",
        ),
        (
            scale_cluster,
            {"servers": 4, "routers": None, "delete_claims": False, "allow_outage": False, "timeout_seconds": 60},
            "plan",
        ),
    ],
    ids=["switch-primary", "rolling-restart", "set-topology", "scale-cluster"],
)
def test_a_dry_run_that_would_be_refused_fails_as_the_run_does_and_tells_its_plan(
    kube: Kube, runbook: Any, given: dict[str, Any], plan: str
) -> None:
    target = {"namespace": "tiphys", "cluster": "demo"} | ({} if runbook is scale_cluster else {"workflow": "mine"})
    intent.write(kube, "demo", intent.Intent("drill-1", "crash", intent.now()))
    try:
        told = []
        for dry_run in (False, True):
            with pytest.raises(Refused, match=r"Refused, nothing was changed: .*workflow 'drill-1'") as refused:
                runbook.function(**target, **given, dry_run=dry_run)
            told.append(refused.value)
    finally:
        intent.remove(kube, "demo", "drill-1")
    real, dry = told
    assert str(real) == str(dry) and real.outputs is None
    assert "would be refused" in getattr(dry.outputs, plan)


def test_a_name_that_no_member_has_is_told_with_those_there_are(kube: Kube) -> None:
    with pytest.raises(BadParameters, match=r"'demo-7'; the group has: demo-0 \(ONLINE\), demo-1"):
        switch("demo-7")


def test_a_transaction_that_does_not_end_is_ended(kube: Kube, servers: list[Server]) -> None:
    old, new = servers[int(primary(kube)[-1])], another(kube)
    run(old, "CREATE SCHEMA IF NOT EXISTS shop")
    run(old, "CREATE TABLE IF NOT EXISTS shop.t (id INT PRIMARY KEY)")
    idle = old.connect()
    query(idle, "BEGIN")
    query(idle, "INSERT INTO shop.t VALUES (1)")
    assert switch(new, transaction_seconds=1).new_primary == new
    with pytest.raises(mysql.connector.Error):
        query(idle, "COMMIT")
    close(idle)


def test_a_member_that_has_left_is_refused_and_the_other_taken(kube: Kube, servers: list[Server]) -> None:
    gone = another(kube)
    left = servers[int(gone[-1])]
    run(left, "STOP GROUP_REPLICATION")
    try:
        with pytest.raises(Refused, match=rf"{gone} is not in the group \(it says that it is OFFLINE\)"):
            switch(gone)
        told = switch(dry_run=True)
        assert "1 of 3 members are not ONLINE" in told.summary
    finally:
        left.join()


def test_multi_primary_mode_is_refused(kube: Kube, servers: list[Server]) -> None:
    run(servers[0], "SELECT group_replication_switch_to_multi_primary_mode()")
    try:
        with pytest.raises(Refused, match="multi-primary mode"):
            switch()
    finally:
        run(servers[0], "SELECT group_replication_switch_to_single_primary_mode()")


def test_writes_that_do_not_flow_keep_it_from_beginning(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    old = primary(kube)
    monkeypatch.setattr(Kube, "service_address", lambda *_: f"{NET}.99")
    monkeypatch.setattr(observing, "STEADY_LIMIT_SECONDS", 1.0)
    with pytest.raises(Refused, match="not steady within 3 s, so nothing was changed: .*measure=false"):
        switch(measure=True)
    assert primary(kube) == old and intent.read(kube.cluster("demo")) is None
