"""Restarts every server of a cluster, one after another."""

from __future__ import annotations

from hera.workflows import Steps, WorkflowTemplate

from steps.drill.undo import drill_undo
from steps.mysql.rolling_restart import rolling_restart
from workflows.pack import call, container, runbook, workflow_parameters
from workflows.sizes import MEASURING

DESCRIPTION = """\
Restarts every server of a cluster, one after another: secondaries first, the least important one first of all; then
another member takes over as primary (well under a second without writes), and the old primary comes last. Each is
ONLINE and in step with the primary before the next goes.

Stops where a member does not come back in its time, where the quorum would be at risk, or where a disruption budget
holds a pod; the others serve on. Started again with `since`, it restarts only what is left. `dry-run` tells the order.
"""


def build() -> WorkflowTemplate:
    """Return the template; its exit handler takes the run's note off the cluster."""
    with runbook(
        "rolling-restart",
        title="Rolling restart",
        summary="Restarts every server, one after another.",
        description=DESCRIPTION,
        parameters=workflow_parameters([rolling_restart]),
        on_exit="afterwards",
    ) as template:
        container(rolling_restart, size=MEASURING)
        undo = container(drill_undo, timeout="5m")
        with Steps(name="afterwards"):
            call(drill_undo, undo, values={"keep-ledger": "false"})
    return template
