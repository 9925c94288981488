"""Copies a cluster to S3."""

from __future__ import annotations

from hera.workflows import WorkflowTemplate

from steps.backup.backup import backup
from workflows.pack import container, runbook, workflow_parameters
from workflows.sizes import MOVING

DESCRIPTION = """\
Copies a cluster's schemas, tables, views, stored programs and accounts to S3, all as of one moment, while clients go
on: read from the secondary with the least to catch up on. The files are those of a MySQL Shell dump, so MySQL Shell and
the operator can load them; `tiphys.json`, written last, holds every file's SHA-256, bytes and rows, and without it the
backup does not exist.

The result `backup` is its name. A run that fails leaves no backup behind.
"""


def build() -> WorkflowTemplate:
    """Return the template."""
    with runbook(
        "backup",
        title="Backup",
        summary="Copies a cluster's data to S3 while clients go on.",
        description=DESCRIPTION,
        parameters=workflow_parameters([backup]),
        service_account="tiphys-backups",
    ) as template:
        container(backup, s3=True, backup_key=True, size=MOVING)
    return template
