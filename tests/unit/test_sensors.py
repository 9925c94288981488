"""The rendered filters, run by the gateway's own Lua: each runbook takes good bodies and refuses bad ones."""

from __future__ import annotations

import base64
import copy
import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from gateway_help import DRILL, template

from eventsources.runbooks import build as build_event_source
from eventsources.triggerable import NARROWED, WITHHELD, Runbook, runbook_of, triggerable
from sensors.calendar import build as build_calendar
from sensors.github import build as build_github
from sensors.lua import environment, lua_class, script
from sensors.runbooks import build as build_sensor
from sensors.runbooks import sensor
from steps.parameters import CLUSTER_NAME, NAMESPACE_NAME, OBJECT_NAME, Parameter, Text
from steps.undelivered import LABEL, is_run, read
from tiphys.local.events.check import check
from tiphys.local.events.delivery import Backoff
from tiphys.local.events.lua import ScriptError, run
from tiphys.local.events.triggers import Refusal, fire

BASE = Path(__file__).parents[2] / "manifests/base"
RUNBOOKS = [*triggerable(), DRILL]
EACH = pytest.mark.parametrize("runbook", RUNBOOKS, ids=lambda runbook: runbook.name)


def good_value(parameter: Parameter) -> Any:
    if parameter.enum:
        return parameter.enum[0]
    if parameter.kind in ("integer", "number"):
        return parameter.minimum if parameter.minimum is not None else 1
    if parameter.text:
        return parameter.text.first[0] + parameter.text.last[-1]
    return "a text"


def good_body(runbook: Runbook, everything: bool = False) -> dict[str, Any]:
    return {p.name: good_value(p) for p in runbook.parameters if everything or p.default is None}


def event(body: Any, key: str | None = None) -> dict[str, Any]:
    header = {"Content-Type": ["application/json"], **({"Idempotency-Key": [key]} if key is not None else {})}
    return {"header": header, "body": body}


def started(runbook: Runbook, body: Any, key: str | None = None) -> dict[str, Any]:
    """Return the Workflow that a body starts."""
    wanted = sensor(RUNBOOKS)
    wanted["metadata"]["namespace"] = "tiphys"
    (fired,) = fire([wanted], "runbooks", runbook.name, event(body, key))
    return fired.workflow


def reason(runbook: Runbook, body: Any, key: str | None = None) -> str:
    with pytest.raises(Refusal) as refusal:
        started(runbook, body, key)
    return refusal.value.reason


@EACH
def test_a_good_body_becomes_the_templates_workflow(runbook: Runbook) -> None:
    for everything in (False, True):
        body = good_body(runbook, everything)
        workflow = started(runbook, body)
        assert workflow["spec"]["workflowTemplateRef"] == {"name": runbook.name}
        assert workflow["metadata"]["generateName"] == f"{runbook.name}-" and "name" not in workflow["metadata"]
        got = {p["name"]: p["value"] for p in workflow["spec"]["arguments"]["parameters"]}
        assert list(got) == [p.name for p in runbook.parameters]
        for parameter in runbook.parameters:
            given = parameter.name in body
            expected = str(body[parameter.name]) if given else parameter.default
            assert got[parameter.name] == expected or float(got[parameter.name]) == float(expected)


@EACH
def test_a_key_is_the_end_of_the_runs_name(runbook: Runbook) -> None:
    workflow = started(runbook, good_body(runbook), "2026-11-a1")
    assert workflow["metadata"]["name"] == f"{runbook.name}-2026-11-a1"
    assert len(f"{runbook.name}-") + 40 <= 63


@EACH
@pytest.mark.parametrize("key", ["", "-a", "a-", "A", "a b", "a\n", "ä", "x" * 41, "{{workflow.name}}"])
def test_a_bad_key_is_refused(runbook: Runbook, key: str) -> None:
    assert "Idempotency-Key" in reason(runbook, good_body(runbook), key)


