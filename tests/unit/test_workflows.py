"""The templates of deploy, scale, load and check: their forms, targets, locks and schedules."""

from __future__ import annotations

import importlib
import re
from typing import Any

import click
import pytest

from steps.cli import COMMANDS
from steps.declare import StepCommand
from tiphys.rendering import built as rendered_manifests
from tiphys.rendering import not_honoured

TEMPLATES = ["deploy-cluster", "scale-cluster", "load-sample-data", "check-cluster"]
FORMS = sorted(
    manifest["metadata"]["name"] for _, _, manifest in rendered_manifests() if manifest["kind"] == "WorkflowTemplate"
)
MADE_UP = {"cluster": "demo"}


def built(name: str) -> dict[str, Any]:
    return dict(importlib.import_module(f"workflows.{name.replace('-', '_')}").build().to_dict())


def command(name: str) -> StepCommand:
    module, attribute = COMMANDS[name][0].split(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, StepCommand)
    return found


def form(name: str) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in built(name)["spec"].get("arguments", {}).get("parameters", [])}


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_target_must_be_named_and_nothing_else_must(name: str) -> None:
    assert built(name)["metadata"]["name"] == name
    assert [key for key, item in form(name).items() if "value" not in item] == ["cluster"]
    assert "namespace" not in form(name)
    assert "json" not in form(name), "workflow.parameters.json is a variable of Argo's own"


@pytest.mark.parametrize("name", FORMS)
def test_the_form_reads_well(name: str) -> None:
    template = built(name)
    notes = template["metadata"]["annotations"]
    title = notes["workflows.argoproj.io/title"]
    # Seen in Argo's list at a width of 1400: what is longer is cut off.
    assert re.fullmatch(r"[A-Z][^\n]{15,58}\.", notes["workflows.argoproj.io/description"])
    assert len(notes["tiphys.dev/about"]) > len(notes["workflows.argoproj.io/description"])
    if "cluster" in form(name):
        runs = template["spec"]["workflowMetadata"]["annotations"]["workflows.argoproj.io/title"]
        assert runs.startswith(f"{title}: {{{{workflow.parameters.cluster}}}}")
    for key, item in form(name).items():
        assert item["description"].endswith("."), key
        assert item["description"][0].isupper(), key


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_step_takes_the_form_s_defaults(name: str) -> None:
    """What Argo passes where the caller says nothing but the target is what the step accepts."""
    values = {key: str(item.get("value", MADE_UP.get(key))) for key, item in form(name).items()}
    arguments = [f"--{key}={value}" for key, value in values.items()] + ["--namespace=tiphys"]
    with command(name).make_context(name, arguments) as context:
        assert context.params["cluster"] == "demo"
        assert all(value != "" for value in context.params.values()), "the empty text means: not given"


@pytest.mark.parametrize("name", ["deploy-cluster", "scale-cluster", "load-sample-data"])
def test_what_changes_a_cluster_waits_for_its_turn(name: str) -> None:
    locks = built(name)["spec"]["synchronization"]
    assert locks["mutexes"] == [{"name": "cluster-{{workflow.parameters.cluster}}"}]
    assert locks["semaphores"][0]["configMapKeyRef"]["key"] == "max-concurrent-runs"


def test_a_check_waits_for_nobody() -> None:
    assert "mutexes" not in built("check-cluster")["spec"]["synchronization"]


@pytest.mark.parametrize("name", [*TEMPLATES, "check-all-clusters"])
def test_the_local_platform_honours_every_field(name: str) -> None:
    assert not_honoured({f"{name}.yaml": built(name)}) == []


def test_the_schedule_names_no_cluster_and_never_overlaps() -> None:
    spec = built("check-all-clusters")["spec"]
    assert (
        spec["concurrencyPolicy"] == "Forbid" and spec["timezone"] == "UTC" and spec["startingDeadlineSeconds"] == 600
    )
    assert not spec["workflowSpec"].get("arguments")
    assert command("check-all-clusters").parameters == []


@pytest.mark.parametrize(
    ("name", "results"),
    [
        (
            "deploy-cluster",
            {"primary", "members-online", "drills", "router-address", "seconds", "change", "summary"},
        ),
        ("scale-cluster", {"servers-before", "servers-after", "routers-before", "routers-after", "primary", "plan"}),
        ("load-sample-data", {"rows", "rows-per-second", "seconds", "seconds-applied", "change"}),
        (
            "check-cluster",
            {"health", "health-level", "findings", "critical", "warnings", "unknown", "members-online", "summary"},
        ),
    ],
)
def test_results_are_global(name: str, results: set[str]) -> None:
    outputs = [item for each in built(name)["spec"]["templates"] for item in each["outputs"]["parameters"]]
    assert {item["globalName"] for item in outputs} == results


@pytest.mark.parametrize("value", ["{{workflow.name}}", "Demo", "demo; rm -rf /", "a" * 29, "demo\n", ""])
@pytest.mark.parametrize("name", TEMPLATES)
def test_no_step_takes_a_bad_cluster_s_name(name: str, value: str) -> None:
    with pytest.raises(click.UsageError):
        command(name).make_context(name, [f"--cluster={value}", "--namespace=tiphys"])
