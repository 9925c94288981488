"""Makes another member the primary."""

from __future__ import annotations

from hera.workflows import Steps, WorkflowTemplate

from steps.drill.undo import drill_undo
from steps.mysql.switch_primary import switch_primary
from workflows.pack import call, container, runbook, workflow_parameters
from workflows.sizes import MEASURING

DESCRIPTION = """\
Makes another member of a cluster the primary: the one that is named, or the best one (ONLINE, on a healthy node and in
step, with the highest member weight). No server stops, and running transactions are let finish. The majority of the
members must name the new primary, and every Router must send writes there, before the run is done.

Clients write meanwhile, so that the run tells how long none could. Refuses where the group is not whole enough, in
multi-primary mode, or while a drill or another runbook is at work. `dry-run` tells who would be chosen, and why.
"""


def build() -> WorkflowTemplate:
    """Return the template; its exit handler takes the run's note off the cluster."""
    with runbook(
        "switch-primary",
        title="Switch primary",
        summary="Makes another member the primary; no server stops.",
        description=DESCRIPTION,
        parameters=workflow_parameters([switch_primary]),
        on_exit="afterwards",
    ) as template:
        container(switch_primary, size=MEASURING)
        undo = container(drill_undo, timeout="5m")
        with Steps(name="afterwards"):
            call(drill_undo, undo, values={"keep-ledger": "false"})
    return template
