"""What every drill's template has: preflight, approval where needed, measure, verify, report; undo in any case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hera.workflows import Container, Parameter, Step, Steps, Suspend, WorkflowTemplate
from hera.workflows.models import Affinity, EnvVar, SuppliedValueFrom, ValueFrom

from steps.declare import StepCommand
from steps.drill.approval import drill_approval
from steps.drill.late_report import drill_late_report
from steps.drill.measure import FILE as MEASUREMENT
from steps.drill.report import drill_report
from steps.drill.undo import drill_undo
from steps.drill.verify import FILE as VERIFICATION
from steps.drill.verify import drill_verify
from workflows import forms
from workflows.pack import (
    ARTIFACT_FOLDER,
    ONLY_TEMPORARY,
    artifact_name,
    call,
    container,
    runbook,
    workflow_parameters,
)
from workflows.sizes import MEASURING, READING


def drill_template(
    name: str,
    preflight: StepCommand,
    measure: StepCommand,
    *,
    title: str,
    summary: str,
    description: str,
    question: str,
    found: Sequence[str] = (),
    affinity: Affinity | None = None,
    preflight_options: dict[str, Any] | None = None,
    **options: Any,
) -> WorkflowTemplate:
    """Return a drill's template. One that was stopped after it had measured something is reported on after the undoing.

    Args:
        name: of the template.
        preflight: the step that checks all and changes nothing; it tells whether to go on, and whether to ask first.
        measure: the step that injects the fault and measures.
        title: for the list of templates.
        summary: in a line, for that list.
        description: all of it, in Markdown.
        question: what the approval's form asks.
        found: options of `measure` that preflight finds out: its outputs of these names.
        affinity: of the measuring pod.
        preflight_options: of preflight's container.
        options: of the runbook.
    """
    commands = [preflight, measure, drill_verify, drill_report, drill_undo]
    parameters = forms.grouped(workflow_parameters(commands), forms.DRILL)
    with runbook(
        name,
        title=title,
        summary=summary,
        description=description,
        parameters=parameters,
        on_exit="afterwards",
        **options,
    ) as template:
        preflighting = container(preflight, timeout="5m", **(preflight_options or {}))
        # Never again once its pod was lost: the fault may have been injected.
        # One that is told to stop keeps its measurement itself, where there is S3.
        measuring = told_folder(container(measure, retry_when=ONLY_TEMPORARY, s3=True, s3_needed=False, size=MEASURING))
        measuring.affinity = affinity
        verify = container(drill_verify, timeout="10m", size=READING)
        report = container(drill_report, timeout="5m", size=READING)
        # The report's address in the bucket is a result, so the step must know where its artifacts go.
        late_report = container(drill_late_report, timeout="5m", s3=True, size=READING)
        for each in (report, late_report):
            told_folder(each)
        undo = container(drill_undo, timeout="5m")
        ask = approval_of(question)
        with Steps(name="drill", inputs=[Parameter(name=each) for each in found] or None) as drill:
            call(measure, measuring, values={each: f"{{{{inputs.parameters.{each}}}}}" for each in found})
            measured = f"{{{{steps.{measure.name}.outputs.artifacts.{artifact_name(MEASUREMENT)}}}}}"
            call(drill_verify, verify, artifacts={MEASUREMENT: measured})
            verified = f"{{{{steps.drill-verify.outputs.artifacts.{artifact_name(VERIFICATION)}}}}}"
            call(drill_report, report, artifacts={MEASUREMENT: measured, VERIFICATION: verified})
        with Steps(name="afterwards"):
            call(drill_undo, undo)
            # What has succeeded has its report.
            call(drill_late_report, late_report, when="{{workflow.status}} != Succeeded")
        told = f"{{{{steps.{preflight.name}.outputs.parameters"
        with Steps(name=name):
            call(preflight, preflighting)
            Step(name="approval", template=ask.name, when=f"{told}.needs-approval}}}} == true")
            given = [Parameter(name=each, value=f"{told}.{each}}}}}") for each in found]
            Step(name="drill", template=drill.name, arguments=given or None, when=f"{told}.go}}}} == true")
    return template


APPROVAL_LASTS = "2h"
"""How long a form waits; then nobody has answered, which is a NO. Its run holds the cluster's lock meanwhile."""


def approval_of(question: str) -> Steps:
    """Add the templates that ask a person to the WorkflowTemplate that is open; return the one to call.

    Args:
        question: what the form asks.
    """
    approval = container(drill_approval, retry_when=None, timeout="1m")
    form = Suspend(
        name="approval-form",
        inputs=[Parameter(name="approve", default="NO", enum=["YES", "NO"], description=question)],
        outputs=[Parameter(name="approve", value_from=ValueFrom(supplied=SuppliedValueFrom(), default="NO"))],
        duration=APPROVAL_LASTS,
    )
    with Steps(name="approval") as ask:
        Step(name="form", template=form.name)
        answer = Parameter(name="approve", value="{{steps.form.outputs.parameters.approve}}")
        Step(name="answer", template=approval.name, arguments=[answer])
    return ask


def told_folder(made: Container) -> Container:
    """Tell a step where its run's artifacts are in the bucket."""
    assert isinstance(made.env, list)
    made.env.append(EnvVar(name="TIPHYS_ARTIFACT_FOLDER", value=ARTIFACT_FOLDER))
    return made
