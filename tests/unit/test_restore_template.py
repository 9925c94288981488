"""The template of restore: what its form asks for, and what it gives the step."""

from __future__ import annotations

from typing import Any

import click
import pytest

from eventsources.triggerable import runbook_of
from steps.backup.restore import restore
from steps.errors import BadParameters
from steps.mysql.deploy_cluster import deploy_cluster
from tiphys.rendering import not_honoured
from workflows.restore import build


def built() -> dict[str, Any]:
    return dict(build().to_dict())


def test_cluster_and_backup_must_be_named() -> None:
    form = {item["name"]: item for item in built()["spec"]["arguments"]["parameters"]}
    assert [name for name, item in form.items() if "value" not in item] == ["cluster", "backup"]
    assert all(item["description"].endswith(".") and item["description"][0].isupper() for item in form.values())
    values = {"cluster": "demo", "backup": "latest"} | {name: i["value"] for name, i in form.items() if "value" in i}
    for command in (restore, deploy_cluster):
        known = [each.name for each in command.parameters]
        arguments = [f"--{name}={value}" for name, value in values.items() if name in known]
        with command.make_context("restore", [*arguments, "--namespace=tiphys"]) as context:
            assert context.params["cluster"] == "demo"
            if command is restore:
                chosen = {name: context.params[name] for name in ("schemas", "tables", "replace", "create")}
                assert chosen == {"schemas": None, "tables": None, "replace": False, "create": False}
    assert {each.name for each in deploy_cluster.parameters} <= set(form), "a new cluster has all of its options"


def test_a_webhook_never_replaces_anything_nor_sets_server_options() -> None:
    allowed = {parameter.name for parameter in runbook_of(built()).parameters}
    assert {"cluster", "backup", "schemas", "tables", "create", "servers"} <= allowed
    assert not {"replace", "mycnf", "environment", "drills"} & allowed


def test_a_cluster_is_deployed_only_where_that_is_asked_for() -> None:
    steps = next(each for each in built()["spec"]["templates"] if each["name"] == "restore")["steps"]
    assert [(one["template"], one.get("when")) for group in steps for one in group] == [
        ("find-backup", "{{workflow.parameters.create}} == true"),
        ("deploy-cluster", "{{workflow.parameters.create}} == true"),
        ("restore-backup", None),
    ]


@pytest.mark.parametrize("value", ["--backup=../x", "--backup=A", "--schemas=a;b", "--tables=a`.b", "--parallel=0"])
def test_values_from_outside_are_checked_again(value: str) -> None:
    arguments = ["--cluster=demo", "--backup=x", "--namespace=tiphys", value]
    with pytest.raises(click.BadParameter):
        restore.make_context("restore", arguments)


def test_schemas_and_tables_may_have_a_dollar_in_their_names() -> None:
    arguments = ["--cluster=demo", "--backup=x", "--namespace=tiphys", "--schemas=a$b", "--tables=a$b.c"]
    assert restore.make_context("restore", arguments).params["schemas"] == "a$b"


def test_it_waits_for_its_cluster_and_has_the_bucket() -> None:
    spec = built()["spec"]
    assert spec["synchronization"]["mutexes"] == [{"name": "cluster-{{workflow.parameters.cluster}}"}]
    template = next(each for each in spec["templates"] if each["name"] == "restore-backup")
    variables = {variable["name"] for variable in template["container"]["env"]}
    assert {"S3_ENDPOINT", "S3_BUCKET", "AWS_SECRET_ACCESS_KEY", "TIPHYS_WORKFLOW"} <= variables
    published = {o["globalName"] for o in template["outputs"]["parameters"]}
    assert published == {"backup", "rows", "seconds", "seconds-applied", "gtid", "gtids-taken", "aside", "checked"}
    assert not_honoured({"restore.yaml": built()}) == []


def test_latest_of_another_cluster_is_asked_for_by_name() -> None:
    with pytest.raises(BadParameters, match="goes with backup=latest only"):
        arguments = ["--cluster=new", "--backup=demo-1", "--from-cluster=demo", "--namespace=tiphys"]
        with restore.make_context("restore", arguments) as context:
            restore.function(**context.params)
