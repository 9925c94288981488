"""Changing who takes writes in a group, and making sure of it by the majority's view."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace

from steps.drill import multi_primary
from steps.errors import StepError, Temporary, TimedOut
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, query, session
from steps.mysql.restart import QUEUES_SQL, weights
from steps.mysql.restart_plan import heir
from steps.mysql.topology import Member, Topology, read_topology
from steps.mysql.topology_plan import Mode, numbering
from steps.mysql.topology_survey import survey

LOOK_SECONDS = 0.2
TO_MULTI = "SELECT group_replication_switch_to_multi_primary_mode()"
TO_SINGLE = "SELECT group_replication_switch_to_single_primary_mode(%s)"
SINGLE_SQL = "SELECT @@global.group_replication_single_primary_mode"
NUMBERS = ("auto_increment_increment", "auto_increment_offset")
DEFAULTS = (1, 1)


def to_multi(
    kube: Kube, cluster: str, credentials: Credentials, note: multi_primary.Note, seconds: float
) -> multi_primary.Note:
    """Let every member take writes, from a note on the cluster that says how it was; return the note as it is then.

    Raises:
        TimedOut: the majority did not say so in time.
    """
    seen = survey(read_topology(kube, cluster, credentials=credentials), credentials)
    wanted = numbering(seen.servers)
    was = {pod: [seen.servers[pod].increment, seen.servers[pod].offset] for pod in wanted}
    # What is noted already is from before an attempt that was cut off.
    note = replace(note, numbers={**was, **note.numbers})
    multi_primary.write(kube, cluster, note)
    # Before the switch: group replication leaves numbers alone that are no defaults.
    _number(seen.topology, credentials, wanted)
    if seen.mode is not Mode.MULTI:
        _ask(_any(seen.topology), credentials, TO_MULTI, (), seconds)
    _wait(kube, cluster, credentials, Mode.MULTI, "", seconds)
    note = replace(note, state=multi_primary.SETTLED)
    multi_primary.write(kube, cluster, note)
    return note


def to_single(
    kube: Kube, cluster: str, credentials: Credentials, note: multi_primary.Note | None, wanted: str, seconds: float
) -> Topology:
    """Let one member take writes, put the numbers back, take the note off, and return the group as it is then.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        credentials: its administrator.
        note: on the cluster.
        wanted: pod that is to be the primary; empty takes the one before, or else the best.
        seconds: how long the switch may take.

    Raises:
        Temporary: there is no member to ask now.
        TimedOut: the majority did not say so in time.
    """
    topology = read_topology(kube, cluster, credentials=credentials)
    if topology.primary is None or survey(topology, credentials).mode is not Mode.SINGLE:
        chosen = choose(topology, credentials, wanted or (note.primary if note else ""))
        _ask(chosen, credentials, TO_SINGLE, (chosen.id,), seconds)
        topology = _wait(kube, cluster, credentials, Mode.SINGLE, chosen.pod, seconds)
    if note is not None:
        _number_back(topology, credentials, note.numbers)
    multi_primary.remove(kube, cluster)
    return topology


def choose(topology: Topology, credentials: Credentials, wanted: str) -> Member:
    """Return the member that becomes the primary.

    Raises:
        Temporary: no member is ONLINE and has a pod.
    """
    online = [member for member in topology.members if member.state == "ONLINE" and member.address]
    named = next((member for member in online if member.pod == wanted), None)
    if named is not None:
        return named
    first = _any(topology)
    with session(first.address, SERVER_PORT, credentials, what=first.pod) as connection:
        queued = {str(row[0]): int(row[1] or 0) for row in query(connection, QUEUES_SQL)}
    pod = heir(online, weights(topology, credentials), queued)
    return next(member for member in online if member.pod == pod)


def _any(topology: Topology) -> Member:
    """Return a member that can be asked, the primary where there is one."""
    online = [member for member in topology.members if member.state == "ONLINE" and member.address]
    if not online:
        raise Temporary(f"No member of {topology.cluster} can be asked now: {topology.summary()}. Run check-cluster.")
    return min(online, key=lambda one: (one.role != "PRIMARY", one.pod))


def _ask(member: Member, credentials: Credentials, sql: str, values: tuple[str, ...], seconds: float) -> None:
    log("switching", asked=member.pod, sql=sql.removeprefix("SELECT "))
    with session(
        member.address, SERVER_PORT, credentials, what=f"member {member.pod}", read_timeout=seconds
    ) as connection:
        said = query(connection, sql, values)
    log("switched", said=str(said[0][0]) if said else "")


def _wait(kube: Kube, cluster: str, credentials: Credentials, mode: Mode, primary: str, seconds: float) -> Topology:
    """Wait until the majority and every ONLINE member say that it is in a mode."""
    began = time.monotonic()
    while True:
        topology = read_topology(kube, cluster, credentials=credentials)
        lacking = missing(topology, mode, primary) or _settings(topology, credentials, mode)
        if not lacking:
            log("verified", mode=mode.value, group=roles(topology), seconds=round(time.monotonic() - began, 3))
            return topology
        if time.monotonic() - began > seconds:
            raise TimedOut(
                f"The switch of {cluster} to {mode.value} mode returned, but after {seconds:.0f} s {lacking}. "
                "Run check-cluster, then this again: it goes on where it stopped."
            )
        time.sleep(LOOK_SECONDS)


def missing(topology: Topology, mode: Mode, primary: str = "") -> str:
    """Return what the views lack of a mode, in words; empty where they show it."""
    if not topology.members:
        return f"there is {topology.summary()}"
    if mode is Mode.SINGLE:
        if topology.primary is None or (primary and topology.primary.pod != primary):
            return f"the majority says {roles(topology)}, expected {primary or 'one'} as the only primary"
        open_ = sorted(
            pod for pod, view in topology.views.items() if view.writable and view.own_id != topology.primary.id
        )
        return f"{', '.join(open_)} takes writes, too" if open_ else ""
    closed = [one.pod for one in topology.members if one.state == "ONLINE" and one.role != "PRIMARY"]
    if closed:
        return f"the majority does not call {', '.join(closed)} primary ({roles(topology)})"
    online = {one.id for one in topology.members if one.state == "ONLINE"}
    shut = sorted(pod for pod, view in topology.views.items() if view.own_id in online and not view.writable)
    return f"{', '.join(shut)} takes no writes" if shut else ""


def _settings(topology: Topology, credentials: Credentials, mode: Mode) -> str:
    for member in topology.members:
        if member.state == "ONLINE" and member.address:
            try:
                with session(member.address, SERVER_PORT, credentials, what=member.pod) as connection:
                    single = bool(query(connection, SINGLE_SQL)[0][0])
            except StepError as error:
                return f"{member.pod} gives no answer: {error}"
            if single is not (mode is Mode.SINGLE):
                return f"{member.pod} says group_replication_single_primary_mode={'ON' if single else 'OFF'}"
    return ""


def roles(topology: Topology) -> str:
    """Return each member's role, in one line."""
    return ", ".join(f"{one.pod or one.host} {one.role or one.state}" for one in topology.members)


