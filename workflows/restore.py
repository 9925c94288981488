"""Restores a backup from S3 into a cluster, which it deploys first where that is asked for."""

from __future__ import annotations

from hera.workflows import Steps, WorkflowTemplate

from steps.backup.find_backup import find_backup
from steps.backup.restore import restore
from steps.mysql.deploy_cluster import deploy_cluster
from workflows.forms import grouped
from workflows.pack import call, container, runbook, workflow_parameters
from workflows.sizes import MOVING

DESCRIPTION = """\
Restores a backup from S3 into an empty cluster, into a new one (`create`: deployed first, with the options of *Deploy
cluster*), or chosen schemas and tables of it into a live one: tables, rows, views, routines, triggers, events, and,
with the whole backup, the accounts that are missing.

Rows stream from S3 straight to the primary, in parallel, and are checked on their way: every file's SHA-256, every
table's number of rows. A restore that broke off goes on where it stopped and loads nothing twice. It never overwrites:
what is there already is a reason to refuse, or with `replace` is moved aside first, into schemas named
`SCHEMA__before_ID`, and put back where the restore fails.

Also reads dumps that MySQL Shell or a MySQLBackup of Oracle's operator wrote into a folder below `backups/`.
"""

CREATE = "{{workflow.parameters.create}} == true"


def build() -> WorkflowTemplate:
    """Return the template: where it is asked for, a look at the backup and deploy-cluster; then restore."""
    with runbook(
        "restore",
        title="Restore a backup",
        summary="Restores a backup, whole or in part, and checks it.",
        description=DESCRIPTION,
        parameters=grouped(
            workflow_parameters([restore, deploy_cluster]),
            {"New cluster": [each.name for each in deploy_cluster.parameters if each.name != "cluster"]},
        ),
    ) as template:
        finding = container(find_backup, s3=True, backup_key=True)
        deploying = container(deploy_cluster)
        restoring = container(restore, s3=True, backup_key=True, size=MOVING)
        restoring.name = "restore-backup"
        with Steps(name="restore"):
            call(find_backup, finding, when=CREATE)
            call(deploy_cluster, deploying, when=CREATE)
            call(restore, restoring)
    return template
