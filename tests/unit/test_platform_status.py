"""What `tiphys status` shows, from plain values."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from tiphys.local.platform.status import interrupted, page_lines, workflow_row


def found(*workflows: dict[str, Any]) -> dict[str, Any]:
    part = {"name": "s3", "state": "ready", "pid": 5, "uptimeSeconds": 7.0, "restarts": 0, "detail": ""}
    return {
        "home": "/home",
        "up": True,
        "uptimeSeconds": 7.0,
        "api": "http://127.0.0.1",
        "mysql": {"version": "8.4.6", "origin": "debian"},
        "parts": [part],
        "workflows": [workflow_row(one) for one in workflows],
        "problems": [],
    }


def workflow(name: str, *nodes: dict[str, Any]) -> dict[str, Any]:
    started = (datetime.now(UTC) - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")
    status = {"phase": "Running", "progress": "1/2", "startedAt": started, "nodes": {one["id"]: one for one in nodes}}
    return {"metadata": {"name": name}, "status": status}


FORM = {
    "id": "form",
    "type": "Suspend",
    "phase": "Running",
    "inputs": {"parameters": [{"name": "approve", "enum": ["YES", "NO"]}]},
    "outputs": {"parameters": [{"name": "approve", "valueFrom": {"supplied": {}}}]},
}


@pytest.mark.parametrize("coloured", [False, True])
def test_a_run_shows_its_age_and_whom_it_waits_for(coloured: bool) -> None:
    page = found(workflow("asks", FORM), workflow("works"))
    lines = page_lines(page, Console(file=io.StringIO(), soft_wrap=True, force_terminal=coloured, width=80))
    asks, works = next(line for line in lines if "asks" in line), next(line for line in lines if "works" in line)
    assert "Suspended" in asks and "10m" in asks
    assert "asks waits for a person: tiphys resume asks -p approve=YES|NO" in "\n".join(lines)
    assert works.split() == ["works", "Running", "1/2", "10m"]
    assert any("\x1b[" in line for line in lines) == coloured
    assert not any(line.endswith((" ", " \x1b[0m")) for line in lines)


def test_what_becomes_of_runs_when_the_platform_goes_down() -> None:
    over = {"metadata": {"name": "over"}, "status": {"phase": "Succeeded", "finishedAt": "2026-11-21T12:00:00Z"}}
    assert interrupted([over]) == []
    said = interrupted([over, workflow("works"), workflow("asks", FORM)])
    assert said == ["Not ended yet: asks, works. What has not ended goes on after the next `tiphys up`."]
    measure = {"id": "m", "type": "Pod", "phase": "Running", "templateName": "drill-measure"}
    (_, more) = interrupted([workflow("drill", measure), workflow("was", {**measure, "phase": "Succeeded"})])
    assert more.startswith("drill is measuring") and "ABORTED" in more
