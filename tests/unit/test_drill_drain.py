"""The drill of a node: its target, its guards, its proof; and what gives the node back, on a real API server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer
from book_help import make_book
from drill_story import EXPELLED_AT, measurement, replace_pod
from test_drill_guards import facts, topology

from steps.drill import book, intent
from steps.drill.drain import DrainNode, give_back
from steps.drill.drain_plan import WIDTH, plan
from steps.drill.drain_survey import Budget, Survey, Wish, survey
from steps.drill.evidence import Target, router_back
from steps.drill.fault import Scene
from steps.drill.guards import refusals
from steps.drill.reap import reap
from steps.drill.result import evaluate
from steps.drill.samples import PodSample
from steps.drill.timeline import timeline
from steps.errors import BadParameters, Refused, StepError
from steps.kube import client, cordon
from steps.kube.client import Kube
from steps.kube.eviction import FINISHED, Action, Decision
from steps.kube.placing import matches
from steps.mysql.connection import Credentials

WISH = Wish("run-1")
GOES = Decision("tiphys", "demo-0", "uid-1", Action.EVICT, "", 90)
STAYS = Decision("kube-system", "proxy", "uid-2", Action.SKIP, "is of DaemonSet proxy")


def found(**changes: Any) -> Survey:
    made = Survey("node-1", topology().members[0], True, ["demo-0"], ["demo-router-a"], [GOES, STAYS])
    return replace(made, **changes)


def drained(wish: Wish = WISH, **changes: Any) -> DrainNode:
    return DrainNode(found(**changes), wish)


def target(fault: DrainNode) -> Target:
    return replace(measurement().target, primary="")


def told(fault: DrainNode, found: Survey, wish: Wish = WISH, *, dry_run: bool = True, **changes: Any) -> str:
    backups = ["recent backup: nightly-1, 3 h old"]
    return plan(
        facts(**changes), found, wish, fault.seconds, hands_over=fault.hands_over, dry_run=dry_run, backups=backups
    )


def test_a_node_with_one_member_may_be_drained_and_the_plan_names_what_goes() -> None:
    over = Decision("tiphys", "step-of-an-earlier-run", "uid-3", Action.SKIP, FINISHED)
    decisions = [GOES, STAYS, over, replace(over, uid="uid-4")]
    budget = Budget("tiphys/demo-pdb", 1, frozenset({"uid-1"}))
    survey = found(budgets=[budget], decisions=decisions, open_nodes=["node-2"], takers={"uid-1": ["node-2"]})
    fault = DrainNode(survey, WISH)
    assert refusals(facts(), fault) == []
    lines = told(fault, survey).splitlines()
    for line in (
        "Dry run, nothing was changed. This drill would do:",
        "evicts     1 pod within 210 s (twice the longest grace period and 30 s):",
        "           - tiphys/demo-0: 90 s to end, budget demo-pdb",
        "           - kube-system/proxy: is of DaemonSet proxy",
        "           - 2 pods that finished",
        "budget     tiphys/demo-pdb lets 1 go now, 1 of its pods are here",
        "elsewhere  node-2 takes pods (room on them was not counted)",
        "quorum     2 of 3 servers stay, 2 are a quorum",
        "routers    1 of 2 stay, all are ready now",
        "backup     recent backup: nightly-1, 3 h old",
        "           the kill switch (ConfigMap tiphys-settings, drills) is on",
    ):
        assert line in lines, "\n".join(lines)
    assert not [line for line in lines if line.startswith(("first", "approval"))]
    assert fault.describe(target(fault)) == (
        "cordon node-1, evict 1 pod (demo-0) within 210 s, and give the node back after hold-seconds"
    )
    wish = replace(WISH, switchover_first=True)
    first = drained(wish)
    assert "hand the primary over from demo-0, then" in first.describe(target(first))
    assert first.event == "the primary's node was drained after a switchover"
    assert "first      the primary is handed over from demo-0" in told(first, found(), wish)
    assert "leave the cordon" in drained(cordoned=True).describe(target(fault))
    assert "stays: it is somebody else's" in told(fault, found(cordoned=True))
    production = told(fault, survey, dry_run=False, labels={"tiphys.dev/environment": "production"})
    assert production.startswith("This drill does:\n") and "approval   is asked for first" in production


def test_the_plan_says_which_pod_comes_back_only_when_the_node_does() -> None:
    bound = found(open_nodes=["node-2"], takers={"uid-1": []}, pinned={"uid-1": ["datadir-demo-0"]})
    assert "its volume (datadir-demo-0)" in " ".join(told(drained(), bound).split())
    assert "comes back only after the uncordon" in " ".join(told(drained(), bound).split())
    nowhere = found(takers={"uid-1": []})
    assert "no other node takes it" in " ".join(told(drained(), nowhere).split())
    assert "no other node takes pods: what goes waits" in told(drained(), nowhere)
    held = told(drained(), found(budgets=[Budget("tiphys/none", 0, frozenset({"uid-1"}))]))
    assert "while that is so its pods stay" in " ".join(held.split())


def test_no_line_of_a_plan_is_wider_than_a_terminal_and_its_sentence_names_few() -> None:
    many = [replace(GOES, pod=f"a-pod-of-some-application-{n:03}", uid=f"u{n}") for n in range(200)]
    survey = found(decisions=[*many, STAYS], open_nodes=[f"node-of-a-long-name-{n}" for n in range(40)])
    fault = DrainNode(survey, WISH)
    lines = told(fault, survey).splitlines()
    assert max(map(len, lines)) <= WIDTH and len(lines) > 200
    assert "and 34 more" in " ".join(" ".join(lines).split())
    assert "197 more" in fault.describe(target(fault)) and len(fault.describe(target(fault))) < 250


LONE = Decision("tiphys", "lone", "u", Action.REFUSE, "has no controller")


@pytest.mark.parametrize(
    ("changes", "wish", "says"),
    [
        ({"here": ["demo-0", "demo-1"]}, WISH, "2 of the 3 servers are on node node-1"),
        ({"decisions": [GOES, LONE]}, WISH, "tiphys/lone has no controller"),
        ({"note": cordon.Cordon("run-2", "tiphys", "t")}, WISH, "run-2"),
        ({"unwilling": ["shop-1 of another cluster"]}, WISH, "shop-1 of another cluster"),
        ({"lacking": ["create pods/eviction"]}, WISH, "may not: create pods/eviction"),
        (
            {"budgets": [Budget("t/a", 1, frozenset({"uid-1"})), Budget("t/b", 1, frozenset({"uid-1"}))]},
            WISH,
            "t/a, t/b",
        ),
    ],
)
def test_each_guard_of_a_node_refuses_and_says_why(changes: dict[str, Any], wish: Wish, says: str) -> None:
    (reason,) = refusals(facts(), drained(wish, **changes))
    assert says in reason


def test_nobody_to_hand_over_to_is_told() -> None:
    wish = replace(WISH, switchover_first=True)
    reasons = refusals(facts(), drained(wish, here=["demo-0", "demo-1", "demo-2"]))
    assert len(reasons) == 2 and "nobody to hand over to" in reasons[1]
    assert len(refusals(facts(), drained(wish, here=["demo-0", "demo-1", "demo-2"], is_primary=False))) == 1


def test_it_landed_only_where_the_node_was_seen_empty() -> None:
    m = measurement()
    fault = drained()
    evidence = m.evidence()
    gone = [*m.pods, replace_pod(m.target.before, at=EXPELLED_AT, uid="uid-9")]
    full = replace(evidence, pods=gone, witness="node node-1 was empty after 3.0 s (2 pods)", witnessed_at=12.0)
    proof = fault.proof(m.target, full)
    assert proof is not None and "uid-9" in proof.text and "was empty" in proof.text and proof.seen_at >= EXPELLED_AT
    assert fault.proof(m.target, replace(full, witness="")) is None, "a drain that did not come to its end"
    assert fault.proof(m.target, replace(full, pods=m.pods)) is None, "the pod is still the same"


def test_a_drain_that_did_not_land_names_what_held_it() -> None:
    error = "StepError: Node node-1 was not empty after 4 s: pod tiphys/demo-0: disruption budget holds-all"
    m = replace(measurement(), proof=None, end="not-landed", end_reason="no proof within 5 s", injection_error=error)
    reasons = evaluate(m, None).verdict.reasons
    assert "Node node-1 was not empty after 4 s" in reasons[0] and "holds-all" in reasons[0], reasons


def test_a_router_s_node_is_drained_when_its_pod_is_another_one_and_all_are_ready_again() -> None:
    m = measurement()
    before = pod_sample("demo-router-a", 0.0)
    aim = replace(m.target, router=before)
    fault = drained(router="demo-router-a", routers_ready=2, here=[], is_primary=False)
    assert fault.event == "a Router's node was drained" and not fault.removes_member
    start = [*m.pods, before, pod_sample("demo-router-b", 0.0)]
    evidence = replace(m.evidence(), pods=start, witness="node node-1 was empty", witnessed_at=12.0)
    assert fault.proof(aim, evidence) is None and fault.recovered(aim, evidence)
    going = [*start, before._replace(at=11.0, uid="", ready=False)]
    proof = fault.proof(aim, replace(evidence, pods=going))
    assert proof is not None and "demo-router-a is another one" in proof.text and proof.at == 11.0
    assert fault.proof(aim, replace(evidence, pods=going, witness="")) is None
    assert not fault.recovered(aim, replace(evidence, pods=going)) and router_back(aim, evidence) is None
    new = pod_sample("demo-router-c", 14.0)
    coming = [*going, new._replace(at=12.0, ready=False)]
    assert not fault.recovered(aim, replace(evidence, pods=coming))
    assert fault.recovered(aim, replace(evidence, pods=[*coming, new]))
    assert router_back(aim, replace(evidence, pods=coming)) is None
    assert router_back(aim, replace(evidence, pods=[*coming, new])) == new


def pod_sample(name: str, at: float) -> PodSample:
    return PodSample(at, name, f"uid-of-{name}", ready=True, container=f"id-of-{name}", node="node-1")


def test_a_secondary_s_drain_elects_nobody() -> None:
    """The primary is another member than the target all the time: that is no election."""
    m = measurement()
    of = replace(m.target, server="uuid-c", pod="demo-2", primary="uuid-a")
    observed = [seen for seen in m.evidence().observed if seen.at < EXPELLED_AT]
    quiet = replace(m.evidence(), observed=observed)
    story = timeline(of, quiet, None, [[a for a in m.of_kind("write")[0] if a.server == "uuid-a"]])
    assert story.at("elected") is None and story.at("routed") is None and story.at("first-write") is None
    assert timeline(of, m.evidence(), None, m.of_kind("write")).at("elected") is not None, "the primary went as well"


def test_selectors_match_as_kubernetes_matches() -> None:
    labels = {"app": "db", "tier": "1"}
    assert matches({}, labels) and matches({"matchLabels": {"app": "db"}}, labels)
    assert not matches({"matchLabels": {"app": "web"}}, labels)

    def one(operator: str, key: str, *values: str) -> bool:
        return matches({"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}, labels)

    assert one("In", "app", "db", "x") and not one("In", "app", "x") and not one("In", "none", "x")
    assert one("NotIn", "app", "x") and one("NotIn", "none", "x") and not one("NotIn", "app", "db")
    assert one("Exists", "app") and not one("Exists", "none")
    assert one("DoesNotExist", "none") and not one("DoesNotExist", "app")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    running = ApiServer(tmp_path_factory.mktemp("drain"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def kube(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
    made = client.connect("tiphys")
    make_book(made)
    for number in (1, 2):
        made.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{number}"}})
    # The pods need an owner that exists: whose owner is gone is collected.
    spec = {"serviceName": "demo", "selector": {"matchLabels": {"app": "db"}}, "replicas": 3}
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "mysql", "image": "x"}]}}
    stateful = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "demo"}}
    uid = made.create("statefulsets", {**stateful, "spec": {**spec, "template": template}})["metadata"]["uid"]
    for number in range(3):
        labels = {"mysql.oracle.com/cluster": "demo", "component": "mysqld", "app": "db"}
        owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo", "uid": uid, "controller": True}
        container = {"name": "mysql", "image": "localhost/host:1"}
        made.create(
            "pods",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"demo-{number}", "labels": labels, "ownerReferences": [owner]},
                "spec": {"containers": [container], "nodeName": f"node-{1 if number == 0 else 2}"},
            },
        )
    budget = {"minAvailable": 3, "selector": {"matchLabels": {"app": "db"}}}
    metadata = {"name": "demo-pdb"}
    made.create(
        "poddisruptionbudgets",
        {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata, "spec": budget},
    )
    yield made
    for resource in (
        *("statefulsets", "pods", "poddisruptionbudgets", "nodes", "workflows", "innodbclusters"),
        *("persistentvolumeclaims", "persistentvolumes"),
    ):
        for item in made.all(resource):
            made.delete(resource, item["metadata"]["name"], grace_seconds=0)
    made.close()


def test_the_node_is_found_by_role_or_by_name(kube: Kube) -> None:
    primary = survey(kube, "demo", topology(), WISH)
    assert (primary.node, primary.member.pod, primary.is_primary) == ("node-1", "demo-0", True)
    assert [one.pod for one in primary.going] == ["demo-0"] and primary.here == ["demo-0"] and not primary.lacking
    assert [(one.name, one.allows, len(one.pods)) for one in primary.budgets] == [("tiphys/demo-pdb", 0, 1)]
    second = survey(kube, "demo", topology(), replace(WISH, target="secondary"))
    assert (second.node, second.member.pod, second.is_primary) == ("node-2", "demo-1", False)
    named = survey(kube, "demo", topology(), replace(WISH, target="node", node="node-2"))
    assert named.here == ["demo-1", "demo-2"] and not named.is_primary
    with pytest.raises(BadParameters, match="No member of demo is on node 'node-9'"):
        survey(kube, "demo", topology(), replace(WISH, target="node", node="node-9"))
    with pytest.raises(BadParameters, match="needs the parameter node"):
        survey(kube, "demo", topology(), replace(WISH, target="node"))
    with pytest.raises(Refused, match="no longer on 'node-2'"):
        survey(kube, "demo", topology(), replace(WISH, node="node-2"))


@pytest.mark.parametrize(
    ("labels", "annotations", "why"),
    [
        ({}, {}, "not labelled tiphys.dev/drills=allowed"),
        ({"tiphys.dev/drills": "allowed", "tiphys.dev/environment": "production"}, {}, "production"),
        ({"tiphys.dev/drills": "allowed"}, {intent.ANNOTATION: '{"workflow": "run-7", "fault": "crash"}'}, "run-7"),
        ({"tiphys.dev/drills": "allowed"}, {}, ""),
    ],
)
def test_members_of_another_cluster_go_only_where_it_may_be_drilled_too(
    kube: Kube, labels: dict[str, str], annotations: dict[str, str], why: str
) -> None:
    metadata = {"name": "shop", "labels": labels, "annotations": annotations}
    spec = {"secretName": "shop-root", "instances": 3}
    cluster = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": metadata, "spec": spec}
    kube.create("innodbclusters", cluster)
    owner = kube.get("pods", "demo-0")["metadata"]["ownerReferences"]
    of = {"mysql.oracle.com/cluster": "shop", "component": "mysqld"}
    pod = {"containers": [{"name": "mysql", "image": "localhost/host:1"}], "nodeName": "node-1"}
    meta = {"name": "shop-1", "labels": of, "ownerReferences": owner}
    kube.create("pods", {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": pod})
    reasons = refusals(facts(), DrainNode(survey(kube, "demo", topology(), WISH), WISH))
    if not why:
        assert reasons == []
        return
    (reason,) = reasons
    assert reason.startswith("shop-1 of another cluster, tiphys/shop, would go as well") and why in reason


def router(kube: Kube, name: str, node: str) -> None:
    """A Router of the cluster, ready on a node."""
    labels = {"mysql.oracle.com/cluster": "demo", "component": "mysqlrouter"}
    spec = {"containers": [{"name": "router", "image": "localhost/host:1"}], "nodeName": node}
    kube.create("pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec})
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    kube.patch("pods", name, {"status": status}, subresource="status")


def test_a_router_is_looked_for_on_a_node_without_the_primary(kube: Kube) -> None:
    wish = replace(WISH, target="router", unmanaged=True)
    with pytest.raises(Refused, match="no Router of demo is ready"):
        survey(kube, "demo", topology(), wish)
    router(kube, "demo-router-a", "node-1")
    alone = survey(kube, "demo", topology(), wish)
    assert (alone.router, alone.node, alone.is_primary) == ("demo-router-a", "node-1", True), "there is no other"
    router(kube, "demo-router-b", "node-2")
    apart = survey(kube, "demo", topology(), wish)
    assert (apart.router, apart.node, apart.is_primary) == ("demo-router-b", "node-2", False)
    assert apart.member.pod == "demo-0" and apart.routers_ready == 2
    kube.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-3"}})
    router(kube, "demo-router-c", "node-3")
    empty = survey(kube, "demo", topology(), wish)
    assert empty.node == "node-3" and empty.here == [], "no member at all goes with it"
    assert refusals(facts(), DrainNode(empty, wish)) == []
    again = survey(kube, "demo", topology(), replace(wish, node="node-2"))
    assert again.router == "demo-router-b", "where it was found before"


def test_a_pod_s_volume_that_no_other_node_reaches_is_found(kube: Kube) -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    kube.patch("nodes", "node-2", {"status": ready}, subresource="status")
    labels = {"app": "db"}
    owner = kube.get("pods", "demo-0")["metadata"]["ownerReferences"]
    for name, volume in (("local", "pv-local"), ("anywhere", "pv-anywhere")):
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "volumeName": volume}
        meta = {"name": name}
        kube.create(
            "persistentvolumeclaims",
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": claim},
        )
        terms = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node-1"]}]}]
        spec: dict[str, Any] = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}
        if name == "local":
            spec |= {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}}
        kube.create(
            "persistentvolumes",
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume}, "spec": spec},
        )
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": name}}]
        container = {"name": "mysql", "image": "localhost/host:1"}
        kube.create(
            "pods",
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"with-{name}", "labels": labels, "ownerReferences": owner},
                "spec": {"containers": [container], "nodeName": "node-1", "volumes": volumes},
            },
        )
    seen = survey(kube, "demo", topology(), WISH)
    uids = {one.pod: one.uid for one in seen.going}
    assert seen.open_nodes == ["node-2"]
    assert dict(seen.pinned) == {uids["with-local"]: ["local"]}
    assert seen.takers[uids["with-local"]] == [] and seen.takers[uids["with-anywhere"]] == ["node-2"]


def test_an_interrupted_drain_asks_no_more_and_gives_the_node_back(kube: Kube) -> None:
    """A budget holds the pod for ever: the abort, not the deadline, ends it."""
    ready = [{"type": "Ready", "status": "True"}]
    kube.patch("pods", "demo-0", {"status": {"phase": "Running", "conditions": ready}}, subresource="status")
    wish = replace(WISH, eviction_seconds=30)
    fault = DrainNode(survey(kube, "demo", topology(), wish), wish)
    scene, aim = Scene(kube, "demo", Credentials("root", "unused")), target(fault)
    with ThreadPoolExecutor(1) as pool:
        injecting = pool.submit(fault.inject, scene, aim)
        limit = time.monotonic() + 20
        while not [way for way in fault.record() if way["attempts"] > 1] and not injecting.done():
            assert time.monotonic() < limit
            time.sleep(0.05)
        assert cordon.is_cordoned(kube.get("nodes", "node-1")) and not injecting.done()
        fault.interrupt()
        with pytest.raises(StepError, match="not empty when the drill was stopped.*demo-pdb"):
            injecting.result(30)
    fault.stop(scene, aim)
    fault.stop(scene, aim)
    assert cordon.noted(kube) == [] and not cordon.is_cordoned(kube.get("nodes", "node-1"))
    assert not kube.get("pods", "demo-0")["metadata"].get("deletionTimestamp")
    (way,) = fault.record()
    assert way["gone_seconds"] is None and "demo-pdb" in way["held"]


def test_an_undo_gives_back_what_is_the_workflow_s_own(kube: Kube) -> None:
    cordon.cordon(kube, "node-1", cordon.Cordon("run-1", "tiphys", "t"))
    cordon.cordon(kube, "node-2", cordon.Cordon("run-2", "tiphys", "t"))
    assert give_back(kube, "run-1") == ["node node-1: uncordoned"]
    assert give_back(kube, "run-1") == []
    assert not cordon.is_cordoned(kube.get("nodes", "node-1")) and cordon.is_cordoned(kube.get("nodes", "node-2"))


def test_reap_gives_back_the_nodes_of_drills_that_are_gone(kube: Kube) -> None:
    """Also where no cluster tells of the drill any more; and never those of a drill that still runs."""
    workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": "alive"}, "spec": {}}
    kube.create("workflows", workflow)
    kube.patch("nodes", "node-2", {"spec": {"unschedulable": True}})
    cordon.cordon(kube, "node-1", cordon.Cordon("gone", "tiphys", "t"))
    cordon.cordon(kube, "node-2", cordon.Cordon("alive", "tiphys", "t"))
    assert reap.function(namespace="tiphys").reaped == 1
    assert cordon.noted(kube)[0][0] == "node-2" and not cordon.is_cordoned(kube.get("nodes", "node-1"))
    kube.delete("workflows", "alive")
    assert reap.function(namespace="tiphys").reaped == 1 and reap.function(namespace="tiphys").reaped == 0
    assert cordon.noted(kube) == [] and cordon.is_cordoned(kube.get("nodes", "node-2")), "it was so before"


KILLED = """
import os, signal, sys
from steps.drill import intent, undo
from steps.kube.client import Kube, connect
from steps.kube.cordon import Cordon, cordon
real, writes = Kube.patch, []
def patch(self, *arguments, **named):
    writes.append(1)
    if [str(len(writes)), "before"] == sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(self, *arguments, **named)
    if [str(len(writes)), "after"] == sys.argv[1:]:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
