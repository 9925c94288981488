from __future__ import annotations

from typing import Any

import pytest

from tiphys.local.engine.expression import evaluate
from tiphys.local.engine.substitute import UnresolvedError, substitute
from tiphys.local.engine.supported import check
from tiphys.local.engine.tokens import ExpressionError
from tiphys.local.engine.when import should_execute

VARIABLES = {
    "inputs.parameters.n": "5",
    "steps.a-b.outputs.parameters.x": "hello",
    "steps.skipped.outputs.parameters.x": None,
    "lastRetry.exitCode": "75",
    "lastRetry.status": "Error",
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("asInt(inputs.parameters.n) + 1", 6),
        ("steps['a-b'].outputs.parameters.x", "hello"),
        ("asInt(lastRetry.exitCode) == 75 || lastRetry.status == 'Error'", True),
        ("asInt(lastRetry.exitCode) in [20, 75] and not (lastRetry.status == 'Failed')", True),
        ("steps.skipped.outputs.parameters.x ?? 'none'", "none"),
        ("steps.nowhere.outputs.parameters.x ?? 'none'", "none"),
        ("len('abc') > 2 ? 'long' : 'short'", "long"),
        ("'x' contains 'y' || 'demo' startsWith 'de' && 'demo' matches '^d.*o$'", True),
        ("1 not in [2, 3]", True),
        ("2 + 3 * 4 - 10 / 4", 11.5),
        ("-2 ** 2", -4),
        ("{'a': {b: [1, 2]}}['a'].b[-1]", 2),
        ("toJson({'a': [1, true, nil]})", '{"a":[1,true,null]}'),
        ("'1' == 1 || true == 1", False),
        ("join(split('a,b', ','), '-')", "a-b"),
    ],
)
def test_expressions(text: str, value: object) -> None:
    found = evaluate(text, VARIABLES)
    assert found == value and type(found) in (type(value), float)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("asInt('x')", "asInt"),
        ("foo == 1", "unknown name foo"),
        ("env('HOME')", "unknown function 'env'"),
        ("1 +", "a value was expected"),
        ("'a' < 1", "needs numbers"),
        ("1 && true", "needs true or false"),
        ("inputs.nothing.x", "cannot fetch x"),
        ("1 1", "should end"),
        ("a ~ b", "unexpected character"),
    ],
)
def test_expressions_that_are_wrong_say_why(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says.replace("(", r"\(")):
        evaluate(text, VARIABLES)


@pytest.mark.parametrize(
    ("when", "runs"),
    [
        ("", True),
        ("yes == yes", True),
        ("yes == no", False),
        ("production != test && 3 > 2", True),
        ("'a b-c' == \"a b-c\"", True),
        ("demo in (demo, test)", True),
        ("demo in ('x', 'y')", False),
        ("!(true) || false", False),
        ("true == true", True),
        ("'3' == 3", False),
        ("demo =~ '^d'", True),
    ],
)
def test_when(when: str, runs: bool) -> None:
    assert should_execute(when) is runs


@pytest.mark.parametrize("when", ["my-cluster == my-cluster", " == yes", "a b", "word", "1 < a"])
def test_when_that_is_wrong(when: str) -> None:
    with pytest.raises(ExpressionError, match="Invalid 'when' expression"):
        should_execute(when)


def test_values_are_substituted_once() -> None:
    variables = {"a": "{{b}}", "b": "secret", "c": "{{=1+1}}"}
    assert substitute({"args": ["x {{a}} {{ b }}", "{{c}}", 7]}, variables) == {
        "args": ["x {{b}} secret", "{{=1+1}}", 7]
    }
    assert substitute("{{=asInt('4') * 2}} {{=a}} {{=[1, 'x']}}", variables) == '8 {{b}} [1,"x"]'


@pytest.mark.parametrize("text", ["{{nope}}", "{{=nope}}", "{{=nil}}", "{{steps.s.outputs.parameters.x}}"])
def test_unresolved_variables_are_errors(text: str) -> None:
    with pytest.raises(UnresolvedError):
        substitute(text, {"steps.s.outputs.parameters.x": None})


