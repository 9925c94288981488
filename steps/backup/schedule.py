"""Step `start-for-clusters`: one run of a template for each cluster that has opted in, as a schedule wants it.

A schedule cannot name a target, so it starts this step, which finds the InnoDBClusters whose label asks for it
(``tiphys.dev/backups: "on"``, ``tiphys.dev/game-day: "on"``) and creates a Workflow for each. It does not wait for
them: they wait for their cluster's lock and for each other by themselves, and a run that fails is a failed Workflow of
its own. What nobody would notice is a run that never was, so this step fails where one could not be started, and where
a cluster's newest good backup, or proof, is too old.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import click

from steps.backup.catalogue import FAIL, PASS, Backup, Catalogue, moment, read_catalogue
from steps.backup.objects import Bucket
from steps.declare import option, parameter, step
from steps.errors import BadParameters, StepError, Temporary
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict
from steps.log import log
from steps.mysql.definition import BACKUPS_LABEL, GAME_DAY_LABEL, SCRATCH_LABEL
from steps.parameters import NAMESPACE_NAME, OBJECT_NAME

BACKUP, VERIFY, PRUNE, GAME_DAY = "backup", "verify-backup", "prune-backups", "game-day"
OPT_IN = {BACKUP: BACKUPS_LABEL, VERIFY: BACKUPS_LABEL, PRUNE: BACKUPS_LABEL, GAME_DAY: GAME_DAY_LABEL}
"""Label of an InnoDBCluster whose value "on" asks for regular runs of a template."""

FIXED: Mapping[str, Mapping[str, str]] = {
    BACKUP: {},
    VERIFY: {"backup": "latest"},
    PRUNE: {"dry-run": "false"},
    GAME_DAY: {"dry-run": "false"},
}
"""What a scheduled run is given besides its cluster. A person's prune is a dry run first; a schedule's is not."""

SCHEDULED_TIME = "workflows.argoproj.io/scheduled-time"
"""Annotation that Argo gives to a CronWorkflow's run."""

TRIGGER_LABEL, CLUSTER_LABEL, TEMPLATE_LABEL = "tiphys.dev/trigger", "tiphys.dev/cluster", "tiphys.dev/template"
TTL = {"secondsAfterSuccess": 7 * 86400, "secondsAfterFailure": 30 * 86400}
"""How long a run that has ended is kept in the list of runs."""

FAILED = ("Failed", "Error")


@dataclass(frozen=True)
class Started:
    """What was started."""

    clusters: int = parameter("Clusters that have opted in.")
    started: int = parameter("Runs that were started now.")
    runs: str = parameter("Names of the runs, those that were there already too.")


class NotAllWell(StepError):
    """A run could not be started, or a cluster has no good backup that is young enough."""


@step("start-for-clusters")
@option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace of the clusters.")
@option("--workflow", required=True, type=OBJECT_NAME, help="The run of the schedule; its time is in the runs' names.")
@option("--template", required=True, type=click.Choice(list(OPT_IN)), help="What to run.")
@option(
    "--max-age-hours",
    type=click.IntRange(0, 24 * 400),
    default=0,
    help="Fail where a cluster's newest good backup (verify-backup: its newest PASS) is older. 0 does not look.",
)
def start_for_clusters(namespace: str, workflow: str, template: str, max_age_hours: int) -> Started:
    """Start a run for each cluster that has opted in; fail where one cannot be started.

    Labels tiphys.dev/backups: "on" and tiphys.dev/game-day: "on" opt in.

    Its parameters are the template's own, changed by the cluster's annotation tiphys.dev/TEMPLATE, such as
    exclude=logs.* on tiphys.dev/backup.
    """
    from steps.kube import client

    kube = client.connect(namespace)
    label = OPT_IN[template]
    clusters = opted_in(kube.all("innodbclusters", f"{label}=on"), label)
    if not clusters:
        log("no cluster has opted in", label=f'{label}: "on"', namespace=namespace)
        return Started(0, 0, "")
    manifest = kube.get("workflowtemplates", template)
    day = day_of(kube.find("workflows", workflow))
    problems, names, made, passing = list[str](), list[str](), 0, True
    for cluster in clusters:
        try:
            wanted = run_for(manifest, cluster, day)
            names.append(str(wanted["metadata"]["name"]))
            made += start(kube, wanted)
        except StepError as error:
            passing = passing and isinstance(error, Temporary)
            problems.append(f"{cluster['metadata']['name']}: {error}")
            log("not started", cluster=cluster["metadata"]["name"], why=str(error))
    started = Started(len(clusters), made, " ".join(names))
    if problems and passing:
        raise Temporary(" ".join(problems), outputs=started)  # tried again, it starts what is still missing
    if max_age_hours and template != GAME_DAY:
        problems += _too_old(kube, clusters, template, timedelta(hours=max_age_hours), set(names))
    if problems:
        raise NotAllWell(" ".join(problems), outputs=started)
    return started


