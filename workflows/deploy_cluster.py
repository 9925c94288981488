"""Creates a cluster, or brings an existing one to what is asked, and proves that it works."""

from __future__ import annotations

from hera.workflows import WorkflowTemplate

from steps.mysql.deploy_cluster import deploy_cluster
from workflows.pack import container, runbook, workflow_parameters

DESCRIPTION = """\
Creates a MySQL InnoDB Cluster, or brings an existing one to what is asked: more servers, more Routers, other labels.
Waits until every member is ONLINE by its own word and every Router is ready, then **proves** it with a write through
Router that is read back on every member.

Running it again changes nothing. It never removes servers or Routers: *Scale cluster* does.
"""


def build() -> WorkflowTemplate:
    """Return the template."""
    with runbook(
        "deploy-cluster",
        title="Deploy cluster",
        summary="Creates a cluster, or brings one to what is asked.",
        description=DESCRIPTION,
        parameters=workflow_parameters([deploy_cluster]),
    ) as template:
        container(deploy_cluster)
    return template
