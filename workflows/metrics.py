"""What Argo's controller tells Prometheus at the end of each run: one table for the templates, dashboard and page.

All metrics are of the workflow, not of a step: a step that is tried again would count twice, and the late report of a
stopped run comes from its exit handler. Argo replaces what stands in braces before it looks at `when`, and notes a
MetricsError in the run for each name that is not there: so results are read by expressions that take their absence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hera.workflows import Counter, Gauge
from hera.workflows.models import MetricLabel

PREFIX = "argo_workflows_"
"""Argo puts it before the name of every metric that Prometheus reads."""


def _result(name: str) -> str:
    """Return an expression for a result of the run; the empty text where there is none."""
    return f"(workflow.outputs?.parameters?.['{name}'] ?? '')"


def _at_end(expression: str) -> str:
    """Return a value that is computed at the run's end: before that there is no `status`, and Argo leaves it alone."""
    return f"{{{{=status == '' ? '' : {expression}}}}}"


VERDICT = _result("verdict")
NOW = "string(now().Unix())"
DRILLS = ("failover-drill", "node-drain-drill")
JUDGED = (*DRILLS, "game-day", "verify-backup")
MEASURED = (*DRILLS, "rolling-restart", "switch-primary", "upgrade-cluster")

_FAULTS = {"failover-drill": "{{workflow.parameters.fault}}", "node-drain-drill": "drain-node"}
_LABELS = {
    "cluster_namespace": "{{workflow.namespace}}",
    "cluster": "{{workflow.parameters.cluster}}",
    "phase": "{{status}}",
    "verdict": _at_end(VERDICT),
}


@dataclass(frozen=True)
class Metric:
    """One metric, in the templates that tell it.

    Attributes:
        name: as written in the templates.
        help: what it says, for people; Prometheus takes one for each name.
        value: Argo expression (of the expr language) at the run's end; text of a number, or "" where there is none.
        when: expression of whether there is something to tell.
        runbooks: names of the templates; none for all that have a cluster.
        labels: those that are known at the run's end, beside cluster_namespace and cluster.
        fixed: labels with a value of their own.
        counts: whether it is added up (a counter) or takes the last run's place (a gauge).
    """

    name: str
    help: str
    value: str
    when: str = "true"
    runbooks: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    counts: bool = False

    @property
    def all_labels(self) -> tuple[str, ...]:
        """Names of its labels, in their order."""
        return ("cluster_namespace", "cluster", *self.labels, *self.fixed)

    @property
    def seen_as(self) -> str:
        """Its name in Prometheus."""
        return PREFIX + self.name


def _told(name: str, help: str, result: str, *runbooks: str, **more: object) -> Metric:
    """Return a gauge of a result, told where the run has that result."""
    given = _result(result)
    return Metric(name, help, given, f"{given} != ''", runbooks, **more)  # type: ignore[arg-type]


_WHERE = ("runbook", "fault")
_DOWNTIME = "Longest time without an acknowledged write in the last run that told it, in seconds."
_LOST = "Acknowledged writes that were missing after the last run that told it."
_FINDINGS = "Findings of the last check-cluster, by severity."
_STARTED = "When the last full backup that succeeded was begun, in seconds since 1970."
_BYTES = "Bytes of the last full backup in the bucket."
_SECONDS = "Seconds that the last full backup took."

_NAMED_ALL = "workflow.parameters.include == '' && workflow.parameters.exclude == ''"
_BEGUN = f"{_result('seconds')} == '' ? '' : string(now().Unix() - int(float({_result('seconds')})))"


def _backup(name: str, help: str, value: str) -> tuple[Metric, Metric]:
    """Return a metric of a backup of the whole cluster, whichever template made it."""
    made = f"{_result('bytes')} != '' && {_result('seconds')} != ''"
    return (
        Metric(name, help, value, f"{made} && {_NAMED_ALL}", ("backup",)),
        Metric(name, help, value, made, ("upgrade-cluster",)),
    )