@EACH
@pytest.mark.parametrize("key", [None, "k"])
def test_bad_bodies_are_refused(runbook: Runbook, key: str | None) -> None:
    good = good_body(runbook, everything=True)
    assert started(runbook, good, key)
    for parameter in runbook.parameters:
        if parameter.default is None:
            assert f"{parameter.name!r} is missing" in reason(runbook, {**good, parameter.name: None}, key)
            missing = {name: value for name, value in good.items() if name != parameter.name}
            assert f"{parameter.name!r} is missing" in reason(runbook, missing, key)
        for bad in ("{{workflow.name}}", "{{=sprig.env('HOME')}}", {"a": 1}, ["a"], {}, []):
            assert f"parameter {parameter.name!r}: " in reason(runbook, {**good, parameter.name: bad}, key)
        if parameter.kind != "text":
            for bad in ("no-such-value", "{{", "1; rm", "0x10", "1e3", "nan", "inf", " 1", "é" * 80):
                assert f"parameter {parameter.name!r}: " in reason(runbook, {**good, parameter.name: bad}, key)
        if parameter.kind in ("integer", "number"):
            assert parameter.name in reason(runbook, {**good, parameter.name: True}, key)
        if parameter.kind == "text":
            assert parameter.name in reason(runbook, {**good, parameter.name: 5}, key)
    assert "unknown parameter 'clutser'" in reason(runbook, {**good, "clutser": "demo"}, key)
    assert "unknown parameter 'x" in reason(runbook, {**good, "x" * 100: 1}, key)
    for bad in (["a"], [], {}, "text", 5, None, True):
        assert reason(runbook, bad, key)


@EACH
def test_a_body_chooses_values_of_parameters_and_nothing_else(runbook: Runbook) -> None:
    good = good_body(runbook, everything=True)
    names = ["spec", "metadata", "namespace", "serviceAccountName", "image", "entrypoint", "workflowTemplateRef"]
    names += ["template", "run", "body", "header", "name", "generateName", "labels", "podSpecPatch", "arguments"]
    names += [
        "spec.serviceAccountName",
        "metadata.name",
        "Cluster",
        "cluster ",
        "cluster\0",
        "cluster.x",
        "0",
        "",
        "@this",
    ]
    for name in names:
        if name not in good:
            assert "unknown parameter" in reason(runbook, {**good, name: "x"}, "k"), name
    plain, chosen = started(runbook, good_body(runbook), "k"), started(runbook, good, "k")
    for workflow in (plain, chosen):
        for parameter in workflow["spec"]["arguments"]["parameters"]:
            assert set(parameter) == {"name", "value"} and isinstance(parameter["value"], str)
            parameter["value"] = ""
    assert plain == chosen


@EACH
def test_limits_of_numbers(runbook: Runbook) -> None:
    for parameter in runbook.parameters:
        good = good_body(runbook)
        if parameter.minimum is not None:
            assert "less than" in reason(runbook, {**good, parameter.name: parameter.minimum - 1})
            assert "less than" in reason(runbook, {**good, parameter.name: str(int(parameter.minimum) - 1)})
        if parameter.maximum is not None:
            assert "more than" in reason(runbook, {**good, parameter.name: parameter.maximum + 1})
            assert started(runbook, {**good, parameter.name: parameter.maximum})
        if parameter.kind == "integer":
            assert "no integer" in reason(runbook, {**good, parameter.name: (parameter.minimum or 0) + 0.5})
            assert "than" in reason(runbook, {**good, parameter.name: 1e300})


@pytest.mark.parametrize(
    "text", [CLUSTER_NAME, OBJECT_NAME, NAMESPACE_NAME, Text("odd", "a-z0-9_.:/%+-", 9, last="a-z")]
)
def test_a_text_means_the_same_to_the_step_and_to_the_filter(text: Text) -> None:
    runbook = Runbook("r", (Parameter("t", "", None, (), "text", text=text),))
    tried = ["a", "ab", "a-b", "-a", "a-", "a.b", "9a", "a9", "A", "a b", "a\n", "", "é", "a%b", "a_b", "a/b:c", "a+b"]
    tried += ["a" * n for n in (text.max_length - 1, text.max_length, text.max_length + 1)]
    for value in tried:
        passes = run(script(runbook.parameters), event({"t": value}), environment()).value
        assert passes is bool(re.fullmatch(text.regex[1:-1], value, re.DOTALL)), value


