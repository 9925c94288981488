"""Step switch-primary: another member becomes the primary, and the Routers send writes there."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from steps.declare import option, parameter, step, target_options
from steps.drill import intent
from steps.drill.measure import told_to_stop
from steps.drill.observing import Seen, Writes, watched
from steps.drill.options import app_url as app_url_option
from steps.drill.options import app_verify_tls as app_verify_tls_option
from steps.drill.options import dry_run as dry_run_option
from steps.drill.options import workflow as workflow_option
from steps.errors import Refused, StepError, Temporary, TimedOut, VerdictFail
from steps.kube import client
from steps.kube.client import Kube, Object
from steps.kube.errors import Forbidden, NotFound
from steps.kube.pods import is_ready, name_of, why_not_ready
from steps.log import log
from steps.mysql.connection import ROUTER_RW_PORT, SERVER_PORT, Credentials, query, root_credentials, session
from steps.mysql.inspection import route
from steps.mysql.primary import move_primary
from steps.mysql.restart import QUEUES_SQL, weights
from steps.mysql.switch_plan import Candidate, Choice, choose, refusals
from steps.mysql.topology import Topology, read_topology
from steps.mysql.waiting import Sight, look
from steps.parameters import OBJECT_NAME
from steps.report.outcome import count

if TYPE_CHECKING:
    from steps.drill.site import Site

NAME = "switch-primary"
"""Also what stands in its note on the cluster in place of a fault."""
LOOK_SECONDS = 0.1
ROUTER_SECONDS = 2.0
"""How long one Router may take to answer when it is asked where it leads."""


@dataclass(frozen=True)
class Switched:
    """What switch-primary tells."""

    old_primary: str = parameter("Pod of the primary before.", is_global=True)
    new_primary: str = parameter(
        "Pod of the primary afterwards, by the majority's view; in a dry run the one that it would be.", is_global=True
    )
    write_downtime_seconds: float | None = parameter(
        "The longest time without an acknowledged write; empty where nothing was measured.", is_global=True
    )
    lost_writes: int | None = parameter(
        "Acknowledged writes that are missing on a member; empty where nothing was measured.", is_global=True
    )
    app_downtime_seconds: float | None = parameter(
        "The longest time without a good answer of the application; empty where it was not watched.", is_global=True
    )
    summary: str = parameter("What was done, or would be, and why, for people.", is_global=True)


@step(NAME)
@target_options
@workflow_option
@option(
    "--to",
    type=OBJECT_NAME,
    default=None,
    help="Pod of the member that becomes the primary. Empty takes the best one: ONLINE, on a healthy node and in step, "
    "with the highest group_replication_member_weight, then with the least left to apply.",
)
@option(
    "--measure",
    type=click.BOOL,
    default=True,
    help="Have clients write through the Router meanwhile (into table tiphys.ledger, deleted afterwards), and tell how "
    "long none of them could and whether a write was lost.",
)
@app_url_option
@app_verify_tls_option
@option(
    "--transaction-seconds",
    type=click.IntRange(1, 3600),
    default=20,
    help="How long transactions that run on the old primary may take; then their connections are ended.",
)
@option(
    "--timeout-seconds",
    type=click.IntRange(5, 3600),
    default=60,
    help="How long the switch may take beyond transaction-seconds, and then the Routers to follow.",
)
@dry_run_option
def switch_primary(
    namespace: str,
    cluster: str,
    workflow: str,
    to: str | None,
    measure: bool,
    app_url: str | None,
    app_verify_tls: bool,
    transaction_seconds: int,
    timeout_seconds: int,
    dry_run: bool,
) -> Switched:
    """Make another member the primary, verify it by the majority's view, and wait until every Router follows."""
    stop_reason = told_to_stop()
    kube = client.connect(namespace)
    found = kube.cluster(cluster)
    credentials = root_credentials(kube, found)
    sight = look(kube, cluster, credentials)
    site = watched(kube, cluster, app_url, app_verify_tls, measure=measure)
    noted = intent.read(found)
    cut_off = noted if noted is not None and noted.workflow == workflow and noted.fault == NAME else None
    against = refusals(sight.topology, noted, workflow, sight.ready_routers if measure else None)
    if against:
        told = _untouched(sight.topology, "", f"dry run: it would be refused: {'; '.join(against)}")
        raise Refused.because(against, told if dry_run else None)
    wanted = str(cut_off.before.get("to") or "") or to if cut_off is not None else to
    choice = choose(sight.topology, candidates(kube, sight, credentials), wanted)
    for warning in choice.warnings:
        log("warning", message=warning)
    log("plan", cluster=cluster, old=choice.old.pod, new=choice.new.pod, why=choice.why, seen=choice.seen)
    if dry_run or (not choice.is_needed and cut_off is None):
        return _untouched(sight.topology, choice.new.pod, _plan(choice, cluster))
    if reason := stop_reason():
        raise Refused(f"Stopped before anything was done: {reason}. Nothing was changed.")
    run = _Run(kube, cluster, credentials, workflow, choice, timeout_seconds, transaction_seconds, site)
    if cut_off is not None:
        run.take_up(str(cut_off.before.get("from") or ""))
    else:
        before = {"from": choice.old.pod, "to": choice.new.pod}
        expires = "" if os.environ.get("TIPHYS_WORKFLOW") else _expiry(2 * timeout_seconds + transaction_seconds)
        intent.write(kube, cluster, intent.Intent(workflow, NAME, intent.now(), before, expires))
    try:
        done = run.switch(measure=measure and choice.is_needed)
    except Temporary:
        raise  # the note stays: tried again, this run is taken up where it was
    except StepError as error:
        intent.try_to_remove(kube, cluster, workflow)
        error.outputs = error.outputs or _as_it_is(kube, cluster, credentials, choice, str(error))
        raise
    intent.try_to_remove(kube, cluster, workflow)
    if done.lost_writes:
        raise VerdictFail(
            f"The primary moved from {done.old_primary} to {done.new_primary}, and {done.lost_writes} acknowledged "
            "writes are missing on a member: the log names them. Run check-cluster before anything else.",
            done,
        )
    return done


