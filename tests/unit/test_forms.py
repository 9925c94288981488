"""The order of a form: what a run is about, then groups that say what they are."""

import importlib
from typing import Any

import pytest
from hera.workflows.models import Parameter

from workflows.forms import DRILL, grouped


def form(name: str) -> list[dict[str, Any]]:
    built = importlib.import_module(f"workflows.{name}").build().to_dict()
    return list(built["spec"]["arguments"]["parameters"])


@pytest.mark.parametrize("name", ["failover_drill", "node_drain_drill"])
def test_a_drill_s_form_begins_with_the_drill_and_ends_with_its_groups(name: str) -> None:
    names = [each["name"] for each in form(name)]
    in_groups = [each for group in DRILL.values() for each in group]
    assert names[-len(in_groups) :] == in_groups
    assert names[0] == "cluster"
    assert "dry-run" in names[: -len(in_groups)]
    told = {each["name"]: each["description"] for each in form(name)}
    assert told["writers"] == "Measuring: number of writing clients."
    assert told["max-lost-writes"].count("Budget: ") == 1


def test_a_restore_says_what_is_of_a_new_cluster_only() -> None:
    told = {each["name"]: each["description"] for each in form("restore")}
    assert [name for name, text in told.items() if text.startswith("New cluster: ")][0] == "servers"
    assert not told["create"].startswith("New cluster: ")


def test_a_group_of_what_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no parameter 'colour', only cluster"):
        grouped([Parameter(name="cluster")], {"Looks": ["colour"]})
