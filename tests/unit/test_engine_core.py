from __future__ import annotations

from typing import Any

import pytest
import yaml
from engine_simulation import End, Play, Script, World

HEAD = "kind: Workflow\nmetadata: {name: wf}\nspec:\n"
LEAF = "{image: i, command: [c], args: [x]}"
SAY = """
  - name: say
    inputs: {parameters: [{name: x}]}
    outputs: {parameters: [{name: out, valueFrom: {path: /tmp/o}}]}
    container: {image: i, command: [c], args: ["{{inputs.parameters.x}}"]}
"""


def ends(**codes: Any) -> Script:
    """Pods end with the code or End given for the last word of their name, else well."""

    def script(node: str, pod: dict[str, Any]) -> End | None:
        word = node.split(".")[-1].split("(")[0].replace("-", "_")
        how = codes.get(node.split(".")[-1], codes.get(word, 0))
        return how if how is None or isinstance(how, End) else End(how)

    return script


def play(spec: str, script: Script | None = None, world: World | None = None) -> Play:
    return Play(world or World(), HEAD + spec, script).go()


TABLE = [
    (
        "groups one after the other, steps of a group side by side",
        f"""
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {{name: a, template: leaf}}
      - {{name: b, template: leaf}}
    - - {{name: c, template: leaf}}
  - {{name: leaf, container: {LEAF}}}
""",
        {},
        "Succeeded",
        {".": "Succeeded", "[0].a": "Succeeded", "[0].b": "Succeeded", "[1].c": "Succeeded"},
    ),
    (
        "a failed step ends the workflow after its group",
        f"""
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {{name: a, template: leaf}}
      - {{name: b, template: leaf}}
    - - {{name: c, template: leaf}}
  - {{name: leaf, container: {LEAF}}}
""",
        {"a": 3},
        "Failed",
        {".": "Failed", "[0]": "Failed", "[0].a": "Failed", "[0].b": "Succeeded"},
    ),
    (
        "continueOn forgives the kind it names, and no other",
        f"""
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {{name: a, template: leaf, continueOn: {{failed: true}}}}
    - - {{name: b, template: leaf, continueOn: {{failed: true}}}}
    - - {{name: c, template: leaf}}
  - {{name: leaf, container: {LEAF}}}
""",
        {"a": 3, "b": End(1, deleted=True)},
        "Failed",
        {"[0].a": "Failed", "[0]": "Succeeded", "[1].b": "Error", "[1]": "Failed"},
    ),
    (
        "when skips a step, and its outputs have their defaults",
        f"""
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {{name: a, template: ask, when: "yes == no"}}
    - - name: b
        template: say
        arguments: {{parameters: [{{name: x, value: "{{{{steps.a.outputs.parameters.o}}}}"}}]}}
  - {{name: ask, container: {LEAF}, outputs: {{parameters: [{{name: o, valueFrom: {{path: /o, default: d}}}}]}}}}
  - {{name: say, inputs: {{parameters: [{{name: x}}]}}, container: {{image: i, args: ["{{{{inputs.parameters.x}}}}"]}}}}
""",
        {},
        "Succeeded",
        {"[0].a": "Skipped", "[1].b": "Succeeded"},
    ),
    (
        "an output of a skipped step without a default is an error",
        f"""
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {{name: a, template: ask, when: "false"}}
    - - name: b
        template: say
        arguments: {{parameters: [{{name: x, value: "is {{{{steps.a.outputs.parameters.o}}}}"}}]}}
  - {{name: ask, container: {LEAF}, outputs: {{parameters: [{{name: o, valueFrom: {{path: /o}}}}]}}}}
  - {{name: say, inputs: {{parameters: [{{name: x}}]}}, container: {{image: i}}}}
""",
        {},
        "Failed",
        {"[0].a": "Skipped", "[1].b": "Error", "[1]": "Error", ".": "Failed"},
    ),
    (
        "retries stop at the limit",
        f"""
  entrypoint: a
  templates:
  - {{name: a, retryStrategy: {{limit: "2"}}, container: {LEAF}}}
""",
        {"wf": 1},
        "Failed",
        {".": "Failed", "(0)": "Failed", "(1)": "Failed", "(2)": "Failed"},
    ),
    (
        "a deleted pod is an Error, which OnFailure does not retry",
        f"""
  entrypoint: a
  templates:
  - {{name: a, retryStrategy: {{limit: 2}}, container: {LEAF}}}
""",
        {"wf": End(143, deleted=True)},
        "Error",
        {".": "Error", "(0)": "Error"},
    ),
    (
        "OnError retries a deleted pod",
        f"""
  entrypoint: a
  templates:
  - {{name: a, retryStrategy: {{limit: 2, retryPolicy: OnError}}, container: {LEAF}}}
""",
        {"wf(0)": End(143, deleted=True)},
        "Succeeded",
        {".": "Succeeded", "(0)": "Error", "(1)": "Succeeded"},
    ),
    (
        "an expression decides, and makes the policy Always",
        f"""
  entrypoint: a
  templates:
  - name: a
    retryStrategy: {{limit: 3, expression: "asInt(lastRetry.exitCode) == 75 || lastRetry.status == 'Error'"}}
    container: {LEAF}
""",
        {"wf(0)": 75, "wf(1)": End(1, deleted=True), "wf(2)": 2},
        "Failed",
        {".": "Failed", "(0)": "Failed", "(1)": "Error", "(2)": "Failed"},
    ),
    (
        "a problem with the outputs makes a good pod an Error",
        f"""
  entrypoint: a
  templates:
  - {{name: a, container: {LEAF}}}
""",
        {"wf": End(0, problem="no file")},
        "Error",
        {".": "Error"},
    ),
]