class _Run:
    """One switch that was decided upon."""

    def __init__(
        self,
        kube: Kube,
        cluster: str,
        credentials: Credentials,
        workflow: str,
        choice: Choice,
        seconds: int,
        transaction_seconds: int,
        site: Site | None = None,
    ) -> None:
        self._kube, self._cluster, self._credentials, self._workflow = kube, cluster, credentials, workflow
        self._choice, self._seconds, self._transaction_seconds = choice, seconds, transaction_seconds
        self._site = site
        self._taken_up = False

    def take_up(self, old: str) -> None:
        """Go on with a switch that was cut off before: what was the primary then is known from its note."""
        self._choice = replace(self._choice, old=replace(self._choice.old, pod=old or self._choice.old.pod))
        self._taken_up = True

    def switch(self, *, measure: bool) -> Switched:
        """Do it, and return once every Router follows."""
        new = self._choice.new
        seen: Seen | None = None
        with ExitStack() as stack:
            writes = None
            if measure:
                clients = Writes(self._kube, self._cluster, self._credentials, self._workflow, site=self._site)
                writes = stack.enter_context(clients)
                stack.enter_context(writes.during("switch"))
            began = time.monotonic()
            move_primary(
                self._kube,
                self._cluster,
                new.pod,
                self._credentials,
                timeout=self._seconds,
                running_seconds=self._transaction_seconds,
            )
            moved = time.monotonic() - began
            routers = self._follow()
            if writes is not None:
                writes.reach(new.id, self._seconds)
            followed = time.monotonic() - began
            if writes is not None:
                seen = writes.finish()
                seen = seen.taken_up() if self._taken_up else seen
        topology = read_topology(self._kube, self._cluster, credentials=self._credentials)
        if topology.primary is None or topology.primary.id != new.id:
            raise StepError(
                f"{new.pod} became the primary of {self._cluster}, and is it no more: {topology.summary()}. "
                "A failover came after the switch: look at that member's log, and run check-cluster.",
                _outputs(self._choice, topology, seen, ""),
            )
        lines = [
            f"{self._cluster}: primary {self._choice.old.pod} -> {new.pod}",
            f"  the majority names it after {moved:.1f} s, {led(routers)} after {followed:.1f} s",
            *(f"  {line}" for line in (seen.lines() if seen else ["nothing was measured"])),
            *_reasons(self._choice),
        ]
        return _outputs(self._choice, topology, seen, "\n".join(lines))

    def _follow(self) -> int:
        """Wait until every ready Router sends writes to the new primary; return how many were asked."""
        limit, new = time.monotonic() + self._seconds, self._choice.new
        while True:
            astray: dict[str, str] = {}
            ready = [pod for pod in self._kube.routers(self._cluster) if is_ready(pod)]
            for pod in ready:
                answer = route(pod["status"]["podIP"], ROUTER_RW_PORT, self._credentials, ROUTER_SECONDS)
                if answer.server != new.id:
                    astray[name_of(pod)] = answer.error or f"leads to server {answer.server}"
            if not astray:
                return len(ready)
            if time.monotonic() >= limit:
                told = "; ".join(f"{pod} {what}" for pod, what in astray.items())
                raise TimedOut(
                    f"{new.pod} is the primary of {self._cluster} (server {new.id}), but after {self._seconds} s not "
                    f"every Router sends writes there: {told}. Look at that Router's log (kubectl logs), or delete its "
                    "pod: the next one reads the group anew."
                )
            time.sleep(LOOK_SECONDS)


