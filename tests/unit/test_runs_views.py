"""How runs, steps and log lines are shown: functions of values."""

from __future__ import annotations

import base64
import gzip
import io
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from steps.parameters import CLUSTER_NAME, Parameter
from tiphys.runs.arguments import faults
from tiphys.runs.following import tree
from tiphys.runs.lines import error_in, readable
from tiphys.runs.listing import ABOUT, in_width, purpose, run_rows, table, template_page
from tiphys.runs.logs import steps_with_pods
from tiphys.runs.nodes import nodes_of, pod_name, rows, took, waits_for
from tiphys.runs.rules import fault, rules_of

MANIFESTS = Path(__file__).parents[2] / "manifests/base/workflows"
NOW = datetime(2026, 11, 21, 12, 0, 30, tzinfo=UTC)


def run(*nodes: dict[str, Any], phase: str = "Running") -> dict[str, Any]:
    by_id = {}
    for order, given in enumerate(nodes):
        one = {"type": "Pod", "phase": "Succeeded", "startedAt": f"2026-11-21T12:00:{order:02}Z", **given}
        by_id[one["id"]] = {"displayName": one["id"], **one}
    status = {"phase": phase, "startedAt": "2026-11-21T12:00:00Z", "nodes": by_id}
    return {"metadata": {"name": "wf"}, "status": status}


FORM = {
    "inputs": {"parameters": [{"name": "approve", "enum": ["YES", "NO"], "value": "NO"}]},
    "outputs": {"parameters": [{"name": "approve", "valueFrom": {"supplied": {}}}]},
}
STEPS = {"id": "wf", "type": "Steps", "phase": "Running"}


def test_steps_stand_below_what_they_belong_to_in_the_order_of_their_start() -> None:
    workflow = run(
        STEPS,
        {"id": "g0", "type": "StepGroup", "boundaryID": "wf"},
        {"id": "preflight", "boundaryID": "wf"},
        {"id": "drill", "type": "Steps", "phase": "Running", "boundaryID": "wf"},
        {"id": "measure", "phase": "Running", "boundaryID": "drill"},
        {"id": "late", "phase": "Pending", "boundaryID": "wf", "startedAt": None},
        {"id": "exit", "displayName": "wf.onExit", "phase": "Running"},
    )
    got = [(row.depth, row.name) for row in rows(workflow, NOW)]
    assert got == [(0, "wf"), (1, "preflight"), (1, "drill"), (2, "measure"), (1, "late"), (0, "onExit")]


def test_a_retried_step_is_one_row_with_its_last_try() -> None:
    workflow = run(
        STEPS,
        {"id": "m", "type": "Retry", "phase": "Running", "boundaryID": "wf", "children": ["wf-m-1", "wf-m-2"]},
        {"id": "wf-m-1", "phase": "Failed", "boundaryID": "wf", "templateName": "t", "message": "first"},
        {"id": "wf-m-2", "phase": "Running", "boundaryID": "wf", "templateName": "t", "message": "second"},
    )
    (_, row) = rows(workflow, NOW)
    assert (row.name, row.tries, row.pod, row.message) == ("m", 2, "wf-t-2", "second")


def test_a_suspended_step_and_a_running_one() -> None:
    workflow = run(
        STEPS,
        {"id": "form", "type": "Suspend", "phase": "Running", "boundaryID": "wf", **FORM},
        {"id": "work", "phase": "Running", "boundaryID": "wf"},
    )
    _, form, work = rows(workflow, NOW)
    assert form.phase == "Suspended" and work.seconds == 28.0
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tree(workflow, {"work": "x" * 300}, 80))
    text = console.export_text()
    assert "waits for a person: tiphys resume wf -p approve=YES|NO" in text
    assert max(map(len, text.splitlines())) <= 80


def test_who_waits_for_a_person() -> None:
    form = {"id": "form", "type": "Suspend", "phase": "Running", **FORM}
    assert waits_for(run(form)) == "waits for a person: tiphys resume wf -p approve=YES|NO"
    assert waits_for(run({"id": "form", "type": "Suspend", "phase": "Running"})).endswith("tiphys resume wf")
    assert waits_for({**run(), "spec": {"suspend": True}}).endswith("tiphys resume wf")
    assert waits_for(run({**form, "phase": "Succeeded"})) == ""
    assert waits_for(run(form, phase="Failed")) == ""


