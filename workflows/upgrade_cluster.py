"""Gives a cluster's servers and Routers another version of MySQL."""

from __future__ import annotations

from hera.workflows import Steps, WorkflowTemplate

from steps.backup.backup import backup
from steps.drill.undo import drill_undo
from steps.mysql.upgrade_cluster import check_upgrade, upgrade_cluster
from workflows.pack import call, container, runbook, workflow_parameters
from workflows.sizes import MEASURING, MOVING

DESCRIPTION = """\
Gives the servers and Routers of a cluster another version of MySQL, one at a time: Routers first, then secondaries,
then the old primary, once another member has taken over. Each has to be ONLINE, in step and really of that version
before the next goes.

Looks first whether MySQL goes that way (no LTS series skipped, no downgrade but within one), for settings, plugins and
accounts that the new version does not know, and for a good backup that is young enough (`backup-max-age`), or makes one
(`make-backup`). Goes back by itself where something does not come up, as far as MySQL lets it. `dry-run` tells the
whole plan and the way back.
"""

GOES_ON = "{{steps.check-upgrade.outputs.parameters.goes-on}} == true"
NEEDS_BACKUP = "{{steps.check-upgrade.outputs.parameters.needs-backup}} == true"


def build() -> WorkflowTemplate:
    """Return the template: a look, a backup where one is needed, the upgrade; the exit handler goes back."""
    with runbook(
        "upgrade-cluster",
        title="Upgrade cluster",
        summary="Moves to another version of MySQL, server by server.",
        description=DESCRIPTION,
        parameters=workflow_parameters([check_upgrade, upgrade_cluster]),
        entrypoint="upgrade",
        on_exit="afterwards",
        service_account="tiphys-upgrades",
    ) as template:
        looking = container(check_upgrade, s3=True, s3_needed=False)
        copying = container(backup, s3=True, s3_needed=False, backup_key=True, size=MOVING)
        upgrading = container(upgrade_cluster, s3=True, s3_needed=False, size=MEASURING)
        undo = container(drill_undo, timeout="60m")
        with Steps(name="afterwards"):
            call(drill_undo, undo, values={"keep-ledger": "false"})
        with Steps(name="upgrade"):
            call(check_upgrade, looking)
            # All of the cluster, as the template backup does it by default: it may be what one goes back to.
            given = {each.name: each.default or "" for each in backup.parameters if each.name != "cluster"}
            call(backup, copying, when=f"{GOES_ON} && {NEEDS_BACKUP}", values=given)
            call(upgrade_cluster, upgrading, when=GOES_ON)
    return template
