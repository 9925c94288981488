"""Makes Argo templates out of step commands, so that a step's options are its form in the Argo UI.

Nothing here knows what a step does: it reads the step's declaration (:mod:`steps.declare`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from importlib.metadata import version

from hera.workflows import Artifact, Container, NoneArchiveStrategy, Parameter, S3Artifact, Step, WorkflowTemplate
from hera.workflows.models import (
    Backoff,
    ConfigMapKeySelector,
    EnvVar,
    EnvVarSource,
    IntOrString,
    Mutex,
    ResourceRequirements,
    RetryStrategy,
    SecretKeySelector,
    SemaphoreRef,
    Synchronization,
    ValueFrom,
    WorkflowMetadata,
)
from hera.workflows.models import Parameter as ParameterModel

from steps.backup import encryption, s3_settings
from steps.declare import INPUTS, OUTPUTS, StepCommand
from steps.parameters import Parameter as StepParameter
from workflows import metrics, sizes
from workflows.security import CONFINED, CONTAINER, SCRATCH

IMAGE = f"ghcr.io/tiphys/step:{version('tiphys')}"
"""Image of every step: its tag is the package's version."""

ARTIFACT_FOLDER = "runs/{{workflow.name}}/{{workflow.uid}}"
"""Where a run's artifacts are kept in the bucket; the uid keeps a later run of the same name apart."""

WORTH_A_RETRY = "asInt(lastRetry.exitCode) in [75, 137, 143, 255] || lastRetry.status == 'Error'"
"""Exit code 75 is :class:`steps.errors.Temporary`; 137, 143 and 255 are a step that was killed or lost with its node;
Error is a pod that was deleted or could not start. Every step can be run again: it looks first."""

ONLY_TEMPORARY = "asInt(lastRetry.exitCode) == 75"
"""For steps that must not start again after their pod was lost, such as the one that injects a fault."""

TITLE, LINE = "workflows.argoproj.io/title", "workflows.argoproj.io/description"
"""Annotations that Argo's lists show in place of the name; they cut a line off at the column's width."""

ABOUT = "tiphys.dev/about"
"""Annotation with the whole description, in Markdown, for the docs page and the tool."""

_VARIABLES = {"namespace": "namespace", "workflow": "name"}


def container(
    command: StepCommand,
    *,
    retry_when: str | None = WORTH_A_RETRY,
    timeout: str | None = None,
    s3: bool = False,
    s3_needed: bool = True,
    backup_key: bool = False,
    size: ResourceRequirements = sizes.STEP,
) -> Container:
    """Return the container template of a step: inputs, arguments and outputs come from the command.

    Args:
        command: the step.
        retry_when: expression under which Argo tries again, at most three times; None never does.
        timeout: as Argo writes it ("30m"), or None for no limit.
        s3: whether the step talks to S3 itself and so gets the settings and credentials.
        s3_needed: whether it cannot do without; otherwise it also starts where there is no Secret.
        backup_key: whether it reads or writes what is in backups, and so needs the key to it, where there is one.
        size: what it asks its node for.
    """
    name = str(command.name)
    arguments = [f"--{p.name}={{{{inputs.parameters.{p.name}}}}}" for p in command.parameters]
    arguments += [f"--{option}={{{{workflow.{_VARIABLES[option]}}}}}" for option in command.internal]
    environment = [EnvVar(name="TIPHYS_WORKFLOW", value="{{workflow.name}}")]
    if s3:
        environment += [
            _variable(each.name, each.origin, each.key, needed=each.needed and s3_needed)
            for each in s3_settings.VARIABLES
        ]
    if backup_key:
        environment += [_variable(name, encryption.SECRET, key) for name, key in encryption.VARIABLES.items()]
    retry = None
    if retry_when is not None:
        # No longest duration: Argo counts it from the first try's start, and would give up on a long step at once.
        backoff = Backoff(duration="2s", factor=IntOrString(root="2"))
        retry = RetryStrategy(limit=IntOrString(root="3"), expression=retry_when, backoff=backoff)
    return Container(
        name=name,
        image=IMAGE,
        command=["step", name],
        args=arguments,
        env=environment,
        timeout=timeout,
        retry_strategy=retry,
        inputs=[
            *(Parameter(name=p.name) for p in command.parameters),
            *(Artifact(name=artifact_name(file), path=f"{INPUTS}/{file}") for file in command.input_files),
        ],
        outputs=[*_output_parameters(command), *_output_artifacts(command)],
        security_context=CONTAINER,
        resources=size,
        volume_mounts=[SCRATCH],
    )


def _variable(name: str, origin: str, key: str, *, needed: bool = False) -> EnvVar:
    """Return a variable from a key of the pack's ConfigMap, or else of a Secret; it stays unset where that lacks it."""
    optional = None if needed else True
    if origin == s3_settings.CONFIG_MAP:
        selector = ConfigMapKeySelector(name=origin, key=key, optional=optional)
        return EnvVar(name=name, value_from=EnvVarSource(config_map_key_ref=selector))
    secret = SecretKeySelector(name=origin, key=key, optional=optional)
    return EnvVar(name=name, value_from=EnvVarSource(secret_key_ref=secret))


def artifact_name(file: str) -> str:
    """Return the artifact's name for a file: the file's name with hyphens in place of dots."""
    return file.replace(".", "-")


