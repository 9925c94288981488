"""The node drain drill: what does it cost the clients to empty the node under a member, and is all put back?"""

from __future__ import annotations

from hera.workflows import WorkflowTemplate
from hera.workflows.models import Affinity, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm

from steps.drill.drain_measure import drain_measure
from steps.drill.drain_preflight import drain_preflight
from workflows.drills import drill_template

DESCRIPTION = """\
Drains the node under a member of a cluster as `kubectl drain` does: cordons it, evicts its pods through the eviction
API, waits for disruption budgets, holds the node empty for a while and gives it back as it was. Measures meanwhile what
clients feel, and reports how long writes stopped, whether one was lost, and how each pod left.

**Everything on the node goes**, also what is not of this cluster; DaemonSet and mirror pods stay. `dry-run` tells what
would be evicted and changes nothing. Only for clusters labelled `tiphys.dev/drills: allowed`; one labelled
`tiphys.dev/environment: production` waits for an approval first. A node that somebody else has cordoned stays so.
"""


def build() -> WorkflowTemplate:
    """Return the template; the measuring pod is kept off the node that it empties."""
    return drill_template(
        "node-drain-drill",
        drain_preflight,
        drain_measure,
        title="Node drain drill",
        summary="Drains a member's node and measures what clients feel.",
        description=DESCRIPTION,
        question="May this node be drained?",
        found=["node"],
        affinity=_elsewhere("{{inputs.parameters.node}}"),
        # It tells the age of the newest backup, where there is a bucket.
        preflight_options={"s3": True, "s3_needed": False},
        service_account="tiphys-drains",
    )


def _elsewhere(node: str) -> Affinity:
    """Keep a pod off a node, by the node's own name: its labels may say anything."""
    away = NodeSelectorRequirement(key="metadata.name", operator="NotIn", values=[node])
    terms = [NodeSelectorTerm(match_fields=[away])]
    required = NodeSelector(node_selector_terms=terms)
    return Affinity(node_affinity=NodeAffinity(required_during_scheduling_ignored_during_execution=required))
