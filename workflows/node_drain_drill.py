"""The node drain drill: what does it cost the clients to empty the node under a member, and is all put back?"""

from __future__ import annotations

from hera.workflows import Parameter, Step, Steps, Suspend, WorkflowTemplate
from hera.workflows.models import (
    Affinity,
    EnvVar,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    SuppliedValueFrom,
    ValueFrom,
)

from steps.drill.approval import drill_approval
from steps.drill.drain_measure import drain_measure
from steps.drill.drain_preflight import drain_preflight
from steps.drill.late_report import drill_late_report
from steps.drill.measure import FILE as MEASUREMENT
from steps.drill.report import drill_report
from steps.drill.undo import drill_undo
from steps.drill.verify import FILE as VERIFICATION
from steps.drill.verify import drill_verify
from workflows.pack import ARTIFACT_FOLDER, ONLY_TEMPORARY, artifact_name, call, container, runbook, workflow_parameters

DESCRIPTION = """\
Drains the node under a member of a cluster as `kubectl drain` does: cordons it, evicts its pods through the eviction
API, waits for disruption budgets, holds the node empty for a while and gives it back as it was. Measures meanwhile what
clients feel, and reports how long writes stopped, whether one was lost, and how each pod left.

**Everything on the node goes**, also what is not of this cluster; DaemonSet and mirror pods stay. `dry-run` tells what
would be evicted and changes nothing. Only for clusters labelled `tiphys.dev/drills: allowed`; one labelled
`tiphys.dev/environment: production` waits for an approval first. A node that somebody else has cordoned stays so.
"""


def build() -> WorkflowTemplate:
    """Return the template: preflight, approval where it is needed, drain and measure, verify, report; then undo."""
    commands = [drain_preflight, drain_measure, drill_verify, drill_report, drill_undo]
    with runbook(
        "node-drain-drill",
        title="Node drain drill",
        description=DESCRIPTION,
        parameters=workflow_parameters(commands),
        on_exit="afterwards",
        service_account="tiphys-drains",
    ) as template:
        # It tells the age of the newest backup, where there is a bucket.
        preflight = container(drain_preflight, timeout="5m", s3=True, s3_needed=False)
        # Never again once its pod was lost: the node may be half empty. And never on the node that it empties.
        measure = container(drain_measure, retry_when=ONLY_TEMPORARY)
        measure.affinity = _elsewhere("{{inputs.parameters.node}}")
        verify = container(drill_verify, timeout="10m")
        report = container(drill_report, timeout="5m")
        late_report = container(drill_late_report, timeout="5m", s3=True)
        for each in (report, late_report):
            assert isinstance(each.env, list)
            each.env.append(EnvVar(name="TIPHYS_ARTIFACT_FOLDER", value=ARTIFACT_FOLDER))
        undo = container(drill_undo, timeout="5m")
        approval = container(drill_approval, retry_when=None, timeout="1m")
        form = Suspend(
            name="approval-form",
            inputs=[
                Parameter(name="approve", default="NO", enum=["YES", "NO"], description="May this node be drained?")
            ],
            outputs=[Parameter(name="approve", value_from=ValueFrom(supplied=SuppliedValueFrom()))],
        )
        with Steps(name="approval") as ask:
            Step(name="form", template=form.name)
            answer = Parameter(name="approve", value="{{steps.form.outputs.parameters.approve}}")
            Step(name="answer", template=approval.name, arguments=[answer])
        with Steps(name="drill", inputs=[Parameter(name="node")]) as drill:
            call(drain_measure, measure, values={"node": "{{inputs.parameters.node}}"})
            measured = f"{{{{steps.drain-measure.outputs.artifacts.{artifact_name(MEASUREMENT)}}}}}"
            call(drill_verify, verify, artifacts={MEASUREMENT: measured})
            verified = f"{{{{steps.drill-verify.outputs.artifacts.{artifact_name(VERIFICATION)}}}}}"
            call(drill_report, report, artifacts={MEASUREMENT: measured, VERIFICATION: verified})
        with Steps(name="afterwards"):
            call(drill_undo, undo)
            # What has succeeded has its report.
            call(drill_late_report, late_report, when="{{workflow.status}} != Succeeded")
        found = "{{steps.drain-preflight.outputs.parameters"
        with Steps(name="node-drain-drill"):
            call(drain_preflight, preflight)
            Step(name="approval", template=ask.name, when=f"{found}.needs-approval}}}} == true")
            node = Parameter(name="node", value=f"{found}.node}}}}")
            Step(name="drill", template=drill.name, arguments=[node], when=f"{found}.go}}}} == true")
    return template


def _elsewhere(node: str) -> Affinity:
    """Keep a pod off a node, by the node's own name: its labels may say anything."""
    away = NodeSelectorRequirement(key="metadata.name", operator="NotIn", values=[node])
    terms = [NodeSelectorTerm(match_fields=[away])]
    required = NodeSelector(node_selector_terms=terms)
    return Affinity(node_affinity=NodeAffinity(required_during_scheduling_ignored_during_execution=required))
