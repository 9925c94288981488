"""Deploy, load, check and scale a real cluster on the whole local platform, through the templates as rendered."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
from platform_run import Finished, Platform
from whole_cluster import topology

from steps.check.storage import DISK_HIGH
from steps.errors import StepError
from steps.kube.pods import is_ready
from steps.mysql.connection import ROUTER_RW_PORT, SERVER_PORT, query, root_credentials, session


def ask(platform: Platform, cluster: str, host: str, port: int, sql: str) -> list[Any]:
    credentials = root_credentials(platform.kube, platform.kube.cluster(cluster))
    with session(host, port, credentials) as connection:
        return query(connection, sql)


def checksums(platform: Platform, cluster: str, schema: str) -> set[tuple[tuple[str, int], ...]]:
    """Return the sums of a schema's tables on every member: one element where all have the same."""
    tables = ("departments", "employees", "dept_manager", "dept_emp", "titles", "salaries")
    sql = "CHECKSUM TABLE " + ", ".join(f"{schema}.{table}" for table in tables)
    members = topology(platform, cluster).members
    found = [ask(platform, cluster, member.address, SERVER_PORT, sql) for member in members]
    return {tuple((name.split(".")[1], total) for name, total in rows) for rows in found}


def test_a_cluster_is_deployed_and_proven(platform: Platform, demo: str) -> None:
    seen = topology(platform, demo)
    assert seen.is_whole and seen.online == 3
    routers = platform.kube.routers(demo)
    assert len(routers) == 2 and all(is_ready(pod) for pod in routers)
    labels = platform.kube.cluster(demo)["metadata"]["labels"]
    assert labels["tiphys.dev/drills"] == "allowed" and labels["tiphys.dev/environment"] == "test"
    address = platform.kube.service_address(demo)
    assert ask(platform, demo, address, ROUTER_RW_PORT, "SELECT @@server_uuid") == [(seen.primary.id,)]
    assert ask(platform, demo, address, ROUTER_RW_PORT, "SHOW SCHEMAS LIKE 'tiphys'") == [], "the proof is cleaned up"


def test_deploying_again_changes_nothing(platform: Platform, demo: str) -> None:
    before = platform.kube.cluster(demo)
    done = platform.succeeds("deploy-cluster", cluster=demo)
    assert done.outputs["change"] == "unchanged" and done.outputs["members-online"] == "3"
    assert done.outputs["router-address"] == f"{platform.kube.service_address(demo)}:{ROUTER_RW_PORT}"
    after = platform.kube.cluster(demo)
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["metadata"]["labels"] == before["metadata"]["labels"]


def test_deploying_fewer_is_refused_and_says_what_to_do(platform: Platform, demo: str) -> None:
    done = platform.run("deploy-cluster", cluster=demo, servers=1)
    assert done.phase == "Failed"
    assert "run scale-cluster with servers=1" in platform.logs(done)
    assert topology(platform, demo).online == 3


def test_a_cluster_that_is_not_there_is_named_with_those_that_are(platform: Platform, demo: str) -> None:
    done = platform.run("check-cluster", cluster="demo-2")
    assert done.phase == "Failed" and "no InnoDBCluster 'demo-2'; it has: demo" in platform.logs(done)


def test_sample_rows_are_the_same_on_every_member_and_every_time(platform: Platform, demo: str) -> None:
    first = platform.succeeds("load-sample-data", cluster=demo, rows=20_000, schema="one", parallel=1)
    assert first.outputs["rows"] == "20000" and first.outputs["change"] == "made"
    platform.succeeds("load-sample-data", cluster=demo, rows=20_000, schema="two", parallel=4)
    platform.succeeds("load-sample-data", cluster=demo, rows=20_000, schema="three", seed=2)
    one, two, three = (checksums(platform, demo, schema) for schema in ("one", "two", "three"))
    assert len(one) == 1 and one == two and one != three
    again = platform.succeeds("load-sample-data", cluster=demo, rows=20_000, schema="one")
    assert again.outputs["change"] == "nothing" and again.outputs["rows"] == "20000"


def complaints(platform: Platform, done: Finished) -> set[str]:
    """Return which checks were not satisfied; only where this machine's disk is full, that of the disk may be one."""
    told = [line.split() for line in platform.logs(done).splitlines() if " check=" in line]
    assert told, "a check tells of all that it looked at"
    found = {word for words in told for word in words if word.startswith("check=") and "severity=ok" not in words}
    disk = shutil.disk_usage(platform.home)
    full = disk.used / (disk.used + disk.free) > DISK_HIGH - 0.02
    assert found <= ({"check=disk"} if full else set()), platform.logs(done)
    return found


