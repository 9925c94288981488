"""set-topology against a real group, a Router in front of it, and the real API server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import mysql.connector
import pytest
from mysql_group import REPLICATION, ROOT, Server
from test_mysql_switch_primary import kube as kube  # a fixture
from test_mysql_switch_primary import place as place  # another
from test_mysql_switch_primary import run
from test_mysql_switch_primary import servers as servers  # a third

from steps.drill import intent, multi_primary
from steps.drill.guards import Facts
from steps.drill.reap import reap
from steps.errors import BadParameters, Refused
from steps.kube.client import Kube
from steps.mysql import set_topology as set_topology_step
from steps.mysql import topology_plan
from steps.mysql.connection import close, query
from steps.mysql.scale_cluster import scale_cluster
from steps.mysql.set_topology import Changed, seconds_of, set_topology
from steps.mysql.switch_primary import switch_primary
from steps.mysql.topology import Topology, read_topology
from steps.mysql.topology_plan import Server as Said
from steps.mysql.topology_plan import numbering
from steps.mysql.topology_undo import topology_undo
from tiphys.local.operator import group
from tiphys.local.operator.accounts import Account

NUMBERS = "SELECT @@global.auto_increment_increment, @@global.auto_increment_offset"
PERSISTED = "SELECT variable_name FROM performance_schema.persisted_variables WHERE variable_name LIKE 'auto_inc%'"
ALL = "demo-0,demo-1,demo-2"
SEEN_AFTER_SECONDS = 0.3
"""InnoDB renews its table of transactions at most every 0.1 s."""


def change(mode: str, **given: Any) -> Changed:
    values = {"workflow": "run-1", "primary": None, "lifetime": None, "accept": None, "dry_run": False, **given}
    made = set_topology.function(namespace="tiphys", cluster="demo", mode=mode, timeout_seconds=60, **values)
    assert isinstance(made, Changed)
    return made


def refused_dry(mode: str) -> str:
    """What a dry run tells that fails, as its run would."""
    with pytest.raises(Refused) as refused:
        change(mode, dry_run=True)
    told = refused.value.outputs
    assert isinstance(told, Changed)
    return told.summary


def undo(workflow: str) -> None:
    topology_undo.function(namespace="tiphys", cluster="demo", workflow=workflow)


def primaries(kube: Kube) -> str:
    return ",".join(one.pod for one in read_topology(kube, "demo").members if one.role == "PRIMARY")


def noted(kube: Kube) -> multi_primary.Note | None:
    return multi_primary.read(kube.cluster("demo"))


@pytest.fixture(autouse=True)
def single(kube: Kube) -> Iterator[None]:
    """Leave the group as every test finds it, whatever became of the one before."""
    yield
    change("single-primary", primary="demo-0")


def test_there_and_back_twice_with_numbers_of_their_own(kube: Kube, servers: list[Server]) -> None:
    told = change("multi-primary")
    assert (told.mode, told.primaries, primaries(kube)) == ("multi-primary", ALL, ALL) and not told.goes_back
    assert "a write through demo-router-a was taken by demo-" in told.summary and "SPLIT_BRAIN" in told.summary
    assert [run(server, NUMBERS)[0] for server in servers] == [(7, 1), (7, 2), (7, 3)]
    run(servers[0], "CREATE SCHEMA IF NOT EXISTS there")
    run(servers[0], "CREATE TABLE there.a (id BIGINT AUTO_INCREMENT PRIMARY KEY, who INT)")
    run(servers[0], "INSERT INTO there.a (who) VALUES (9)")
    for server in servers:
        _until(server, "SELECT COUNT(*) FROM there.a", 1)
    # All three open before any commits: of two with the same number the group would roll one back.
    open_ = [server.connect() for server in servers]
    for number, connection in enumerate(open_):
        query(connection, "BEGIN")
        query(connection, f"INSERT INTO there.a (who) VALUES ({number})")
    for connection in open_:
        query(connection, "COMMIT")
        close(connection)
    assert "in that mode already" in change("multi-primary").summary, "once more changes nothing"
    note = noted(kube)
    assert note is not None and note.state == multi_primary.SETTLED
    assert note.numbers == {"demo-0": [1, 1], "demo-1": [1, 1], "demo-2": [1, 1]}, "of before the first of the two"
    undo("run-1")
    assert primaries(kube) == ALL, "it was told to stay"

    told = change("single-primary", primary="demo-1")
    assert (told.mode, told.primaries, primaries(kube)) == ("single-primary", "demo-1", "demo-1")
    assert [run(server, NUMBERS)[0] for server in servers] == [(1, 1)] * 3
    assert [run(server, PERSISTED) for server in servers] == [[]] * 3
    assert noted(kube) is None and "in that mode already" in change("single-primary").summary
    run(servers[1], "DROP SCHEMA there")
    assert run(servers[1], "SELECT 1 FROM information_schema.schemata WHERE schema_name = 'tiphys'") == []


def _until(server: Server, sql: str, wanted: int) -> None:
    from platform_help import eventually

    eventually(lambda: run(server, sql)[0][0] == wanted)


def test_others_are_kept_away_and_told_what_to_run(kube: Kube) -> None:
    change("multi-primary")
    with pytest.raises(Refused, match="mode=single-primary"):
        switch_primary.function(
            namespace="tiphys", cluster="demo", workflow="switch-1", to=None, measure=False, dry_run=False,
            transaction_seconds=20, timeout_seconds=30, app_url=None, app_verify_tls=True,
        )  # fmt: skip
    with pytest.raises(Refused, match="mode=single-primary"):
        scale_cluster.function(
            namespace="tiphys", cluster="demo", servers=None, routers=2, delete_claims=False, allow_outage=False,
            dry_run=False, timeout_seconds=30,
        )  # fmt: skip
    # Whoever looked before the note was there is kept away when it notes itself.
    with pytest.raises(Refused, match="is in multi-primary mode"):
        intent.write(kube, "demo", intent.Intent("drill-1", "kill", intent.now()))
    assert Facts.__dataclass_fields__["intent"], "drills' guards read the same note"
    found = intent.read(kube.cluster("demo"))
    assert found is not None and found.fault == multi_primary.NAME and intent.read_drill(kube.cluster("demo")) is None


def test_a_lifetime_ends_with_its_run_however_that_ends(kube: Kube) -> None:
    told = change("multi-primary", lifetime="30m")
    assert told.goes_back and told.expires and primaries(kube) == ALL
    undo("run-2")
    assert primaries(kube) == ALL, "another's is left alone"
    undo("run-1")  # stopped: the exit handler
    assert primaries(kube) == "demo-0" and noted(kube) is None
    undo("run-1")

    workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "run-1"}, "spec": {}}
    kube.create("workflows", workflow)
    kube.patch("workflows", "run-1", {"status": {"phase": "Running"}})
    change("multi-primary", lifetime="30m")
    assert reap.function(namespace="tiphys").reaped == 0 and primaries(kube) == ALL
    kube.patch("workflows", "run-1", {"status": {"phase": "Failed"}})  # terminated: no exit handler
    assert reap.function(namespace="tiphys").reaped == 1
    assert primaries(kube) == "demo-0" and noted(kube) is None
    kube.delete("workflows", "run-1")


def test_one_that_was_cut_off_half_way_goes_back(kube: Kube) -> None:
    change("multi-primary")
    note = noted(kube)
    assert note is not None
    values = {**json.loads(kube.cluster("demo")["metadata"]["annotations"][multi_primary.ANNOTATION])}
    values["state"] = multi_primary.SWITCHING
    patch = {"metadata": {"annotations": {multi_primary.ANNOTATION: json.dumps(values)}}}
    kube.patch("innodbclusters", "demo", patch)
    undo("run-1")
    assert primaries(kube) == "demo-0" and noted(kube) is None


def test_what_the_mode_does_not_bear_is_told_and_some_of_it_accepted(kube: Kube, servers: list[Server]) -> None:
    first = servers[0]
    run(first, "CREATE SCHEMA wrong")
    run(first, "CREATE TABLE wrong.keyless (id INT)")
    run(first, "CREATE TABLE wrong.nullable (id INT, UNIQUE (id))")
    run(first, "CREATE TABLE wrong.unique_ok (id INT NOT NULL, UNIQUE (id))")
    run(first, "CREATE TABLE wrong.parent (id INT PRIMARY KEY)")
    run(first, "CREATE TABLE wrong.child (id INT PRIMARY KEY, p INT, CONSTRAINT c FOREIGN KEY (p)"
        " REFERENCES wrong.parent (id) ON DELETE CASCADE)")  # fmt: skip
    try:
        both = "tables-without-key,cascading-foreign-keys"
        told = refused_dry("multi-primary")
        assert "wrong.keyless, wrong.nullable. " in told and "wrong.child (c)" in told
        assert "accept=cascading-foreign-keys" in told and "unique_ok" not in told
        with pytest.raises(Refused, match=r"cascading-foreign-keys: wrong\.child") as refused:
            change("multi-primary", accept="tables-without-key")
        assert "wrong.keyless" not in str(refused.value) and noted(kube) is None and primaries(kube) == "demo-0"
        assert "This would switch demo" in change("multi-primary", accept=both, dry_run=True).summary
        assert change("multi-primary", accept=both).primaries == ALL
        change("single-primary", primary="demo-0")

        run(first, "CREATE TABLE wrong.isam (id INT PRIMARY KEY) ENGINE=MyISAM")
        run(servers[2], "SET GLOBAL transaction_isolation = 'SERIALIZABLE'")
        with pytest.raises(Refused) as refused:
            change("multi-primary", accept=both)
        assert "wrong.isam (MyISAM)" in str(refused.value) and "SERIALIZABLE on demo-2" in str(refused.value)
        with pytest.raises(BadParameters, match="engines cannot be accepted"):
            change("multi-primary", accept="engines")
    finally:
        run(servers[2], "SET GLOBAL transaction_isolation = 'REPEATABLE-READ'")
        change("single-primary", primary="demo-0")
        run(first, "DROP SCHEMA wrong")


def test_what_clients_are_at_is_told_and_may_be_accepted(
    kube: Kube, servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    strict, late = servers[1].connect(), servers[0].connect()
    try:
        query(strict, "SET SESSION transaction_isolation = 'SERIALIZABLE'")
        told = " ".join(refused_dry("multi-primary").split())
        assert "serializable-sessions: 1 on demo-1." in told and "would be refused" in told
        assert "open-transactions" not in told, "one that has just begun is nothing to tell of"
        monkeypatch.setattr(topology_plan, "OPEN_SECONDS", 0)
        query(late, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
        time.sleep(SEEN_AFTER_SECONDS)
        told = " ".join(refused_dry("multi-primary").split())
        assert "open-transactions: demo-0: 1 open" in told and "The switch may wait for it" in told
        with pytest.raises(Refused, match="open-transactions") as refused:
            change("multi-primary", accept="serializable-sessions")
        assert "serializable-sessions" not in str(refused.value) and primaries(kube) == "demo-0"
        query(late, "COMMIT")
        monkeypatch.setattr(topology_plan, "OPEN_SECONDS", 3600)
        done = change("multi-primary", accept="serializable-sessions")
        assert done.primaries == ALL and "accepted: serializable-sessions" in done.summary
        monkeypatch.setattr(topology_plan, "OPEN_SECONDS", 0)
        query(late, "START TRANSACTION WITH CONSISTENT SNAPSHOT")
        time.sleep(SEEN_AFTER_SECONDS)
        with pytest.raises(Refused, match=r"COMMIT fails \(error 1290\)"):
            change("single-primary", primary="demo-1")
    finally:
        close(strict)
        close(late)


def test_another_change_of_the_group_is_waited_for_by_people(kube: Kube, servers: list[Server]) -> None:
    from platform_help import eventually

    holder = servers[0].connect(read_timeout=300)
    query(holder, "CREATE SCHEMA held")
    query(holder, "CREATE TABLE held.t (id INT PRIMARY KEY)")
    query(holder, "BEGIN")
    query(holder, "INSERT INTO held.t VALUES (1)")
    # It waits for that transaction, for as long as it is told to.
    ((other,),) = run(servers[1], "SELECT @@server_uuid")
    switch = f"SELECT group_replication_set_as_primary('{other}', 600)"
    asking = servers[0].connect(read_timeout=300)
    switching = threading.Thread(target=query, args=(asking, switch))
    switching.start()
    try:
        eventually(lambda: "running-action" in refused_dry("multi-primary"))
        with pytest.raises(Refused, match="running-action: demo-1: .*Primary Switch"):
            change("multi-primary", accept="open-transactions")
    finally:
        query(holder, "COMMIT")
        close(holder)
        switching.join(120)
        close(asking)
    assert noted(kube) is None and primaries(kube) == "demo-1"
    run(servers[1], "DROP SCHEMA held")


def test_members_of_two_versions_stay_in_single_primary_mode(kube: Kube, monkeypatch: pytest.MonkeyPatch) -> None:
    # No two versions are installed here: what one member says is changed after it was read.
    def read(*given: Any, **named: Any) -> Topology:
        found = read_topology(*given, **named)
        first, *others = found.members
        return replace(found, members=(replace(first, version="8.4.0"), *others))

    monkeypatch.setattr(set_topology_step, "read_topology", read)
    with pytest.raises(Refused, match=r"versions: members run 8\.4\.0, ") as refused:
        change("multi-primary")
    assert "finish the upgrade first" in str(refused.value) and noted(kube) is None
    assert "in that mode already" in change("single-primary").summary


def test_a_member_that_was_away_while_the_group_went_back_is_refused_until_it_follows(
    kube: Kube, servers: list[Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    away, admin = servers[2], Account(ROOT.user, ROOT.password)
    change("multi-primary")
    run(away, "STOP GROUP_REPLICATION")
    change("single-primary", primary="demo-0")
    mode = "SELECT @@global.group_replication_single_primary_mode"
    assert run(away, mode) == [(0,)] and run(servers[0], mode) == [(1,)]
    with pytest.raises(mysql.connector.Error, match="not configured properly"):
        run(away, "START GROUP_REPLICATION")
    assert "single_primary_mode" in away.errors()
    monkeypatch.setattr(group, "seeds", lambda each: away.seeds)
    recovery = Account(REPLICATION.user, REPLICATION.password)
    group.join(away.address, admin, recovery, [servers[0].address], clone=False)
    assert run(away, mode) == [(1,)]
    _until(
        servers[0], "SELECT COUNT(*) FROM performance_schema.replication_group_members WHERE member_state='ONLINE'", 3
    )


def test_it_keeps_away_from_a_drill(kube: Kube) -> None:
    drill = {intent.ANNOTATION: json.dumps({"workflow": "drill-1", "fault": "kill", "since": intent.now()})}
    kube.patch("innodbclusters", "demo", {"metadata": {"annotations": drill}})
    try:
        with pytest.raises(Refused, match="drill-1"):
            change("multi-primary")
        with pytest.raises(Refused, match="drill-1"):
            multi_primary.write(kube, "demo", multi_primary.Note("run-1", "", "demo-0"))
    finally:
        kube.patch("innodbclusters", "demo", {"metadata": {"annotations": {intent.ANNOTATION: None}}})
    assert noted(kube) is None and primaries(kube) == "demo-0"


def test_numbers_that_are_good_are_left_alone() -> None:
    plugin = {f"demo-{n}": Said(increment=7, offset=1000 + n) for n in range(3)}
    assert numbering(plugin) == {"demo-0": (7, 1), "demo-1": (7, 2), "demo-2": (7, 3)}, (
        "offsets that the manual calls ignored"
    )
    assert numbering({f"demo-{n}": Said(increment=10, offset=n + 1) for n in range(3)}) == {}
    assert numbering({f"demo-{n}": Said(increment=10, offset=1) for n in range(3)}) != {}


def test_lifetimes() -> None:
    assert [seconds_of(each) for each in ("30m", "1h30m", "90s")] == [1800, 5400, 90]
    for wrong in ("30", "m30", "1d", "soon"):
        with pytest.raises(BadParameters, match="is no duration"):
            seconds_of(wrong)
    for wrong in ("0m", "200h", "168h1s"):
        with pytest.raises(BadParameters, match=f"lifetime: {wrong} is out of range.*168h"):
            seconds_of(wrong)
