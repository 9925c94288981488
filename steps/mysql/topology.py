"""What a cluster's members are and who is primary, by the view that the majority of them holds.

Every member is asked for its own view of the group (``performance_schema.replication_group_members``), all at the
same time. One member's word is not enough: a member cut off from the others goes on calling itself the primary
until it learns better, and Kubernetes' role labels lag behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from steps.kube.client import Kube, Object
from steps.mysql.connection import SERVER_PORT, Credentials, close, connect, query, root_credentials

IN_GROUP = ("ONLINE", "RECOVERING", "UNREACHABLE")
"""States of a member that the group counts; an OFFLINE or ERROR member only speaks of itself."""

VIEW_SQL = (
    "SELECT member_id, member_host, member_port, member_state, member_role, member_version"
    " FROM performance_schema.replication_group_members"
)


@dataclass(frozen=True)
class Member:
    """One member of the group, as some view has it.

    Attributes:
        id: the server's UUID.
        host: as the server reports it: a name inside the cluster, not always one that resolves.
        port: as the server reports it.
        state: ONLINE, RECOVERING, OFFLINE, ERROR or UNREACHABLE.
        role: PRIMARY, SECONDARY or empty.
        version: of the server.
        pod: its pod, empty where no pod fits.
        address: the pod's IP, empty where no pod fits.
    """

    id: str
    host: str
    port: int
    state: str
    role: str
    version: str
    pod: str = ""
    address: str = ""


@dataclass(frozen=True)
class View:
    """The group as one member sees it.

    Attributes:
        own_id: UUID of the server that was asked.
        members: what it sees.
        writable: whether that server takes writes (``super_read_only`` is off).
    """

    own_id: str
    members: tuple[Member, ...]
    writable: bool = False

    @property
    def group(self) -> tuple[Member, ...]:
        """The members that the group counts; empty where the one who was asked is not in a group."""
        counted = tuple(member for member in self.members if member.state in IN_GROUP)
        return counted if any(member.id == self.own_id for member in counted) else ()

    @property
    def has_quorum(self) -> bool:
        """Whether more than half of the group can be reached from there."""
        reachable = [member for member in self.group if member.state != "UNREACHABLE"]
        return 2 * len(reachable) > len(self.group)


@dataclass(frozen=True)
class Topology:
    """A cluster's group at one moment.

    Attributes:
        cluster: name of the InnoDBCluster.
        expected: number of servers that its spec asks for.
        members: the group in the majority's view; empty where no majority agrees.
        primary: the one primary that is ONLINE in the view of more than half of the group, or None.
        quorum: whether more than half of the group agrees on a view in which more than half is reachable.
        views: each pod's own view, by pod name.
        unreachable: pods that gave no view, and why.
    """

    cluster: str
    expected: int
    members: tuple[Member, ...] = ()
    primary: Member | None = None
    quorum: bool = False
    views: Mapping[str, View] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)

    @property
    def online(self) -> int:
        """Number of members that are ONLINE in the majority's view."""
        return sum(member.state == "ONLINE" for member in self.members)

    @property
    def secondaries(self) -> tuple[Member, ...]:
        """Members that are ONLINE and not the primary."""
        chosen = self.primary.id if self.primary else ""
        return tuple(member for member in self.members if member.state == "ONLINE" and member.id != chosen)

    @property
    def is_whole(self) -> bool:
        """Whether there is one primary and exactly as many members as asked for, all ONLINE."""
        return self.primary is not None and self.online == len(self.members) == self.expected

    def of_pod(self, pod: str) -> Member | None:
        """Return the member that runs in `pod`, as the majority sees it."""
        return next((member for member in self.members if member.pod == pod), None)

    def summary(self) -> str:
        """Return one line for people: "3/3 ONLINE, primary demo-0"."""
        if not self.members:
            return f"no majority view: {len(self.views)} of {self.expected} servers answer"
        states = sorted({member.state for member in self.members} - {"ONLINE"})
        others = [f"{sum(m.state == state for m in self.members)} {state}" for state in states]
        leader = f"primary {self.primary.pod or self.primary.host}" if self.primary else "no primary"
        return ", ".join([f"{self.online}/{self.expected} ONLINE", *others, leader])


def place(views: Mapping[str, View], addresses: Mapping[str, str]) -> dict[str, View]:
    """Return the views with each member's pod and address filled in.

    Args:
        views: by pod name.
        addresses: pod name to pod IP, also of the pods that gave no view.
    """
    pod_of = {view.own_id: pod for pod, view in views.items()}

    def placed(member: Member) -> Member:
        pod = pod_of.get(member.id, "")
        if not pod:
            first = member.host.split(".")[0]
            fits = [name for name, ip in addresses.items() if member.host == ip or first == name]
            pod = fits[0] if len(fits) == 1 and fits[0] not in views else ""
        return Member(
            member.id,
            member.host,
            member.port,
            member.state,
            member.role,
            member.version,
            pod,
            addresses.get(pod, ""),
        )

    return {
        pod: View(view.own_id, tuple(placed(member) for member in view.members), view.writable)
        for pod, view in views.items()
    }