def test_argos_words_are_not_shown() -> None:
    workflow = run(
        {**STEPS, "phase": "Failed", "message": "child 'wf-1' failed"},
        {
            "id": "wf-0",
            "type": "Skipped",
            "phase": "Skipped",
            "boundaryID": "wf",
            "message": "when 'a == b' evaluated false",
        },
        {
            "id": "wf-1",
            "type": "Retry",
            "phase": "Failed",
            "boundaryID": "wf",
            "displayName": "measure",
            "children": ["wf-2"],
            "message": "retryStrategy.expression evaluated to false",
        },
        {"id": "wf-2", "phase": "Failed", "boundaryID": "wf", "message": "main: Error (exit code 10)"},
        phase="Failed",
    )
    assert [row.message for row in rows(workflow, NOW)] == [
        "measure failed",
        "not needed",
        "main: Error (exit code 10)",
    ]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(tree(workflow, {}, 80, {"wf-1": "no quorum; wait"}))
    text = console.export_text()
    assert "measure: no quorum; wait" in text.splitlines()[0] and "evaluated" not in text


def test_steps_of_one_second_stand_in_the_order_of_their_definition() -> None:
    at = "2026-11-21T12:00:00Z"
    workflow = run(
        {"id": "a-exit", "displayName": "wf.onExit", "startedAt": at},
        {"id": "b-last", "boundaryID": "wf", "startedAt": at},
        {"id": "c-group", "type": "StepGroup", "boundaryID": "wf", "startedAt": at, "children": ["b-last"]},
        {"id": "d-first", "boundaryID": "wf", "startedAt": at, "children": ["c-group"]},
        {"id": "e-group", "type": "StepGroup", "boundaryID": "wf", "startedAt": at, "children": ["d-first"]},
        {**STEPS, "startedAt": at, "children": ["e-group"]},
    )
    assert [row.name for row in rows(workflow, NOW)] == ["wf", "d-first", "b-last", "onExit"]
    assert [name for name, _, _ in steps_with_pods(workflow, None)] == ["d-first", "b-last", "onExit"]


def test_packed_nodes_are_unpacked() -> None:
    packed = base64.b64encode(gzip.compress(json.dumps({"a": {"id": "a"}}).encode())).decode()
    assert nodes_of({"status": {"compressedNodes": packed}}) == {"a": {"id": "a"}}


def test_pod_names_are_argos() -> None:
    workflow = {"metadata": {"name": "wf-1"}}
    assert pod_name(workflow, {"type": "Pod", "id": "wf-1-123", "templateName": "measure"}) == "wf-1-measure-123"
    assert pod_name(workflow, {"type": "Pod", "id": "wf-1", "templateName": "measure"}) == "wf-1"
    assert pod_name(workflow, {"type": "Steps", "id": "wf-1-5", "templateName": "x"}) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.4, "0s"), (59.9, "59s"), (60, "1m00s"), (3725, "1h02m"), (172800, "2d"), (-1, "0s")],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert took(seconds) == text


def test_log_lines_for_people() -> None:
    line = {
        "time": "2026-11-21T12:00:00.000+00:00",
        "event": "elected",
        "step": "s",
        "workflow": "w",
        "member": "demo-1",
    }
    assert readable(json.dumps(line)).endswith("elected  member=demo-1")
    for odd in ("plain", "[1]", "5", '{"a": 1}', "", '{"event"'):
        assert readable(odd) == odd
    assert "50%" in readable(json.dumps({"event": "progress", "what": "rows", "percent": 50, "eta_seconds": None}))


def test_a_steps_own_words_about_its_failure() -> None:
    failed = json.dumps({"event": "failed", "message": "no quorum; wait"})
    assert error_in(["x", failed, "Error: no quorum; wait"]) == "no quorum; wait"
    assert error_in([failed, "bye"]) == "no quorum; wait"
    assert error_in(["nothing", "{"]) == ""


