"""Looks over every cluster of the namespace each hour.

A schedule cannot name a target (a target never has a default), so this one is not `check-cluster` with a cluster
filled in: its step takes whatever clusters there are, and has no parameter that could name a wrong one.
"""

from __future__ import annotations

from hera.workflows import CronWorkflow

from steps.mysql.check_cluster import check_all_clusters
from workflows.pack import container
from workflows.security import CONFINED


def build() -> CronWorkflow:
    """Return the CronWorkflow: every hour, never two at once."""
    with CronWorkflow(
        name="check-all-clusters",
        schedules=["17 * * * *"],
        timezone="UTC",
        concurrency_policy="Forbid",
        starting_deadline_seconds=600,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=5,
        entrypoint="check-all-clusters",
        service_account_name="tiphys-runbooks",
        labels={"app.kubernetes.io/part-of": "tiphys"},
        annotations={
            "workflows.argoproj.io/title": "Check all clusters",
            "workflows.argoproj.io/description": "Looks over every cluster; fails on what is critical.",
        },
        **CONFINED,
    ) as cron:
        container(check_all_clusters, timeout="10m", s3=True, s3_needed=False)
    return cron
