"""Templates made out of step commands: the form, the arguments and the outputs come from the declaration."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from hera.workflows import Steps

from steps.backup import s3_settings
from steps.backup.backup import MEMORY_MIB
from steps.backup.budget import COPIES, FIXED_MIB, MIB, READER_MIB, budget
from steps.declare import SCRATCH_VOLUME, StepCommand, artifact, input_file, option, parameter, step, target_options
from steps.drill.parameters import DrillParameters
from workflows.pack import IMAGE, call, container, runbook, workflow_parameters
from workflows.sizes import ATTEMPT_BYTES, EXECUTOR_MIB, MOVING, RUN_KIB

MANIFESTS = Path(__file__).parents[2] / "manifests"


@dataclass(frozen=True)
class Sung:
    loudness: float = parameter("How loud.", is_global=True)
    notes: int = parameter("How many.")
    score: Path | None = artifact("The score.", "score.json")


@step("sing")
@target_options
@option("--workflow", required=True, help="Filled in.")
@option("--verses", type=click.IntRange(1, 9), default=2, help="How many verses.")
@option("--voice", type=click.Choice(["alto", "bass"]), default="alto", help="Which voice.")
@option("--aloud", type=click.BOOL, default=True, help="Or not.")
@input_file("--text", "text.txt", help="What.")
def sing(namespace: str, cluster: str, workflow: str, verses: int, voice: str, aloud: bool, text: Path) -> Sung:
    """Sing a song."""
    return Sung(1.0, 2, None)


def other(default: int) -> StepCommand:
    @step("other")
    @option("--verses", type=click.IntRange(1, 9), default=default, help="How many verses.")
    def command(verses: int) -> None:
        """Do something else."""

    return command


@pytest.fixture
def template() -> dict[str, Any]:
    with runbook(
        "song", title="A song", summary="Sings.", description="Sings.", parameters=workflow_parameters([sing])
    ) as workflow:
        inner = container(sing, s3=True)
        with Steps(name="song"):
            call(sing, inner, artifacts={"text.txt": "{{workflow.outputs.artifacts.x}}"})
    return dict(workflow.to_dict())


def test_a_step_s_pod_is_what_the_restricted_level_lets_in(template: dict[str, Any]) -> None:
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] and spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    main = spec["templates"][0]["container"]
    patch = json.loads(spec["podSpecPatch"])
    argo = {one["name"]: one for one in [*patch["initContainers"], *patch["containers"]]}
    assert set(argo) == {"init", "wait"}
    for one in (main, *argo.values()):
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
        }
    assert main["volumeMounts"] == [{"name": SCRATCH_VOLUME, "mountPath": "/tmp"}]
    assert spec["volumes"] == [{"name": SCRATCH_VOLUME, "emptyDir": {}}]


def mib(quantity: str) -> int:
    return int(quantity[:-2]) * {"Mi": 1, "Gi": 1024}[quantity[-2:]]


def test_a_backup_has_room_for_the_most_that_it_may_be_told_to_use() -> None:
    most, size = budget(1_000_000, 32), MOVING.model_dump()
    used = FIXED_MIB + most.readers * (READER_MIB + COPIES * most.part_bytes // MIB)
    assert most.readers == 32 and used + EXECUTOR_MIB <= mib(size["limits"]["memory"])
    assert mib(size["requests"]["memory"]) >= MEMORY_MIB + EXECUTOR_MIB


@pytest.mark.parametrize(
    "name",
    [
        "failover-drill/drill-measure",
        "failover-drill/drill-verify",
        "failover-drill/drill-report",
        "failover-drill/drill-late-report",
        "node-drain-drill/drain-measure",
        "node-drain-drill/drill-verify",
        "rolling-restart/rolling-restart",
        "switch-primary/switch-primary",
        "upgrade-cluster/upgrade-cluster",
    ],
)
def test_an_hour_of_a_drills_usual_clients_has_room_where_they_are_counted(name: str) -> None:
    usual = {field.name: field.default for field in fields(DrillParameters)}
    attempts = (usual["writers"] + usual["readers"]) * 3600 * 1000 // usual["write_interval_ms"]
    runbook, step = name.split("/")
    spec = yaml.safe_load((MANIFESTS / f"base/workflows/{runbook}.yaml").read_text())["spec"]
    limit = next(each for each in spec["templates"] if each["name"] == step)["container"]["resources"]["limits"]
    assert mib(limit["memory"]) >= FIXED_MIB + EXECUTOR_MIB + attempts * ATTEMPT_BYTES // MIB


def test_reap_has_room_for_the_runs_of_a_year() -> None:
    spec = yaml.safe_load((MANIFESTS / "base/workflows/reap.yaml").read_text())["spec"]["workflowSpec"]
    limit = next(each for each in spec["templates"] if each["name"] == "reap")["container"]["resources"]["limits"]
    assert mib(limit["memory"]) >= FIXED_MIB + EXECUTOR_MIB + 5000 * RUN_KIB // 1024


@pytest.mark.parametrize("file", sorted((MANIFESTS / "base/workflows").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_template_of_the_pack_is_confined(file: Path, template: dict[str, Any]) -> None:
    spec = yaml.safe_load(file.read_text())["spec"]
    spec = spec.get("workflowSpec", spec)
    for key in ("securityContext", "podSpecPatch", "volumes"):
        assert spec[key] == template["spec"][key]
    for each in spec["templates"]:
        if "container" in each:
            for key in ("securityContext", "volumeMounts"):
                assert each["container"][key] == template["spec"]["templates"][0]["container"][key]


def test_the_form_comes_from_the_options(template: dict[str, Any]) -> None:
    form = {p["name"]: p for p in template["spec"]["arguments"]["parameters"]}
    assert list(form) == ["cluster", "verses", "voice", "aloud"]
    assert "value" not in form["cluster"], "a target must have no default: an event without it would hit it"
    assert form["verses"]["value"] == "2"
    assert form["voice"]["enum"] == ["alto", "bass"]
    assert (form["aloud"]["value"], form["aloud"]["enum"]) == ("true", ["true", "false"])
    assert form["voice"]["description"] == "Which voice."


def test_the_container_gets_every_option_and_fills_in_its_own(template: dict[str, Any]) -> None:
    made = template["spec"]["templates"][0]
    assert made["container"]["command"] == ["step", "sing"]
    assert made["container"]["image"] == IMAGE
    assert not IMAGE.endswith("latest")
    assert set(made["container"]["args"]) == {
        *(f"--{name}={{{{inputs.parameters.{name}}}}}" for name in ("cluster", "verses", "voice", "aloud")),
        "--namespace={{workflow.namespace}}",
        "--workflow={{workflow.name}}",
    }


def test_no_secret_is_a_plain_value(template: dict[str, Any]) -> None:
    env = {e["name"]: e for e in template["spec"]["templates"][0]["container"]["env"]}
    assert env["AWS_SECRET_ACCESS_KEY"] == {
        "name": "AWS_SECRET_ACCESS_KEY",
        "valueFrom": {"secretKeyRef": {"name": "tiphys-s3", "key": "secretKey", "optional": True}},
    }
    assert env["S3_BUCKET"]["valueFrom"]["secretKeyRef"] == {"name": "tiphys-s3", "key": "bucket"}, "it is needed"
    settings = yaml.safe_load((MANIFESTS / "base" / "settings.yaml").read_text())
    for variable in s3_settings.VARIABLES:
        (kind,) = env[variable.name]["valueFrom"]
        assert (kind == "configMapKeyRef") == (variable.key in settings["data"]), variable


def test_the_backups_key_goes_to_steps_that_ask_for_it(template: dict[str, Any]) -> None:
    assert "TIPHYS_BACKUP_KEY" not in {e["name"] for e in template["spec"]["templates"][0]["container"]["env"]}
    for name in ("backup", "restore"):
        made = yaml.safe_load((MANIFESTS / "base" / "workflows" / f"{name}.yaml").read_text())
        containers = [item["container"] for item in made["spec"]["templates"] if "container" in item]
        (step,) = [container for container in containers if container["command"] == ["step", name]]
        env = {e["name"]: e.get("valueFrom") for e in step["env"]}
        assert env["TIPHYS_BACKUP_KEY"] == {
            "secretKeyRef": {"name": "tiphys-backup-key", "key": "key", "optional": True}
        }


def test_outputs_and_artifacts(template: dict[str, Any]) -> None:
    made = template["spec"]["templates"][0]
    loudness, notes = made["outputs"]["parameters"]
    assert (loudness["globalName"], loudness["valueFrom"]["path"]) == ("loudness", "/tmp/outputs/loudness")
    assert "globalName" not in notes
    (score,) = made["outputs"]["artifacts"]
    assert (score["path"], score["archive"], score["optional"]) == ("/tmp/outputs/score.json", {"none": {}}, True)
    assert score["s3"]["key"] == "runs/{{workflow.name}}/{{workflow.uid}}/score.json"
    (text,) = made["inputs"]["artifacts"]
    assert text == {"name": "text-txt", "path": "/tmp/inputs/text.txt"}


def test_runs_on_one_cluster_exclude_each_other(template: dict[str, Any]) -> None:
    locks = template["spec"]["synchronization"]
    assert locks["mutexes"] == [{"name": "cluster-{{workflow.parameters.cluster}}"}]
    assert locks["semaphores"][0]["configMapKeyRef"]["key"] == "max-concurrent-runs"


def test_one_name_has_one_meaning() -> None:
    assert [p.name for p in workflow_parameters([sing, other(2)])].count("verses") == 1
    with pytest.raises(ValueError, match="'verses'"):
        workflow_parameters([sing, other(3)])
