"""PromQL over the pack's metrics, which refuses names and labels that no template tells."""

from __future__ import annotations

from workflows.metrics import METRICS

CLUSTER = ("cluster_namespace", "cluster")
KEPT = "30d"
"""How far back the last value of a moment is looked for: Argo's controller forgets all metrics when it starts again."""

LABELS: dict[str, frozenset[str]] = {}
"""Labels by the name of each metric in Prometheus."""
for _each in METRICS:
    LABELS[_each.seen_as] = LABELS.get(_each.seen_as, frozenset()) | frozenset(_each.all_labels)


def series(name: str, **wanted: str) -> str:
    """Return a selector.

    Args:
        name: of the metric, as the table has it.
        wanted: operator and value by label, such as ``verdict='="FAIL"'``.

    Raises:
        ValueError: no template tells such a metric, or not with such a label.
    """
    known = [each for each in METRICS if each.name == name]
    if not known:
        raise ValueError(f"metric {name!r} is not in workflows/metrics.py")
    if strange := sorted(set(wanted) - LABELS[known[0].seen_as]):
        raise ValueError(f"metric {name} has no label {', '.join(strange)}")
    chosen = ", ".join(f"{label}{value}" for label, value in wanted.items())
    return f"{known[0].seen_as}{{{chosen}}}" if chosen else known[0].seen_as


def most(expression: str, *labels: str) -> str:
    """Return the largest by cluster and `labels`: a controller's old and new pod both have a series for a while."""
    return f"max by ({', '.join((*CLUSTER, *labels))}) ({expression})"


def latest(selector: str, *labels: str) -> str:
    """Return the latest of moments (they only grow), also where the controller was started again since."""
    return most(f"last_over_time({selector}[{KEPT}])", *labels)


def added(selector: str, lasting: str) -> str:
    """Return what counters have gone up by, each series' first value as well where it began within `lasting`.

    Argo's controller has no counter before its first run, and `increase` sees nothing in a first value: a run that is
    the only one of its kind, or the first after a start of the controller, would not be counted.
    """
    grown = f"round(increase({selector}[{lasting}]))"
    first = f"(min_over_time({selector}[{lasting}]) unless {selector} offset {lasting})"
    return f"({grown} + {first}) or {first} or {grown}"
