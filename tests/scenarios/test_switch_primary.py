"""switch-primary by webhook on the whole local platform, and a calendar that starts what has no target."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from platform_run import Finished, Platform
from test_failover_drill import eventually, ledgers, noted
from whole_cluster import topology, until_whole

from tiphys.local.client import Kube
from tiphys.local.settings import NAMESPACE


def test_the_primary_is_the_one_that_was_asked_for_and_clients_wrote_meanwhile(platform: Platform, demo: str) -> None:
    until_whole(platform, demo)
    before = topology(platform, demo)
    assert before.primary is not None
    new = before.secondaries[-1].pod
    given = ("-p", f"cluster={demo}", "-p", f"to={new}")
    sent = platform.tiphys("trigger", "switch-primary", *given, "--wait", "-o", "json")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    done = Finished(platform.kube.get("workflows", json.loads(sent.stdout)["metadata"]["name"]))

    assert done.phase == "Succeeded", platform.logs(done)
    assert (done.outputs["old-primary"], done.outputs["new-primary"]) == (before.primary.pod, new)
    assert done.outputs["lost-writes"] == "0" and float(done.outputs["write-downtime-seconds"]) > 0
    after = topology(platform, demo)
    assert after.is_whole and after.primary is not None and after.primary.pod == new
    assert noted(platform, demo) is None and ledgers(platform, demo) == []

    wrong = platform.run("switch-primary", cluster=demo, to="demo-7")
    assert wrong.phase == "Failed" and "No member of demo runs in pod 'demo-7'" in platform.logs(wrong)


def test_the_calendar_starts_the_game_days_once_for_each_minute(platform: Platform) -> None:
    async def changed(values: dict[str, Any]) -> dict[str, Any]:
        """Change the calendar, and return how it was."""
        async with Kube.from_home(platform.home) as kube:
            before = await kube.get("eventsources", "calendar", NAMESPACE)
            patch = {"spec": {"calendar": {"weekly-game-day": values}}}
            await kube.patch("eventsources", "calendar", patch, NAMESPACE)
        found: dict[str, Any] = before["spec"]["calendar"]["weekly-game-day"]
        return found

    def started() -> list[dict[str, Any]]:
        return platform.kube.all("workflows", "tiphys.dev/trigger=calendar")

    calendar = asyncio.run(changed({"schedule": None, "interval": "1s"}))
    try:
        eventually("a run", started)
    finally:
        asyncio.run(changed({"schedule": calendar["schedule"], "interval": None}))
    first = min(started(), key=lambda run: str(run["metadata"]["name"]))
    name = str(first["metadata"]["name"])
    eventually(f"{name} succeeded", lambda: _phase(platform, name) == "Succeeded")


def _phase(platform: Platform, name: str) -> str:
    return str((platform.kube.get("workflows", name).get("status") or {}).get("phase") or "")
