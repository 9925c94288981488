"""Steps check-upgrade and upgrade-cluster: a cluster's servers and Routers get another version of MySQL."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from steps.declare import option, parameter, step, target_options
from steps.drill import intent
from steps.drill.measure import told_to_stop
from steps.drill.observing import Seen, Writes
from steps.drill.options import dry_run as dry_run_option
from steps.drill.options import workflow as workflow_option
from steps.errors import Refused, StepError, Temporary, VerdictFail
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.pods import name_of
from steps.log import log
from steps.mysql.connection import Credentials, root_credentials
from steps.mysql.definition import VERSION
from steps.mysql.protection import catalogue_or_why
from steps.mysql.restart import Progress
from steps.mysql.restart_plan import Method, Wish, life_of
from steps.mysql.upgrade_back import NAME, try_to_go_back
from steps.mysql.upgrade_checks import ACCEPTABLE
from steps.mysql.upgrade_images import release
from steps.mysql.upgrade_plan import Plan
from steps.mysql.upgrade_preflight import Wanted, preflight, wanted
from steps.mysql.upgrade_roll import Roll
from steps.mysql.waiting import Sight, look
from steps.parameters import Text
from steps.report.outcome import count

if TYPE_CHECKING:
    from steps.backup.catalogue import Catalogue

AGE = Text("an age such as 24h", "0-9smhd", 12, first="0-9", last="0-9smhd")
ACCEPT = Text("names of findings, separated by commas", "a-z,-", 120, first="a-z", last="a-z")
ROUTERS = "routers"
"""What the Routers' turn is called among the things done while clients write; pods have their own names."""
SWITCH = "switch"
FAILED = "failed"
"""In the note, once the way back has begun: why."""

version_option = option("--version", required=True, type=VERSION, help="Version of MySQL that all get, such as 9.7.4.")
age_option = option(
    "--backup-max-age",
    type=AGE,
    default="24h",
    help="How old the newest good backup of the whole cluster may be, such as 24h; 0 asks for none.",
)
make_option = option(
    "--make-backup",
    type=click.BOOL,
    default=False,
    help="Make a backup first where there is none that young; otherwise that is refused.",
)
accept_option = option(
    "--accept",
    type=ACCEPT,
    default=None,
    help=f"Findings that are all right, separated by commas: {', '.join(ACCEPTABLE)}. Each finding says what it means.",
)
measure_option = option(
    "--measure",
    type=click.BOOL,
    default=True,
    help="Have clients write through the Router meanwhile, to tell how long writes stopped and whether one was lost.",
)


@dataclass(frozen=True)
class Looked:
    """What check-upgrade tells."""

    needs_backup: bool = parameter("Whether a backup has to be made first.")
    goes_on: bool = parameter("Whether there is something to do, and it is to be done.")
    summary: str = parameter("The whole plan, what speaks against it, and the way back, for people.", is_global=True)


@dataclass(frozen=True)
class Upgraded:
    """What upgrade-cluster tells."""

    old_version: str = parameter("Version before, as the images said.", is_global=True)
    version: str = parameter(
        "Version that every member says it is at the end; several are separated by commas.", is_global=True
    )
    upgraded: str = parameter("Pods of servers that were replaced, in that order, separated by commas.", is_global=True)
    write_downtime_seconds: float | None = parameter(
        "Longest time without an acknowledged write; empty where it was not measured.", is_global=True
    )
    lost_writes: int | None = parameter(
        "Acknowledged writes that are missing on a member; empty where it was not measured.", is_global=True
    )
    in_doubt_writes: int | None = parameter("Writes whose fate their client does not know.", is_global=True)
    new_primary: str = parameter("Pod of the primary at the end.", is_global=True)
    summary: str = parameter("What was done, for people.", is_global=True)


@step("check-upgrade")
@target_options
@workflow_option
@version_option
@age_option
@make_option
@accept_option
@measure_option
@dry_run_option
def check_upgrade(
    namespace: str,
    cluster: str,
    workflow: str,
    version: str,
    backup_max_age: str,
    make_backup: bool,
    accept: str | None,
    measure: bool,
    dry_run: bool,
) -> Looked:
    """Look whether a cluster may be upgraded, and tell the whole plan and the way back; changes nothing."""
    ask = wanted(version, backup_max_age, make_backup, accept, measure)
    kube = client.connect(namespace)
    found = kube.cluster(cluster)
    if is_own(found, workflow):
        return Looked(False, True, "a run that was cut off is taken up again")
    plan, _ = preflight(kube, cluster, root_credentials(kube, found), ask, _backups(ask), workflow)
    for one in plan.findings:
        log("finding", name=one.name, seen=one.seen, means=one.means, accepted=one.name in ask.accepted)
    if plan.against:
        raise Refused.because(plan.against, Looked(False, False, plan.told(dry_run=dry_run)))
    return Looked(plan.make_backup, not dry_run and not plan.is_done, plan.told(dry_run=dry_run))