def test_faults_name_what_is_wrong() -> None:
    parameters = [{"name": "cluster"}, {"name": "fault", "value": "crash", "enum": ["crash", "none"]}]
    template = {"metadata": {"name": "t"}, "spec": {"arguments": {"parameters": parameters}}}
    assert faults(template, {"cluster": "demo"}) == []
    assert len(faults(template, {"fault": "x", "other": "y"})) == 3
    assert faults({"metadata": {"name": "t"}, "spec": {}}, {"a": "b"}) == ["t has no parameter 'a'; it has: none"]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (Parameter("a", "", "", (), "text"), ["", "x", "a\nb=é"], ["{{x}}", "a\x00"]),
        (Parameter("a", "", None, (), "text"), ["x"], [""]),
        (
            Parameter("a", "", "5", (), "integer", 1, 10),
            ["1", "10", "5"],
            ["0", "11", "1.5", "", "٣", "1e0", " 2", "2\n"],
        ),
        (Parameter("a", "", "5", (), "number", 0.5, None), ["0.5", "1", "7.25"], ["0.4", "nan", "inf", "-1", "x"]),
        (Parameter("a", "", "false", ("true", "false"), "boolean"), ["true"], ["yes", "TRUE", ""]),
        (Parameter("a", "", None, (), "text", text=CLUSTER_NAME), ["demo", "a-1"], ["1a", "a-", "a\n", "a" * 29]),
    ],
)
def test_a_value_fits_its_parameter_or_does_not(rule: Parameter, good: list[str], bad: list[str]) -> None:
    assert [fault(rule, value) for value in good] == [""] * len(good)
    assert all(fault(rule, value) for value in bad)


def test_rules_come_from_the_steps_and_the_template_goes_first() -> None:
    parameters = [{"name": "cluster"}, {"name": "writers", "value": "9", "description": "Mine."}, {"name": "other"}]
    steps = [{"container": {"command": ["step", name]}} for name in ("drill-measure", "of-another-version")]
    rules = rules_of({"spec": {"arguments": {"parameters": parameters}, "templates": [*steps, {"steps": []}]}})
    assert rules["cluster"].text is CLUSTER_NAME and rules["cluster"].default is None
    writers = rules["writers"]
    assert (writers.default, writers.help, writers.kind, writers.minimum) == ("9", "Mine.", "integer", 1)
    assert rules["other"] == Parameter("other", "", None, (), "text")


def test_runs_stand_in_the_order_of_their_creation() -> None:
    def made(name: str, at: str, **more: Any) -> dict[str, Any]:
        return {**run(**more), "metadata": {"name": name, "creationTimestamp": at}, "spec": {}}

    waiting = made("b", "2026-11-21T12:00:20Z")
    waiting["status"]["nodes"] = {"form": {"id": "form", "type": "Suspend", "phase": "Running", **FORM}}
    found = run_rows([made("a", "2026-11-21T12:00:10Z"), waiting, made("c", "2026-11-20T12:00:00Z")], 2, NOW)
    assert [(row["name"], row["phase"], row["age"]) for row in found] == [
        ("b", "Suspended", "10s"),
        ("a", "Running", "20s"),
    ]
    scheduled = made("r", "2026-11-21T12:00:10Z")
    scheduled["metadata"]["labels"] = {"workflows.argoproj.io/cron-workflow": "reap"}
    assert run_rows([scheduled], 1, NOW)[0]["template"] == "reap"
    assert table(found, ("name", "phase", ""))[1] == f"b     Suspended  {found[0]['note']}"


def test_a_templates_page_keeps_to_a_terminal() -> None:
    pages = 0
    for file in sorted(MANIFESTS.glob("*.yaml")):
        template = yaml.safe_load(file.read_text())
        if template["kind"] == "WorkflowTemplate":
            pages += 1
            page = template_page(template)
            assert [line for line in page if len(line) > 80] == [], file.name
            said = template["metadata"]["annotations"][ABOUT]
            assert " ".join(" ".join(page).split()).startswith(" ".join(said.split())), "no word is lost"
    assert pages > 10


def test_a_page_keeps_items_tables_and_choices_whole() -> None:
    text = f"One\ntwo.\n\n- {'item ' * 20}\n- other\n  of two lines\n\n| a | b |\n    tiphys submit\nend"
    lines = in_width(text)
    assert lines[:2] == ["One two.", ""] and lines[3].startswith("  item") and "- other of two lines" in lines
    assert lines[-3:] == ["| a | b |", "    tiphys submit", "end"]
    choices = [f"choice-{number}" for number in range(12)]
    parameters = [{"name": "fault", "enum": choices}]
    page = template_page({"metadata": {"name": "t"}, "spec": {"arguments": {"parameters": parameters}}})
    shown = "".join(line.strip() for line in page[1:-2])
    assert "|".join(choices) in shown and max(map(len, page)) <= 80


def test_a_templates_purpose_is_the_beginning_of_its_description() -> None:
    def about(**notes: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {f"workflows.argoproj.io/{key}": text for key, text in notes.items()}}}

    assert purpose(about(description="Does this.\nMore.", title="T")) == "Does this"
    assert purpose(about(title="T")) == "T"
    assert purpose({"metadata": {}}) == ""
