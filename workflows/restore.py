"""Restores a backup from S3 into a cluster."""

from __future__ import annotations

from hera.workflows import WorkflowTemplate

from steps.backup.restore import restore
from workflows.pack import container, runbook, workflow_parameters

DESCRIPTION = """\
Restores a backup from S3 into an empty cluster, or chosen schemas of it into a cluster that does not have them: tables,
rows, views, routines, triggers, events, and the accounts that are missing.

Rows stream from S3 straight to the primary, in parallel, and are checked on their way: every file's SHA-256, every
table's number of rows. A restore that broke off goes on where it stopped and loads nothing twice. It never overwrites:
where a schema is there already, it says so and changes nothing.

Also reads dumps that MySQL Shell or a MySQLBackup of Oracle's operator wrote into a folder below `backups/`.
"""


def build() -> WorkflowTemplate:
    """Return the template."""
    with runbook(
        "restore", title="Restore a backup", description=DESCRIPTION, parameters=workflow_parameters([restore])
    ) as template:
        container(restore, s3=True)
    return template
