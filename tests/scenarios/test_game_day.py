"""A game day on the whole local platform: two real drills in order, one report of both, and a history."""

from __future__ import annotations

import json
from pathlib import Path

from platform_run import Platform

from steps.mysql.topology import read_topology

QUICK = "steady-seconds=1;settle-seconds=1;max-write-downtime-seconds=120"


def test_drills_run_in_order_and_are_reported_on_as_one(platform: Platform, demo: str, tmp_path: Path) -> None:
    done = platform.succeeds("game-day", cluster=demo, drills=f"switchover:{QUICK}, router-kill:{QUICK}")
    assert done.outputs["verdict"] == "PASS" and done.outputs["score"] == "100"
    assert done.outputs["drills-passed"] == "2 of 2"
    runs = [f"{done.name}-01-switchover", f"{done.name}-02-router-kill"]
    first, second = (platform.kube.get("workflows", run) for run in runs)
    assert first["status"]["finishedAt"] <= second["status"]["startedAt"]
    assert first["metadata"]["ownerReferences"][0]["uid"] == done.workflow["metadata"]["uid"]

    assert platform.tiphys("report", done.name, "--out", str(tmp_path)).returncode == 0
    page, report = (tmp_path / "report.html").read_text(), json.loads((tmp_path / "report.json").read_text())
    assert [one["run"] for one in report["drills"]] == runs
    assert all(one["numbers"]["lost_writes"] == 0 and one["steady_after"] for one in report["drills"])
    for file in ("drills/01-switchover.html", "drills/02-router-kill.html"):
        assert f'href="{file}"' in page and "acknowledged" in (tmp_path / file).read_text()
    assert [trend["runs"][-1]["run"] for trend in report["trends"]] == runs
    assert read_topology(platform.kube, demo).is_whole
