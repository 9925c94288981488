"""Schedules of templates that need a cluster: a CronWorkflow names none, so its step finds those that opted in."""

from __future__ import annotations

from hera.workflows import CronWorkflow, Parameter

from steps.backup.schedule import start_for_clusters
from workflows.pack import container
from workflows.security import CONFINED


def for_clusters(
    name: str, *, template: str, schedule: str, max_age_hours: int, title: str, description: str
) -> CronWorkflow:
    """Return a CronWorkflow that starts a template's run for each cluster that has opted in.

    It holds no lock: the runs that it starts do, each its own.

    Args:
        name: of the CronWorkflow.
        template: to run.
        schedule: minute, hour, day, month, weekday, in UTC.
        max_age_hours: fail where the newest good backup (or proof) is older; 0 does not look.
        title: short, for the Argo UI.
        description: Markdown, for the Argo UI.
    """
    values = {"template": template, "max-age-hours": str(max_age_hours)}
    told = {each.name: each.help for each in start_for_clusters.parameters}
    with CronWorkflow(
        name=name,
        schedules=[schedule],
        timezone="UTC",
        concurrency_policy="Forbid",
        # A controller that was down for so long still starts it: the runs' names keep it to one a day.
        starting_deadline_seconds=3 * 3600,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=5,
        entrypoint="start-for-clusters",
        arguments=[Parameter(name=key, value=value, description=told[key]) for key, value in values.items()],
        service_account_name="tiphys-schedules",
        labels={"app.kubernetes.io/part-of": "tiphys"},
        annotations={"workflows.argoproj.io/title": title, "workflows.argoproj.io/description": description},
        **CONFINED,
    ) as cron:
        container(start_for_clusters, timeout="10m", s3=True)
    return cron