def _number(topology: Topology, credentials: Credentials, wanted: Mapping[str, tuple[int, int]]) -> None:
    """Give each member numbers of its own for AUTO_INCREMENT, also after a restart."""
    for pod, values in wanted.items():
        member = topology.of_pod(pod)
        if member is None:
            continue
        with session(member.address, SERVER_PORT, credentials, what=pod) as connection:
            for name, value in zip(NUMBERS, values, strict=True):
                query(connection, f"SET PERSIST {name} = {int(value)}")
        log("numbered", pod=pod, increment=values[0], offset=values[1])


def _number_back(topology: Topology, credentials: Credentials, was: Mapping[str, list[int]]) -> None:
    """Put back the numbers of every member that answers; one that does not is told of."""
    for pod, values in was.items():
        member = topology.of_pod(pod)
        try:
            if member is None or not member.address:
                raise Temporary("it is not in the group now")
            with session(member.address, SERVER_PORT, credentials, what=pod) as connection:
                for name, value in zip(NUMBERS, values, strict=True):
                    if tuple(values) == DEFAULTS:
                        query(connection, f"RESET PERSIST IF EXISTS {name}")
                        query(connection, f"SET GLOBAL {name} = {int(value)}")
                    else:
                        query(connection, f"SET PERSIST {name} = {int(value)}")
        except StepError as error:
            log("numbers-left", pod=pod, why=str(error), what=f"SET PERSIST {NUMBERS[0]} and {NUMBERS[1]} = {values}")