def led(routers: int) -> str:
    """Say that Routers lead to the new primary: not where none was ready to be asked."""
    return f"{count(routers, 'ready Router')} led there" if routers else "no Router was ready to be asked"


def candidates(kube: Kube, sight: Sight, credentials: Credentials) -> list[Candidate]:
    """Return every member but the primary, with what counts for and against it."""
    topology = sight.topology
    assert topology.primary is not None
    pods = {name_of(pod): pod for pod in sight.servers}
    heavy = weights(topology, credentials)
    with session(topology.primary.address, SERVER_PORT, credentials, what=topology.primary.pod) as connection:
        queued = {str(row[0]): int(row[1] or 0) for row in query(connection, QUEUES_SQL)}
    made = []
    for member in topology.members:
        if member.id == topology.primary.id:
            continue
        pod = pods.get(member.pod)
        node = str((pod or {}).get("spec", {}).get("nodeName") or "")
        obstacles = [] if member.state == "ONLINE" else [f"it is {member.state}"]
        if pod is None:
            obstacles.append("no pod of the cluster fits it")
        elif why := why_not_ready(pod):
            obstacles.append(f"its pod {why}")
        if why := node_trouble(kube, node):
            obstacles.append(why)
        weight = heavy.get(member.pod)
        made.append(Candidate(member, weight, queued.get(member.id, 0), node, tuple(obstacles)))
    return made


def node_trouble(kube: Kube, name: str) -> str:
    """Return why a node is no good place for the primary; empty where it is, or where nobody may look at nodes."""
    if not name:
        return ""
    try:
        node = kube.get("nodes", name)
    except NotFound:
        return f"its node {name} is gone"
    except Forbidden as error:
        log("nodes-not-read", why=str(error))
        return ""
    if node.get("spec", {}).get("unschedulable"):
        return f"its node {name} is cordoned, so it may soon be drained"
    conditions: list[Object] = (node.get("status") or {}).get("conditions") or []
    ready: Object = next((one for one in conditions if one.get("type") == "Ready"), {})
    if ready.get("status") != "True":
        return f"its node {name} is not Ready: {ready.get('message') or ready.get('reason') or 'nothing is known'}"
    pressed = [str(one["type"]) for one in conditions if one.get("type") != "Ready" and one.get("status") == "True"]
    return f"its node {name} has {', '.join(pressed)}" if pressed else ""


def _plan(choice: Choice, cluster: str) -> str:
    if not choice.is_needed:
        return f"{cluster}: {choice.why}; nothing was changed"
    what = f"would switch the primary of {cluster} from {choice.old.pod} to {choice.new.pod}"
    return "\n".join([f"dry run: nothing was changed. This {what}", *_reasons(choice)])


def _reasons(choice: Choice) -> list[str]:
    """Return why this member, and what was seen of all, in lines."""
    lines = [f"why {choice.new.pod}: {choice.why}", *(f"  {line}" for line in choice.seen)]
    return [f"  {line}" for line in [*lines, *(f"warning: {warning}" for warning in choice.warnings)]]


def _as_it_is(kube: Kube, cluster: str, credentials: Credentials, choice: Choice, summary: str) -> Switched | None:
    """Return who is the primary after a switch that went wrong; None where nobody can tell."""
    try:
        return _outputs(choice, read_topology(kube, cluster, credentials=credentials), None, summary)
    except StepError as error:
        log("primary-not-read", why=str(error))
        return None


def _untouched(topology: Topology, new: str, summary: str) -> Switched:
    """Return what is told where nothing was done; `new` would be the primary, or is it already."""
    return Switched(topology.primary.pod if topology.primary else "", new, None, None, None, summary)


def _outputs(choice: Choice, topology: Topology, seen: Seen | None, summary: str) -> Switched:
    primary = topology.primary.pod if topology.primary else ""
    downtime, lost, app = (seen.write_downtime, seen.lost, seen.app_downtime) if seen else (None, None, None)
    return Switched(choice.old.pod, primary, downtime, lost, app, summary)


def _expiry(seconds: int) -> str:
    """Return when the note of a switch outside any workflow counts as left behind."""
    return (datetime.now(UTC) + timedelta(seconds=600 + seconds)).isoformat(timespec="seconds")
