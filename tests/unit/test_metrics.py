"""Metrics: told only where there is something to tell, alike in every template, and all of them on the dashboard."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from functools import cache
from typing import Any

import pytest

from tiphys.monitoring.alerts import ALERTS
from tiphys.monitoring.dashboard import PANELS, Panel, dashboard
from tiphys.monitoring.page import metrics_page
from tiphys.monitoring.queries import series
from tiphys.rendering import built
from workflows.metrics import PREFIX

NAME = re.compile(rf"{PREFIX}(tiphys_\w+)(?:\{{(.*?)\}})?(?=[\s\[)]|$)")
RESULT = re.compile(r"outputs\?\.parameters\?\.\['([\w-]+)'\]")
PARAMETER = re.compile(r"workflow\.parameters\.([\w-]+)")


@cache
def specs() -> dict[str, dict[str, Any]]:
    """Return the spec of every WorkflowTemplate by its name."""
    made = (manifest for _, _, manifest in built() if manifest["kind"] == "WorkflowTemplate")
    return {manifest["metadata"]["name"]: manifest["spec"] for manifest in made}


def told(name: str) -> list[dict[str, Any]]:
    metrics: list[dict[str, Any]] = specs()[name].get("metrics", {}).get("prometheus", [])
    return metrics


def everything() -> list[dict[str, Any]]:
    return [each for name in specs() for each in told(name)]


def labels() -> dict[str, set[str]]:
    """Return the labels of each metric that some template tells."""
    return {each["name"]: {label["key"] for label in each["labels"]} for each in everything()}


@pytest.mark.parametrize("name", sorted(specs()))
def test_a_template_tells_what_it_has(name: str) -> None:
    spec = specs()[name]
    parameters = {each["name"] for each in (spec.get("arguments") or {}).get("parameters", [])}
    outputs = [each for one in spec["templates"] for each in one.get("outputs", {}).get("parameters", [])]
    text = json.dumps(told(name))
    assert set(RESULT.findall(text)) <= {each["globalName"] for each in outputs if "globalName" in each}
    assert set(PARAMETER.findall(text)) <= parameters
    assert ("tiphys_runs_total" in text) == ("cluster" in parameters)
    assert not any("metrics" in one for one in spec["templates"]), "a step that is tried again would count twice"


def test_what_a_run_does_not_have_makes_no_error_of_metrics() -> None:
    """Argo fills in everything between braces before it looks at `when`, and notes an error for what is not there."""
    always = {
        "{{workflow.namespace}}",
        "{{workflow.parameters.cluster}}",
        "{{workflow.parameters.fault}}",
        "{{status}}",
    }
    for each in everything():
        kind = each.get("gauge") or each["counter"]
        for text in (kind["value"], each.get("when", ""), *(label["value"] for label in each["labels"])):
            if "{{" in text and text not in always:
                # `status` is there at the end only: before, Argo would take an absent result for the empty text.
                assert re.fullmatch(r"\{\{=status (==|!=) '' [^{}]+\}\}", text), text
        found = RESULT.findall(kind["value"])
        assert all(f"'{result}'" in each["when"] for result in found), "no empty text as a number"
        # The verdict as a label: never an empty one.
        assert "when" in each or "verdict" not in {label["key"] for label in each["labels"]}


def test_a_name_means_one_thing_in_all_templates() -> None:
    """Argo refuses a metric whose help or kind differs from an earlier one's of that name."""
    meanings = defaultdict(set)
    for each in everything():
        keys = tuple(label["key"] for label in each["labels"])
        meanings[each["name"]].add((each["help"], "gauge" in each, keys))
        assert re.fullmatch(r"tiphys_[a-z_]+", each["name"]) and each["help"].endswith(".")
        assert each["name"].endswith("_total") == ("counter" in each)
        assert keys[:2] == ("cluster_namespace", "cluster")
    assert {name: found for name, found in meanings.items() if len(found) > 1} == {}


def test_no_label_grows_with_the_runs() -> None:
    for each in everything():
        for label in each["labels"]:
            assert "workflow.name}}" not in label["value"] and "uid" not in label["value"]
            assert label["key"] in {"cluster_namespace", "cluster", "runbook", "fault", "verdict", "phase", "severity"}


def test_the_same_series_is_told_once_by_a_run() -> None:
    for name in specs():
        seen = [(each["name"], tuple(label["value"] for label in each["labels"])) for each in told(name)]
        assert len(set(seen)) == len(seen), name


def asked(expressions: list[str]) -> dict[str, set[str]]:
    """Return which labels are asked of which metric."""
    found: dict[str, set[str]] = {}
    for expression in expressions:
        matches = NAME.findall(expression)
        assert len(matches) == expression.count(PREFIX), expression
        grouped = {label for group in re.findall(r"by \((.*?)\)", expression) for label in group.split(", ")}
        for name, selector in matches:
            selected = {part.split("=")[0].rstrip("!") for part in selector.split(", ") if part}
            found.setdefault(name, set()).update(grouped | selected)
    return found


def test_the_dashboard_shows_what_is_told_and_nothing_else() -> None:
    made = json.loads(dashboard())
    shown = asked([target["expr"] for panel in made["panels"] for target in panel["targets"]])
    assert set(shown) == set(labels())
    for name, wanted in shown.items():
        assert wanted <= labels()[name], name
    legends = [target["legendFormat"] for panel in made["panels"] for target in panel["targets"]]
    for panel in made["panels"]:
        for target in panel["targets"]:
            (name, *_) = NAME.findall(target["expr"])[0]
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels()[name]
    assert any(legends)
    for variable in made["templating"]["list"][1:]:
        assert variable["definition"].split(", ")[1].rstrip(")") in labels()["tiphys_runs_total"]


def test_the_first_run_of_its_kind_is_counted() -> None:
    """Seen on a real Prometheus: `increase` alone showed 0 for each run that was the only one of its kind."""
    asked_for = [target["expr"] for panel in json.loads(dashboard())["panels"] for target in panel["targets"]]
    counted = [each for each in asked_for if "_total" in each]
    assert len(counted) == 3
    for each in counted:
        selector = re.escape(re.findall(r"increase\((\S+\{.*?\})\[\$__range\]\)", each)[0])
        first = rf"\(min_over_time\({selector}\[\$__range\]\) unless {selector} offset \$__range\)"
        grown = rf"round\(increase\({selector}\[\$__range\]\)\)"
        assert re.search(rf"\(\({grown} \+ {first}\) or {first} or {grown}\)$", each), each


def test_alerts_ask_for_what_is_told() -> None:
    for name, wanted in asked([each.expression for each in ALERTS]).items():
        assert wanted <= labels()[name]


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(dashboard())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and at["x"] + at["w"] <= 24
        taken |= cells
    wrapped = json.loads(dashboard([Panel("one", "stat", [], width=16), Panel("two", "stat", [], width=12)]))
    assert [panel["gridPos"]["y"] for panel in wrapped["panels"]] == [0, 8]
    assert len({panel.title for panel in PANELS}) == len(PANELS)


def test_a_query_of_what_nobody_tells_is_refused() -> None:
    with pytest.raises(ValueError, match="tiphys_rto"):
        series("tiphys_rto")
    with pytest.raises(ValueError, match="no label pod"):
        series("tiphys_lost_writes", pod='="x"')


def test_the_page_lists_every_metric_and_alert() -> None:
    page = metrics_page()
    assert [name for name in labels() if f"| `{PREFIX}{name}` |" not in page] == []
    assert [each.name for each in ALERTS if f"| `{each.name}` |" not in page] == []
