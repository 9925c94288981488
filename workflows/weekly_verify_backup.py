"""Verifies the newest backup of every cluster that has opted in, each week."""

from __future__ import annotations

from hera.workflows import CronWorkflow

from workflows.scheduled import for_clusters


def build() -> CronWorkflow:
    """Return the CronWorkflow."""
    return for_clusters(
        "weekly-verify-backup",
        template="verify-backup",
        schedule="0 4 * * 0",
        max_age_hours=360,
        title="Weekly verification",
        description="Verifies the newest backup of every cluster labelled `tiphys.dev/backups: on`.",
    )
