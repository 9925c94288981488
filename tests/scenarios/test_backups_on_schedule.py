"""The schedules on the whole local platform: a cluster that opted in is backed up in its turn, listed and pruned."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from platform_run import Finished, Platform

from tiphys.local.engine.cron import workflow_for

CLUSTER = "nightly"
NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
"""When the schedules are said to be due, by minutes: a run of the test that goes on past midnight has one day."""
WAIT_SECONDS = 180


def until(platform: Platform, name: str, fits: Callable[[dict[str, Any]], bool]) -> Finished:
    """Wait until a run fits, and return it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        found = platform.kube.find("workflows", name)
        if found is not None and fits(found.get("status") or {}):
            return Finished(found)
        assert time.monotonic() < deadline, f"{name}: {(found or {}).get('status')}"
        time.sleep(0.3)


def ended(status: dict[str, Any]) -> bool:
    return status.get("phase") in ("Succeeded", "Failed", "Error")


def due(platform: Platform, schedule: str, minute: int = 0) -> Finished:
    """Start a schedule's run as its controller does when its time has come, and wait for its end."""
    run = workflow_for(platform.kube.get("cronworkflows", schedule), NOON.replace(minute=minute))
    forget(platform, run["metadata"]["name"])
    platform.kube.create("workflows", run)
    return until(platform, run["metadata"]["name"], ended)


def listed(platform: Platform) -> list[dict[str, Any]]:
    done = platform.tiphys("backups", "list", "--cluster", CLUSTER, "-o", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["backups"]
    return found


def forget(platform: Platform, *names: str) -> None:
    """Delete runs that an earlier try of the test left: a day has one."""
    for name in names:
        if platform.kube.find("workflows", name):
            platform.kube.delete("workflows", name)


def test_a_cluster_that_opted_in_is_backed_up_in_its_turn_and_pruned(platform: Platform) -> None:
    backup, prune = f"backup-{CLUSTER}-{NOON:%Y%m%d}", f"prune-backups-{CLUSTER}-{NOON:%Y%m%d}"
    forget(platform, backup, prune, "holder")
    platform.succeeds("deploy-cluster", cluster=CLUSTER, servers=1, routers=0, backups="on")
    platform.succeeds("backup", cluster=CLUSTER)
    # Something is at the cluster, as a drill or a restore would be.
    holder = {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": "holder"},
        "spec": {
            "entrypoint": "hold",
            "synchronization": {"mutexes": [{"name": f"cluster-{CLUSTER}"}]},
            "templates": [{"name": "hold", "suspend": {}}],
        },
    }
    platform.kube.create("workflows", holder)
    until(platform, "holder", lambda status: status.get("phase") == "Running")
    assert due(platform, "nightly-backup").phase == "Succeeded", "it waits for none of its runs"
    waiting = until(platform, backup, lambda status: "message" in status)
    assert waiting.phase == "Pending" and f"cluster-{CLUSTER}" in waiting.workflow["status"]["message"]
    before = len(listed(platform))
    platform.kube.delete("workflows", "holder")
    done = until(platform, backup, ended)
    assert done.phase == "Succeeded", platform.logs(done)
    assert due(platform, "nightly-backup", 1).phase == "Succeeded", "a second time in a day, it finds its run"
    names = [one["name"] for one in listed(platform)]
    assert len(names) == before + 1 and names[0] == done.outputs["backup"]

    platform.kube.annotate("innodbclusters", CLUSTER, {"tiphys.dev/prune-backups": "keep-last=1 keep-daily=0"})
    assert [one["kept"] for one in listed(platform)][0]
    assert due(platform, "daily-prune-backups").phase == "Succeeded"
    pruned = until(platform, prune, ended)
    assert pruned.phase == "Succeeded" and pruned.outputs["plan"].startswith("removed "), platform.logs(pruned)
    assert int(pruned.outputs["removed"]) >= 1 and names[0] in [one["name"] for one in listed(platform)]
    assert all(one["kept"] for one in listed(platform)), "what the list says would go has gone"

    checked = platform.run("check-cluster", cluster=CLUSTER)
    assert "backups" in platform.logs(checked) and names[0] in platform.logs(checked)
