"""Step scale-cluster: more or fewer servers and Routers, one server at a time, never without a quorum."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import click

from steps.declare import option, parameter, step, target_options
from steps.drill import intent
from steps.drill.intent import another_drill
from steps.drill.options import dry_run as dry_run_option
from steps.errors import BadParameters, Refused
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.errors import NotFound
from steps.kube.pods import is_ready, name_of
from steps.log import log
from steps.mysql.connection import Credentials, root_credentials
from steps.mysql.primary import move_primary
from steps.mysql.scale_plan import Action, Current, Plan, plan, told
from steps.mysql.waiting import Sight, look, wait_until


@dataclass(frozen=True)
class Scaled:
    """What scale-cluster tells."""

    servers_before: int = parameter("Number of servers before.", is_global=True)
    servers_after: int = parameter("Number of servers after.", is_global=True)
    routers_before: int = parameter("Number of Routers before.", is_global=True)
    routers_after: int = parameter("Number of Routers after.", is_global=True)
    primary: str = parameter("Pod of the primary at the end.", is_global=True)
    plan: str = parameter(
        "The actions, separated by semicolons; a dry run says so, and also tells refusals and warnings.", is_global=True
    )


@step("scale-cluster")
@target_options
@option(
    "--servers", type=click.IntRange(1, 9), default=None, help="Number of MySQL servers to have; empty leaves it as is."
)
@option("--routers", type=click.IntRange(0, 9), default=None, help="Number of Routers to have; empty leaves it as is.")
@option(
    "--delete-claims",
    type=click.BOOL,
    default=False,
    help="Delete the volumes of servers beyond the number asked for, with their data. Otherwise they stay.",
)
@option(
    "--allow-outage",
    type=click.BOOL,
    default=False,
    help="Remove servers although not all members are ONLINE, or the last Router. The quorum is kept in any case.",
)
@dry_run_option
@option(
    "--timeout-seconds",
    type=click.IntRange(10, 7200),
    default=900,
    help="How long to wait for each server that comes or goes, in seconds.",
)
def scale_cluster(
    namespace: str,
    cluster: str,
    servers: int | None,
    routers: int | None,
    delete_claims: bool,
    allow_outage: bool,
    dry_run: bool,
    timeout_seconds: int,
) -> Scaled:
    """Change the number of servers and Routers of a cluster.

    One server at a time: each new one must be ONLINE before the next, and each removed one gone. The primary is moved
    away from a server before that goes. Refuses what would break the quorum.
    """
    if servers is None and routers is None:
        raise BadParameters("Neither servers nor routers is given: say how many of at least one of them to have.")
    kube = client.connect(namespace)
    credentials = root_credentials(kube, kube.cluster(cluster))
    before = look(kube, cluster, credentials)
    current = _current(kube, before)
    made = plan(current, servers, routers, allow_outage=allow_outage, delete_claims=delete_claims)
    if (noted := intent.read(before.cluster)) is not None:
        made = replace(made, refusals=(another_drill(cluster, noted), *made.refusals))
    _tell(made, cluster, dry_run)
    if made.refusals:
        raise Refused.because(made.refusals, _outputs(kube, before, before, made, dry_run) if dry_run else None)
    if not dry_run:
        for number, action in enumerate(made.actions, start=1):
            log("action", number=number, of=len(made.actions), what=str(action))
            if action.kind == "remove-server":
                _check_again(kube, cluster, credentials, action, allow_outage)
            perform(kube, cluster, credentials, action, timeout_seconds)
    after = before if dry_run else look(kube, cluster, credentials)
    return _outputs(kube, before, after, made, dry_run)


def _outputs(kube: Kube, before: Sight, after: Sight, made: Plan, dry_run: bool) -> Scaled:
    current, result = _current(kube, before), _current(kube, after)
    return Scaled(
        servers_before=current.servers,
        servers_after=result.servers,
        routers_before=current.routers,
        routers_after=result.routers,
        primary=after.topology.primary.pod if after.topology.primary else "",
        plan=told(made, dry_run=dry_run),
    )


def _current(kube: Kube, sight: Sight) -> Current:
    spec = sight.cluster["spec"]
    claims = [name_of(claim) for claim in kube.all("persistentvolumeclaims")]
    routers = int((spec.get("router") or {}).get("instances", 0))
    return Current(int(spec.get("instances", 1)), routers, sight.topology, claims)


def _tell(made: Plan, cluster: str, dry_run: bool) -> None:
    for warning in made.warnings:
        log("warning", message=warning)
    if dry_run:
        for refusal in made.refusals:
            log("refused", reason=refusal)
        for number, action in enumerate(made.actions, start=1):
            log("would do", number=number, what=str(action))
    if not made.actions:
        log("nothing to change", cluster=cluster)


def perform(kube: Kube, cluster: str, credentials: Credentials, action: Action, timeout: float) -> None:
    """Do one action of a plan and wait until it is done.

    Raises:
        TimedOut: it was not done in `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    match action.kind:
        case "set-routers":
            kube.patch("innodbclusters", cluster, {"spec": {"router": {"instances": action.count}}})
            goal = f"{cluster}: {action.count} Routers ready"
            wait_until(
                kube, cluster, credentials, lambda seen: _routers(seen, action.count), what=goal, deadline=deadline
            )
        case "add-server":
            kube.patch("innodbclusters", cluster, {"spec": {"instances": action.count}})
            goal = f"{cluster}: server {action.pod} ONLINE"
            wait_until(kube, cluster, credentials, lambda seen: _joined(seen, action.pod), what=goal, deadline=deadline)
        case "move-primary":
            move_primary(kube, cluster, action.pod, credentials)
        case "remove-server":
            kube.patch("innodbclusters", cluster, {"spec": {"instances": action.count}})
            goal = f"{cluster}: server {action.pod} gone"
            wait_until(
                kube,
                cluster,
                credentials,
                lambda seen: _gone(seen, action.pod, action.count),
                what=goal,
                deadline=deadline,
            )
        case "delete-claim":
            try:
                kube.delete("persistentvolumeclaims", action.pod)
            except NotFound:
                log("already gone", claim=action.pod)
            # A deletion is only asked for: the claim stays until its pod is off the API server's books.
            goal = f"{cluster}: claim {action.pod} gone"
            wait_until(
                kube, cluster, credentials, lambda _: _claim_there(kube, action.pod), what=goal, deadline=deadline
            )


def _check_again(kube: Kube, cluster: str, credentials: Credentials, action: Action, allow_outage: bool) -> None:
    """Look again before a server is removed: the group may have changed since the plan was made."""
    now = plan(_current(kube, look(kube, cluster, credentials)), action.count, None, allow_outage=allow_outage)
    if now.refusals:
        raise Refused(f"{cluster}: stopped before it was to {action}: {'; '.join(now.refusals)}.")
    for step_of_now in now.actions:
        if step_of_now.kind == "move-primary":  # a failover has made the server that goes the primary
            move_primary(kube, cluster, step_of_now.pod, credentials)


def _routers(seen: Sight, count: int) -> str:
    if len(seen.routers) == count and seen.ready_routers == count:
        return ""
    return f"routers ready: {seen.ready_routers} of {count} ({len(seen.routers)} pods)"


def _joined(seen: Sight, pod: str) -> str:
    member = seen.topology.of_pod(pod)
    if member is None or member.state != "ONLINE":
        return f"{pod} is {member.state if member else 'not in the group yet'}; {seen.topology.summary()}"
    ready = any(name_of(server) == pod and is_ready(server) for server in seen.servers)
    return "" if ready else f"{pod} is ONLINE, its pod not ready yet"


def _gone(seen: Sight, pod: str, left: int) -> str:
    if any(name_of(server) == pod for server in seen.servers):
        return f"pod {pod} is there; {seen.topology.summary()}"
    if len(seen.topology.members) > left:
        return f"{pod} is still in the group; {seen.topology.summary()}"
    return "" if seen.topology.primary else f"a primary; {seen.topology.summary()}"


def _claim_there(kube: Kube, claim: str) -> str:
    there = any(name_of(item) == claim for item in kube.all("persistentvolumeclaims"))
    return f"claim {claim} is still there: does a pod use it?" if there else ""
