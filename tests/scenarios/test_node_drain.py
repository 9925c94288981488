"""Node drain drills on the whole local platform: with a switchover, against a budget that holds, and terminated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from platform_run import Platform
from test_failover_drill import eventually, ledgers, noted, phase, running_pods
from whole_cluster import topology, until_whole

from steps.kube import cordon
from steps.kube.pods import is_ready

BUDGET = "holds-all"


def node_of(platform: Platform, pod: str) -> str:
    return str(platform.kube.get("pods", pod)["spec"]["nodeName"])


def cordoned(platform: Platform) -> list[str]:
    return [node["metadata"]["name"] for node in platform.kube.all("nodes") if cordon.is_cordoned(node)]


def submit(platform: Platform, **parameters: object) -> str:
    given = [word for key, value in parameters.items() for word in ("-p", f"{key.replace('_', '-')}={value}")]
    made = platform.tiphys("submit", "node-drain-drill", *given, "-o", "json")
    return str(json.loads(made.stdout)["metadata"]["name"])


def spread(platform: Platform, cluster: str) -> bool:
    """Move one member off a node that it shares: nobody does so when a drained node is there again."""
    if not topology(platform, cluster).is_whole:
        return False
    seen: set[str] = set()
    for pod in platform.kube.servers(cluster):
        if pod["spec"]["nodeName"] in seen:
            platform.kube.delete("pods", pod["metadata"]["name"], uid=pod["metadata"]["uid"])
            eventually("the member has left", lambda: not topology(platform, cluster).is_whole)
            return False
        seen.add(pod["spec"]["nodeName"])
    return True


@pytest.fixture
def whole(platform: Platform, demo: str) -> Iterator[str]:
    """The cluster, whole before each test; afterwards neither it nor a node has a trace of a drill."""
    until_whole(platform, demo)
    eventually("the Routers are ready", lambda: sum(map(is_ready, platform.kube.routers(demo))) == 2)
    eventually("each member has a node of its own", lambda: spread(platform, demo))
    yield demo
    until_whole(platform, demo)
    assert cordon.noted(platform.kube) == [] and cordoned(platform) == []
    assert noted(platform, demo) is None and ledgers(platform, demo) == []


def test_a_budget_that_holds_is_named_and_a_cordon_of_somebody_else_stays(platform: Platform, whole: str) -> None:
    routers = {one["metadata"]["name"]: one for one in platform.kube.routers(whole)}
    selector = {"matchLabels": {"mysql.oracle.com/cluster": whole, "component": "mysqlrouter"}}
    platform.kube.create("poddisruptionbudgets", budget(BUDGET, selector))
    eventually("the budget knows its pods", lambda: knows(platform, len(routers)))
    node = ""
    try:
        planned = platform.succeeds("node-drain-drill", cluster=whole, target="router", dry_run="true")
        assert f"{BUDGET} lets 0 go now" in planned.outputs["plan"], planned.outputs["plan"]
        node = planned.outputs["node"]
        platform.kube.patch("nodes", node, {"spec": {"unschedulable": True}})
        done = platform.run(
            "node-drain-drill",
            cluster=whole,
            target="router",
            eviction_seconds=4,
            steady_seconds=1,
            max_write_downtime_seconds=120,
        )
        assert cordoned(platform) == [node], "who cordoned it by hand finds it so"
    finally:
        platform.kube.delete("poddisruptionbudgets", BUDGET)
        if node:
            platform.kube.patch("nodes", node, {"spec": {"unschedulable": None}})
    assert done.phase == "Failed" and done.outputs.get("verdict") == "INVALID", platform.logs(done)
    now = {one["metadata"]["name"]: one["metadata"]["uid"] for one in platform.kube.routers(whole)}
    assert now == {name: one["metadata"]["uid"] for name, one in routers.items()}
    report = json.loads(platform.tiphys("report", done.name, "--json").stdout)
    told = " ".join(report["measuring"]["holes"])
    assert BUDGET in told and [name for name in routers if name in told], told


def knows(platform: Platform, pods: int) -> bool:
    status = platform.kube.get("poddisruptionbudgets", BUDGET).get("status") or {}
    return bool(status.get("expectedPods") == pods and status.get("disruptionsAllowed") == 0)


def budget(name: str, selector: dict[str, Any]) -> dict[str, Any]:
    spec = {"maxUnavailable": 0, "selector": selector}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}


def test_a_terminated_drain_is_undone_by_reap(platform: Platform, whole: str) -> None:
    name = submit(platform, cluster=whole, target="secondary", steady_seconds=1, hold_seconds=300)
    eventually("the node is cordoned", lambda: cordoned(platform))
    assert [note.workflow for _, note in cordon.noted(platform.kube)] == [name]
    assert platform.tiphys("terminate", name).returncode == 0
    eventually("the run ends", lambda: phase(platform, name) in ("Failed", "Error"))
    eventually("its pods are gone", lambda: not running_pods(platform, name))
    cron = platform.kube.get("cronworkflows", "reap")
    meta = {"generateName": "reap-now-"}
    body = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": meta}
    made = platform.kube.create("workflows", {**body, "spec": cron["spec"]["workflowSpec"]})
    reaper = str(made["metadata"]["name"])
    eventually("the reaper ends", lambda: phase(platform, reaper) in ("Failed", "Succeeded", "Error"))
    assert phase(platform, reaper) == "Succeeded", platform.tiphys("logs", reaper).stdout


def test_a_drain_after_a_switchover_gives_everything_back(platform: Platform, whole: str) -> None:
    before = topology(platform, whole).primary
    assert before is not None
    node, uid = node_of(platform, before.pod), platform.kube.get("pods", before.pod)["metadata"]["uid"]
    planned = platform.succeeds("node-drain-drill", cluster=whole, dry_run="true")
    assert planned.outputs["node"] == node and f"{platform.kube.namespace}/{before.pod}" in planned.outputs["plan"]
    assert platform.kube.get("pods", before.pod)["metadata"]["uid"] == uid, "a dry run touches nothing"

    done = platform.succeeds(
        "node-drain-drill",
        cluster=whole,
        switchover_first="true",
        hold_seconds=1,
        steady_seconds=1,
        max_write_downtime_seconds=120,
    )
    assert done.outputs["verdict"] == "PASS" and done.outputs["lost-writes"] == "0"
    after = topology(platform, whole)
    assert after.primary is not None and after.primary.pod == done.outputs["new-primary"] != before.pod
    assert platform.kube.get("pods", before.pod)["metadata"]["uid"] != uid
    report = json.loads(platform.tiphys("report", done.name, "--json").stdout)
    ways = {way["pod"]: way for way in report["evictions"]}
    assert ways[before.pod]["uid"] == uid and all(way["gone_seconds"] is not None for way in ways.values())
    assert "drained after a switchover" in report["sentence"]
    nodes = {node_of(platform, pod["metadata"]["name"]) for pod in platform.kube.servers(whole)}
    assert len(nodes) == 3, f"members that the drill left on one node were moved apart: {report['placement']}"
    measured = platform.kube.all("pods", f"workflows.argoproj.io/workflow={done.name}")
    places = {one["spec"]["nodeName"] for one in measured if "drain-measure" in one["metadata"]["name"]}
    assert places and node not in places, "a drill drains no node that it runs on"