def opted_in(clusters: Sequence[Object], label: str = BACKUPS_LABEL) -> list[Object]:
    """Return the clusters that have opted in by a label, are not being deleted, and are nobody's scratch cluster."""
    found = []
    for cluster in clusters:
        labels = cluster["metadata"].get("labels") or {}
        if labels.get(label) == "on" and SCRATCH_LABEL not in labels:
            if cluster["metadata"].get("deletionTimestamp"):
                log("left out", cluster=cluster["metadata"]["name"], why="it is being deleted")
            else:
                found.append(cluster)
    return found


def day_of(workflow: Object | None) -> str:
    """Return the day of a schedule's run as ``YYYYMMDD``: of the time that it was due, however late it is tried."""
    meta = (workflow or {}).get("metadata") or {}
    due = (meta.get("annotations") or {}).get(SCHEDULED_TIME) or meta.get("creationTimestamp")
    return f"{moment(str(due)) if due else datetime.now(UTC):%Y%m%d}"


def run_for(template: Object, cluster: Object, day: str) -> Object:
    """Return the Workflow of one cluster for one day: always the same name, so that trying again makes no second one.

    Raises:
        BadParameters: the cluster's annotation names a parameter that the template does not have.
    """
    name, target = str(template["metadata"]["name"]), str(cluster["metadata"]["name"])
    values = {**own_parameters(template, cluster), **FIXED[name], "cluster": target}
    labels = {
        "app.kubernetes.io/part-of": "tiphys",
        TRIGGER_LABEL: "schedule",
        CLUSTER_LABEL: target,
        TEMPLATE_LABEL: name,
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": f"{name}-{target}-{day}", "labels": labels},
        "spec": {
            "workflowTemplateRef": {"name": name},
            "arguments": {"parameters": [{"name": key, "value": value} for key, value in sorted(values.items())]},
            "ttlStrategy": dict(TTL),
        },
    }


def own_parameters(template: Object, cluster: Object) -> dict[str, str]:
    """Return the parameters that a cluster's annotation ``tiphys.dev/TEMPLATE`` sets: ``name=value`` words.

    Argo takes a name that a template does not have without a word, so it is looked up here. Of prune-backups the step
    reads the annotation itself, so that a person's run has the same rules.

    Raises:
        BadParameters: it is not of this form, or names another parameter.
    """
    name = str(template["metadata"]["name"])
    key = f"tiphys.dev/{name}"
    text = str((cluster["metadata"].get("annotations") or {}).get(key) or "")
    if name == PRUNE or not text:
        return {}
    known = [str(one["name"]) for one in template["spec"].get("arguments", {}).get("parameters") or []]
    free = [one for one in known if one not in ("cluster", *FIXED[name])]
    found: dict[str, str] = {}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise BadParameters(
            f"its annotation {key} cannot be read: {error}; expected words such as name=value"
        ) from error
    for word in words:
        parameter_name, equals, value = word.partition("=")
        if not equals or parameter_name not in free:
            raise BadParameters(
                f"its annotation {key} has {word!r:.80}; expected name=value with one of {', '.join(free)}"
            )
        found[parameter_name] = value
    return found


