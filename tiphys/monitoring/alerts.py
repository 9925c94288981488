"""The example of alerts: a PrometheusRule on the pack's metrics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tiphys.monitoring.queries import latest, most, series

PAGE = "../examples/prometheus-rule.yaml"
"""Where the rules are, seen from the folder of the rendered manifests."""

_HOUR = 3600
_CRITICAL = '="critical"'
_VERIFIED = "tiphys_verdict_timestamp_seconds"


@dataclass(frozen=True)
class Alert:
    """An alert.

    Attributes:
        name: in CamelCase.
        expression: PromQL.
        severity: warning or critical.
        lasts: how long it must hold.
        when: it fires, for the docs page.
        summary: a line, with Prometheus' own template language.
        action: what to do next.
    """

    name: str
    expression: str
    severity: str
    lasts: str
    when: str
    summary: str
    action: str


def _verdict(verdict: str) -> str:
    return latest(series(_VERIFIED, runbook='="verify-backup"', verdict=f'="{verdict}"'))


ALERTS = (
    Alert(
        "TiphysBackupTooOld",
        f"time() - {latest(series('tiphys_backup_timestamp_seconds'))} > {26 * _HOUR}",
        "critical",
        "10m",
        "The last full backup was begun more than 26 hours ago.",
        "The last full backup of {{ $labels.cluster }} was begun {{ $value | humanizeDuration }} ago.",
        "Look at the last runs of `backup` for this cluster: `tiphys backups`, then `tiphys submit backup`.",
    ),
    Alert(
        "TiphysVerificationFailed",
        f"{_verdict('FAIL')} unless ({_verdict('PASS')} > {_verdict('FAIL')})",
        "critical",
        "0m",
        "The last verification of a backup that came to a judgement is FAIL.",
        "The last verification of a backup of {{ $labels.cluster }} that came to a judgement is FAIL.",
        "Read its report.html; make a new backup and verify that.",
    ),
    Alert(
        "TiphysBackupNotVerified",
        f"time() - {latest(series('tiphys_backup_verified_timestamp_seconds'))} > {8 * 24 * _HOUR}",
        "warning",
        "1h",
        "No backup was restored and found whole for more than eight days.",
        "No backup of {{ $labels.cluster }} was restored and found whole for {{ $value | humanizeDuration }}.",
        "Look at the last runs of `verify-backup` for this cluster.",
    ),
    Alert(
        "TiphysLostWrites",
        f"{most(series('tiphys_lost_writes'), 'runbook', 'fault')} > 0",
        "critical",
        "0m",
        "The last run of its kind lost acknowledged writes.",
        "{{ $labels.runbook }} ({{ $labels.fault }}) on {{ $labels.cluster }} lost {{ $value }} acknowledged writes.",
        "Read the run's report: it names the rows and the members that lack them.",
    ),
    Alert(
        "TiphysClusterCritical",
        f"{most(series('tiphys_cluster_findings', severity=_CRITICAL))} > 0",
        "critical",
        "0m",
        "The last check-cluster has critical findings.",
        "check-cluster has {{ $value }} critical findings on {{ $labels.cluster }}.",
        "Read its report: each finding says what it means and what to run.",
    ),
)


def rule() -> dict[str, Any]:
    """Return the PrometheusRule."""
    rules = [
        {
            "alert": each.name,
            "expr": each.expression,
            "for": each.lasts,
            "labels": {"severity": each.severity},
            "annotations": {"summary": each.summary, "description": each.action},
        }
        for each in ALERTS
    ]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "tiphys", "labels": {"app.kubernetes.io/part-of": "tiphys"}},
        "spec": {"groups": [{"name": "tiphys", "rules": rules}]},
    }
