"""Proves that a backup restores: into a scratch cluster, compared with what was written, with the time it took."""

from __future__ import annotations

from hera.workflows import Artifact, Parameter, Step, Steps, WorkflowTemplate
from hera.workflows.models import EnvVar

from steps.backup.verify_checks import verify_checks
from steps.backup.verify_objects import verify_objects
from steps.backup.verify_prepare import verify_prepare
from steps.backup.verify_record import ORDER
from steps.backup.verify_report import verify_late_report, verify_report
from steps.backup.verify_restore import verify_restore
from steps.backup.verify_scratch import verify_remove, verify_scratch
from workflows.pack import ARTIFACT_FOLDER, artifact_name, container, runbook, workflow_parameters
from workflows.sizes import MOVING

DESCRIPTION = """\
Proves that a backup restores. Reads every file of it and compares it with `tiphys.json`; restores it into a scratch
cluster in the same namespace; compares every table with the backup, chunk by chunk; counts rows, runs CHECK TABLE,
looks for every view, routine, trigger, event and account; and asks your own queries from the ConfigMap
`CLUSTER-verify-queries`. Measures how long it took until the data was usable (RTO) and how old it is (RPO).

The scratch cluster has the settings of the cluster itself, and is removed with its volumes whatever happened. The
cluster itself is not touched. The verdict is PASS, FAIL, INVALID or ABORTED; the report is HTML, JSON and JUnit XML.
"""


def build() -> WorkflowTemplate:
    """Return the template: prepare, read the files, restore and check, report; the scratch cluster goes in any case.

    A verification that was stopped before its report gets it at the end.
    """
    with runbook(
        "verify-backup",
        title="Verify a backup",
        summary="Restores a backup into a scratch cluster to prove it.",
        description=DESCRIPTION,
        parameters=workflow_parameters([verify_prepare]),
        on_exit="afterwards",
        # The cluster itself is not touched, so its other runs need not wait; two of these would only slow each other.
        mutex="verify-{{workflow.parameters.cluster}}",
        service_account="tiphys-verifications",
    ) as template:
        prepare = container(verify_prepare, timeout="10m", s3=True, backup_key=True)
        objects = container(verify_objects, s3=True, size=MOVING)
        scratch = container(verify_scratch)
        restore = container(verify_restore, s3=True, backup_key=True, size=MOVING)
        checks = container(verify_checks, s3=True, backup_key=True, size=MOVING)
        report = container(verify_report, timeout="10m", s3=True)
        late_report = container(verify_late_report, timeout="10m", s3=True)
        for each in (report, late_report):
            assert isinstance(each.env, list)
            each.env.append(EnvVar(name="TIPHYS_ARTIFACT_FOLDER", value=ARTIFACT_FOLDER))
        remove = container(verify_remove, timeout="10m")
        order = artifact_name(ORDER)
        with Steps(name="trial", inputs=[Artifact(name=order)]) as trial:
            given = [Artifact(name=order, from_=f"{{{{inputs.artifacts.{order}}}}}")]
            Step(name="verify-scratch", template=scratch.name, arguments=given)
            Step(name="verify-restore", template=restore.name, arguments=given)
            restored = "{{steps.verify-restore.outputs.parameters.restored}} == true"
            Step(name="verify-checks", template=checks.name, arguments=given, when=restored)
        with Steps(name="afterwards") as afterwards, afterwards.parallel():
            cluster = Parameter(name="cluster", value="{{workflow.parameters.cluster}}")
            Step(name="verify-remove", template=remove.name, arguments=[cluster])
            # What has succeeded has its report.
            Step(name="verify-late-report", template=late_report.name, when="{{workflow.status}} != Succeeded")
        with Steps(name="verify-backup"):
            own = [
                Parameter(name=p.name, value=f"{{{{workflow.parameters.{p.name}}}}}") for p in verify_prepare.parameters
            ]
            Step(name="verify-prepare", template=prepare.name, arguments=own)
            made = [Artifact(name=order, from_=f"{{{{steps.verify-prepare.outputs.artifacts.{order}}}}}")]
            Step(name="verify-objects", template=objects.name, arguments=made)
            full = "{{steps.verify-prepare.outputs.parameters.full}} == true"
            sound = "{{steps.verify-objects.outputs.parameters.sound}} == true"
            Step(name="trial", template=trial.name, arguments=made, when=f"{full} && {sound}")
            Step(name="verify-report", template=report.name)
    return template
