"""The template of restore: what its form asks for, and what it gives the step."""

from __future__ import annotations

from typing import Any

import click
import pytest

from steps.backup.restore import restore
from tiphys.rendering import not_honoured
from workflows.restore import build


def built() -> dict[str, Any]:
    return dict(build().to_dict())


def test_cluster_and_backup_must_be_named() -> None:
    form = {item["name"]: item for item in built()["spec"]["arguments"]["parameters"]}
    assert [name for name, item in form.items() if "value" not in item] == ["cluster", "backup"]
    assert all(item["description"].endswith(".") and item["description"][0].isupper() for item in form.values())
    values = {"cluster": "demo", "backup": "latest"} | {name: i["value"] for name, i in form.items() if "value" in i}
    arguments = [f"--{name}={value}" for name, value in values.items()]
    with restore.make_context("restore", [*arguments, "--namespace=tiphys"]) as context:
        assert context.params["schemas"] is None and context.params["invisible_key"] is False


@pytest.mark.parametrize("value", ["--backup=../x", "--backup=A", "--schemas=a;b", "--parallel=0"])
def test_values_from_outside_are_checked_again(value: str) -> None:
    arguments = ["--cluster=demo", "--backup=x", "--namespace=tiphys", value]
    with pytest.raises(click.BadParameter):
        restore.make_context("restore", arguments)


def test_it_waits_for_its_cluster_and_has_the_bucket() -> None:
    spec = built()["spec"]
    assert spec["synchronization"]["mutexes"] == [{"name": "cluster-{{workflow.parameters.cluster}}"}]
    variables = {variable["name"] for variable in spec["templates"][0]["container"]["env"]}
    assert {"S3_ENDPOINT", "S3_BUCKET", "AWS_SECRET_ACCESS_KEY", "TIPHYS_WORKFLOW"} <= variables
    published = {o["globalName"] for o in spec["templates"][0]["outputs"]["parameters"]}
    assert published == {"backup", "rows", "seconds", "gtid"}
    assert not_honoured({"restore.yaml": built()}) == []