def test_a_check_finds_nothing_and_writes_a_report(platform: Platform, demo: str) -> None:
    done = platform.succeeds("check-cluster", cluster=demo)
    if not complaints(platform, done):
        assert (done.outputs["health"], done.outputs["findings"]) == ("ok", "0"), platform.logs(done)
        assert done.outputs["summary"] == "all well: demo"
    assert done.outputs["unknown"] == "0", "also the disks are told, by df in the pods"


def test_the_schedule_checks_whatever_clusters_there_are(platform: Platform, demo: str) -> None:
    schedule = platform.kube.get("cronworkflows", "check-all-clusters")
    workflow = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"generateName": "check-all-now-"},
        "spec": schedule["spec"]["workflowSpec"],
    }
    name = str(platform.kube.create("workflows", workflow)["metadata"]["name"])
    platform.tiphys("wait", name)
    done = Finished(platform.kube.get("workflows", name))
    assert done.phase == "Succeeded", platform.logs(done)
    assert complaints(platform, done) or done.outputs["health"] == "ok", platform.logs(done)
    assert demo in done.outputs["summary"]


def test_commands_in_containers_tell_their_exit_code(platform: Platform, demo: str) -> None:
    done = platform.kube.execute(f"{demo}-0", "mysql", ["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    assert platform.kube.execute(f"{demo}-0", "mysql", ["true"]).exit_code == 0
    with pytest.raises(StepError, match="no-such-container"):
        platform.kube.execute(f"{demo}-0", "no-such-container", ["true"])


def connections(platform: Platform, cluster: str) -> set[int]:
    sql = "SELECT @@GLOBAL.max_connections"
    return {ask(platform, cluster, one.address, SERVER_PORT, sql)[0][0] for one in topology(platform, cluster).members}


def test_scaling_up_and_back_keeps_the_primary_and_the_rows_and_what_was_set(platform: Platform, demo: str) -> None:
    platform.succeeds("scale-cluster", cluster=demo, servers=3, delete_claims="true")  # what a first try left
    platform.succeeds("set-config", cluster=demo, settings="max_connections=222")
    assert connections(platform, demo) == {222}
    up = platform.succeeds("scale-cluster", cluster=demo, servers=4, timeout_seconds=240)
    assert (up.outputs["servers-before"], up.outputs["servers-after"]) == ("3", "4")
    assert topology(platform, demo).is_whole and len(topology(platform, demo).members) == 4
    assert connections(platform, demo) == {222}, "the new server has read it from the ConfigMap"
    assert "tolerate as many failures as 3" in platform.logs(up)
    # The server that will go is made the primary, as a failover may do at any time.
    last = topology(platform, demo).of_pod("demo-3")
    assert last is not None
    ask(platform, demo, last.address, SERVER_PORT, f"SELECT group_replication_set_as_primary('{last.id}')")
    plan = platform.succeeds("scale-cluster", cluster=demo, servers=3, dry_run="true")
    assert plan.outputs["plan"] == (
        "dry run: nothing was changed; would do: make demo-0 the primary; remove server demo-3 (3 left)"
    )
    assert topology(platform, demo).online == 4, "a dry run changes nothing"
    down = platform.succeeds("scale-cluster", cluster=demo, servers=3, delete_claims="true", timeout_seconds=240)
    assert down.outputs["primary"] == "demo-0" and down.outputs["servers-after"] == "3"
    assert topology(platform, demo).is_whole
    claims = {claim["metadata"]["name"] for claim in platform.kube.all("persistentvolumeclaims")}
    assert claims >= {"datadir-demo-0", "datadir-demo-1", "datadir-demo-2"} and "datadir-demo-3" not in claims


def test_routers_scale_too_and_the_last_one_stays(platform: Platform, demo: str) -> None:
    assert platform.succeeds("scale-cluster", cluster=demo, routers=1).outputs["routers-after"] == "1"
    refused = platform.run("scale-cluster", cluster=demo, routers=0)
    assert refused.phase == "Failed" and "allow-outage=true" in platform.logs(refused)
    assert platform.succeeds("scale-cluster", cluster=demo, routers=2).outputs["routers-after"] == "2"


def test_kubectl_sees_it(platform: Platform, demo: str) -> None:
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl on PATH")
    command = ["kubectl", "get", "innodbcluster", demo, "-o", "json"]
    seen = subprocess.run(command, capture_output=True, text=True, env=platform.environment, timeout=30)
    assert json.loads(seen.stdout)["status"]["cluster"]["status"] == "ONLINE"