def test_classes_are_escaped() -> None:
    assert lua_class("a-z0-9.%-") == "a-z0-9%.%%%-"


def test_targets_have_no_fallback_anywhere() -> None:
    for trigger in build_sensor()["spec"]["triggers"]:
        workflow = trigger["template"]["k8s"]["source"]["resource"]
        names = [p["name"] for p in workflow["spec"]["arguments"]["parameters"]]
        assert all(set(p) == {"name"} for p in workflow["spec"]["arguments"]["parameters"])
        for index, parameter in enumerate(trigger["template"]["k8s"]["parameters"][: len(names)]):
            assert parameter["dest"] == f"spec.arguments.parameters.{index}.value"
            assert parameter["src"]["dataKey"] == f"body.{names[index]}"
            if names[index] in ("cluster", "namespace", "backup"):
                assert "value" not in parameter["src"]
        assert set(workflow["spec"]) == {"workflowTemplateRef", "arguments"}


def test_every_trigger_is_delivered_at_least_once_at_a_pace_and_else_into_a_letter() -> None:
    triggers = [each for build in (build_sensor, build_calendar, build_github) for each in build()["spec"]["triggers"]]
    assert len(triggers) == 2 * len(triggerable()) + 1
    for trigger in triggers:
        last = trigger["dlqTrigger"]
        assert trigger["atLeastOnce"] and last["atLeastOnce"], "Argo Events tries once without"
        assert trigger["rateLimit"]["requestsPerUnit"] >= 1 and trigger["retryStrategy"]["steps"] > 1
        assert sum(Backoff.of({**last["retryStrategy"], "jitter": 0}).pauses()) > 300, "an API server may be away"
        letter, workflow = (one["template"]["k8s"]["source"]["resource"] for one in (last, trigger))
        assert LABEL in letter["metadata"]["labels"] and "name" not in letter["metadata"]
        assert letter["data"]["template"] == workflow["spec"]["workflowTemplateRef"]["name"]
        assert {one["src"]["dependencyName"] for one in last["template"]["k8s"]["parameters"]} == {
            trigger["template"]["conditions"]
        }


@EACH
def test_a_letter_tells_what_its_run_would_have_been(runbook: Runbook) -> None:
    wanted = sensor(RUNBOOKS)
    wanted["metadata"]["namespace"] = "tiphys"
    for everything in (False, True):
        (fired,) = fire([wanted], "runbooks", runbook.name, event(good_body(runbook, everything), "k"))
        assert fired.letter and is_run(read({**fired.letter, "metadata": {"name": "x"}}), fired.workflow)
        other = good_body(runbook, everything) | {runbook.parameters[0].name: "other"}
        (fired_other,) = fire([wanted], "runbooks", runbook.name, event(other, "k"))
        assert not is_run(read({**fired.letter, "metadata": {"name": "x"}}), fired_other.workflow)


