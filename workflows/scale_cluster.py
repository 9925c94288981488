"""Changes the number of servers and Routers of a cluster."""

from __future__ import annotations

from hera.workflows import WorkflowTemplate

from steps.mysql.scale_cluster import scale_cluster
from workflows.pack import container, runbook, workflow_parameters

DESCRIPTION = """\
Changes the number of servers and Routers of a cluster, one server at a time: each new one is ONLINE before the next
comes, each removed one is gone before the next goes. The primary is moved off a server before that goes (about half a
second without writes).

Refuses what would break the quorum. `dry-run` only tells the plan.
"""


def build() -> WorkflowTemplate:
    """Return the template."""
    with runbook(
        "scale-cluster",
        title="Scale cluster",
        summary="Adds or removes servers and Routers, one at a time.",
        description=DESCRIPTION,
        parameters=workflow_parameters([scale_cluster]),
    ) as template:
        container(scale_cluster)
    return template