@step(NAME)
@target_options
@workflow_option
@version_option
@age_option
@accept_option
@measure_option
@option(
    "--member-timeout-seconds",
    type=click.IntRange(0, 7200),
    default=0,
    help="How long one member may take from its end until it is in step; 0 derives it from its pod: the grace period "
    "and 600 s.",
)
def upgrade_cluster(
    namespace: str,
    cluster: str,
    workflow: str,
    version: str,
    backup_max_age: str,
    accept: str | None,
    measure: bool,
    member_timeout_seconds: int,
) -> Upgraded:
    """Give Routers and servers another version: Routers first, then secondaries, then the old primary.

    Looks first at what check-upgrade looks at. Each server has to be in step and of that version before the next goes.
    Goes back by itself where one does not come up, as far as MySQL lets it.
    """
    stop_reason = told_to_stop()
    ask = wanted(version, backup_max_age, False, accept, measure)
    kube = client.connect(namespace)
    found = kube.cluster(cluster)
    credentials = root_credentials(kube, found)
    if is_own(found, workflow):
        noted = intent.read_drill(found)
        assert noted is not None  # that is what is_own asks
        story = Story(cluster, str(noted.before.get("version")), taken_up=True)
    else:
        plan, sight = preflight(kube, cluster, credentials, ask, _backups(ask), workflow)
        log("plan", cluster=cluster, plan=plan.steps(), back=plan.way_back())
        if plan.against:
            raise Refused.because(plan.against)
        if plan.is_done:
            return _outputs(kube, credentials, Story(cluster, plan.old), plan.told(dry_run=False))
        story = Story(cluster, plan.old)
        noted = _noted(plan, sight, workflow)
        intent.write(kube, cluster, noted)
    if failed := noted.before.get(FAILED):
        # It was cut off on its way back, and the way forward is known to fail.
        told = try_to_go_back(kube, cluster, noted)
        _forget(kube, cluster, workflow, told)
        story.ended = f"asked for {version}: {failed}"
        raise StepError(f"{failed} {told}", _outputs(kube, credentials, story))
    router = None if noted.before.get("router") is None else version
    known = {str(pod): str(uid) for pod, uid in (noted.before.get("servers") or {}).items()}
    wish = Wish(Method.POD, None, member_timeout_seconds, known)
    roll = Roll(kube, cluster, credentials, workflow, ask.version, router, wish, story.tell, stop_reason)
    try:
        if measure:
            story.writes = Writes(kube, cluster, credentials, workflow, stop_reason=stop_reason)
        with story.writes or nullcontext():
            _rolled(roll, story, noted, stop_reason)
    except Temporary:
        raise  # the note stays: tried again, this run is taken up where it was
    except StepError as error:
        error.outputs = error.outputs or _outputs(kube, credentials, story)
        raise
    intent.try_to_remove(kube, cluster, workflow)
    done = _outputs(kube, credentials, story)
    if done.lost_writes:
        raise VerdictFail(
            f"All run {version} now, and {count(done.lost_writes, 'acknowledged write')} made meanwhile cannot be "
            "found on every member. Run check-cluster.",
            done,
        )
    return done


def _rolled(roll: Roll, story: Story, noted: intent.Intent, stop_reason: Callable[[], str]) -> None:
    """Do it; where it fails go back while clients still write, unless there is no time for it."""
    try:
        roll.all()
    except Temporary:
        raise
    except StepError as error:
        if reason := stop_reason():
            error.args = (f"{error} The exit handler takes it back ({reason}).",)
            raise
        log("going-back", why=str(error))
        noted = replace(noted, before={**noted.before, FAILED: str(error)})
        with suppress(StepError):
            intent.write(roll.kube, roll.cluster, noted)
        told = try_to_go_back(roll.kube, roll.cluster, noted)
        with suppress(StepError):
            story.measure()
        _forget(roll.kube, roll.cluster, roll.workflow, told)
        felt = f" Of clients that wrote meanwhile: {'; '.join(story.felt())}." if story.seen else ""
        story.ended = f"asked for {roll.target}: {error}"
        error.args = (f"{error} {told}{felt}",)
        raise
    release(roll.kube, roll.cluster)
    story.measure()


def _forget(kube: Kube, cluster: str, workflow: str, told: str) -> None:
    """Take the note off where nothing is left for the exit handler and reap."""
    if not told.startswith("GOING BACK FAILED"):
        intent.try_to_remove(kube, cluster, workflow)