@pytest.mark.parametrize(("spec", "codes", "phase", "phases"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE])
def test_table(spec: str, codes: dict[str, Any], phase: str, phases: dict[str, str]) -> None:
    run = play(spec, ends(**codes))
    assert run.phase == phase, run.status
    assert phases.items() <= run.phases().items()
    assert run.workflow["metadata"]["labels"]["workflows.argoproj.io/completed"] == "true"
    extra = {name for name in run.phases() if name.endswith(")")} - phases.keys()
    assert not extra, "more attempts than expected"


def test_parameters_flow_and_are_exported() -> None:
    run = play(
        """
  entrypoint: main
  arguments: {parameters: [{name: who, value: "{{workflow.name}}"}, {name: n, value: 5}]}
  templates:
  - name: main
    inputs: {parameters: [{name: n}]}
    steps:
    - - name: a
        template: say
        arguments: {parameters: [{name: x, value: "{{workflow.parameters.who}}-{{inputs.parameters.n}}"}]}
    - - name: b
        template: say
        arguments:
          parameters:
          - name: x
            value: "{{=asInt(steps.a.outputs.parameters.out) + 1}}/{{steps.a.exitCode}}/{{steps.a.status}}"
    outputs: {parameters: [{name: r, globalName: result, valueFrom: {expression: "steps.b.outputs.parameters.out"}}]}
"""
        + SAY,
        lambda node, pod: End(0, {"out": "41"}),
    )
    assert run.args("[0].a") == ["wf-5"]
    assert run.args("[1].b") == ["42/0/Succeeded"]
    assert run.status["outputs"]["parameters"] == [{"name": "result", "value": "41"}]
    assert run.node("[1].b")["displayName"] == "b"
    assert run.node("[1].b")["inputs"]["parameters"] == [{"name": "x", "value": "42/0/Succeeded"}]
    assert run.status["progress"] == "2/2"


TEMPLATE = """
kind: WorkflowTemplate
metadata: {name: t}
spec:
  entrypoint: say
  serviceAccountName: robot
  arguments: {parameters: [{name: x, enum: [a, b]}, {name: y, value: why}]}
  workflowMetadata: {labels: {who: "{{workflow.parameters.y}}"}}
  templates:
  - name: say
    inputs: {parameters: [{name: x}]}
    container: {image: i, args: ["{{inputs.parameters.x}}", "{{workflow.parameters.y}}"]}
"""


def submitted(*parameters: dict[str, Any], **spec: Any) -> dict[str, Any]:
    ref = {"name": "t"}
    return {
        "kind": "Workflow",
        "spec": {"workflowTemplateRef": ref, "arguments": {"parameters": [*parameters]}, **spec},
    }


def test_a_template_is_run_with_what_was_submitted() -> None:
    run = Play(World(TEMPLATE), submitted({"name": "x", "value": "not in the enum {{workflow.uid}}"})).go()
    assert run.args("") == ["not in the enum {{workflow.uid}}", "why"], "values of the caller are data"
    assert run.pods["wf"].pod["spec"]["serviceAccountName"] == "robot"
    assert run.workflow["metadata"]["labels"]["who"] == "why"
    assert run.workflow["metadata"]["labels"]["workflows.argoproj.io/workflow-template"] == "t"


