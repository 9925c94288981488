"""Failover drills on the whole local platform: real members, real Routers, the templates as rendered."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from platform_run import Platform
from whole_cluster import topology, until_whole

from steps.drill import intent
from steps.mysql.connection import SERVER_PORT, query, root_credentials, session

EXAMPLE = Path(__file__).parents[2] / "examples/webapp"
OUTPUTS = {
    "verdict",
    "write-downtime-seconds",
    "read-downtime-seconds",
    "lost-writes",
    "in-doubt-writes",
    "new-primary",
    "report",
}


def ledgers(platform: Platform, cluster: str) -> list[Any]:
    """The schema that a drill makes, where it is still there."""
    primary = topology(platform, cluster).primary
    assert primary is not None
    credentials = root_credentials(platform.kube, platform.kube.cluster(cluster))
    with session(primary.address, SERVER_PORT, credentials) as connection:
        return query(connection, "SHOW SCHEMAS LIKE 'tiphys'")


def noted(platform: Platform, cluster: str) -> intent.Intent | None:
    return intent.read(platform.kube.cluster(cluster))


def nodes(workflow: dict[str, Any]) -> dict[str, str]:
    """Phase of each step by its name, of runs of containers only."""
    found = workflow["status"].get("nodes", {}).values()
    return {node["templateName"]: node["phase"] for node in found if node["type"] == "Pod"}


def eventually(what: str, check: Any, seconds: float = 180.0) -> Any:
    limit = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < limit, f"{what}: not within {seconds} s"
        time.sleep(0.2)
    return found


def submit(platform: Platform, **parameters: object) -> str:
    """Start a drill and return its name."""
    given = [word for key, value in parameters.items() for word in ("-p", f"{key.replace('_', '-')}={value}")]
    made = platform.tiphys("submit", "failover-drill", *given, "-o", "json")
    return str(json.loads(made.stdout)["metadata"]["name"])


def phase(platform: Platform, name: str) -> str:
    return str((platform.kube.get("workflows", name).get("status") or {}).get("phase") or "")


@pytest.fixture
def whole(platform: Platform, demo: str) -> Iterator[str]:
    """The cluster, whole before each test and without a trace of a drill after it."""
    until_whole(platform, demo)
    yield demo
    assert noted(platform, demo) is None, "the drill's note is still on the cluster"
    assert ledgers(platform, demo) == [], "the drill's ledger is still there"


@pytest.fixture
def application(platform: Platform, whole: str) -> Iterator[str]:
    """The example application, applied as people do; returns its address."""
    kube, resources = platform.kube, {"Pod": "pods", "Deployment": "deployments", "Service": "services"}
    resources |= {"Secret": "secrets", "PodDisruptionBudget": "poddisruptionbudgets"}
    secret = {"kind": "Secret", "metadata": {"name": "webapp-db"}, "stringData": {"username": "web", "password": "a'b"}}
    objects = [{"apiVersion": "v1", **secret}]
    for file in ("database", "deployment", "service"):
        objects += yaml.safe_load_all((EXAMPLE / f"{file}.yaml").read_text())
    try:
        for each in objects:
            kube.create(resources[each["kind"]], each)
        eventually(
            "its database is there", lambda: kube.get("pods", "webapp-database")["status"]["phase"] == "Succeeded"
        )
        eventually("it is ready", lambda: kube.get("deployments", "webapp")["status"].get("readyReplicas") == 2)
        yield "http://webapp/"
    finally:
        for each in objects:
            if kube.find(resources[each["kind"]], each["metadata"]["name"]):
                kube.delete(resources[each["kind"]], each["metadata"]["name"])
        eventually("its pods are gone", lambda: not kube.all("pods", labels="app.kubernetes.io/name=webapp"))


def test_a_crashed_primary_is_measured_from_the_clients_side(platform: Platform, whole: str, application: str) -> None:
    before = topology(platform, whole).primary
    assert before is not None
    done = platform.run(
        "failover-drill",
        cluster=whole,
        fault="crash",
        steady_seconds=1,
        max_write_downtime_seconds=120,
        app_url=application,
    )
    assert done.phase == "Succeeded", platform.logs(done)
    assert set(done.outputs) >= OUTPUTS
    assert done.outputs["verdict"] == "PASS" and done.outputs["lost-writes"] == "0"
    after = topology(platform, whole)
    assert after.is_whole and after.primary is not None
    assert done.outputs["new-primary"] == after.primary.pod != before.pod

    report = json.loads(platform.tiphys("report", done.name, "--json").stdout)
    moments = {moment["key"]: moment["seconds"] for moment in report["timeline"]}
    assert all(at is not None for at in moments.values()), moments
    # A killed member is silent; group replication takes five seconds to notice that.
    assert moments["landed"] < moments["unreachable"] < min(moments["left"], moments["elected"])
    # The group decides both at once; different members tell them, and each is asked a few times a second only.
    assert abs(moments["left"] - moments["elected"]) < 5
    assert moments["elected"] <= moments["routed"] <= moments["first-write"] < moments["whole"]
    numbers = report["numbers"]
    assert numbers["write_downtime_seconds"] == float(done.outputs["write-downtime-seconds"])
    assert moments["elected"] - moments["landed"] < numbers["write_downtime_seconds"] < moments["whole"]
    assert numbers["read_downtime_seconds"] < numbers["write_downtime_seconds"], "the secondaries answer all the time"
    # Every page is a write: while nobody can write, nobody gets one.
    felt = report["application"]
    assert felt["downtime_seconds"] == float(done.outputs["app-downtime-seconds"])
    assert moments["elected"] - moments["landed"] < felt["downtime_seconds"]
    assert felt["spans"]["before"]["failed"] == 0 < felt["failed"] + felt["unanswered"]
    assert len(report["copies"]) == 3 and len({copy["rows"] for copy in report["copies"]}) == 1
    assert report["copies"][0]["rows"] >= numbers["acknowledged_writes"] > 100


def test_a_container_is_restarted_in_its_own_pod(platform: Platform, whole: str) -> None:
    before = topology(platform, whole).primary
    assert before is not None
    pod = platform.kube.get("pods", before.pod)
    done = platform.succeeds(
        "failover-drill", cluster=whole, fault="restart-container", steady_seconds=1, max_write_downtime_seconds=120
    )
    assert done.outputs["lost-writes"] == "0" and done.outputs["new-primary"] != before.pod
    after = platform.kube.get("pods", before.pod)
    assert after["metadata"]["uid"] == pod["metadata"]["uid"], "the pod is the same one"
    assert restarts(after) == restarts(pod) + 1
    report = json.loads(platform.tiphys("report", done.name, "--json").stdout)
    moments = {moment["key"]: moment["seconds"] for moment in report["timeline"]}
    # What shuts down in good order takes its leave: nobody has to wait until it is given up.
    assert moments["unreachable"] is None and moments["left"] is not None


def restarts(pod: dict[str, Any]) -> int:
    """How often the server's container was started again."""
    return next(int(c["restartCount"]) for c in pod["status"]["containerStatuses"] if c["name"] == "mysql")


