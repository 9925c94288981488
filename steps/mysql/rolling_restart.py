"""Step rolling-restart: every server of a cluster once, one after another, the primary last and as a secondary."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import click

from steps.declare import option, parameter, step, target_options
from steps.drill import intent
from steps.drill.measure import told_to_stop
from steps.drill.observing import Seen, Writes, watched
from steps.drill.options import app_url as app_url_option
from steps.drill.options import app_verify_tls as app_verify_tls_option
from steps.drill.options import dry_run as dry_run_option
from steps.drill.options import workflow as workflow_option
from steps.errors import BadParameters, Refused, StepError, Temporary, VerdictFail
from steps.kube import client
from steps.kube.client import Kube, Object
from steps.log import log
from steps.mysql.connection import Credentials, root_credentials
from steps.mysql.restart import Progress, identities, restart, weights
from steps.mysql.restart_plan import Method, Plan, Wish, life_of, moment, plan, risks
from steps.mysql.waiting import Sight, look
from steps.parameters import Text
from steps.report.outcome import count

NAME = "rolling-restart"
"""Also what stands in its note on the cluster in place of a fault."""

SWITCH = "switch"
"""What the handing over is called among the things done while clients write; pods have their own names."""

WIDTH = 80
"""Columns of a terminal, which a summary keeps to."""

AHEAD_SECONDS = 60
"""How far ahead of this clock a time may be: a run tells the next whole second, and clocks of nodes differ a little."""

MOMENT = Text("a time such as 2026-11-21T19:30:00Z", "0-9TZ:.+-", 35, first="0-9", last="0-9Z")


@dataclass(frozen=True)
class Rolled:
    """What rolling-restart tells."""

    restarted: str = parameter("Pods that were restarted, in that order, separated by commas.", is_global=True)
    write_downtime_seconds: float | None = parameter(
        "Longest time without an acknowledged write; empty where it was not measured.", is_global=True
    )
    lost_writes: int | None = parameter(
        "Acknowledged writes that are missing on a member; empty where it was not measured.", is_global=True
    )
    app_downtime_seconds: float | None = parameter(
        "The longest time without a good answer of the application; empty where it was not watched.", is_global=True
    )
    in_doubt_writes: int | None = parameter("Writes whose fate their client does not know.", is_global=True)
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
        before: pods that it had restarted before it was cut off and taken up again.
        done: every server restarted and every switch, in order.
        writes: the clients that write meanwhile, or None.
        seen: what they felt, once they have stopped.
        taken_up: whether it was cut off before: what the clients of that try felt is not known.
    """

    cluster: str
    plan: Plan
    began: datetime
    before: tuple[str, ...] = ()
    done: list[Progress] = field(default_factory=list)
    writes: Writes | None = None
    seen: Seen | None = None
    taken_up: bool = False

    def measure(self) -> Seen | None:
        """Stop the clients, and keep what they felt."""
        if self.writes is not None:
            seen = self.writes.finish()
            self.seen = seen.taken_up() if self.taken_up else seen
        return self.seen

    def complete(self) -> None:
        """Count in, once nothing is left to restart, whom the try before had stopped and who came back meanwhile."""
        if self.taken_up:
            self.before += tuple(pod for pod in self.plan.order if pod not in self.done_now)

    def tell(self, progress: Progress) -> None:
        """Log a progress, and remember what was finished."""
        details = {"number": f"{progress.number}/{progress.of}"} if progress.number else {}
        took = {"seconds": round(progress.seconds, 2)} if progress.seconds else {}
        if self.writes is not None and progress.kind in ("restarting", "switching"):
            with self.writes.during(SWITCH if progress.kind == "switching" else progress.pod):
                pass  # it is noted with its beginning, and lasts until the next
        log(progress.kind, pod=progress.pod, was=progress.was, **details, **took)
        if progress.kind in ("restarted", "switched"):
            self.done.append(progress)

    @property
    def restarted(self) -> list[str]:
        """Pods that were restarted."""
        return [*self.before, *self.done_now]

    @property
    def done_now(self) -> list[str]:
        """Pods that were restarted since it was started, or taken up."""
        return [one.pod for one in self.done if one.kind == "restarted"]

    def summary(self) -> str:
        """Return lines of at most `WIDTH` columns."""
        of = len({*self.plan.order, *self.before})
        lines = [f"{self.cluster}: {len(self.restarted)} of {of} restarted (method {self.plan.method})"]
        lines += [f"  {pod} had been restarted before" for pod in dict.fromkeys([*self.plan.done, *self.before])]
        for one in self.done:
            moved = one.kind == "switched"
            what = f"primary {one.was} -> {one.pod}" if moved else f"{one.pod} restarted ({one.was})"
            felt = self.seen.of.get(SWITCH if moved else one.pod) if self.seen else None
            told = f", {felt.longest:6.3f} s without a write" if felt else ""
            lines.append(f"  {what:<40}{one.seconds:6.1f} s{told}")
        return "\n".join(lines + (self.seen.lines() if self.seen else []))


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
@option(
    "--measure",
    type=click.BOOL,
    default=True,
    help="Have clients write through the Router meanwhile, to tell how long writes stopped and whether one was lost.",
)
@app_url_option
@app_verify_tls_option
@dry_run_option
def rolling_restart(
    namespace: str,
    cluster: str,
    workflow: str,
    method: str,
    since: str | None,
    member_timeout_seconds: int,
    measure: bool,
    app_url: str | None,
    app_verify_tls: bool,
    dry_run: bool,
) -> Rolled:
    """Restart every server of a cluster: secondaries first, then the primary, once another member has taken over.

    Each must be ONLINE and in step before the next goes. Stops, and leaves the cluster serving, where a member does not
    come back or the quorum would be at risk.
    """
    after = has_been(parsed(since), datetime.now(UTC))
    stop_reason = told_to_stop()
    kube = client.connect(namespace)
    found = kube.cluster(cluster)
    credentials = root_credentials(kube, found)
    sight = look(kube, cluster, credentials)
    site = watched(kube, cluster, app_url, app_verify_tls, measure=measure)
    wish, began, resumed = _wish(found, workflow, Method(method), after, member_timeout_seconds)
    lives = [life_of(pod) for pod in sight.servers]
    made = plan(lives, sight.topology, weights(sight.topology, credentials), wish)
    story = Story(cluster, made, began, tuple(pod for pod in made.done if pod in wish.known), taken_up=resumed)
    log("plan", cluster=cluster, plan=str(made), began=text(began), taken_up=resumed)
    against = [] if resumed else refusals(sight, workflow, measure=measure)
    planned = _outputs(kube, credentials, story, told(made, against, cluster)) if dry_run else None
    if against:
        raise Refused.because(against, planned)
    if planned is not None:
        return planned
    if not resumed:
        known = identities({life.pod: life for life in lives if life.pod in made.order}, wish.method)
        wish = Wish(wish.method, wish.since, wish.seconds, known)
        before = {"began": text(began), "method": method, "servers": known}
        intent.write(kube, cluster, intent.Intent(workflow, NAME, intent.now(), before, _expiry(made)))
    try:
        if measure:
            story.writes = Writes(kube, cluster, credentials, workflow, site=site, stop_reason=stop_reason)
        with story.writes or nullcontext():
            _measured(kube, cluster, credentials, wish, workflow, story, stop_reason)
    except Temporary:
        raise  # the note stays: tried again, this run is taken up where it was
    except StepError as error:
        intent.try_to_remove(kube, cluster, workflow)
        again = f"To go on afterwards, run {NAME} again with since={text(began)}."
        error.args = (f"{error} {again if len(story.done_now) < len(made.order) else ''}".rstrip(),)
        error.outputs = _outputs(kube, credentials, story)
        raise
    intent.try_to_remove(kube, cluster, workflow)
    return _outputs(kube, credentials, story)


