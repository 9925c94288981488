"""How to scale a cluster: the actions one after another, and what speaks against them. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from steps.mysql.definition import even_count_warning
from steps.mysql.topology import Topology


@dataclass(frozen=True)
class Action:
    """One action of a plan.

    Attributes:
        kind: set-routers, add-server, move-primary, remove-server or delete-claim.
        count: number of servers or Routers after it.
        pod: the pod that becomes primary or goes; for delete-claim, the claim.
    """

    kind: str
    count: int = 0
    pod: str = ""

    def __str__(self) -> str:
        """Say it for people."""
        match self.kind:
            case "set-routers":
                return f"set the number of Routers to {self.count}"
            case "add-server":
                return f"add server {self.pod} ({self.count} in all)"
            case "move-primary":
                return f"make {self.pod} the primary"
            case "remove-server":
                return f"remove server {self.pod} ({self.count} left)"
            case _:
                return f"delete volume claim {self.pod} and its data"


@dataclass(frozen=True)
class Plan:
    """What scale-cluster would do.

    Attributes:
        actions: in order.
        refusals: why it must not be done; any of them stops it.
        warnings: what its reader should know.
    """

    actions: tuple[Action, ...]
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Current:
    """A cluster before it is scaled.

    Attributes:
        servers: number of servers that its spec asks for.
        routers: number of Routers that its spec asks for.
        topology: its group.
        claims: names of the volume claims that exist.
    """

    servers: int
    routers: int
    topology: Topology
    claims: Sequence[str] = ()


def told(made: Plan, *, dry_run: bool) -> str:
    """Return a plan in words: the actions alone where they are done, everything there is to say in a dry run."""
    actions = "; ".join(str(action) for action in made.actions)
    if not dry_run:
        return actions
    parts = ["dry run: nothing was changed"]
    parts += [f"it would be refused: {refusal}" for refusal in made.refusals]
    if not made.refusals:
        parts.append(f"would do: {actions}" if actions else "there is nothing to do")
    return "; ".join(parts + [f"warning: {warning}" for warning in made.warnings])


def pod_name(cluster: str, ordinal: int) -> str:
    """Return the name of a server's pod: StatefulSets add and remove at the highest ordinal."""
    return f"{cluster}-{ordinal}"


def claim_name(cluster: str, ordinal: int) -> str:
    """Return the name of a server's volume claim."""
    return f"datadir-{cluster}-{ordinal}"


def plan(
    current: Current,
    servers: int | None,
    routers: int | None,
    *,
    allow_outage: bool = False,
    delete_claims: bool = False,
) -> Plan:
    """Return how to get from `current` to the numbers asked for.

    Args:
        current: what is there.
        servers: number of servers to have; None leaves it.
        routers: number of Routers to have; None leaves it.
        allow_outage: also remove servers while not all members are ONLINE, or the last Router.
        delete_claims: also delete the claims of servers beyond the number asked for, from earlier runs too.
    """
    cluster, topology = current.topology.cluster, current.topology
    want = current.servers if servers is None else servers
    actions: list[Action] = []
    refusals: list[str] = []
    warnings: list[str] = []
    if want != current.servers and not topology.quorum:
        refusals.append(
            f"the group of {cluster} has no quorum ({topology.summary()}): bring it back first; "
            "adding or removing servers now could split it or lose data"
        )
    elif want < current.servers:
        refusals += _against_removal(current, want, allow_outage)
    if routers == 0 and current.routers > 0 and not allow_outage:
        refusals.append(
            "without Routers no client reaches the cluster through them; allow-outage=true if that is meant"
        )
    if servers is not None and (warning := even_count_warning(want)):
        warnings.append(warning)
    if want > current.servers and topology.online < current.servers:
        warnings.append(f"not all members are ONLINE ({topology.summary()}); the new ones are added all the same")
    if routers is not None and routers != current.routers:
        actions.append(Action("set-routers", routers))
    for count in range(current.servers + 1, want + 1):
        actions.append(Action("add-server", count, pod_name(cluster, count - 1)))
    going = [pod_name(cluster, ordinal) for ordinal in range(want, current.servers)]
    if going and topology.primary and topology.primary.pod in going:
        heir = successor(topology, going)
        if heir:
            actions.append(Action("move-primary", current.servers, heir))
        else:
            refusals.append("every member that would stay is not ONLINE, so none can become the primary")
    for count in range(current.servers - 1, want - 1, -1):
        actions.append(Action("remove-server", count, pod_name(cluster, count)))
    if delete_claims:
        doomed = {claim_name(cluster, ordinal) for ordinal in range(want, current.servers)}
        doomed |= {name for name in current.claims if _beyond(name, cluster, want)}
        actions += [Action("delete-claim", pod=name) for name in sorted(doomed)]
    return Plan(tuple(actions), tuple(refusals), tuple(warnings))


def _against_removal(current: Current, want: int, allow_outage: bool) -> list[str]:
    """Return what speaks against removing servers down to `want`: only safe while every member is ONLINE."""
    topology = current.topology
    if topology.online < current.servers and not allow_outage:
        return [
            f"not all members are ONLINE ({topology.summary()}): removing one now leaves the group one failure "
            "from losing its quorum. Bring them back first (check-cluster), or set allow-outage=true"
        ]
    staying = {pod_name(topology.cluster, ordinal) for ordinal in range(want)}
    online = [member for member in topology.members if member.state == "ONLINE" and member.pod in staying]
    unreachable = [member for member in topology.members if member.state != "ONLINE" and member.pod in staying]
    if len(online) <= len(unreachable):
        return [
            f"of the {want} servers that would stay, {len(online)} are ONLINE: the group would lose its quorum, "
            "and no option allows that"
        ]
    return []


def successor(topology: Topology, going: Sequence[str]) -> str:
    """Return the pod that should become primary when the pods `going` go: the first ONLINE one; or nothing."""
    fits = [m.pod for m in topology.members if m.state == "ONLINE" and m.pod and m.pod not in going]
    return min(fits, key=lambda pod: (len(pod), pod), default="")


def _beyond(claim: str, cluster: str, servers: int) -> bool:
    """Whether a claim belongs to a server of `cluster` with an ordinal of at least `servers`."""
    prefix = claim_name(cluster, 0)[:-1]
    ordinal = claim.removeprefix(prefix)
    return claim.startswith(prefix) and ordinal.isdecimal() and int(ordinal) >= servers
