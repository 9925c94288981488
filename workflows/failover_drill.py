"""The failover drill: how long do writes stop, and is one lost, when the primary goes?"""

from __future__ import annotations

from hera.workflows import WorkflowTemplate

from steps.drill.measure import drill_measure
from steps.drill.preflight import drill_preflight
from workflows.drills import drill_template

DESCRIPTION = """\
Hits the primary of a cluster with a fault and measures what clients feel: writes unique ids through the Router all the
time, and looks for every acknowledged one on every member afterwards. The report tells how long writes stopped, phase
by phase, whether a write was lost, and what to change to recover faster.

Only for clusters labelled `tiphys.dev/drills: allowed`; a cluster labelled `tiphys.dev/environment: production` waits
for an approval first. A fault that stops the whole cluster needs `allow-outage`, which no webhook can give. `dry-run`
checks everything and changes nothing. The verdict is PASS, FAIL, INVALID or ABORTED.
"""


def build() -> WorkflowTemplate:
    """Return the template."""
    return drill_template(
        "failover-drill",
        drill_preflight,
        drill_measure,
        title="Failover drill",
        summary="Hits the primary and measures what clients feel.",
        description=DESCRIPTION,
        question="May this drill hit it?",
        # It tells the age of the newest backup before an outage, where there is a bucket.
        preflight_options={"s3": True, "s3_needed": False},
    )
