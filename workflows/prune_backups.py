"""Removes the backups of a cluster that no rule keeps."""

from __future__ import annotations

from hera.workflows import WorkflowTemplate

from steps.backup.prune import prune_backups
from workflows.pack import container, runbook, workflow_parameters

DESCRIPTION = """\
Removes the backups of a cluster that no rule keeps, and what killed backups left behind. Says of each backup which rule
keeps it, or why it goes; a dry run, which is the default, says the same and removes nothing.

Always stay: the newest, the newest that was verified with PASS, the newest that no verification failed, and one that is
being read. Rules that are left empty come from the cluster's annotation `tiphys.dev/prune-backups`
(`keep-daily=14 keep-monthly=12`), else they are the defaults.
"""


def build() -> WorkflowTemplate:
    """Return the template."""
    with runbook(
        "prune-backups",
        title="Prune backups",
        summary="Removes the backups that no rule keeps.",
        description=DESCRIPTION,
        parameters=workflow_parameters([prune_backups]),
        service_account="tiphys-backups",
    ) as template:
        container(prune_backups, s3=True)
    return template
