"""The docs page of the metrics: the table, where they come from, the dashboard and the alerts."""

from __future__ import annotations

from tiphys.monitoring.alerts import ALERTS
from workflows.metrics import METRICS

PAGE = "../../docs/metrics.md"
"""Where the page is, seen from the folder of the rendered manifests."""

_HEAD = """\
<!-- Rendered by `tiphys render` from workflows/metrics.py and tiphys/monitoring; change those, not this page. -->
# Metrics, dashboard and alerts

Argo's controller tells Prometheus these numbers at the end of each run, under the names below, at port 9090, path
`/metrics` (by default over TLS with a certificate that the controller makes itself). Argo's own install has no Service
for it; one is made by

    kubectl -n argo expose deployment workflow-controller --name=workflow-controller-metrics --port=9090

and Prometheus has to be told to scrape it. Every metric has the labels `cluster_namespace` and `cluster`, and never the
name of a run.
"""

_TAIL = """\
`runbook` is the template's name. `fault` is that of the drill, `drain-node` for `node-drain-drill`, and `none` for the
others. `phase` is Succeeded, Failed or Error. What a run did not find out it does not tell: a dry run has no downtime,
a drill that is INVALID or ABORTED has none of its fault, a backup of only some schemas is no full backup.

## What to know

- **The controller forgets its metrics when it starts again**, and tells each again after the next run of its kind. So
  moments (`_timestamp_seconds`) are read with `last_over_time`, and counters with `increase`. With `metricsTTL` in the
  controller's settings it also forgets what is older than that: leave it unset, or longer than a week.
- `increase` does not see a counter's first value: the first run of a kind, and the first after a start of the
  controller, is missing in it. The dashboard adds it.
- Only runs of these templates are told. What `check-all-clusters` finds each hour is in its artifact `metrics.prom`.
- The local platform has no metrics: it takes the templates and leaves them out.

## Seen

Prometheus 2.42 scraped the controller of Argo Workflows 4.1.2 on the cluster of [this page](argo.md), after failover
drills (one PASS, one stopped), dry runs of drains, backups, restores and checks. All 17 queries of the dashboard and
the 5 alerts are taken and evaluate without an error; `promtool check rules` takes the alerts. Lost writes, time without
writes, verdicts, runs, findings, health and a backup's age, size and duration had data; `TiphysClusterCritical` fired
for the three critical findings that there were. No game day and no verification had run there, so their panels had
none.

## Dashboard

`manifests/grafana/tiphys.json`: import it in Grafana 12 (Dashboards, New, Import) and choose the Prometheus. It shows
the last verdicts, the time without writes by fault, lost writes, age, size and duration of backups, when one was last
restored, runs and failures, game days, and what `check-cluster` found. A test holds it and the table above together:
no panel asks for a metric or a label that no template tells, and none is told that no panel shows. No Grafana was to be
had for a look at it: Grafana's own Foundation SDK reads it, and writes all of it back but the `definition` of the two
choices, which its model lacks.

## Alerts

`manifests/examples/prometheus-rule.yaml`, for the Prometheus Operator; give it the labels that yours selects rules by.
A cluster that never had a backup has no series: alert on its absence for those that must have one.
"""


def metrics_page() -> str:
    """Return the page in Markdown."""
    lines = [_HEAD, "| metric | kind | further labels | meaning | told by |", "| --- | --- | --- | --- | --- |"]
    for name in dict.fromkeys(each.name for each in METRICS):
        rows = [each for each in METRICS if each.name == name]
        first = rows[0]
        kind = "counter" if first.counts else "gauge"
        labels = ", ".join(f"`{label}`" for label in first.all_labels[2:])
        runbooks = sorted({runbook for each in rows for runbook in each.runbooks})
        told = ", ".join(f"`{runbook}`" for runbook in runbooks) or "every runbook of a cluster"
        lines.append(f"| `{first.seen_as}` | {kind} | {labels} | {first.help} | {told} |")
    alerts = ["| alert | severity | when |", "| --- | --- | --- |"]
    alerts += [f"| `{each.name}` | {each.severity} | {each.when} |" for each in ALERTS]
    return "\n".join([*lines, "", _TAIL, *alerts]) + "\n"