def test_a_target_without_a_value_runs_nothing() -> None:
    run = Play(World(TEMPLATE), submitted()).go()
    assert (run.phase, run.created) == ("Error", [])
    assert "no value for x" in run.status["message"]


def test_a_run_does_not_notice_that_its_template_changes() -> None:
    world = World(TEMPLATE)
    run = Play(world, submitted({"name": "x", "value": "1"}), ends(wf=None)).go()
    world.manifests.clear()
    run.script = ends()
    assert run.go().phase == "Succeeded"


def test_unsupported_fields_end_the_workflow_with_their_path() -> None:
    run = play("  entrypoint: a\n  templates: [{name: b, container: {image: i}}, {name: a, dag: {}}]\n")
    assert run.phase == "Error"
    assert run.status["message"] == "spec.templates[1].dag: not supported by the local engine"


def test_templates_by_reference_bring_their_own() -> None:
    other = """
kind: WorkflowTemplate
metadata: {name: lib}
spec:
  entrypoint: none
  templates:
  - {name: outer, steps: [[{name: in, template: inner}]]}
  - {name: inner, container: {image: from-lib}}
"""
    run = Play(
        World(other),
        HEAD
        + """
  entrypoint: main
  templates:
  - {name: main, steps: [[{name: a, templateRef: {name: lib, template: outer}}]]}
  - {name: inner, container: {image: mine}}
""",
    ).go()
    assert run.phases()["[0].a[0].in"] == "Succeeded"
    pod = run.pods[run.node("[0].a[0].in")["id"]].pod
    assert pod["spec"]["containers"][0]["image"] == "from-lib"


BACKOFF = f"""
  entrypoint: a
  templates:
  - name: a
    retryStrategy: {{limit: 3, backoff: {{duration: 10s, factor: 2, maxDuration: 35s}}}}
    container: {LEAF}
"""


def test_backoff_grows_and_ends() -> None:
    run = play(BACKOFF, ends(wf=1))
    assert len(run.created) == 1 and run.node("")["message"] == "Backoff for 10 seconds"
    assert len(run.wait(9).created) == 1
    assert len(run.wait(1).created) == 2
    assert len(run.wait(19).created) == 2
    assert len(run.wait(1).created) == 3
    assert (run.phase, run.status["message"]) == ("Failed", "Backoff would exceed max duration limit")


SUSPENDED = """
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: ask, template: ask}
    - - {name: go, template: go, when: "{{steps.ask.outputs.parameters.approve}} == YES"}
  - name: ask
    inputs: {parameters: [{name: approve, default: "NO", enum: ["YES", "NO"]}]}
    outputs: {parameters: [{name: approve, valueFrom: {supplied: {}}}]}
    suspend: {}
  - {name: go, container: {image: i}}
"""


def test_a_suspended_step_waits_for_its_answer() -> None:
    run = play(SUSPENDED)
    node = run.node("[0].ask")
    assert (run.phase, node["type"], node["phase"]) == ("Running", "Suspend", "Running")
    assert node["outputs"]["parameters"][0]["valueFrom"] == {"supplied": {}, "default": "NO"}
    node["phase"], node["outputs"] = "Succeeded", {"parameters": [{"name": "approve", "value": "YES"}]}
    assert run.go().phases()["[1].go"] == "Succeeded"


def test_a_suspended_step_goes_on_by_itself_with_the_default() -> None:
    run = play(SUSPENDED.replace("suspend: {}", "suspend: {duration: 1m}"))
    assert run.wait(59).phase == "Running"
    assert run.wait(1).phase == "Succeeded"
    assert run.phases()["[1].go"] == "Skipped"


EXIT = """
  entrypoint: main
  onExit: bye
  templates:
  - name: main
    steps:
    - - {name: a, template: a}
    - - {name: b, template: a}
  - name: a
    outputs: {parameters: [{name: verdict, globalName: verdict, valueFrom: {path: /v}}]}
    container: {image: i}
  - name: bye
    container:
      image: i
      args: ["{{workflow.status}}", "{{workflow.failures}}", "{{workflow.outputs.parameters.verdict}}"]
"""
NO_VERDICT = EXIT.replace(', "{{workflow.outputs.parameters.verdict}}"', "")