def test_a_broken_budget_fails_the_run_and_still_makes_its_report(platform: Platform, whole: str) -> None:
    done = platform.run(
        "failover-drill", cluster=whole, fault="switchover", steady_seconds=1, max_write_downtime_seconds=0
    )
    assert done.phase == "Failed"
    assert done.outputs["verdict"] == "FAIL" and set(done.outputs) >= OUTPUTS
    assert float(done.outputs["write-downtime-seconds"]) > 0
    assert nodes(done.workflow)["drill-report"] == "Failed"
    codes = [n.get("outputs", {}).get("exitCode") for n in done.workflow["status"]["nodes"].values()]
    assert "20" in codes
    report = json.loads(platform.tiphys("report", done.name, "--json").stdout)
    assert report["verdict"] == "FAIL" and report["numbers"]["lost_writes"] == 0


def test_a_dry_run_checks_and_touches_nothing(platform: Platform, whole: str) -> None:
    before = topology(platform, whole).primary
    done = platform.succeeds("failover-drill", cluster=whole, fault="crash", dry_run="true")
    assert set(nodes(done.workflow)) == {"drill-preflight", "drill-undo"}
    assert done.outputs["plan"].startswith("Dry run, nothing was changed.") and "kill -9" in done.outputs["plan"]
    assert topology(platform, whole).primary == before


def test_guards_refuse_what_is_not_allowed(platform: Platform, whole: str) -> None:
    before = topology(platform, whole).primary
    platform.kube.label("innodbclusters", whole, {"tiphys.dev/drills": None})
    try:
        done = platform.run("failover-drill", cluster=whole, fault="crash")
    finally:
        platform.kube.label("innodbclusters", whole, {"tiphys.dev/drills": "allowed"})
    assert done.phase == "Failed" and nodes(done.workflow)["drill-preflight"] == "Failed"
    assert "not open to drills" in platform.logs(done)
    assert "drill-measure" not in nodes(done.workflow)
    assert topology(platform, whole).primary == before


