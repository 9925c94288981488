"""Dead letters: which of them say that an event was lost, and what becomes of the others."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from apiserver_help import ApiServer
from click.testing import CliRunner
from test_drill_reap import kube as kube  # a fixture
from test_drill_reap import server as server  # another

from steps.drill import reap as reaping
from steps.drill.reap import reap
from steps.kube.client import Kube
from steps.undelivered import LABEL, is_run, read
from tiphys.cli import cli
from tiphys.runs.undelivered import lines

GIVEN = {"cluster": "demo", "dry-run": True, "budget": 30.0, "part": 0.00001}
DEFAULTS = {"fault": "crash", "dry-run": "false"}
ARGUMENTS = {"cluster": "demo", "dry-run": "true", "budget": "30", "part": "0.00001", "fault": "crash"}


def letter(name: str = "undelivered-1", **data: str) -> dict[str, Any]:
    meta = {"name": name, "labels": {LABEL: "webhook"}}
    told = {"template": "t", "workflow": "t-key", "parameters": json.dumps(GIVEN), "defaults": json.dumps(DEFAULTS)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {**told, **data}}


def run(name: str = "t-key", template: str = "t", **changed: str) -> dict[str, Any]:
    parameters = [{"name": key, "value": value} for key, value in {**ARGUMENTS, **changed}.items()]
    spec = {"workflowTemplateRef": {"name": template}, "arguments": {"parameters": parameters}}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec}


def test_a_letter_is_a_duplicates_only_where_that_very_run_is_there() -> None:
    assert is_run(read(letter()), run())
    for other in (run("t-other"), run(template="u"), run(fault="freeze"), run(more="x")):
        assert not is_run(read(letter()), other)
    assert not is_run(read(letter(workflow="")), run("")), "without a key there is no run to look for"


@pytest.mark.parametrize("spoilt", ["", "[]", "5", "{", '{"cluster": "other"}', pytest.param("[" * 100_000, id="deep")])
def test_a_letter_that_somebody_has_spoilt_is_kept(spoilt: str) -> None:
    assert not is_run(read(letter(parameters=spoilt)), run())
    assert not is_run(read(letter(defaults=spoilt)), run(cluster="x"))
    assert not is_run(read({"metadata": {"name": "empty"}}), run())


def test_reap_throws_away_what_came_twice_and_counts_what_was_lost(
    kube: Kube, capsys: pytest.CaptureFixture[str]
) -> None:
    kube.create("workflows", run())
    for made in (letter("twice"), letter("lost", workflow="t-lost"), letter("other", defaults='{"fault": "freeze"}')):
        kube.create("configmaps", made)
    kube.create("configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {}})
    for _ in range(2):
        found = reap.function(namespace="tiphys")
        assert (found.reaped, found.undelivered) == (0, 2)
        names = [each["metadata"]["name"] for each in kube.all("configmaps")]
        assert "twice" not in names and {"lost", "other", "mine"} <= set(names)
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {each["letter"] for each in told if each["event"] == "undelivered"} == {"lost", "other"}
    assert next(each for each in told if each.get("letter") == "lost")["parameters"]["cluster"] == "demo"


def test_a_flood_leaves_so_many_letters_and_no_more(
    kube: Kube, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reaping, "LETTERS", 3)
    for number in range(5):
        kube.create("configmaps", letter(f"lost-{number}", workflow=""))
    delete = kube.delete

    def late(resource: str, name: str) -> None:
        delete(resource, name)
        delete(resource, name)  # as if a person had forgotten it at that moment

    monkeypatch.setattr(Kube, "delete", lambda self, resource, name: late(resource, name))
    assert reap.function(namespace="tiphys").undelivered == 3
    assert [each["metadata"]["name"] for each in kube.all("configmaps", LABEL)] == ["lost-2", "lost-3", "lost-4"]
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    forgotten = [each for each in told if each["event"] == "undelivered-forgotten"]
    assert [each["letter"] for each in forgotten] == ["lost-1", "lost-0"]
    assert forgotten[0]["parameters"]["cluster"] == "demo"


def test_a_forged_letter_gives_a_command_that_runs_nothing_else() -> None:
    given = json.dumps({"cluster": "a\x1b[2K\nrm -rf ~"})
    forged = letter(template="t; rm -rf ~ #\x1b[1A", workflow="x\ny", parameters=given)
    told = lines([read(forged)])
    assert len(told) == 2 and all(line.isprintable() for line in told)
    assert shlex.split(told[1]) == ["tiphys", "submit", "t; rm -rf ~ #?[1A", "-p", "cluster=a?[2K?rm -rf ~"]


def test_the_tool_lists_what_was_lost_with_the_command_that_runs_it_and_forgets_it(
    kube: Kube, server: ApiServer
) -> None:
    def tiphys(*words: str) -> str:
        done = CliRunner().invoke(cli, ["undelivered", *words])
        assert done.exit_code == 0, done.output
        return done.output

    elsewhere = CliRunner().invoke(cli, ["undelivered"])
    assert elsewhere.exit_code == 1 and "has no runbook of Tiphys" in elsewhere.output
    labels = {"app.kubernetes.io/part-of": "tiphys"}
    kube.create("workflowtemplates", {"metadata": {"name": "t", "labels": labels}, "spec": {}})
    assert "has no dead letters" in tiphys()
    kube.create("workflows", run())
    given = json.dumps({"cluster": "demo", "note": "it's mine"})
    for made in (letter("twice"), letter("lost", workflow="", parameters=given), letter("spoilt", parameters="{")):
        kube.create("configmaps", made)
    told = tiphys().splitlines()
    assert [line.split()[0] for line in told if line[0] != " "] == ["lost", "spoilt"]
    words = shlex.split(next(line for line in told if "mine" in line))
    assert words == ["tiphys", "submit", "t", "-p", "cluster=demo", "-p", "note=it's mine"]
    assert json.loads(tiphys("-o", "json"))[0]["given"]["cluster"] == "demo"
    assert CliRunner().invoke(cli, ["undelivered", "--forget", "mine"]).exit_code == 1
    assert tiphys("--forget", "all").split() == ["forgotten:", "lost", "forgotten:", "spoilt"]
    assert "has no dead letters" in tiphys()