def start(kube: Kube, run: Object) -> int:
    """Create a run; return 0 where it is there already, 1 where it was made.

    Raises:
        NotAllWell: the run of this day is there and has failed, or another run has its name.
    """
    name = str(run["metadata"]["name"])
    try:
        kube.create("workflows", run)
    except Conflict:
        there = kube.get("workflows", name)
        marks = there["metadata"].get("labels") or {}
        if any(marks.get(label) != value for label, value in run["metadata"]["labels"].items()):
            # A webhook's caller chooses the end of a run's name: it must not make an occasion go by in silence.
            raise NotAllWell(
                f"this day's run was not started: there is a run {name} that no schedule made "
                f"({TRIGGER_LABEL}={marks.get(TRIGGER_LABEL)!r}), see `tiphys logs {name}`; {_by_hand(run)}."
            ) from None
        phase = str((there.get("status") or {}).get("phase") or "Pending")
        log("there already", run=name, phase=phase)
        if phase in FAILED:
            raise NotAllWell(f"this day's run {name} has failed; see `tiphys logs {name}`, {_by_hand(run)}.") from None
        return 0
    log("started", run=name)
    return 1


def _by_hand(run: Object) -> str:
    given = " ".join(f"-p {p['name']}={p['value']}" for p in run["spec"]["arguments"]["parameters"])
    return f"then `tiphys submit {run['spec']['workflowTemplateRef']['name']} {given}`"


def _too_old(kube: Kube, clusters: Sequence[Object], template: str, limit: timedelta, runs: set[str]) -> list[str]:
    bucket = Bucket.from_environment(connections=32)
    try:
        catalogue = read_catalogue(bucket, leftovers=False)
    finally:
        bucket.close()
    found = []
    for cluster in clusters:
        name, namespace = str(cluster["metadata"]["name"]), str(cluster["metadata"]["namespace"])
        before = kube.all("workflows", f"{CLUSTER_LABEL}={name},{TEMPLATE_LABEL}={template}")
        first = not [one for one in before if one["metadata"]["name"] not in runs]
        said = too_old(catalogue, catalogue.latest(name, namespace), template, limit, first)
        log("age", cluster=name, problem=said)
        found += [f"{name}: {said}"] if said else []
    return found


def too_old(catalogue: Catalogue, backups: Sequence[Backup], template: str, limit: timedelta, first: bool) -> str:
    """Return what is wrong with the age of a cluster's newest good backup, or of its newest proof; empty if nothing.

    Args:
        catalogue: when it was looked.
        backups: of one cluster, the newest first.
        template: backup or verify-backup.
        limit: that the age must not exceed.
        first: whether this is the cluster's first scheduled run: then there need not be any yet.
    """
    if template == VERIFY:
        proofs = [one.verification for one in backups if one.verification and one.verdict == PASS]
        at = max((one.at for one in proofs), default=None)
        what, remedy = "verification with PASS", "see what the last ones said: `tiphys backups list`"
    else:
        at = max((one.begin for one in backups if one.verdict != FAIL), default=None)
        what, remedy = "good backup", "see why: `tiphys runs`, `tiphys backups list`"
    if at is None:
        return "" if first else f"it has no {what}; expected one that is younger than {_hours(limit)}; {remedy}."
    age = catalogue.at - at
    return f"its newest {what} is {_hours(age)} old, the limit is {_hours(limit)}; {remedy}." if age > limit else ""


def _hours(time: timedelta) -> str:
    hours = time.total_seconds() / 3600
    return f"{hours:.0f} h" if hours < 72 else f"{hours / 24:.0f} days"