def test_the_exit_handler_knows_how_it_went_and_what_a_failed_step_put_out() -> None:
    run = play(EXIT, ends(a=End(20, {"verdict": "FAIL"})))
    assert run.phase == "Failed"
    status, failures, verdict = run.args(".onExit")
    assert (status, verdict) == ("Failed", "FAIL")
    listed = yaml.safe_load(yaml.safe_load(failures))
    assert ("a", "main: Error (exit code 20)") in [(item["displayName"], item["message"]) for item in listed]
    assert run.status["outputs"]["parameters"] == [{"name": "verdict", "value": "FAIL"}]


def test_a_failing_exit_handler_fails_the_workflow() -> None:
    assert play(EXIT, ends(a=End(0, {"verdict": "PASS"}), onExit=1)).phase == "Failed"


@pytest.mark.parametrize(("how", "handler"), [("Stop", True), ("Terminate", False)])
def test_stop_runs_the_exit_handler_and_terminate_does_not(how: str, handler: bool) -> None:
    run = play(NO_VERDICT, ends(a=None))
    run.workflow["spec"]["shutdown"] = how
    run.go()
    assert run.phase == "Failed" and run.status["message"] == f"Stopped with strategy '{how}'"
    assert run.stopped == [run.pods[run.node("[0].a")["id"]].pod["metadata"]["name"]]
    assert run.node("[0].a")["message"] == f"workflow shutdown with strategy:  {how}"
    assert (".onExit" in run.phases()) is handler
    assert "[1].b" not in run.phases()


def test_the_exit_handler_begins_when_the_stopped_pod_has_ended() -> None:
    run = play(NO_VERDICT, ends(a=None))
    run.workflow["spec"]["shutdown"] = "Stop"
    view = run.pods[run.node("[0].a")["id"]]
    end, run.end = run.end, lambda view, how: None  # type: ignore[method-assign]
    view.pod["metadata"]["labels"]["slow"] = "yes"
    for _ in range(3):
        run.step()
    assert run.node("[0].a")["phase"] == "Failed" and ".onExit" not in run.phases()
    run.end = end  # type: ignore[method-assign]
    run.end(view, End(143, {"verdict": "ABORTED"}))
    assert run.go().phases()[".onExit"] == "Succeeded"
    assert run.status["outputs"]["parameters"] == [{"name": "verdict", "value": "ABORTED"}]


def test_a_deadline_ends_pods_and_suspended_steps_but_not_the_exit_handler() -> None:
    run = play("  activeDeadlineSeconds: 60\n" + NO_VERDICT, ends(a=None))
    assert run.pods[run.node("[0].a")["id"]].pod["spec"]["activeDeadlineSeconds"] == 60
    run.wait(61)
    assert (run.phase, run.node("[0].a")["message"]) == ("Failed", "Step exceeded its deadline")
    assert run.phases()[".onExit"] == "Succeeded"
    assert "activeDeadlineSeconds" not in run.pods[run.node(".onExit")["id"]].pod["spec"]
    waiting = play("  activeDeadlineSeconds: 60\n" + SUSPENDED)
    assert (waiting.wait(61).phase, waiting.node("[0].ask")["message"]) == ("Failed", "Step exceeded its deadline")


def test_the_deadlines_of_a_template_are_those_of_its_pod() -> None:
    spec = (
        "  entrypoint: a\n  templates: [{name: a, timeout: 2m, activeDeadlineSeconds: '90', container: {image: i}}]\n"
    )
    assert play(spec).pods["wf"].pod["spec"]["activeDeadlineSeconds"] == 90


def test_parallelism_bounds_the_pods() -> None:
    steps = "\n".join(f"      - {{name: s{n}, template: leaf}}" for n in range(5)).replace("      -", "    - -", 1)
    spec = f"  entrypoint: main\n  parallelism: 2\n  templates:\n  - {{name: leaf, container: {LEAF}}}\n"
    spec += f"  - name: main\n    steps:\n{steps}\n"
    run = play(spec, lambda node, pod: None)
    assert len(run.created) == 2
    run.script = ends()
    assert run.go().phase == "Succeeded" and len(run.created) == 5


def test_a_pod_that_vanished_is_an_error() -> None:
    run = play("  entrypoint: a\n  templates: [{name: a, container: {image: i}}]\n", ends(wf=None))
    run.pods.clear()
    assert (run.go().phase, run.status["message"]) == ("Error", "pod deleted")


