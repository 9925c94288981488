"""Prunes the backups of every cluster that has opted in, each day."""

from __future__ import annotations

from hera.workflows import CronWorkflow

from workflows.scheduled import for_clusters


def build() -> CronWorkflow:
    """Return the CronWorkflow."""
    return for_clusters(
        "daily-prune-backups",
        template="prune-backups",
        schedule="30 7 * * *",
        max_age_hours=0,
        title="Daily prune",
        description="Prunes the backups of every cluster labelled `tiphys.dev/backups: on`.",
    )
