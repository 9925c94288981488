"""Starts a game day for every cluster that has opted in; the calendar's Sensor runs it, as it cannot name a cluster."""

from __future__ import annotations

from hera.workflows import Steps, WorkflowTemplate

from steps.backup.schedule import GAME_DAY, start_for_clusters
from workflows.pack import call, container, runbook

DESCRIPTION = """\
Starts a `game-day` for every cluster labelled `tiphys.dev/game-day: on`, one a day at most. Its drills and other
parameters are those of the cluster's annotation `tiphys.dev/game-day`, such as `drills=switchover,crash min-score=90`.
A cluster labelled `tiphys.dev/environment: production` waits for an approval then.
"""


def build() -> WorkflowTemplate:
    """Return the template. No webhook may start it: a call that names no target must hit none."""
    with runbook(
        "start-game-days",
        title="Start game days",
        summary="Starts a game day for every cluster that wants one.",
        description=DESCRIPTION,
        parameters=[],
        mutex="start-game-days",
        limited=False,
        service_account="tiphys-schedules",
    ) as template:
        template.labels = {**(template.labels or {}), "tiphys.dev/internal": "true"}
        start = container(start_for_clusters, timeout="10m")
        with Steps(name="start-game-days"):
            call(start_for_clusters, start, values={"template": GAME_DAY, "max-age-hours": "0"})
    return template
