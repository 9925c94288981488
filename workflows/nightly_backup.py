"""Backs up every cluster that has opted in, each night."""

from __future__ import annotations

from hera.workflows import CronWorkflow

from workflows.scheduled import for_clusters


def build() -> CronWorkflow:
    """Return the CronWorkflow."""
    return for_clusters(
        "nightly-backup",
        template="backup",
        schedule="30 1 * * *",
        max_age_hours=30,
        title="Nightly backup",
        description="Starts a backup of every cluster labelled `tiphys.dev/backups: on`.",
    )
