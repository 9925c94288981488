"""The failover drill: how long do writes stop, and is one lost, when the primary goes?"""

from __future__ import annotations

from hera.workflows import Parameter, Step, Steps, Suspend, WorkflowTemplate
from hera.workflows.models import EnvVar, SuppliedValueFrom, ValueFrom

from steps.drill.approval import drill_approval
from steps.drill.late_report import drill_late_report
from steps.drill.measure import FILE as MEASUREMENT
from steps.drill.measure import drill_measure
from steps.drill.preflight import drill_preflight
from steps.drill.report import drill_report
from steps.drill.undo import drill_undo
from steps.drill.verify import FILE as VERIFICATION
from steps.drill.verify import drill_verify
from workflows.pack import ARTIFACT_FOLDER, ONLY_TEMPORARY, artifact_name, call, container, runbook, workflow_parameters

DESCRIPTION = """\
Hits the primary of a cluster with a fault and measures what clients feel: writes unique ids through the Router all the
time, and looks for every acknowledged one on every member afterwards. The report tells how long writes stopped, phase
by phase, whether a write was lost, and what to change to recover faster.

Only for clusters labelled `tiphys.dev/drills: allowed`; a cluster labelled `tiphys.dev/environment: production` waits
for an approval first. `dry-run` checks everything and changes nothing. The verdict is PASS, FAIL, INVALID or ABORTED.
"""


def build() -> WorkflowTemplate:
    """Return the template: preflight, approval where it is needed, measure, verify, report; then undo in any case.

    A drill that was stopped after it had measured something gets its report after the undoing.
    """
    commands = [drill_preflight, drill_measure, drill_verify, drill_report, drill_undo]
    with runbook(
        "failover-drill",
        title="Failover drill",
        description=DESCRIPTION,
        parameters=workflow_parameters(commands),
        on_exit="afterwards",
    ) as template:
        preflight = container(drill_preflight, timeout="5m")
        # Never again once its pod was lost: the fault may have been injected.
        measure = container(drill_measure, retry_when=ONLY_TEMPORARY)
        verify = container(drill_verify, timeout="10m")
        report = container(drill_report, timeout="5m")
        # The report's address in the bucket is a result, so the step must know where its artifacts go.
        late_report = container(drill_late_report, timeout="5m", s3=True)
        for each in (report, late_report):
            assert isinstance(each.env, list)
            each.env.append(EnvVar(name="TIPHYS_ARTIFACT_FOLDER", value=ARTIFACT_FOLDER))
        undo = container(drill_undo, timeout="5m")
        approval = container(drill_approval, retry_when=None, timeout="1m")
        form = Suspend(
            name="approval-form",
            inputs=[Parameter(name="approve", default="NO", enum=["YES", "NO"], description="May this drill hit it?")],
            outputs=[Parameter(name="approve", value_from=ValueFrom(supplied=SuppliedValueFrom()))],
        )
        with Steps(name="approval") as ask:
            Step(name="form", template=form.name)
            answer = Parameter(name="approve", value="{{steps.form.outputs.parameters.approve}}")
            Step(name="answer", template=approval.name, arguments=[answer])
        with Steps(name="drill") as drill:
            call(drill_measure, measure)
            measured = f"{{{{steps.drill-measure.outputs.artifacts.{artifact_name(MEASUREMENT)}}}}}"
            call(drill_verify, verify, artifacts={MEASUREMENT: measured})
            verified = f"{{{{steps.drill-verify.outputs.artifacts.{artifact_name(VERIFICATION)}}}}}"
            call(drill_report, report, artifacts={MEASUREMENT: measured, VERIFICATION: verified})
        with Steps(name="afterwards"):
            call(drill_undo, undo)
            # What has succeeded has its report.
            call(drill_late_report, late_report, when="{{workflow.status}} != Succeeded")
        found = "{{steps.drill-preflight.outputs.parameters"
        with Steps(name="failover-drill"):
            call(drill_preflight, preflight)
            Step(name="approval", template=ask.name, when=f"{found}.needs-approval}}}} == true")
            Step(name="drill", template=drill.name, when=f"{found}.go}}}} == true")
    return template
