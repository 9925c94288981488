"""The template of verify-backup: its form, what it holds up, and that its exit handler cleans up and reports."""

from __future__ import annotations

from typing import Any

import click
import pytest
import yaml

from steps.backup.verify_prepare import verify_prepare
from tiphys.rendering import not_honoured
from workflows.verify_backup import build


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    return dict(build().to_dict()["spec"])


def templates(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {template["name"]: template for template in spec["templates"]}


def test_only_the_cluster_must_be_named(spec: dict[str, Any]) -> None:
    form = {item["name"]: item for item in spec["arguments"]["parameters"]}
    assert [name for name, item in form.items() if "value" not in item] == ["cluster"]
    assert (form["backup"]["value"], form["mode"]["value"], form["servers"]["value"]) == ("latest", "full", "1")
    assert all(item["description"].endswith(".") and item["description"][0].isupper() for item in form.values())
    arguments = [f"--{name}={item.get('value', 'demo')}" for name, item in form.items()]
    with verify_prepare.make_context("verify-prepare", [*arguments, "--namespace=tiphys"]) as context:
        assert context.params["queries"] is None and context.params["max_rto"] is None


@pytest.mark.parametrize("value", ["--backup=../x", "--mode=half", "--servers=0", "--max-rto=soon", "--queries=A b"])
def test_values_from_outside_are_checked_again(value: str) -> None:
    with pytest.raises(click.BadParameter):
        verify_prepare.make_context("verify-prepare", ["--cluster=demo", "--namespace=tiphys", value])


def test_it_does_not_hold_up_the_cluster_itself(spec: dict[str, Any]) -> None:
    assert spec["synchronization"]["mutexes"] == [{"name": "verify-{{workflow.parameters.cluster}}"}]


def test_the_exit_handler_removes_the_scratch_cluster_and_reports_what_has_no_report(spec: dict[str, Any]) -> None:
    found = templates(spec)
    ((remove, late),) = found[spec["onExit"]]["steps"]
    assert remove["template"] == "verify-remove" and "when" not in remove
    assert late["when"] == "{{workflow.status}} != Succeeded"


def test_nothing_is_restored_where_a_file_is_damaged_or_only_files_are_asked_for(spec: dict[str, Any]) -> None:
    steps = {step["name"]: step for group in templates(spec)["verify-backup"]["steps"] for step in group}
    assert list(steps) == ["verify-prepare", "verify-objects", "trial", "verify-report"]
    for condition in ("verify-prepare.outputs.parameters.full", "verify-objects.outputs.parameters.sound"):
        assert f"{{{{steps.{condition}}}}} == true" in steps["trial"]["when"]
    assert "when" not in steps["verify-report"]


def test_results_are_global_and_rights_are_what_each_step_needs(spec: dict[str, Any]) -> None:
    found = templates(spec)
    outputs = [o for t in found.values() for o in (t.get("outputs") or {}).get("parameters", []) if o.get("globalName")]
    assert {o["globalName"] for o in outputs} == {"verdict", "backup", "report", "rto-seconds", "rpo-seconds"}
    variables = {
        name: {variable["name"] for variable in template["container"]["env"]}
        for name, template in found.items()
        if "container" in template
    }
    with_s3 = {name for name, env in variables.items() if "S3_BUCKET" in env}
    assert with_s3 == set(variables) - {"verify-scratch", "verify-remove"}
    with_key = {name for name, env in variables.items() if "TIPHYS_BACKUP_KEY" in env}
    assert with_key == {"verify-prepare", "verify-restore", "verify-checks"}


def test_the_local_platform_honours_every_field(spec: dict[str, Any]) -> None:
    assert not_honoured({"verify-backup.yaml": yaml.safe_load(yaml.safe_dump(build().to_dict()))}) == []
