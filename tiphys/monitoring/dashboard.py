"""The Grafana dashboard: verdicts, time without writes, lost writes, backups and their proof, runs, health."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tiphys.monitoring.queries import added, latest, most, series

PAGE = "../grafana/tiphys.json"
"""Where the dashboard is, seen from the folder of the rendered manifests."""

_HERE = {"cluster_namespace": '=~"$namespace"', "cluster": '=~"$cluster"'}
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_RUN = ("runbook", "fault")


def _of(name: str, **wanted: str) -> str:
    return series(name, **_HERE, **wanted)


@dataclass(frozen=True)
class Panel:
    """A panel: what it is called, how it is drawn, what it asks.

    Attributes:
        title: above it.
        kind: Grafana's type.
        queries: expression and legend of each.
        unit: Grafana's name of the unit.
        width: of 24.
        about: shown at the panel's "i".
        limit: from where on it is red; None for no colours.
        steps: whether a value holds until the next one.
    """

    title: str
    kind: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    width: int = 12
    about: str = ""
    limit: float | None = None
    steps: bool = True


def _since(name: str) -> str:
    return f"time() - {latest(_of(name))}"


def _added(name: str, by: str, **wanted: str) -> str:
    return f"sum by ({by}) ({added(_of(name, **wanted), '$__range')})"


_VERDICTS = latest(_of("tiphys_verdict_timestamp_seconds"), *_RUN, "verdict")

PANELS = (
    Panel(
        "Last verdicts",
        "table",
        [(f"1000 * topk by (cluster_namespace, cluster, runbook, fault) (1, {_VERDICTS})", "")],
        "dateTimeFromNow",
        16,
        "The last verdict of each drill by its fault, of game days and of verifications, and when it was given.",
    ),
    Panel(
        "Lost writes",
        "stat",
        [(most(_of("tiphys_lost_writes"), *_RUN), "{{cluster}} {{runbook}} {{fault}}")],
        width=8,
        about="Acknowledged writes that were missing after the last run of each kind.",
        limit=1,
    ),
    Panel(
        "Time without writes, by fault",
        "timeseries",
        [(most(_of("tiphys_write_downtime_seconds"), *_RUN), "{{cluster}} {{runbook}} {{fault}}")],
        "s",
        about="RTO: the longest time without an acknowledged write. Drills that are INVALID or ABORTED do not count.",
    ),
    Panel(
        "Verdicts in this time range",
        "bargauge",
        [(_added("tiphys_verdicts_total", "runbook, fault, verdict"), "{{runbook}} {{fault}} {{verdict}}")],
    ),
    Panel(
        "Age of the last full backup",
        "timeseries",
        [(_since("tiphys_backup_timestamp_seconds"), "{{cluster}}")],
        "s",
        about="What would be lost if only the backup were left (RPO), up to now.",
        limit=26 * 3600,
        steps=False,
    ),
    Panel(
        "Last proof that a backup restores",
        "timeseries",
        [(_since("tiphys_backup_verified_timestamp_seconds"), "{{cluster}}")],
        "s",
        about="Time since a backup was restored and found whole.",
        limit=8 * 24 * 3600,
        steps=False,
    ),
    Panel(
        "Verified: time to restore (RTO), age of the data (RPO)",
        "timeseries",
        [
            (most(_of("tiphys_backup_rto_seconds")), "{{cluster}} RTO"),
            (most(_of("tiphys_backup_rpo_seconds")), "{{cluster}} RPO"),
        ],
        "s",
    ),
    Panel(
        "Seconds that a full backup takes",
        "timeseries",
        [(most(_of("tiphys_backup_duration_seconds")), "{{cluster}}")],
        "s",
        6,
    ),
    Panel("Size of a full backup", "timeseries", [(most(_of("tiphys_backup_bytes")), "{{cluster}}")], "bytes", 6),
    Panel(
        "Runs in this time range",
        "bargauge",
        [(_added("tiphys_runs_total", "runbook, phase"), "{{runbook}} {{phase}}")],
    ),
    Panel(
        "Failed runs in this time range",
        "bargauge",
        [(_added("tiphys_runs_total", "cluster, runbook", phase='!="Succeeded"'), "{{cluster}} {{runbook}}")],
        limit=1,
    ),
    Panel(
        "Game days",
        "timeseries",
        [
            (most(_of("tiphys_game_day_score")), "{{cluster}} score"),
            (most(_of("tiphys_game_day_regressions")), "{{cluster}} regressions"),
        ],
        width=8,
    ),
    Panel(
        "Findings of check-cluster",
        "timeseries",
        [(most(_of("tiphys_cluster_findings"), "severity"), "{{cluster}} {{severity}}")],
        width=8,
    ),
    Panel(
        "Health and members",
        "timeseries",
        [
            (most(_of("tiphys_cluster_health")), "{{cluster}} health (2 is critical)"),
            (most(_of("tiphys_cluster_members_online")), "{{cluster}} members ONLINE"),
        ],
        width=8,
        about="Of the last check-cluster: 0 ok, 1 warning, 2 critical.",
    ),
)


def dashboard(panels: Sequence[Panel] = PANELS) -> str:
    """Return the dashboard as JSON, as Grafana 12 imports it; the same text for the same panels."""
    drawn: list[dict[str, Any]] = []
    x = y = 0
    for number, panel in enumerate(panels, start=1):
        if x + panel.width > 24:
            x, y = 0, y + 8
        drawn.append({"id": number, "gridPos": {"x": x, "y": y, "w": panel.width, "h": 8}, **_drawn(panel)})
        x += panel.width
    made = {
        "uid": "tiphys",
        "title": "Tiphys: MySQL runbooks",
        "description": "Drills, backups, their proof, and day-2 runbooks. Rendered by `tiphys render`.",
        "tags": ["mysql", "tiphys", "argo-workflows"],
        "schemaVersion": 41,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-30d", "to": "now"},
        "timezone": "utc",
        "annotations": {"list": []},
        "links": [],
        "templating": {"list": [_source(), _choice("namespace", "cluster_namespace"), _choice("cluster", "cluster")]},
        "panels": drawn,
    }
    return json.dumps(made, indent=2) + "\n"


def _source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {}}


def _choice(name: str, label: str) -> dict[str, Any]:
    query = f"label_values({series('tiphys_runs_total')}, {label})"
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def _drawn(panel: Panel) -> dict[str, Any]:
    at_once = panel.kind != "timeseries"
    targets = [
        {
            "refId": chr(ord("A") + index),
            "datasource": _SOURCE,
            "expr": expression,
            "legendFormat": legend,
            "instant": at_once,
            "range": not at_once,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for index, (expression, legend) in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "color": {"mode": "palette-classic"}}
    if panel.limit is not None:
        colours = [{"color": "green", "value": None}, {"color": "red", "value": panel.limit}]
        defaults |= {"thresholds": {"mode": "absolute", "steps": colours}, "color": {"mode": "thresholds"}}
    made: dict[str, Any] = {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {},
    }
    if panel.kind == "timeseries":
        shape: dict[str, Any] = {"lineInterpolation": "stepAfter" if panel.steps else "linear", "spanNulls": True}
        if panel.limit is not None:
            shape |= {"thresholdsStyle": {"mode": "line"}}
            defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = shape
        made["options"] = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}}
    elif panel.kind == "table":
        defaults.pop("min")
        order = {name: index for index, name in enumerate(("cluster_namespace", "cluster", *_RUN, "verdict", "Value"))}
        arranged = {
            "excludeByName": {"Time": True},
            "indexByName": order,
            "renameByName": {"cluster_namespace": "namespace", "Value": "given"},
        }
        made["transformations"] = [{"id": "organize", "options": arranged}]
        defaults["mappings"] = []
        made["fieldConfig"]["overrides"] = [_verdict_colours()]
    else:
        defaults["decimals"] = 0
        made["options"] = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
        if panel.kind == "bargauge":
            made["options"] |= {"orientation": "horizontal", "displayMode": "basic"}
    return made


def _verdict_colours() -> dict[str, Any]:
    colours = {"PASS": "green", "FAIL": "red", "INVALID": "orange", "ABORTED": "orange"}
    mapped = {verdict: {"color": colour, "index": index} for index, (verdict, colour) in enumerate(colours.items())}
    return {
        "matcher": {"id": "byName", "options": "verdict"},
        "properties": [
            {"id": "mappings", "value": [{"type": "value", "options": mapped}]},
            {"id": "custom.cellOptions", "value": {"type": "color-text"}},
        ],
    }