METRICS = (
    Metric("tiphys_runs_total", "Runs that came to an end.", "'1'", labels=("runbook", "phase"), counts=True),
    Metric(
        "tiphys_verdicts_total",
        "Verdicts that runs came to: PASS, FAIL, INVALID or ABORTED.",
        "'1'",
        f"{VERDICT} != ''",
        JUDGED,
        (*_WHERE, "verdict"),
        counts=True,
    ),
    Metric(
        "tiphys_verdict_timestamp_seconds",
        "When a run last came to this verdict, in seconds since 1970.",
        NOW,
        f"{VERDICT} != ''",
        JUDGED,
        (*_WHERE, "verdict"),
    ),
    # A drill that is INVALID or ABORTED has measured something else than its fault.
    Metric(
        "tiphys_write_downtime_seconds",
        _DOWNTIME,
        _result("write-downtime-seconds"),
        f"{VERDICT} in ['PASS', 'FAIL'] && {_result('write-downtime-seconds')} != ''",
        DRILLS,
        _WHERE,
    ),
    _told(
        "tiphys_write_downtime_seconds", _DOWNTIME, "write-downtime-seconds", *MEASURED[len(DRILLS) :], labels=_WHERE
    ),
    _told("tiphys_lost_writes", _LOST, "lost-writes", *MEASURED, labels=_WHERE),
    _told("tiphys_game_day_score", "Score of the last game day, 0 to 100.", "score", "game-day"),
    _told(
        "tiphys_game_day_regressions",
        "Drills of the last game day in which writes stopped for clearly longer than before.",
        "regressions",
        "game-day",
    ),
    *_backup("tiphys_backup_timestamp_seconds", _STARTED, _BEGUN),
    *_backup("tiphys_backup_bytes", _BYTES, _result("bytes")),
    *_backup("tiphys_backup_duration_seconds", _SECONDS, _result("seconds")),
    Metric(
        "tiphys_backup_verified_timestamp_seconds",
        "When a backup was last restored and found whole, in seconds since 1970.",
        NOW,
        f"{VERDICT} == 'PASS' && workflow.parameters.mode == 'full'",
        ("verify-backup",),
    ),
    _told(
        "tiphys_backup_rto_seconds",
        "Seconds from asking for a cluster to usable data, in the last verification that came so far.",
        "rto-seconds",
        "verify-backup",
    ),
    _told(
        "tiphys_backup_rpo_seconds",
        "Age of what the backup held when its last verification began, in seconds.",
        "rpo-seconds",
        "verify-backup",
    ),
    _told(
        "tiphys_cluster_health",
        "Worst finding of the last check-cluster: 0 ok, 1 warning, 2 critical.",
        "health-level",
        "check-cluster",
    ),
    *(
        _told("tiphys_cluster_findings", _FINDINGS, result, "check-cluster", fixed={"severity": severity})
        for severity, result in (("critical", "critical"), ("warning", "warnings"), ("unknown", "unknown"))
    ),
    _told(
        "tiphys_cluster_members_online",
        "Members that were ONLINE at the last check-cluster.",
        "members-online",
        "check-cluster",
    ),
)
"""All of them; a name stands more than once where templates tell it by different rules or labels."""


def of(runbook: str) -> list[Counter | Gauge]:
    """Return the metrics of a template that has a parameter `cluster`."""
    return [_written(each, runbook) for each in METRICS if not each.runbooks or runbook in each.runbooks]


def _written(metric: Metric, runbook: str) -> Counter | Gauge:
    known = {**_LABELS, "runbook": runbook, "fault": _FAULTS.get(runbook, "none"), **metric.fixed}
    labels = [MetricLabel(key=key, value=known[key]) for key in metric.all_labels]
    when = None if metric.when == "true" else f"{{{{=status != '' && {metric.when}}}}}"
    if metric.counts:
        return Counter(name=metric.name, help=metric.help, labels=labels, when=when, value=metric.value.strip("'"))
    value = _at_end(metric.value)
    return Gauge(name=metric.name, help=metric.help, labels=labels, when=when, realtime=False, value=value)