def test_artifacts_go_from_step_to_step() -> None:
    run = play("""
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {name: make, template: make}
    - - {name: use, template: use, arguments: {artifacts: [{name: in, from: "{{steps.make.outputs.artifacts.file}}"}]}}
  - name: make
    outputs: {artifacts: [{name: file, path: /tmp/f, archive: {none: {}}, globalName: report}]}
    container: {image: i, args: ["{{outputs.artifacts.file.path}}"]}
  - name: use
    inputs: {artifacts: [{name: in, path: /tmp/in}, {name: more, path: /tmp/more, optional: true}]}
    container: {image: i, args: ["{{inputs.artifacts.in.path}}", "{{inputs.artifacts.more.path}}"]}
""")
    assert run.phase == "Succeeded"
    pod = run.pods[run.node("[1].use")["id"]].pod
    key = f"runs/wf/{run.pods[run.node('[0].make')['id']].pod['metadata']['name']}/file"
    fetched = yaml.safe_load(pod["metadata"]["annotations"]["tiphys.dev/input-artifacts"])
    assert fetched == [{"path": "/tmp/in", "bucket": "", "key": key}]
    assert run.args("[1].use") == ["/tmp/in", "/tmp/more"]


def test_every_state_that_is_written_is_a_state_to_go_on_from() -> None:
    """Whatever pass the engine is killed after, another one that knows only what was written goes on alike."""
    whole = play(EXIT, ends(a=End(0, {"verdict": "PASS"}), b=End(0, {"verdict": "PASS"})))
    for passes in range(1, 8):
        run = Play(World(), HEAD + EXIT, ends(a=End(0, {"verdict": "PASS"}), b=End(0, {"verdict": "PASS"})))
        for _ in range(passes):
            run.step()
        assert run.go().phases() == whole.phases()
        assert sorted(run.created) == sorted(whole.created)


def test_a_pod_whose_creation_was_lost_is_created_again_and_not_twice() -> None:
    run = play("  entrypoint: a\n  templates: [{name: a, container: {image: i}}]\n", ends(wf=None))
    run.status["nodes"]["wf"]["phase"] = "Pending"
    run.pods.clear()
    run.created.clear()
    assert run.go().created == ["wf"]


def test_parallelism_of_a_template_bounds_its_steps() -> None:
    spec = f"""
  entrypoint: main
  templates:
  - {{name: leaf, retryStrategy: {{limit: 1}}, container: {LEAF}}}
  - name: main
    parallelism: 2
    steps: [[{{name: a, template: leaf}}, {{name: b, template: leaf}}, {{name: c, template: leaf}}]]
"""
    run = play(spec, lambda node, pod: None)
    assert run.created == ["wf[0].a(0)", "wf[0].b(0)"]
    run.script = ends()
    assert run.go().phase == "Succeeded"


def test_an_argument_that_is_absent_leaves_the_input_its_default() -> None:
    run = play(f"""
  entrypoint: main
  templates:
  - name: main
    steps:
    - - {{name: a, template: ask, when: "false"}}
    - - name: b
        template: say
        arguments: {{parameters: [{{name: x, value: "{{{{steps.a.outputs.parameters.o}}}}"}}]}}
  - {{name: ask, container: {LEAF}, outputs: {{parameters: [{{name: o, valueFrom: {{path: /o}}}}]}}}}
  - name: say
    inputs: {{parameters: [{{name: x, default: own}}]}}
    container: {{image: i, args: ["{{{{inputs.parameters.x}}}}"]}}
""")
    assert run.args("[1].b") == ["own"]


def test_a_parameter_may_be_named_as_argo_names_the_list_of_all() -> None:
    run = play("""
  entrypoint: a
  onExit: a
  arguments: {parameters: [{name: json, value: "no"}]}
  templates:
  - name: a
    inputs: {parameters: [{name: json}]}
    container: {image: i, args: ["{{inputs.parameters.json}}", "{{workflow.parameters.json}}"]}
""")
    assert run.args("") == run.args(".onExit") == ["no", "no"]


def test_a_metric_of_what_a_step_puts_out_does_not_keep_it_from_running() -> None:
    metric = "{name: m, help: h, gauge: {realtime: false, value: '{{outputs.parameters.out}}'}}"
    leaf = f"- {{name: main, metrics: {{prometheus: [{metric}]}}, container: {LEAF}}}"
    done = play(f"  entrypoint: main\n  templates:\n  {leaf}\n")
    assert done.phase == "Succeeded"
