"""A game day: several drills in order, steady states between them, one report with a score and a history."""

from __future__ import annotations

from hera.workflows import Parameter, Step, Steps, WorkflowTemplate
from hera.workflows.models import Backoff, IntOrString, RetryStrategy

from steps.game_day.preflight import game_day_preflight
from steps.game_day.report import game_day_late_report, game_day_report
from steps.game_day.run import game_day_run
from steps.game_day.stop import game_day_stop
from workflows.drills import approval_of, told_folder
from workflows.pack import WORTH_A_RETRY, call, container, runbook, workflow_parameters

APPROVED = "approved"
"""An option of the step that no caller may set: only the approval of this very run sets it."""

DESCRIPTION = """\
Does several drills on a cluster, one after the other, each a run of its own (`failover-drill`, `node-drain-drill`) with
all its guards. Before each, and after the last, the cluster has to be steady. One report tells each drill's verdict, a
score from 0 to 100 and how it is made up, and how long writes stopped in every run so far: a history in the bucket.

Only for clusters labelled `tiphys.dev/drills: allowed`; for one labelled `tiphys.dev/environment: production` one
approval at the start counts for all its drills. Label a cluster `tiphys.dev/game-day: on` to have one every week.
"""


def build() -> WorkflowTemplate:
    """Return the template. It holds a lock of its own: the cluster's is for its drills."""
    commands = [game_day_preflight, game_day_run, game_day_report, game_day_stop, game_day_late_report]
    with runbook(
        "game-day",
        title="Game day",
        summary="Does several drills in order; one report with a score.",
        description=DESCRIPTION,
        parameters=[each for each in workflow_parameters(commands) if each.name != APPROVED],
        on_exit="afterwards",
        mutex="game-day-{{workflow.parameters.cluster}}",
        limited=False,
        service_account="tiphys-game-days",
    ) as template:
        preflight = container(game_day_preflight, timeout="5m")
        run = container(game_day_run, s3=True)
        # One of its own drills may evict it; what began long ago is tried again as well.
        run.retry_strategy = RetryStrategy(
            limit=IntOrString(root="20"),
            expression=WORTH_A_RETRY,
            backoff=Backoff(duration="2s", factor=IntOrString(root="1")),
        )
        report = told_folder(container(game_day_report, timeout="10m", s3=True))
        stop = container(game_day_stop, timeout="15m")
        late_report = told_folder(container(game_day_late_report, timeout="10m", s3=True))
        told_folder(run)
        ask = approval_of("May this game day hit it, with all its drills?")
        with Steps(name="drills", inputs=[Parameter(name=APPROVED)]) as drills:
            call(game_day_run, run, values={APPROVED: f"{{{{inputs.parameters.{APPROVED}}}}}"})
            call(game_day_report, report)
        with Steps(name="afterwards"):
            call(game_day_stop, stop)
            # What has succeeded has its report.
            call(game_day_late_report, late_report, when="{{workflow.status}} != Succeeded")
        told = "{{steps.game-day-preflight.outputs.parameters"
        with Steps(name="game-day"):
            call(game_day_preflight, preflight)
            Step(name="approval", template=ask.name, when=f"{told}.needs-approval}}}} == true")
            # Who comes here needed no approval, or has got it.
            given = Parameter(name=APPROVED, value=f"{told}.needs-approval}}}}")
            Step(name="drills", template=drills.name, arguments=[given], when=f"{told}.go}}}} == true")
    return template