def is_own(found: dict[str, Any], workflow: str) -> bool:
    """Tell whether this very run has noted itself on the cluster before: it was cut off, and goes on."""
    noted = intent.read_drill(found)
    return noted is not None and noted.workflow == workflow and noted.fault == NAME


def _noted(plan: Plan, sight: Sight, workflow: str) -> intent.Intent:
    """Return the note of an upgrade: all that is needed to go on with it, and to go back."""
    target = str(plan.path.target)
    servers = {
        # What is of the version already is left alone: no life of it has this identity.
        name_of(pod): life_of(pod).uid if name_of(pod) in plan.order else "-"
        for pod in sight.servers
    }
    before = {"version": plan.old, "target": target, "back": plan.path.back.value, "servers": servers}
    if (router := (sight.cluster["spec"].get("router") or {}).get("version")) is not None:
        before["router"] = str(router)
    expires = ""
    if not os.environ.get("TIPHYS_WORKFLOW"):
        expires = (datetime.now(UTC) + timedelta(hours=2)).isoformat(timespec="seconds")
    return intent.Intent(workflow, NAME, intent.now(), before, expires)


def _backups(ask: Wanted) -> Catalogue | str | None:
    return None if ask.backup_max_age is None else catalogue_or_why()


@dataclass
class Story:
    """What a run has done so far, for its outputs and its summary.

    Attributes:
        cluster: its name.
        old: version before.
        taken_up: whether it was cut off before.
        done: everything that was finished, in order.
        writes: the clients that write meanwhile, or None.
        seen: what they felt, once they have stopped.
        ended: why it was not done; empty where it was.
    """

    cluster: str
    old: str
    taken_up: bool = False
    done: list[Progress] = field(default_factory=list)
    writes: Writes | None = None
    seen: Seen | None = None
    ended: str = ""

    def tell(self, progress: Progress) -> None:
        """Log a progress, and remember what was finished."""
        details = {"number": f"{progress.number}/{progress.of}"} if progress.number else {}
        took = {"seconds": round(progress.seconds, 2)} if progress.seconds else {}
        begins = {"switching": SWITCH, "restarting": progress.pod, "routers": ROUTERS}
        if self.writes is not None and progress.kind in begins:
            with self.writes.during(begins[progress.kind]):
                pass  # it is noted with its beginning, and lasts until the next
        log(progress.kind, pod=progress.pod, was=progress.was, **details, **took)
        if progress.kind in ("restarted", "switched", "routers-ready"):
            self.done.append(replace(progress))

    def measure(self) -> None:
        """Stop the clients, and keep what they felt."""
        if self.writes is not None and self.seen is None:
            seen = self.writes.finish()
            self.seen = seen.taken_up() if self.taken_up else seen

    def felt(self) -> list[str]:
        """Return what the clients felt, in lines."""
        return self.seen.lines() if self.seen else []

    @property
    def upgraded(self) -> list[str]:
        """Pods of servers that were replaced."""
        return [one.pod for one in self.done if one.kind == "restarted"]

    def summary(self, versions: Sequence[str]) -> str:
        """Return lines for a terminal."""
        lines = [f"{self.cluster}: {self.old} -> {', '.join(versions) or '?'}"]
        for one in self.done:
            key = {"switched": SWITCH, "routers-ready": ROUTERS}.get(one.kind, one.pod)
            what = {
                "switched": f"primary {one.was} -> {one.pod}",
                "routers-ready": "Routers replaced",
                "restarted": f"{one.pod} replaced ({one.was})",
            }[one.kind]
            felt = self.seen.of.get(key) if self.seen else None
            took = f"{one.seconds:6.1f} s" if one.seconds else f"{'':8}"
            lines.append(f"  {what:<34}{took}" + (f", {felt.longest:6.3f} s without a write" if felt else ""))
        why = textwrap.wrap(self.ended, 76, initial_indent="  ", subsequent_indent="  ") if self.ended else []
        return "\n".join([*lines, *why, *(f"  {line}" for line in self.felt())])


def _outputs(kube: Kube, credentials: Credentials, story: Story, summary: str = "") -> Upgraded:
    from steps.mysql.upgrade_survey import server_versions

    primary, versions = "", list[str]()
    with suppress(StepError):  # the outputs of a run that failed are worth having without it
        topology = look(kube, story.cluster, credentials).topology
        primary = topology.primary.pod if topology.primary else ""
        versions = sorted({str(one) for one in server_versions(topology, credentials).values()})
    seen = story.seen
    return Upgraded(
        story.old,
        ",".join(versions),
        ",".join(story.upgraded),
        seen.write_downtime if seen else None,
        seen.lost if seen else None,
        seen.in_doubt if seen else None,
        primary,
        summary or story.summary(versions),
    )
