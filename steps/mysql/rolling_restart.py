"""Step rolling-restart: every server of a cluster once, one after another, the primary last and as a secondary."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import click

from steps.declare import option, parameter, step, target_options
from steps.drill import intent
from steps.drill.measure import told_to_stop
from steps.drill.options import dry_run as dry_run_option
from steps.drill.options import workflow as workflow_option
from steps.errors import BadParameters, Refused, StepError, Temporary
from steps.kube import client
from steps.kube.client import Kube, Object
from steps.log import log
from steps.mysql.connection import Credentials, root_credentials
from steps.mysql.restart import Progress, identities, restart, weights
from steps.mysql.restart_plan import Method, Plan, Wish, life_of, moment, plan, risks
from steps.mysql.waiting import Sight, look
from steps.parameters import Text

NAME = "rolling-restart"
"""Also what stands in its note on the cluster in place of a fault."""

MOMENT = Text("a time such as 2026-11-21T19:30:00Z", "0-9TZ:.+-", 35, first="0-9", last="0-9Z")


@dataclass(frozen=True)
class Rolled:
    """What rolling-restart tells."""

    restarted: str = parameter("Pods that were restarted, in that order, separated by commas.", is_global=True)
    new_primary: str = parameter("Pod of the primary at the end.", is_global=True)
    since: str = parameter(
        "When this run began: after a failure, run it again with this value and it goes on where it stopped.",
        is_global=True,
    )
    summary: str = parameter("What was done, or would be, for people.", is_global=True)


@dataclass
class Story:
    """What a run has done so far, for its outputs and its summary.

    Attributes:
        cluster: its name.
        plan: what was planned.
        began: when.
        done: every server restarted and every switch, in order.
    """

    cluster: str
    plan: Plan
    began: datetime
    done: list[Progress] = field(default_factory=list)

    def tell(self, progress: Progress) -> None:
        """Log a progress, and remember what was finished."""
        details = {"number": f"{progress.number}/{progress.of}"} if progress.number else {}
        took = {"seconds": round(progress.seconds, 2)} if progress.seconds else {}
        log(progress.kind, pod=progress.pod, was=progress.was, **details, **took)
        if progress.kind in ("restarted", "switched"):
            self.done.append(progress)

    @property
    def restarted(self) -> list[str]:
        """Pods that were restarted."""
        return [one.pod for one in self.done if one.kind == "restarted"]

    def summary(self) -> str:
        """Return lines of at most 56 columns."""
        of = len(self.plan.order)
        lines = [f"{self.cluster}: {len(self.restarted)} of {of} restarted (method {self.plan.method})"]
        for one in self.done:
            what = f"{one.pod} restarted ({one.was})" if one.kind == "restarted" else f"primary {one.was} -> {one.pod}"
            lines.append(f"  {what:<42} {one.seconds:7.1f} s")
        return "\n".join(lines)


@step(NAME)
@target_options
@workflow_option
@option(
    "--method",
    type=click.Choice([each.value for each in Method]),
    default=Method.POD.value,
    help="What is restarted: pod evicts each pod, so that a changed ConfigMap or pod template takes effect; server "
    "ends only mysqld in it, which is enough for SET PERSIST_ONLY.",
)
@option(
    "--since",
    type=MOMENT,
    default=None,
    help="Leave members alone that were restarted at this time or later, as the output since of a run that failed "
    "says; empty restarts all.",
)
@option(
    "--member-timeout-seconds",
    type=click.IntRange(0, 7200),
    default=0,
    help="How long one member may take from its end until it is in step; 0 derives it from its pod: the grace period "
    "and 600 s.",
)
@dry_run_option
def rolling_restart(
    namespace: str,
    cluster: str,
    workflow: str,
    method: str,
    since: str | None,
    member_timeout_seconds: int,
    dry_run: bool,
) -> Rolled:
    """Restart every server of a cluster: secondaries first, then the primary, once another member has taken over.

    Each must be ONLINE and in step before the next goes. Stops, and leaves the cluster serving, where a member does not
    come back or the quorum would be at risk.
    """
    stop_reason = told_to_stop()
    kube = client.connect(namespace)
    found = kube.cluster(cluster)
    credentials = root_credentials(kube, found)
    sight = look(kube, cluster, credentials)
    wish, began, resumed = _wish(found, workflow, Method(method), parsed(since), member_timeout_seconds)
    lives = [life_of(pod) for pod in sight.servers]
    made = plan(lives, sight.topology, weights(sight.topology, credentials), wish)
    story = Story(cluster, made, began)
    log("plan", cluster=cluster, plan=str(made), began=text(began), taken_up=resumed)
    against = [] if resumed else refusals(sight, workflow)
    if dry_run:
        return _outputs(kube, credentials, story, told(made, against, cluster))
    if against:
        raise Refused(f"Refused, nothing was changed: {'; '.join(against)}.")
    if not resumed:
        known = identities({life.pod: life for life in lives if life.pod in made.order}, wish.method)
        wish = Wish(wish.method, wish.since, wish.seconds, known)
        before = {"began": text(began), "method": method, "servers": known}
        intent.write(kube, cluster, intent.Intent(workflow, NAME, intent.now(), before, _expiry(made)))
    try:
        restart(kube, cluster, credentials, wish, workflow=workflow, on_progress=story.tell, stop_reason=stop_reason)
    except Temporary:
        raise  # the note stays: tried again, this run is taken up where it was
    except StepError as error:
        _clear(kube, cluster, workflow)
        error.args = (f"{error} To go on afterwards, run {NAME} again with since={text(began)}.",)
        error.outputs = _outputs(kube, credentials, story)
        raise
    _clear(kube, cluster, workflow)
    return _outputs(kube, credentials, story)


def _wish(
    cluster: Object, workflow: str, method: Method, since: datetime | None, seconds: int
) -> tuple[Wish, datetime, bool]:
    """Return what is asked for, when the run began, and whether it is one that was cut off before."""
    noted = intent.read(cluster)
    began = moment(datetime.now(UTC))
    if noted is None or noted.workflow != workflow or noted.fault != NAME:
        return Wish(method, since, seconds), began, False
    known = {str(pod): str(identity) for pod, identity in (noted.before.get("servers") or {}).items()}
    return Wish(method, since, seconds, known), parsed(str(noted.before.get("began", ""))) or began, True


def refusals(sight: Sight, workflow: str) -> list[str]:
    """Return every reason not to begin now."""
    noted = intent.read(sight.cluster)
    name = str(sight.cluster["metadata"]["name"])
    other = noted is not None and noted.workflow != workflow
    return ([intent.another_drill(name, noted)] if other and noted else []) + risks(sight.topology, sight.servers)


def told(made: Plan, against: list[str], cluster: str) -> str:
    """Return what a dry run says."""
    if against:
        return f"dry run: nothing was changed. It would be refused: {'; '.join(against)}"
    return f"dry run: nothing was changed. This would do on {cluster}: {made}"


def parsed(when: str | None) -> datetime | None:
    """Return the time that a text says; None for no text.

    Raises:
        BadParameters: it is none, or has no time zone.
    """
    if not when:
        return None
    try:
        made = datetime.fromisoformat(when)
    except ValueError:
        made = None
    if made is None or made.tzinfo is None:
        raise BadParameters(f"since: {when!r} is no time with a zone; give one such as 2026-11-21T19:30:00Z")
    return made


def text(when: datetime) -> str:
    """Return a time as it is told and noted."""
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _expiry(made: Plan) -> str:
    if os.environ.get("TIPHYS_WORKFLOW"):
        return ""
    seconds = 600 + sum(made.seconds.values())
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def _clear(kube: Kube, cluster: str, workflow: str) -> None:
    """Take the note off; what cannot be done now is done by the exit handler, or by reap."""
    try:
        found = kube.cluster(cluster)
        noted = intent.read(found)
        if noted is not None and noted.workflow == workflow:
            intent.remove(kube, cluster, workflow)
    except StepError as error:
        log("note-left", cluster=cluster, why=str(error))


def _outputs(kube: Kube, credentials: Credentials, story: Story, summary: str = "") -> Rolled:
    try:
        primary = look(kube, story.cluster, credentials).topology.primary
    except StepError:  # the outputs of a run that failed are worth having without it
        primary = None
    lines = summary or story.summary()
    return Rolled(",".join(story.restarted), primary.pod if primary else "", text(story.began), lines)
