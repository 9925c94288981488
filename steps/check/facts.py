"""What is seen of a cluster's group, Routers and data: values, for those that judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steps.mysql.topology import Member, Topology


@dataclass(frozen=True)
class Queues:
    """Transactions that wait at one member.

    Attributes:
        certifying: received from the group, conflicts not yet checked.
        applying: checked, not yet applied.
    """

    certifying: int
    applying: int


@dataclass(frozen=True)
class Route:
    """Where a Router's port leads.

    Attributes:
        server: UUID of the server that answered, empty where none did.
        error: why none did.
    """

    server: str = ""
    error: str = ""


@dataclass(frozen=True)
class OpenRestore:
    """A restore that is not finished, and whether one is being worked on now."""

    backup: str
    phase: str
    workflow: str
    running: bool


@dataclass(frozen=True)
class Facts:
    """What check-cluster has seen of one cluster.

    Attributes:
        name: of the InnoDBCluster.
        operator_status: what the operator says (``status.cluster.status``), empty where nothing.
        operator_online: how many instances the operator calls online.
        topology: the group.
        routers_wanted: number of Routers in the spec.
        routers_ready: number of Routers that are ready.
        writes: where the read-write port of the Service leads; None where it was not asked.
        reads: where the read-only port leads; None where it was not asked.
        queues: by pod.
        keyless: tables without a primary key, as schema.table; None where it could not be read.
        errant: transactions that a server has and the primary has not, by pod; None where it could not be read.
        pods: what holds each pod that is not ready.
        restores: that began there and are not finished.
        each_router: where the read-write port of every ready Router leads, by pod.
    """

    name: str
    operator_status: str
    operator_online: int
    topology: Topology
    routers_wanted: int
    routers_ready: int
    writes: Route | None = None
    reads: Route | None = None
    queues: Mapping[str, Queues] = field(default_factory=dict)
    keyless: Sequence[str] | None = None
    errant: Mapping[str, str] | None = None
    pods: Sequence[str] = ()
    restores: Sequence[OpenRestore] = ()
    each_router: Mapping[str, Route] = field(default_factory=dict)

    @property
    def writers_by_mode(self) -> tuple[Member, ...]:
        """The members of a group in multi-primary mode; none where it has a single primary, or none."""
        return several_primaries(self.topology)


def several_primaries(topology: Topology) -> tuple[Member, ...]:
    """Return the ONLINE members where all of them are primaries, and there are at least two."""
    online = tuple(member for member in topology.members if member.state == "ONLINE")
    return online if len(online) > 1 and all(member.role == "PRIMARY" for member in online) else ()