Kube.patch = patch
kube = connect("tiphys")
noted = intent.Intent("run-1", "drain-node", "t", {"node": "node-1"})
intent.write(kube, "demo", noted)
cordon(kube, "node-1", Cordon("run-1", "tiphys", "t"))
undo.undo(kube, kube.cluster("demo"), noted)
"""
WRITES = 6
"""The entry in the book, the note on the cluster, the cordon with its note; each taken back, the entry last."""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("write", range(1, WRITES + 1))
def test_killed_at_any_write_a_reaper_s_run_leaves_nothing(
    server: ApiServer, kube: Kube, write: int, when: str
) -> None:
    cluster = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": {"name": "demo"}}
    kube.create("innodbclusters", {**cluster, "spec": {"secretName": "none", "instances": 3}})
    environment = {**os.environ, "KUBECONFIG": str(server.settings.kubeconfig)}
    command = [sys.executable, "-c", KILLED, str(write), when]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = cordon.is_cordoned(kube.get("nodes", "node-1"))
    assert left == ((write, when) in ((3, "after"), (4, "before")))
    assert not left or intent.read(kube.cluster("demo")) is not None, (
        "the cluster's note is there as long as the cordon"
    )
    reap.function(namespace="tiphys")
    node = kube.get("nodes", "node-1")
    assert not cordon.is_cordoned(node) and cordon.read(node) is None
    assert intent.read(kube.cluster("demo")) is None and book.entries(kube) == []
