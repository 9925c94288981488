"""What a drain would find: the node, what is on it, who goes, what holds them, and where they can go. Changes nothing.

The guards, the dry run and the drill itself are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steps.drill.neighbours import neighbours, unwilling
from steps.errors import BadParameters, Refused
from steps.kube import cordon
from steps.kube.client import Kube, Object
from steps.kube.eviction import Action, Decision, Policy, decide, pods_on
from steps.kube.placing import Volumes, is_open, matches, pinned, takers
from steps.kube.pods import is_ready, name_of
from steps.mysql.topology import Member, Topology

RIGHTS = (
    ("patch", "nodes", "", ""),
    ("list", "pods", "", ""),
    ("create", "pods", "eviction", ""),
    ("list", "poddisruptionbudgets", "", "policy"),
    ("list", "persistentvolumeclaims", "", ""),
    ("list", "persistentvolumes", "", ""),
    ("list", "innodbclusters", "", "mysql.oracle.com"),
)
"""What a drain does in all namespaces: verb, resource, subresource, group."""


@dataclass(frozen=True)
class Wish:
    """What was asked for; see :mod:`steps.drill.drain_options`.

    Attributes:
        workflow: of the drill.
        target: primary, secondary, router or node.
        node: its name for target=node; with another target, where that target must still be. Empty for any.
        switchover_first: whether the primary is handed over before.
        eviction_seconds: how long evictions may take; 0 for what the pods' grace periods ask for.
        empty_dir: whether others' pods with an emptyDir go.
        unmanaged: whether pods without a controller go.
        expires: as in :class:`steps.drill.intent.Intent`.
    """

    workflow: str
    target: str = "primary"
    node: str = ""
    switchover_first: bool = False
    eviction_seconds: int = 0
    empty_dir: bool = False
    unmanaged: bool = False
    expires: str = ""


@dataclass(frozen=True)
class Budget:
    """A PodDisruptionBudget that has a say about pods that go.

    Attributes:
        name: with its namespace before it.
        allows: how many of its pods may go now.
        pods: UIDs of those that are to go.
    """

    name: str
    allows: int
    pods: frozenset[str]


@dataclass(frozen=True)
class Survey:
    """What is on the node, before anything is changed.

    Attributes:
        node: its name.
        member: the member that the drill watches; the primary where a Router is the target.
        is_primary: whether the primary is on the node.
        here: pods of the cluster's servers on the node.
        routers: pods of its Routers on the node.
        decisions: what becomes of every pod.
        router: the Router's pod that is the target; empty where a member is.
        routers_ready: Routers of the cluster that are ready, on any node.
        budgets: that have a say about the pods that go.
        open_nodes: the other nodes that take pods.
        takers: UID of each pod that goes, to those of the other nodes that may take it.
        pinned: UID of a pod that goes, to its claims whose volumes no other node reaches; only where there are some.
        note: of a drill on the node, or None.
        cordoned: whether it is cordoned already.
        lacking: rights that this drill's account does not have.
        unwilling: why pods of other clusters on the node must not go.
    """

    node: str
    member: Member
    is_primary: bool
    here: Sequence[str]
    routers: Sequence[str]
    decisions: Sequence[Decision]
    router: str = ""
    routers_ready: int = 0
    budgets: Sequence[Budget] = ()
    open_nodes: Sequence[str] = ()
    takers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pinned: Mapping[str, Sequence[str]] = field(default_factory=dict)
    note: cordon.Cordon | None = None
    cordoned: bool = False
    lacking: Sequence[str] = ()
    unwilling: Sequence[str] = ()

    @property
    def going(self) -> list[Decision]:
        """The pods that are evicted."""
        return [one for one in self.decisions if one.action is Action.EVICT]


def survey(kube: Kube, cluster: str, topology: Topology, wish: Wish) -> Survey:
    """Find the node and look at what is on it. Changes nothing.

    Raises:
        BadParameters: the node does not exist, or nothing of the cluster runs there.
        Refused: the target has moved from the node that it was found on before; or there is no such target.
    """
    places = {name_of(pod): str(pod["spec"].get("nodeName") or "") for pod in kube.servers(cluster)}
    routers = kube.routers(cluster)
    if topology.primary is None:
        raise Refused(f"Refused, nothing was changed: {cluster} has no primary ({topology.summary()}).")
    if wish.target == "router":
        router = _aim_at_router(cluster, routers, places, topology.primary, wish)
        member, node = topology.primary, str(router["spec"]["nodeName"])
    else:
        router = None
        member = _aim(topology, topology.primary, places, wish)
        node = places.get(member.pod, "")
    if wish.node and node != wish.node:
        raise Refused(
            f"The {wish.target} of {cluster} is on node {node!r} now, no longer on {wish.node!r}: start again."
        )
    lacking = _lacking(kube)
    nodes = kube.all("nodes")
    found = next((one for one in nodes if name_of(one) == node), None)
    if found is None:
        raise BadParameters(f"There is no node {node!r}; there are: {', '.join(map(name_of, nodes))}.")
    pods = pods_on(kube, node)
    decisions = decide(pods, Policy(wish.workflow, kube.namespace, cluster, wish.empty_dir, wish.unmanaged))
    uids = {one.uid for one in decisions if one.action is Action.EVICT}
    going = {str(pod["metadata"].get("uid")): pod for pod in pods if pod["metadata"].get("uid") in uids}
    others = [one for one in nodes if name_of(one) != node and is_open(one)]
    volumes = Volumes({}, {})
    if not lacking:
        volumes = Volumes.of(kube.everywhere("persistentvolumeclaims"), kube.everywhere("persistentvolumes"))
    beside = neighbours(going.values(), (kube.namespace, cluster))
    stuck = {uid: pinned(pod, others, volumes) for uid, pod in going.items()}
    return Survey(
        node=node,
        member=member,
        is_primary=places.get(topology.primary.pod) == node,
        here=sorted(name for name, place in places.items() if place == node),
        routers=[name_of(pod) for pod in routers if pod["spec"].get("nodeName") == node],
        decisions=decisions,
        router=name_of(router) if router else "",
        routers_ready=sum(map(is_ready, routers)),
        budgets=() if lacking else _budgets(kube, going),
        open_nodes=[name_of(one) for one in others],
        takers={uid: takers(pod, others, volumes) for uid, pod in going.items()},
        pinned={uid: claims for uid, claims in stuck.items() if claims},
        note=cordon.read(found),
        cordoned=cordon.is_cordoned(found),
        lacking=lacking,
        unwilling=unwilling(beside, kube.everywhere("innodbclusters")) if beside and not lacking else (),
    )


def _lacking(kube: Kube) -> list[str]:
    return [
        f"{verb} {resource}{'/' + below if below else ''}"
        for verb, resource, below, group in RIGHTS
        if not kube.may(verb, resource, subresource=below, group=group)
    ]


def _aim(topology: Topology, primary: Member, places: Mapping[str, str], wish: Wish) -> Member:
    """Return the member that the drill is about: on a node by name the primary, if it is there."""
    if wish.target == "primary":
        return primary
    others = sorted(topology.secondaries, key=lambda member: member.pod)
    if wish.target == "secondary":
        apart = [one for one in others if places.get(one.pod) != places.get(primary.pod)]
        there = [one for one in apart if not wish.node or places.get(one.pod) == wish.node]
        if not there:
            raise Refused(
                "Refused, nothing was changed: no ONLINE secondary is on a node without the primary: " + _told(places)
            )
        return there[0]
    if not wish.node:
        raise BadParameters("target=node needs the parameter node: the name of the node that is to be drained.")
    here = [one for one in (primary, *others) if places.get(one.pod) == wish.node]
    if not here:
        raise BadParameters(f"No member of {topology.cluster} is on node {wish.node!r}: {_told(places)}")
    return here[0]


def _aim_at_router(
    cluster: str, routers: Sequence[Object], places: Mapping[str, str], primary: Member, wish: Wish
) -> Object:
    """Return the Router to aim at: on a node without the primary where there is one, then with the fewest servers."""
    ready = [pod for pod in routers if is_ready(pod) and pod["spec"].get("nodeName")]
    if not ready:
        raise Refused(f"Refused, nothing was changed: no Router of {cluster} is ready.")

    def rank(pod: Object) -> tuple[bool, bool, int, str]:
        node = pod["spec"]["nodeName"]
        servers = list(places.values()).count(node)
        return bool(wish.node) and node != wish.node, places.get(primary.pod) == node, servers, name_of(pod)

    return min(ready, key=rank)


def _told(places: Mapping[str, str]) -> str:
    return ", ".join(f"{pod} is on {node or 'no node'}" for pod, node in sorted(places.items())) + "."


def _budgets(kube: Kube, going: Mapping[str, Object]) -> list[Budget]:
    """Return the disruption budgets of the pods that go, and how many each lets go now."""
    found = []
    for budget in kube.everywhere("poddisruptionbudgets"):
        meta = budget["metadata"]
        selector = budget["spec"].get("selector") or {}
        held = frozenset(
            uid
            for uid, pod in going.items()
            if pod["metadata"].get("namespace") == meta["namespace"]
            and matches(selector, pod["metadata"].get("labels") or {})
        )
        if held:
            allowed = int((budget.get("status") or {}).get("disruptionsAllowed") or 0)
            found.append(Budget(f"{meta['namespace']}/{meta['name']}", allowed, held))
    return sorted(found, key=lambda one: one.name)
