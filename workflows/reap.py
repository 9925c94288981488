"""Clears away what runs left behind whose workflow is gone: Terminate skips exit handlers, and pods get lost."""

from __future__ import annotations

from hera.workflows import CronWorkflow

from steps.drill.reap import reap
from workflows.pack import container
from workflows.security import CONFINED
from workflows.sizes import READING


def build() -> CronWorkflow:
    """Return the CronWorkflow: every five minutes, never two at once."""
    with CronWorkflow(
        name="reap",
        schedules=["*/5 * * * *"],
        timezone="UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=120,
        successful_jobs_history_limit=1,
        failed_jobs_history_limit=3,
        entrypoint="reap",
        service_account_name="tiphys-reap",
        labels={"app.kubernetes.io/part-of": "tiphys"},
        annotations={
            "workflows.argoproj.io/title": "Reap",
            "workflows.argoproj.io/description": "Undoes what drills left behind whose workflow is gone or over, and "
            "removes scratch clusters of verifications.",
        },
        **CONFINED,
    ) as cron:
        container(reap, timeout="5m", size=READING)
    return cron
