"""Looks one cluster over and says what is wrong."""

from __future__ import annotations

from hera.workflows import WorkflowTemplate

from steps.mysql.check_cluster import check_cluster
from workflows.pack import container, runbook, workflow_parameters

DESCRIPTION = """\
Looks a cluster over and changes nothing: quorum, primary and who takes writes by the majority of the members, what the
operator says against the truth, where the Routers lead, lag, transactions that only one member has, tables without a
primary key, restores that are not finished, settings that drift, connections, certificates, clocks, disks and volume
claims, nodes, the disruption budget, notes and cordons that were left behind, versions and, where the cluster has opted
in, how old its newest backup and proof are.
Each finding says what it means and what to do. The run fails where something is critical, or as `fail-on` says.
"""


def build() -> WorkflowTemplate:
    """Return the template."""
    with runbook(
        "check-cluster",
        title="Check cluster",
        summary="Looks a cluster over and says what is wrong.",
        description=DESCRIPTION,
        parameters=workflow_parameters([check_cluster]),
        # It reads only, so it may look at a cluster that a drill or a backup is busy with.
        mutex=None,
    ) as template:
        container(check_cluster, timeout="5m", s3=True, s3_needed=False)
    return template
