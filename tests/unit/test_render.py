"""Rendering: texts that no YAML reader takes for anything else, the same files each time, and differences found."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tiphys.commands.render import render
from tiphys.rendering import Rendering, as_yaml, built, not_honoured

PROJECT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "text",
    [
        "on",
        "off",
        "no",
        "No",
        "y",
        "N",
        "yes",
        "true",
        "null",
        "~",
        "",
        "1",
        "1.5",
        "1e3",
        "0x1f",
        "0o7",
        "1_000",
        "=",
        "<<",
    ]
    + [
        "2026-11-21",
        "12:30:45",
        ".5",
        "-1",
        "+1",
        "- a",
        "a: b",
        "#a",
        "{{x}}",
        "*a",
        "&a",
        "a\nb\n",
        " a",
        "a ",
        "é",
        "'",
    ],
)
def test_a_text_stays_a_text(text: str) -> None:
    written = as_yaml({"key": text, text: "value"})
    assert yaml.safe_load(written) == {"key": text, text: "value"}
    if text.isalnum() and text.isascii() and text != "é":
        assert f'"{text}": value' in written and f'key: "{text}"' in written


def test_the_same_value_is_the_same_text() -> None:
    value = {"b": 1, "a": [{"z": 1, "x": 2}], "kind": "K", "apiVersion": "v", "metadata": {"name": "m"}}
    texts = set()
    for keys in itertools.islice(itertools.permutations(value), 20):
        texts.add(as_yaml({key: value[key] for key in keys}))
    assert len(texts) == 1
    assert texts.pop().startswith("apiVersion: v\nkind: K\nmetadata:\n  name: m\na:\n  - x: 2\n")


def test_shared_values_are_written_twice() -> None:
    shared = {"name": "secret"}
    assert "&" not in as_yaml([shared, shared])


def test_scripts_stay_readable() -> None:
    assert "script: |\n  local a = 1\n  return a\n" in as_yaml({"script": "local a = 1\nreturn a\n"})


def test_every_module_builds_an_object_of_its_name() -> None:
    names = [(package, manifest["kind"], manifest["metadata"]["name"]) for package, _, manifest in built()]
    assert ("workflows", "WorkflowTemplate", "failover-drill") in names
    assert ("eventsources", "EventSource", "runbooks") in names and ("sensors", "Sensor", "runbooks") in names


def test_the_committed_manifests_are_as_rendered() -> None:
    rendering = Rendering.of_project(PROJECT / "manifests" / "base")
    assert rendering.differences() == []
    assert not_honoured(rendering.objects) == []


def test_the_kustomization_lists_every_file() -> None:
    base = PROJECT / "manifests" / "base"
    listed = set(yaml.safe_load((base / "kustomization.yaml").read_text())["resources"])
    assert listed == {str(path.relative_to(base)) for path in base.rglob("*.yaml")} - {"kustomization.yaml"}


def test_check_finds_what_differs_is_missing_or_stale(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "mine.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: mine\n")
    tool = CliRunner()
    first = tool.invoke(render, ["--out", str(tmp_path)])
    assert first.exit_code == 0, first.output
    assert "mine.yaml" in yaml.safe_load((base / "kustomization.yaml").read_text())["resources"]
    assert tool.invoke(render, ["--check", "--out", str(tmp_path)]).exit_code == 0
    again = {path: path.read_bytes() for path in base.rglob("*.yaml")}
    assert "0 changed" in tool.invoke(render, ["--out", str(tmp_path)]).output
    assert {path: path.read_bytes() for path in base.rglob("*.yaml")} == again

    changed, missing, stale = base / "sensors/runbooks.yaml", base / "workflows/reap.yaml", base / "workflows/old.yaml"
    changed.write_text(changed.read_text() + "# by hand\n")
    missing.unlink()
    stale.write_text("kind: Workflow\n")
    result = tool.invoke(render, ["--check", "--out", str(tmp_path)])
    assert result.exit_code == 1
    assert f"{changed}: differs" in result.output and f"{missing}: is missing" in result.output
    assert f"{stale}: nothing renders" in result.output and "3 problems; run `tiphys render`" in result.output
    assert "3 changed" in tool.invoke(render, ["--out", str(tmp_path)]).output
    assert not stale.exists() and tool.invoke(render, ["--check", "--out", str(tmp_path)]).exit_code == 0


def test_a_field_that_is_not_honoured_is_found_when_rendering(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    (base / "dag.yaml").write_text(
        as_yaml(
            {
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "WorkflowTemplate",
                "metadata": {"name": "dag"},
                "spec": {"entrypoint": "a", "templates": [{"name": "a", "dag": {"tasks": []}}]},
            }
        )
    )
    result = CliRunner().invoke(render, ["--out", str(tmp_path)])
    assert result.exit_code == 1 and "dag.yaml#0: spec.templates[0].dag" in result.output


def test_random_values_survive() -> None:
    choose = random.Random(5)
    letters = "yn0123456789.:-+e_ ~#{}[]'\"\\\nonf"
    for _ in range(300):
        text = "".join(choose.choice(letters) for _ in range(choose.randint(0, 8)))
        assert yaml.safe_load(as_yaml({"a": text, "b": [text]})) == {"a": text, "b": [text]}