def template(**fields: object) -> dict[str, object]:
    return {
        "kind": "WorkflowTemplate",
        "metadata": {"name": "t"},
        "spec": {"entrypoint": "a", "templates": [{"name": "a", **fields}]},
    }


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"dag": {"tasks": []}}, "spec.templates[0].dag: not supported by the local engine"),
        ({"script": {}}, "spec.templates[0].script: not supported"),
        ({"container": {"image": "i", "stdin": True}}, "spec.templates[0].container.stdin: not supported"),
        ({"container": {}, "memoize": {}}, "spec.templates[0].memoize: not supported"),
        ({"container": {}, "podSpecPatch": "x"}, "spec.templates[0].podSpecPatch: not supported"),
        ({"steps": [[{"name": "s", "template": "a", "withItems": [1]}]]}, "spec.templates[0].steps[0][0].withItems: "),
        ({"steps": [[{"name": "s", "template": "a", "hooks": {}}]]}, "spec.templates[0].steps[0][0].hooks: "),
        ({"container": {}, "suspend": {}}, "exactly one of"),
        ({}, "exactly one of"),
        ({"steps": [[{"template": "a"}]]}, "spec.templates[0].steps[0][0].name: missing"),
        ({"steps": [[{"name": "s"}]]}, "spec.templates[0].steps[0][0]: exactly one of template and templateRef"),
        ({"steps": {"name": "s"}}, "spec.templates[0].steps: a list was expected"),
        ({"container": "image"}, "spec.templates[0].container: a map was expected"),
        ({"container": {}, "inputs": {"parameters": [{"name": 5}]}}, "inputs.parameters[0].name: a text was expected"),
        ({"suspend": {}, "timeout": "3s"}, "spec.templates[0].timeout: only a container"),
        ({"container": {}, "outputs": {"artifacts": [{"name": "f", "path": "/f"}]}}, "outputs.artifacts[0].archive"),
        (
            {"container": {}, "inputs": {"artifacts": [{"name": "f", "path": "/f", "raw": {}}]}},
            "spec.templates[0].inputs.artifacts[0].raw: not supported",
        ),
        (
            {
                "steps": [
                    [
                        {
                            "name": "s",
                            "template": "a",
                            "arguments": {"parameters": [{"name": "x", "value": "{{steps.q.outputs.result}}"}]},
                        }
                    ]
                ]
            },
            "outputs.result",
        ),
    ],
)
def test_check_names_the_field(fields: dict[str, object], fault: str) -> None:
    faults = check(template(**fields))
    assert len(faults) == 1 and fault in faults[0], faults


@pytest.mark.parametrize(
    ("patch", "fault"),
    [
        ('{"containers": [{"name": "wait", "securityContext": {}}], "initContainers": [{"name": "init"}]}', ""),
        ('{"containers": [{"name": "main", "image": "other"}]}', "spec.podSpecPatch: changes main"),
        ('{"hostNetwork": true}', "spec.podSpecPatch: changes hostNetwork"),
        ("containers:", "spec.podSpecPatch: JSON"),
        ('{"containers": [{"image": "other"}]}', "spec.podSpecPatch: JSON"),
        ('["containers"]', "spec.podSpecPatch: JSON"),
        ("", "spec.podSpecPatch: JSON"),
    ],
)
def test_a_patch_may_only_change_argo_s_own_containers(patch: str, fault: str) -> None:
    made: Any = template(container={"image": "i"})
    made["spec"]["podSpecPatch"] = patch
    faults = check(made)
    assert len(faults) == bool(fault) and fault in "".join(faults), faults


def test_check_lets_pass_what_is_honoured_or_ignored() -> None:
    assert check(template(container={"image": "i", "resources": {"limits": {}}, "securityContext": {}})) == []
    assert check({"kind": "ConfigMap", "data": {}}) == []
    cron = {"schedules": ["* * * * *"], "workflowSpec": {"workflowTemplateRef": {"name": "t"}}}
    assert check({"kind": "CronWorkflow", "spec": cron}) == []
    faults = check({"kind": "CronWorkflow", "spec": {**cron, "stopStrategy": {}}})
    assert faults == ["spec.stopStrategy: not supported by the local engine"]