def _measured(
    kube: Kube,
    cluster: str,
    credentials: Credentials,
    wish: Wish,
    workflow: str,
    story: Story,
    stop_reason: Callable[[], str],
) -> None:
    """Restart what is to be restarted; what clients felt is kept also where that fails."""
    try:
        restart(kube, cluster, credentials, wish, workflow=workflow, on_progress=story.tell, stop_reason=stop_reason)
    except StepError as error:
        # Who is told to stop has little time; and the restart's own error matters more than the writes.
        if story.writes is not None and not isinstance(error, Temporary) and not stop_reason():
            with suppress(StepError):
                story.measure()
        raise
    story.complete()
    seen = story.measure()
    if seen is not None and seen.lost:
        lost = count(seen.lost, "acknowledged write")
        raise VerdictFail(
            f"All servers were restarted, and {lost} of the {seen.verification.acknowledged} made meanwhile "
            f"cannot be found on every member. {'; '.join(seen.lines())}. Run check-cluster."
        )


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


def refusals(sight: Sight, workflow: str, *, measure: bool) -> list[str]:
    """Return every reason not to begin now."""
    noted = intent.read(sight.cluster)
    found = risks(sight.topology, sight.servers)
    if noted is not None and noted.workflow != workflow:
        found.append(intent.another_drill(str(sight.cluster["metadata"]["name"]), noted))
    if measure and not sight.ready_routers:
        found.append("no Router is ready, through which clients could write: measure=false does without them")
    return found


def told(made: Plan, against: Sequence[str], cluster: str) -> str:
    """Return what a dry run says, in lines for a terminal."""
    lines = [f"Dry run, nothing was changed. On cluster {cluster} this would:"]
    if against:
        lines = ["Dry run, nothing was changed. It would be refused:"]
    for number, item in enumerate(against or made.steps() or ["do nothing"], start=1):
        lines += textwrap.wrap(
            item, WIDTH, initial_indent=f"{number:>3}. ", subsequent_indent="     ", break_on_hyphens=False
        )
    return "\n".join(lines)


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


def has_been(when: datetime | None, now: datetime) -> datetime | None:
    """Return a time from which on members count as restarted.

    Raises:
        BadParameters: it is in the future: no member can have been restarted then, so all would be restarted.
    """
    if when is not None and when > now + timedelta(seconds=AHEAD_SECONDS):
        raise BadParameters(
            f"since: {text(when)} is in the future, so every server would be restarted; it is {text(now)} now. "
            "Give a time that has been, or nothing to restart all"
        )
    return when


def text(when: datetime) -> str:
    """Return a time as it is told and noted."""
    return when.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _expiry(made: Plan) -> str:
    if os.environ.get("TIPHYS_WORKFLOW"):
        return ""
    seconds = 600 + sum(made.seconds.values())
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds")


def _outputs(kube: Kube, credentials: Credentials, story: Story, summary: str = "") -> Rolled:
    try:
        primary = look(kube, story.cluster, credentials).topology.primary
    except StepError:  # the outputs of a run that failed are worth having without it
        primary = None
    lines = summary or story.summary()
    seen = story.seen
    return Rolled(
        ",".join(story.restarted),
        seen.write_downtime if seen else None,
        seen.lost if seen else None,
        seen.app_downtime if seen else None,
        seen.in_doubt if seen else None,
        primary.pod if primary else "",
        text(story.began),
        lines,
    )
