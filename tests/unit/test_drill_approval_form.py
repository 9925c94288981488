"""The form that asks a person: it ends by itself, and then nobody has said yes."""

from __future__ import annotations

import pytest

from workflows import drills, failover_drill, game_day, node_drain_drill


@pytest.mark.parametrize("module", [failover_drill, node_drain_drill, game_day])
def test_an_answer_that_nobody_gives_is_a_no(module: object) -> None:
    templates = module.build().to_dict()["spec"]["templates"]  # type: ignore[attr-defined]
    form = next(each for each in templates if each["name"] == "approval-form")
    assert form["suspend"]["duration"] == drills.APPROVAL_LASTS, "its run holds the cluster's lock while it waits"
    assert [each["valueFrom"] for each in form["outputs"]["parameters"]] == [{"default": "NO", "supplied": {}}]
    assert [each["default"] for each in form["inputs"]["parameters"]] == ["NO"]
