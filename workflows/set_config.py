"""Sets server variables on every member of a cluster, and wherever they are written down."""

from __future__ import annotations

from hera.workflows import Steps, WorkflowTemplate

from steps.drill.undo import drill_undo
from steps.mysql.set_config import set_config
from workflows.pack import call, container, runbook, workflow_parameters

DESCRIPTION = """\
Sets server variables (`settings`: `name=value`, or a piece of a my.cnf) on every member of a cluster, in `spec.mycnf`
and in the ConfigMap that new pods read, which the operator never changes by itself. Every member is asked first:
unknown and read-only variables, values out of range, and what a group would not survive are refused, and nothing is
touched.

Dynamic variables take effect at once, static ones by a rolling restart; all are read back. Where a member refuses, or
does not start with a value, everything is put back. Without `settings` it mends what differs from `spec.mycnf`.
`dry-run` tells what is otherwise where, and what would be done.
"""


def build() -> WorkflowTemplate:
    """Return the template; its exit handler puts back what a run that was cut off had begun.

    Its account may change ConfigMaps of any name, for a Role knows no pattern: nothing else runs as it.
    """
    with runbook(
        "set-config",
        title="Set config",
        summary="Sets server variables on every member, or on none.",
        description=DESCRIPTION,
        parameters=workflow_parameters([set_config]),
        on_exit="afterwards",
        service_account="tiphys-config",
    ) as template:
        container(set_config)
        undo = container(drill_undo, timeout="30m")
        with Steps(name="afterwards"):
            call(drill_undo, undo, values={"keep-ledger": "true"})
    return template
