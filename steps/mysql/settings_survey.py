"""What set-config finds before it changes anything: every member's word, and what is written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steps.check.drift import judge_members_settings
from steps.check.finding import OK
from steps.check.read_servers import server_of
from steps.check.servers import Server
from steps.check.storage import quantity
from steps.kube.client import Kube, Object
from steps.kube.errors import NotFound
from steps.kube.pods import name_of
from steps.mysql import settings_files
from steps.mysql.cnf import settings_of
from steps.mysql.connection import SERVER_PORT, Credentials, session
from steps.mysql.restart_plan import SERVER_CONTAINER
from steps.mysql.settings import Setting, forbidden, of_names, warnings
from steps.mysql.settings_check import check, sources_of
from steps.mysql.settings_plan import COMMAND_LINE, Plan, State, to_mend, to_set
from steps.mysql.topology import server_addresses
from steps.mysql.waiting import Sight

TIMEOUT = 15.0
"""Seconds for each connection to a member, and for its answers."""


@dataclass(frozen=True)
class Seen:
    """What was found.

    Attributes:
        plan: what is to be done.
        against: why the settings cannot be had: nothing was changed.
        notes: what people should know.
    """

    plan: Plan
    against: list[str]
    notes: list[str]


def survey(kube: Kube, sight: Sight, credentials: Credentials, asked: Sequence[Setting] | None) -> Seen:
    """Ask every member and read what is written down; None asks to mend what differs from spec.mycnf.

    Raises:
        BadParameters: the cluster has no ConfigMap.
        Temporary: a member does not answer.
    """
    cluster = str(sight.cluster["metadata"]["name"])
    try:
        files = settings_files.read(kube, cluster)
    except NotFound as error:
        raise settings_files.missing(error, cluster) from error
    against, notes, dropped = list[str](), list[str](), tuple[str, ...]()
    if asked is None:
        written = of_names(settings_of(files.mycnf or ""))
        # A primary that is given super_read_only=ON, which a my.cnf may well say, takes no more writes.
        wanted = [one for one in written if not forbidden([one])]
        notes += [f"only written down, and set on no member: {why}" for why in forbidden(written)]
        after, dropped = to_mend(files)
    else:
        wanted = [one for one in asked if not forbidden([one])]
        against += forbidden(asked) + too_big(sight.servers, wanted)
        against += not_by_default(wanted, settings_files.of_operator(kube, cluster))
        notes += warnings(wanted)
    servers, answers, sources = list[Server](), {}, {}
    for pod, address in server_addresses(sight.servers).items():
        with session(address, SERVER_PORT, credentials, what=pod, timeout=TIMEOUT, read_timeout=TIMEOUT) as connection:
            servers.append(server_of(connection, pod))
            sources[pod] = sources_of(connection, wanted)
            answers[pod] = {answer.name: answer for answer in check(connection, wanted)}
    taken, dynamic = [], {}
    for one in wanted:
        said = {pod: answer[one.name] for pod, answer in answers.items()}
        no = {pod: answer.refused for pod, answer in said.items() if answer.refused}
        if no and asked is None:
            if not all(_has(server, one) for server in servers):
                notes.append(f"left alone, as no member can be told: {'; '.join(sorted(set(no.values())))}")
            continue
        if no:
            whose = "" if len(no) == len(said) else f" (says {', '.join(no)})"
            against += [f"{why}{whose}" for why in sorted(set(no.values()))]
            if all(one.name not in server.settings for server in servers):
                continue  # unknown to all: it has no kind, and no place in a plan
        taken.append(one)
        dynamic[one.name] = all(answer.dynamic for answer in said.values())
    if asked is None:
        notes += [
            f"{name} is taken out of the ConfigMap, for spec.mycnf lacks it; a member that runs with it does until "
            "its pod is new"
            for name in dropped
        ]
    else:
        after = to_set(files, taken)
    notes += [
        f"{one.name}: a container that starts again in its pod reads the pod's old copy of the ConfigMap, and may have "
        "that value again; rolling-restart with method=pod makes every pod anew"
        for one in taken
        if one.is_default and dynamic[one.name] and one.name in settings_of(files.file)
    ]
    against += [
        f"{name}=DEFAULT: the arguments of the server in {pod} set it, so a default would go with its next start"
        for pod, found in sources.items()
        for name, source in found.items()
        if source == COMMAND_LINE
    ]
    states = tuple(State(one.pod, one.settings, one.persisted, sources[one.pod]) for one in servers)
    notes += [
        f"nobody asked for a value of what the members have otherwise: {one.seen}"
        for one in judge_members_settings(_without(servers, wanted))
        if one.severity != OK
    ]
    return Seen(Plan(tuple(taken), dynamic, states, files, after, dropped), against, notes)


def not_by_default(wanted: Sequence[Setting], operators: Mapping[str, str]) -> list[str]:
    """Return of which settings there is no default in this cluster: the operator's files give them a value."""
    return [
        f"{one.name}=DEFAULT: {operators[one.name]} of the cluster's ConfigMap sets it, so a default would go with the "
        "next start; give a value"
        for one in wanted
        if one.is_default and one.name in operators
    ]


def too_big(pods: Sequence[Object], wanted: Sequence[Setting]) -> list[str]:
    """Return why a buffer pool has no room in the servers' containers, where these have a limit."""
    limits = {
        name_of(pod): limit
        for pod in pods
        for container in pod["spec"].get("containers") or []
        if container["name"] == SERVER_CONTAINER
        and quantity(limit := str(((container.get("resources") or {}).get("limits") or {}).get("memory") or ""))
    }
    if not limits:
        return []
    pod, limit = min(limits.items(), key=lambda one: quantity(one[1]))
    return [
        f"{one.name}={one.written} has no room in the {limit} of memory that the container {SERVER_CONTAINER} of {pod} "
        "may use: the kernel would end the server"
        for one in wanted
        if one.name == "innodb_buffer_pool_size" and isinstance(one.value, int) and one.value >= quantity(limit)
    ]


def _has(server: Server, one: Setting) -> bool:
    return State(server.pod, server.settings, server.persisted).has(one)


def _without(servers: Sequence[Server], wanted: Sequence[Setting]) -> list[Server]:
    names = {one.name for one in wanted}
    return [
        Server(one.pod, one.at, settings={name: value for name, value in one.settings.items() if name not in names})
        for one in servers
    ]