def test_production_asks_first_and_no_means_no(platform: Platform, whole: str) -> None:
    before = topology(platform, whole).primary
    platform.kube.label("innodbclusters", whole, {"tiphys.dev/environment": "production"})
    try:
        name = submit(platform, cluster=whole, fault="switchover")

        def asks() -> bool:
            found = platform.kube.get("workflows", name).get("status", {}).get("nodes", {}).values()
            return any(node["type"] == "Suspend" and node["phase"] == "Running" for node in found)

        eventually("the run asks", asks)
        assert noted(platform, whole) is None
        answered = platform.tiphys("resume", name, "-p", "approve=NO")
        assert answered.returncode == 0, answered.stderr
        eventually("the run ends", lambda: phase(platform, name) in ("Failed", "Succeeded"))
    finally:
        platform.kube.label("innodbclusters", whole, {"tiphys.dev/environment": "test"})
    assert phase(platform, name) == "Failed"
    assert topology(platform, whole).primary == before


def test_a_drill_that_is_stopped_leaves_its_report_and_no_note(platform: Platform, whole: str) -> None:
    name = submit(platform, cluster=whole, fault="switchover", steady_seconds=1, settle_seconds=120)
    eventually("the drill has hit", lambda: " landed " in platform.tiphys("logs", name).stdout)
    assert platform.tiphys("stop", name).returncode == 0
    eventually("the run ends", lambda: phase(platform, name) in ("Failed", "Succeeded"))
    assert noted(platform, whole) is None and not ledgers(platform, whole)
    report = json.loads(platform.tiphys("report", name, "--json").stdout)
    assert report["verdict"] == "ABORTED" and report["numbers"]["lost_writes"] is None
    assert nodes(platform.kube.get("workflows", name))["drill-late-report"] == "Succeeded"


def test_the_kill_switch_stops_a_drill_that_is_under_way(platform: Platform, whole: str) -> None:
    name = submit(platform, cluster=whole, fault="switchover", steady_seconds=1, settle_seconds=120)
    eventually("the drill is noted", lambda: noted(platform, whole))
    eventually("the drill has hit", lambda: " landed " in platform.tiphys("logs", name).stdout)
    platform.kube.patch("configmaps", "tiphys-settings", {"data": {"drills": "off"}})
    try:
        eventually("the run ends", lambda: phase(platform, name) in ("Failed", "Succeeded"))
        refused = platform.run("failover-drill", cluster=whole, fault="switchover")
        assert refused.phase == "Failed" and "kill switch" in platform.logs(refused)
    finally:
        platform.kube.patch("configmaps", "tiphys-settings", {"data": {"drills": "on"}})
    report = json.loads(platform.tiphys("report", name, "--json").stdout)
    assert report["verdict"] == "ABORTED" and "kill switch" in " ".join(report["reasons"])


def test_what_a_terminated_drill_leaves_behind_is_reaped(platform: Platform, whole: str) -> None:
    name = submit(platform, cluster=whole, fault="switchover", steady_seconds=1, settle_seconds=120)
    eventually("the drill has hit", lambda: " landed " in platform.tiphys("logs", name).stdout)
    found = noted(platform, whole)
    assert found is not None and found.workflow == name and found.before["primary"]
    assert platform.tiphys("terminate", name).returncode == 0
    eventually("the run ends", lambda: phase(platform, name) in ("Failed", "Error"))
    assert "drill-undo" not in nodes(platform.kube.get("workflows", name)), "Terminate skips exit handlers"
    eventually("its pods are gone", lambda: not running_pods(platform, name))
    assert noted(platform, whole) is not None and ledgers(platform, whole) != []
    reap(platform)


def test_a_primary_that_hangs_is_given_up_and_comes_back(platform: Platform, whole: str) -> None:
    before = topology(platform, whole).primary
    assert before is not None
    started = restarts(platform.kube.get("pods", before.pod))
    done = platform.succeeds(
        "failover-drill", cluster=whole, fault="freeze", steady_seconds=1, max_write_downtime_seconds=120
    )
    assert done.outputs["lost-writes"] == "0" and done.outputs["new-primary"] != before.pod
    report = json.loads(platform.tiphys("report", done.name, "--json").stdout)
    moments = {moment["key"]: moment["seconds"] for moment in report["timeline"]}
    assert moments["landed"] < moments["unreachable"] < moments["first-write"]
    assert moments["released"] < moments["whole"], "a frozen member cannot come back"
    assert restarts(platform.kube.get("pods", before.pod)) == started, "it is the same process"