def judge(
    cluster: str,
    expected: int,
    views: Mapping[str, View],
    unreachable: Mapping[str, str],
) -> Topology:
    """Return the topology that a set of views amounts to.

    A view counts if the one who holds it is in a group and reaches more than half of it. Views agree if they name
    the same members. The largest set of views that agree is the majority's if it is held by more than half of the
    members that it names, and the primary is the one that more than half of them name as ONLINE.
    """
    agreeing: dict[frozenset[str], list[View]] = {}
    for view in views.values():
        if view.has_quorum:
            agreeing.setdefault(frozenset(member.id for member in view.group), []).append(view)
    held = [(ids, holders) for ids, holders in agreeing.items() if 2 * len(holders) > len(ids)]
    if not held:
        return Topology(cluster, expected, views=views, unreachable=unreachable)
    # Two groups can each have a majority of their own (a server that formed a group by itself): the larger is the
    # cluster's, and between two of one size nobody can tell.
    held.sort(key=lambda pair: len(pair[0]), reverse=True)
    if len(held) > 1 and len(held[0][0]) == len(held[1][0]):
        return Topology(cluster, expected, views=views, unreachable=unreachable)
    ids, holders = held[0]
    primary_id = _elected(holders, len(ids))
    # The primary's own view is the freshest about its members' states.
    best = next((view for view in holders if view.own_id == primary_id), holders[0])
    members = tuple(sorted(best.group, key=lambda member: (member.pod, member.host, member.port)))
    primary = next((member for member in members if member.id == primary_id), None)
    return Topology(cluster, expected, members, primary, True, views, unreachable)


def _elected(holders: list[View], size: int) -> str:
    """Return the id of the only ONLINE primary for more than half of `size` members, or the empty text."""
    votes: dict[str, int] = {}
    for view in holders:
        named = [member.id for member in view.group if member.role == "PRIMARY" and member.state == "ONLINE"]
        if len(named) == 1:
            votes[named[0]] = votes.get(named[0], 0) + 1
    return next((candidate for candidate, count in votes.items() if 2 * count > size), "")


def read_view(address: str, credentials: Credentials, *, timeout: float = 3.0, port: int = SERVER_PORT) -> View:
    """Ask one server for its view of the group.

    Raises:
        mysql.connector.Error: it does not answer, or does not let the user in.
    """
    connection = connect(address, port, credentials, timeout=timeout, read_timeout=timeout)
    try:
        return view_of(connection)
    finally:
        close(connection)


def view_of(connection: object) -> View:
    """Ask the server at the other end of an open connection for its view of the group."""
    own_id, read_only = query(connection, "SELECT @@server_uuid, @@global.super_read_only")[0]
    rows = query(connection, VIEW_SQL)
    members = tuple(
        Member(str(row[0]), str(row[1]), int(row[2] or 0), str(row[3]), str(row[4]), str(row[5])) for row in rows
    )
    return View(str(own_id), members, not read_only)


def read_views(
    addresses: Mapping[str, str], credentials: Credentials, *, timeout: float = 3.0
) -> tuple[dict[str, View], dict[str, str]]:
    """Ask all servers at once.

    Args:
        addresses: pod name to pod IP; an empty address counts as unreachable.
        credentials: a user that each of them knows.
        timeout: seconds to connect, and for each answer.

    Returns:
        The views by pod name, and the reasons of the pods that gave none.
    """
    import mysql.connector

    def ask(pod: str) -> View | str:
        if not addresses[pod]:
            return "the pod has no address yet"
        try:
            return read_view(addresses[pod], credentials, timeout=timeout)
        except (mysql.connector.Error, OSError) as error:
            return f"{type(error).__name__}: {error}"

    if not addresses:
        return {}, {}
    with ThreadPoolExecutor(max_workers=len(addresses)) as pool:
        answers = dict(zip(addresses, pool.map(ask, addresses), strict=True))
    views = {pod: answer for pod, answer in answers.items() if isinstance(answer, View)}
    return place(views, addresses), {pod: answer for pod, answer in answers.items() if isinstance(answer, str)}


def server_addresses(pods: list[Object]) -> dict[str, str]:
    """Return pod name to pod IP, the empty text where it has none yet."""
    return {str(pod["metadata"]["name"]): str(pod.get("status", {}).get("podIP") or "") for pod in pods}


def read_topology(
    kube: Kube, cluster: str, *, credentials: Credentials | None = None, timeout: float = 3.0
) -> Topology:
    """Look at a cluster now.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        credentials: a user that each member knows; the cluster's administrator where None.
        timeout: seconds for each member, all being asked at once.

    Raises:
        BadParameters: there is no such cluster.
    """
    found = kube.cluster(cluster)
    user = credentials or root_credentials(kube, found)
    addresses = server_addresses(kube.servers(cluster))
    views, unreachable = read_views(addresses, user, timeout=timeout)
    return judge(cluster, int(found["spec"].get("instances", 1)), views, unreachable)