def _output_fields(command: StepCommand) -> list[dataclasses.Field[object]]:
    return list(dataclasses.fields(command.outputs)) if command.outputs else []


def _output_parameters(command: StepCommand) -> list[Parameter]:
    made = []
    for field in _output_fields(command):
        if "file" in field.metadata:
            continue
        name = field.name.replace("_", "-")
        made.append(
            Parameter(
                name=name,
                description=field.metadata.get("help"),
                global_name=name if field.metadata.get("global") else None,
                value_from=ValueFrom(path=f"{OUTPUTS}/{name}", default=""),
            )
        )
    return made


def _output_artifacts(command: StepCommand) -> list[S3Artifact]:
    files = [field.metadata["file"] for field in _output_fields(command) if "file" in field.metadata]
    return [
        S3Artifact(
            name=artifact_name(file),
            path=f"{OUTPUTS}/{file}",
            key=f"{ARTIFACT_FOLDER}/{file}",
            archive=NoneArchiveStrategy(),
            optional=True,
        )
        for file in files
    ]


def call(
    command: StepCommand,
    template: Container,
    *,
    name: str | None = None,
    when: str | None = None,
    artifacts: Mapping[str, str] | None = None,
    values: Mapping[str, str] | None = None,
) -> Step:
    """Add a call of a step to the Steps template that is open, its options from the workflow's parameters.

    Args:
        command: the step.
        template: its container template.
        name: of the call, the step's name where None.
        when: condition, as Argo writes it.
        artifacts: file name of each input artifact, and where it comes from
            (``{{steps.measure.outputs.artifacts.measurement-json}}``).
        values: of options that do not come from the workflow's parameter of the same name.
    """
    given = values or {}
    arguments: list[Parameter | Artifact] = [
        Parameter(name=p.name, value=given.get(p.name, f"{{{{workflow.parameters.{p.name}}}}}"))
        for p in command.parameters
    ]
    arguments += [Artifact(name=artifact_name(file), from_=source) for file, source in (artifacts or {}).items()]
    return Step(name=name or str(command.name), template=template.name, arguments=arguments, when=when)


def workflow_parameters(commands: Iterable[StepCommand]) -> list[ParameterModel]:
    """Return the arguments of a template whose steps are `commands`: the union of their options, by name.

    Raises:
        ValueError: two steps give one name two meanings.
    """
    merged: dict[str, StepParameter] = {}
    for command in commands:
        for parameter in command.parameters:
            known = merged.setdefault(parameter.name, parameter)
            if (known.default, known.enum, known.kind) != (parameter.default, parameter.enum, parameter.kind):
                raise ValueError(
                    f"parameter {parameter.name!r}: step {command.name} declares {parameter}, an earlier one {known}; "
                    "give the two one declaration, or one of them another name"
                )
    return [
        ParameterModel(name=p.name, description=p.help, value=p.default, enum=list(p.enum) or None)
        for p in merged.values()
    ]


def titled(title: str, parameters: Iterable[str]) -> WorkflowMetadata | None:
    """Return what runs are called in Argo's list: their title, cluster and fault; None where they have no cluster.

    Args:
        title: of the template.
        parameters: names of its parameters.
    """
    shown = [f"{{{{workflow.parameters.{each}}}}}" for each in ("cluster", "fault") if each in set(parameters)]
    return WorkflowMetadata(annotations={TITLE: f"{title}: {', '.join(shown)}"}) if shown else None


def runbook(
    name: str,
    *,
    title: str,
    summary: str,
    description: str,
    parameters: list[ParameterModel],
    entrypoint: str | None = None,
    on_exit: str | None = None,
    mutex: str | None = "cluster-{{workflow.parameters.cluster}}",
    limited: bool = True,
    service_account: str = "tiphys-runbooks",
    deadline_seconds: int | None = None,
) -> WorkflowTemplate:
    """Return an open WorkflowTemplate; add its templates in a `with` block.

    Args:
        name: of the template and of its file.
        title: short, for the Argo UI.
        summary: of 60 characters at most: so much the list of the Argo UI shows of it.
        description: all of it, in Markdown.
        parameters: from :func:`workflow_parameters`.
        entrypoint: name of the template to start with; `name` where None.
        on_exit: name of the exit handler's template.
        mutex: runs that hold the same one wait for each other; None for none.
        limited: whether it counts among the runs of which only so many go on at one time. What waits for other runs
            must not: those that wait could hold every place.
        service_account: what the steps may do.
        deadline_seconds: after which the run is ended; None for never.
    """
    limit = SemaphoreRef(config_map_key_ref=ConfigMapKeySelector(name="tiphys-settings", key="max-concurrent-runs"))
    return WorkflowTemplate(
        name=name,
        entrypoint=entrypoint or name,
        on_exit=on_exit,
        arguments=parameters,
        service_account_name=service_account,
        active_deadline_seconds=deadline_seconds,
        metrics=metrics.of(name) if any(each.name == "cluster" for each in parameters) else None,
        annotations={TITLE: title, LINE: summary, ABOUT: description},
        labels={"app.kubernetes.io/part-of": "tiphys"},
        workflow_metadata=titled(title, [each.name for each in parameters]),
        synchronization=Synchronization(
            mutexes=[Mutex(name=mutex)] if mutex else None, semaphores=[limit] if limited else None
        )
        if mutex or limited
        else None,
        **CONFINED,
    )