def test_clients_of_a_killed_router_go_on_through_another(platform: Platform, whole: str) -> None:
    before = topology(platform, whole).primary
    done = platform.succeeds("failover-drill", cluster=whole, fault="router-kill", steady_seconds=1)
    assert done.outputs["verdict"] == "PASS" and done.outputs["lost-writes"] == "0"
    assert topology(platform, whole).primary == before
    report = json.loads(platform.tiphys("report", done.name, "--json").stdout)
    moments = {moment["key"]: moment["seconds"] for moment in report["timeline"]}
    # One that is started again at once may be back before it was seen to be gone.
    assert moments["landed"] <= moments["router-back"] and moments["elected"] is None
    assert any(router in report["plan"] for router in (pod["metadata"]["name"] for pod in platform.kube.routers(whole)))


def test_a_group_that_lost_its_quorum_is_repaired_and_loses_nothing(platform: Platform, whole: str) -> None:
    before = topology(platform, whole).primary
    assert before is not None
    done = platform.succeeds(
        "failover-drill",
        cluster=whole,
        fault="quorum-loss",
        allow_outage="true",
        steady_seconds=1,
        max_write_downtime_seconds=300,
        timeout_seconds=600,
    )
    assert done.outputs["lost-writes"] == "0"
    assert done.outputs["new-primary"] == before.pod, "the survivor, which has every acknowledged write"
    report = json.loads(platform.tiphys("report", done.name, "--json").stdout)
    moments = {moment["key"]: moment["seconds"] for moment in report["timeline"]}
    assert moments["landed"] < moments["no-quorum"] < moments["elected"] <= moments["first-write"] < moments["whole"]
    others = {pod["metadata"]["name"] for pod in platform.kube.servers(whole)} - {before.pod}
    assert all(pod in report["plan"] for pod in others)
    assert report["measuring"]["fault_ended"] and not report["measuring"]["still_acting"]


def test_the_reaper_thaws_what_a_killed_drill_has_frozen(platform: Platform, whole: str) -> None:
    name = submit(platform, cluster=whole, fault="freeze", steady_seconds=1, hold_seconds=120)
    eventually("the drill has hit", lambda: " landed " in platform.tiphys("logs", name).stdout)
    found = noted(platform, whole)
    assert found is not None
    server = int(found.before["process"]["pid"])
    assert process_state(server) == "T"
    drill = drill_process(platform, name)
    # Held first, so that it can put nothing back itself when it is told to end.
    os.kill(drill, signal.SIGSTOP)
    assert platform.tiphys("terminate", name).returncode == 0
    os.kill(drill, signal.SIGKILL)
    eventually("the run ends", lambda: phase(platform, name) in ("Failed", "Error"))
    eventually("its pods are gone", lambda: not running_pods(platform, name))
    assert process_state(server) == "T" and noted(platform, whole) is not None
    reap(platform)
    assert process_state(server) not in ("T", "")
    assert noted(platform, whole) is None
    until_whole(platform, whole)
    reap(platform)  # once more: there was no primary to clear the ledger on, the first time


def drill_process(platform: Platform, name: str) -> int:
    """The process that measures and injects."""
    pods = platform.kube.all("pods", f"workflows.argoproj.io/workflow={name}")
    (pod,) = (pod for pod in pods if pod["status"].get("phase") == "Running")
    return int((platform.home / "pods" / pod["metadata"]["uid"] / "main.pid").read_text())


def process_state(pid: int) -> str:
    """State of a process as the kernel has it, empty where there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][:1]
    except OSError:
        return ""


def reap(platform: Platform) -> None:
    """Run the reaper now, not when its time comes."""
    cron = platform.kube.get("cronworkflows", "reap")
    made = platform.kube.create(
        "workflows",
        {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {"generateName": "reap-now-"},
            "spec": cron["spec"]["workflowSpec"],
        },
    )
    reaper = str(made["metadata"]["name"])
    eventually("the reaper ends", lambda: phase(platform, reaper) in ("Failed", "Succeeded", "Error"))
    assert phase(platform, reaper) == "Succeeded", platform.tiphys("logs", reaper).stdout


def running_pods(platform: Platform, name: str) -> list[str]:
    pods = platform.kube.all("pods", f"workflows.argoproj.io/workflow={name}")
    return [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") in ("Pending", "Running")]
