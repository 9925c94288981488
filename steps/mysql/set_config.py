"""Step set-config: settings of a running cluster, on every member and wherever they are written down, or nowhere."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import click

from steps.check.read_servers import server_of
from steps.declare import option, parameter, step, target_options
from steps.drill import intent
from steps.drill.measure import told_to_stop
from steps.drill.options import dry_run as dry_run_option
from steps.drill.options import workflow as workflow_option
from steps.errors import BadParameters, Refused, StepError, Temporary
from steps.kube import client
from steps.kube.client import Kube, Object
from steps.log import log
from steps.mysql import settings_files
from steps.mysql.cnf import settings_of
from steps.mysql.connection import SERVER_PORT, Credentials, query, root_credentials, session
from steps.mysql.restart_plan import Method, life_of, risks
from steps.mysql.settings import forbidden, parse
from steps.mysql.settings_apply import NotTaken, let_in, put_back_through, remember, set_everywhere
from steps.mysql.settings_check import sources_of
from steps.mysql.settings_plan import WIDTH, Plan, State
from steps.mysql.settings_roll import bring_back, expiry, roll
from steps.mysql.settings_survey import TIMEOUT, Seen, survey
from steps.mysql.settings_undo import NAME, Before, undo
from steps.mysql.topology import server_addresses
from steps.mysql.waiting import Sight, look
from steps.report.outcome import count


@dataclass(frozen=True)
class Configured:
    """What set-config tells."""

    changed: str = parameter("Names of the settings that were changed anywhere, separated by commas.", is_global=True)
    drift: int = parameter("Settings that some place had otherwise before.", is_global=True)
    restarted: str = parameter("Pods that were restarted, in that order, separated by commas.", is_global=True)
    summary: str = parameter("What was done, or would be, and what is left, for people.", is_global=True)


@step(NAME)
@target_options
@workflow_option
@option(
    "--settings",
    default=None,
    help="What is to be set: name=value, one a line or between semicolons, or a piece of a my.cnf. name=DEFAULT takes "
    "it away again. Empty shows where members and the ConfigMap differ from spec.mycnf, and mends them to it.",
)
@option(
    "--member-timeout-seconds",
    type=click.IntRange(0, 7200),
    default=0,
    help="How long one member may take to restart for a static setting; 0 derives it from its pod: the grace period "
    "and 600 s.",
)
@dry_run_option
def set_config(
    namespace: str, cluster: str, workflow: str, settings: str | None, member_timeout_seconds: int, dry_run: bool
) -> Configured:
    """Set server variables on every member and in what is written down, or on none: static ones by a rolling restart.

    Each member is asked first whether it would take them. Where one refuses after all, everything is put back.
    """
    stop_reason = told_to_stop()
    asked = parse(settings) if settings and settings.strip() else None
    kube = client.connect(namespace)
    found = kube.cluster(cluster)
    credentials = root_credentials(kube, found)
    noted = intent.read_drill(found)
    resumed = noted is not None and noted.workflow == workflow and noted.fault == NAME
    before = Before.of(noted.before) if noted is not None and resumed else None
    sight = look(kube, cluster, credentials)
    guards = [] if resumed else refusals(sight, workflow)
    if before is not None:
        log("taken-up", cluster=cluster, since=noted.since if noted else "")
        bring_back(kube, cluster, credentials, before.servers, 600)
    elif guards and not dry_run:
        raise Refused.because([*guards, *forbidden(asked or [])])
    try:
        seen = survey(kube, sight, credentials, asked)
    except StepError as error:
        if guards:  # a dry run without a plan, since a member is away or the ConfigMap is
            raise Refused.because([*guards, *forbidden(asked or [])]) from error
        raise
    log("plan", cluster=cluster, changes=_changes(seen.plan), restarts=seen.plan.restarts)
    planned = _outputs(seen, told(seen, [*guards, *seen.against], cluster)) if dry_run else None
    if planned is not None and (guards or seen.against):
        planned = replace(planned, changed="")  # what is refused changes nothing
    if guards:
        raise Refused.because([*guards, *forbidden(asked or [])], planned)
    if seen.against:
        raise BadParameters(f"Nothing was changed: {'; '.join(seen.against)}.", planned)
    if planned is not None:
        return planned
    if seen.plan.is_done and before is None:
        return _outputs(seen, _done(cluster, seen, [], "everything is so already"))
    if reason := stop_reason():
        raise Refused(f"Stopped before anything was done: {reason}. Nothing was changed.")
    if before is None:
        before = _note(kube, cluster, workflow, credentials, seen.plan)
    try:
        rolled = _apply(kube, cluster, workflow, credentials, seen.plan, before, member_timeout_seconds, stop_reason)
    except Temporary:
        raise  # the note stays: tried again, this run is taken up where it was; else its exit handler undoes it
    except StepError as error:
        error.args = (f"{error} {_undone(kube, cluster, workflow, before, credentials)}",)
        raise
    intent.try_to_remove(kube, cluster, workflow)
    return _outputs(seen, _done(cluster, seen, rolled, "read back on every member"), rolled)


def refusals(sight: Sight, workflow: str) -> list[str]:
    """Return every reason not to begin now: settings are for all members or none, so all have to be there."""
    noted = intent.read(sight.cluster)
    found = risks(sight.topology, sight.servers)
    if noted is not None and noted.workflow != workflow:
        found.append(intent.another_drill(str(sight.cluster["metadata"]["name"]), noted))
    return found


def _note(kube: Kube, cluster: str, workflow: str, credentials: Credentials, plan: Plan) -> Before:
    """Write down how everything is, before it is changed."""
    pods = kube.servers(cluster)
    members = {}
    for pod, address in _addresses(pods, plan).items():
        with session(address, SERVER_PORT, credentials, what=pod) as connection:
            members[pod] = tuple(remember(connection, plan.dynamic))
    servers = {life.pod: life.identity(Method.POD) for life in map(life_of, pods)}
    before = Before(plan.before, plan.after, members, servers)
    expires = "" if os.environ.get("TIPHYS_WORKFLOW") else expiry(len(plan.restarts))
    intent.write(kube, cluster, intent.Intent(workflow, NAME, intent.now(), before.values(), expires))
    return before


def _apply(
    kube: Kube,
    cluster: str,
    workflow: str,
    credentials: Credentials,
    plan: Plan,
    before: Before,
    seconds: int,
    stop_reason: Callable[[], str],
) -> list[str]:
    """Write the settings down, set what can be set, restart for the others, read everything back."""
    settings_files.write(kube, cluster, before.wrote, [before.files])
    pods = plan.restarts
    # A member that refuses is seen before any restart. What a server does not start with must find nothing persisted:
    # it would size itself after that, and could not be told otherwise while it is down.
    _set(kube, cluster, credentials, plan, before, persist=not pods)
    if not pods:
        return []
    static = replace(plan, wanted=tuple(one for one in plan.wanted if one.name in plan.static))
    rolled = roll(
        kube,
        cluster,
        credentials,
        pods,
        before.servers,
        workflow=workflow,
        seconds=seconds,
        stop_reason=stop_reason,
        verify=lambda pod: _read_back(kube, cluster, credentials, static, pod),
    )
    _set(kube, cluster, credentials, plan, before, persist=True)
    return rolled


def _set(kube: Kube, cluster: str, credentials: Credentials, plan: Plan, before: Before, *, persist: bool) -> None:
    """Set what can be set; read it back where it was persisted; put it back where that fails.

    All through connections that are open before: with a setting that lets no new one in, there is no other way back.
    """
    addresses = _addresses(kube.servers(cluster), plan)

    def reach(pod: str) -> None:
        try:
            with session(addresses[pod], SERVER_PORT, credentials, what=pod, timeout=TIMEOUT) as connection:
                query(connection, "SELECT @@server_uuid")
        except StepError as error:
            raise let_in(pod, error) from error

    with ExitStack() as stack:
        members: dict[str, Any] = {
            pod: stack.enter_context(session(address, SERVER_PORT, credentials, what=pod))
            for pod, address in addresses.items()
        }
        try:
            set_everywhere(members, plan.lacking, plan.static, persist=persist, reach=reach)
            for pod, connection in members.items() if persist else ():
                _compare(connection, pod, plan)
        except StepError as error:
            if not isinstance(error, Temporary):
                put_back_through(members, before.members)
            raise


def _addresses(pods: Sequence[Object], plan: Plan) -> dict[str, str]:
    """Return every member's address.

    Raises:
        Temporary: one is away: nobody could tell what it comes back with.
    """
    addresses = server_addresses(list(pods))
    if away := [state.pod for state in plan.states if not addresses.get(state.pod)]:
        raise Temporary(f"{', '.join(away)} went away meanwhile: a setting is for every member. It is tried again.")
    return addresses


def _read_back(kube: Kube, cluster: str, credentials: Credentials, plan: Plan, only: str) -> None:
    """Raise NotTaken where the server of a pod has another value than was asked for."""
    address = _addresses(kube.servers(cluster), plan)[only]
    with session(address, SERVER_PORT, credentials, what=only, timeout=TIMEOUT) as connection:
        _compare(connection, only, plan)


def _compare(connection: Any, pod: str, plan: Plan) -> None:
    server = server_of(connection, pod)
    state = State(pod, server.settings, server.persisted, sources_of(connection, plan.wanted))
    if other := [one for one in plan.wanted if not state.took(one)]:
        has = ", ".join(f"{one.name}={state.settings.get(one.name)!r} and not {one.written!r}" for one in other)
        raise NotTaken(pod, f"it has {has}, read back")


def _undone(kube: Kube, cluster: str, workflow: str, before: Before, credentials: Credentials) -> str:
    """Put everything back, and say what became of it."""
    try:
        done = undo(kube, cluster, workflow, before, credentials=credentials)
    except StepError as error:
        return f"Putting everything back failed ({error}), so the note stays; the run's end, or reap, tries again."
    intent.try_to_remove(kube, cluster, workflow)
    return f"Everything is as it was: {'; '.join(done)}."


def _changes(plan: Plan) -> list[str]:
    """Return the names of what is otherwise anywhere."""
    before, after = plan.before, plan.after
    texts = [(before.mycnf or "", after.mycnf or ""), (before.file, after.file)]
    files = {
        name
        for old, new in ((settings_of(one), settings_of(other)) for one, other in texts)
        for name in {*old, *new}
        if old.get(name) != new.get(name)
    }
    return sorted(files | {one.name for lacking in plan.lacking.values() for one in lacking})


def _outputs(seen: Seen, summary: str, rolled: Sequence[str] = ()) -> Configured:
    names = _changes(seen.plan)
    return Configured(",".join(names), len(names), ",".join(rolled), summary)


def _done(cluster: str, seen: Seen, rolled: Sequence[str], how: str) -> str:
    wanted = ", ".join(f"{one.name}={one.written}" for one in seen.plan.wanted) or "nothing"
    lines = _wrapped(f"{cluster}: {wanted}; {how}")
    if _changes(seen.plan):
        lines += ["It was:", *seen.plan.table().splitlines()]
    if rolled:
        lines += _wrapped(f"restarted: {', '.join(rolled)}")
    return "\n".join(lines + [line for note in seen.notes for line in _wrapped(f"note: {note}")])


def told(seen: Seen, against: Sequence[str], cluster: str) -> str:
    """Return what a dry run says, in lines for a terminal."""
    names, restarts = _changes(seen.plan), seen.plan.restarts
    lines = [f"Dry run, nothing was changed. On cluster {cluster}:"]
    if seen.plan.wanted or seen.plan.dropped:
        lines += seen.plan.table().splitlines()
    if against:
        lines += ["It would be refused:", *(line for one in against for line in _wrapped(f"- {one}"))]
    else:
        would = f"It would change {count(len(names), 'setting')}" if names else "Everything is so already"
        order = f", and restart {', '.join(restarts)}: one after another, the primary last" if restarts else ""
        lines += _wrapped(f"{would}{order}.")
    return "\n".join(lines + [line for note in seen.notes for line in _wrapped(f"note: {note}")])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