def test_argo_events_can_start_the_sensor_s_pod() -> None:
    """It hands the spec to the pod in one variable; Linux takes 128 KiB, and the kubelet expands `$(...)` in it."""
    wanted = build_sensor()
    whole = {"metadata": {"name": "runbooks", "namespace": "tiphys"}, "spec": wanted["spec"], "status": {}}
    in_go = json.dumps(whole, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")
    variable = b"SENSOR_OBJECT=" + base64.b64encode(in_go.replace("&", "\\u0026").encode()) + b"\0"
    assert len(variable) < 128 * 1024
    for name, value in environment().items():
        assert "$(" not in value and "$$" not in value, name


def test_a_filter_without_its_check_lets_nothing_pass() -> None:
    with pytest.raises(ScriptError, match="loadstring"):
        run(script(DRILL.parameters), event({"cluster": "demo"}))


def test_what_a_filter_compiles_stays_in_the_sandbox() -> None:
    for text in ("return io", "return loadfile", "return debug", "return os.execute"):
        assert run(f'return tostring(loadstring("{text}")())', {}).value == "nil"
    assert run('return tostring((loadstring("\\27Lua")))', {}).value == "nil"


@pytest.mark.parametrize("folder", ["eventsources", "sensors"])
def test_the_pods_of_argo_events_are_confined(folder: str) -> None:
    bus = yaml.safe_load((BASE / "eventbus.yaml").read_text())["spec"]["jetstream"]
    for file in (BASE / folder).glob("*.yaml"):
        pod = yaml.safe_load(file.read_text())["spec"]["template"]
        assert pod["securityContext"] | {"fsGroup": 65532} == bus["securityContext"], "a claim of the bus has an owner"
        for part in ("containerTemplate", "metricsContainerTemplate", "reloaderContainerTemplate"):
            assert bus[part]["securityContext"] == pod["container"]["securityContext"]


def test_both_objects_name_the_same_runbooks_and_are_honoured() -> None:
    source, wanted = build_event_source(), build_sensor()
    assert check(source) == [] and check(wanted) == []
    names = {runbook.name for runbook in triggerable()}
    assert names == set(source["spec"]["webhook"])
    assert names == {dependency["eventName"] for dependency in wanted["spec"]["dependencies"]}
    assert "failover-drill" in names and "reap" not in names


def test_what_sets_a_guard_aside_cannot_be_sent() -> None:
    runbooks = {runbook.name: runbook for runbook in triggerable()}
    for name, withheld in WITHHELD.items():
        for parameter in withheld:
            said = reason(runbooks[name], {**good_body(runbooks[name]), parameter: "x"})
            assert f"unknown parameter '{parameter}'" in said


def test_what_one_drill_withholds_the_other_does_too() -> None:
    drills = ("failover-drill", "node-drain-drill")
    withheld = frozenset().union(*(WITHHELD[name] for name in drills))
    for runbook in triggerable():
        if runbook.name in drills:
            assert not withheld & {parameter.name for parameter in runbook.parameters}, runbook.name


@pytest.mark.parametrize("place", ["s3://anybodys-bucket/dump/", "mysqlbackup/demo-1", "s3://x", "a/b"])
def test_a_webhook_restores_backups_of_ours_and_no_dump_of_anybodys(place: str) -> None:
    restore = next(runbook for runbook in triggerable() if runbook.name == "restore")
    assert "'backup'" in reason(restore, {"cluster": "demo", "backup": place})
    for name in ("latest", "demo-20261121-020000"):
        assert started(restore, {"cluster": "demo", "backup": name})


def test_every_narrowed_parameter_is_one_of_its_template() -> None:
    runbooks = {runbook.name: runbook for runbook in triggerable()}
    for name, narrowed in NARROWED.items():
        known = {parameter.name: parameter for parameter in runbooks[name].parameters}
        assert all(known[parameter].text is text for parameter, text in narrowed.items())


def test_every_withheld_parameter_is_one_of_its_template_and_has_a_default() -> None:
    for name, withheld in WITHHELD.items():
        made = importlib.import_module(f"workflows.{name.replace('-', '_')}").build().to_dict()
        known = {p["name"]: p for p in made["spec"]["arguments"]["parameters"]}
        assert all("value" in known[parameter] for parameter in withheld)


def test_an_internal_template_has_no_endpoint_list_entry() -> None:
    made = runbook_of(template(DRILL))
    assert [p.name for p in made.parameters] == [p.name for p in DRILL.parameters]
    assert made.parameters[0].default is None and made.parameters[1].enum == ("crash", "delete-pod", "switchover")


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("spec.dependencies[0].filters.exprs", lambda s: s["dependencies"][0]["filters"].update(exprs=[])),
        ("spec.dependencies[0].transform.jq", lambda s: s["dependencies"][0]["transform"].update(jq=".")),
        ("spec.triggers[0].policy", lambda s: s["triggers"][0].update(policy={})),
        ("spec.triggers[0].template.conditions", lambda s: s["triggers"][0]["template"].update(conditions="a && b")),
        ("spec.triggers[0].template.conditions", lambda s: s["triggers"][0]["template"].pop("conditions")),
        ("spec.triggers[0].template.argoWorkflow", lambda s: s["triggers"][0]["template"].update(argoWorkflow={})),
        (
            "spec.triggers[0].template.k8s.operation",
            lambda s: s["triggers"][0]["template"]["k8s"].update(operation="patch"),
        ),
        (
            "spec.triggers[0].template.k8s.parameters[0].src.dataTemplate",
            lambda s: s["triggers"][0]["template"]["k8s"]["parameters"][0]["src"].update(dataTemplate="x"),
        ),
        (
            "spec.triggers[0].template.k8s.parameters[0].src.dataKey",
            lambda s: s["triggers"][0]["template"]["k8s"]["parameters"][0]["src"].update(dataKey="body.#.a"),
        ),
        (
            "spec.triggers[0].template.k8s.source.resource.metadata",
            lambda s: s["triggers"][0]["template"]["k8s"]["source"]["resource"].pop("metadata"),
        ),
        (
            "spec.template.container.env[0].valueFrom",
            lambda s: s["template"]["container"]["env"].insert(0, {"name": "A", "valueFrom": {}}),
        ),
        ("spec.errorOnFailedRound", lambda s: s.update(errorOnFailedRound=True)),
    ],
)
def test_a_sensors_field_that_is_not_honoured_is_named(path: str, change: Any) -> None:
    wanted = copy.deepcopy(sensor([DRILL]))
    change(wanted["spec"])
    faults = check(wanted)
    assert any(fault.startswith(f"{path}:") for fault in faults), faults


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("spec.gitlab", lambda s: s.update(gitlab={})),
        ("spec.webhook.failover-drill.filter", lambda s: s["webhook"]["failover-drill"].update(filter={})),
        ("spec.webhook.failover-drill.method", lambda s: s["webhook"]["failover-drill"].update(method="GET")),
        ("spec.webhook.failover-drill.authSecret", lambda s: s["webhook"]["failover-drill"].pop("authSecret")),
        (
            "spec.webhook.failover-drill.serverCertSecret",
            lambda s: s["webhook"]["failover-drill"].update(serverCertSecret={}),
        ),
        (
            "spec.webhook.failover-drill.maxPayloadSize",
            lambda s: s["webhook"]["failover-drill"].update(maxPayloadSize="x"),
        ),
        ("spec.webhook.failover-drill.endpoint", lambda s: s["webhook"]["failover-drill"].update(endpoint="/health")),
    ],
)
def test_an_event_sources_field_that_is_not_honoured_is_named(path: str, change: Any) -> None:
    wanted = copy.deepcopy(build_event_source())
    change(wanted["spec"])
    faults = check(wanted)
    assert any(fault.startswith(f"{path}:") for fault in faults), faults


@pytest.mark.parametrize(
    "spec",
    [
        None,
        {"dependencies": [{}], "triggers": [{}]},
        {"dependencies": "x", "triggers": "y"},
        {"dependencies": [{"name": "a", "eventSourceName": "s", "eventName": "e"}], "triggers": [{"template": []}]},
        {"dependencies": [], "triggers": [{"template": {"name": "t", "conditions": "a", "k8s": "x"}}]},
    ],
)
def test_a_malformed_sensor_is_refused_and_not_tripped_over(spec: Any) -> None:
    assert check({"kind": "Sensor", "spec": spec})


def test_a_malformed_event_source_is_refused_and_not_tripped_over() -> None:
    assert check({"kind": "EventSource", "spec": {"webhook": {"a": "b"}}})
    assert check({"kind": "EventSource", "spec": {"webhook": {"a": {}}}})
    assert check({"kind": "EventSource", "spec": {"webhook": ["a"]}})
