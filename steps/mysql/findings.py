"""What check-cluster finds in what it has seen: pure functions, each finding with its meaning and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steps.mysql.topology import Topology

OK, WARNING, CRITICAL = "ok", "warning", "critical"
SEVERITIES = (OK, WARNING, CRITICAL)

QUEUE_LIMIT = 1000
"""Transactions waiting at a member from which on it lags: about a second's work of a busy cluster."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Attributes:
        check: short name of the check.
        severity: ok, warning or critical.
        seen: what was seen.
        means: what it means for the cluster's users; empty where all is well.
        run: what to do about it; empty where all is well.
    """

    check: str
    severity: str
    seen: str
    means: str = ""
    run: str = ""


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
        errant: transactions that only one secondary has, by pod; None where it could not be read.
        pods: what holds each pod that is not ready.
        restores: that began there and are not finished.
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


def judge_facts(facts: Facts) -> list[Finding]:
    """Return all findings, the good ones too, in the order in which one would look at a cluster."""
    found = [
        *_members(facts),
        *_operator(facts),
        *_routers(facts),
        *_replication(facts),
        *_tables(facts),
        *_restores(facts),
    ]
    return found + [_pod(seen) for seen in facts.pods]


def _pod(seen: str) -> Finding:
    return Finding("pods", WARNING, seen, "part of the cluster is not running", "kubectl describe that pod")


def health(findings: Sequence[Finding]) -> str:
    """Return the worst severity among the findings."""
    return max((finding.severity for finding in findings), key=SEVERITIES.index, default=OK)


def _members(facts: Facts) -> list[Finding]:
    topology = facts.topology
    if not topology.quorum:
        reasons = "; ".join(f"{pod}: {why}" for pod, why in topology.unreachable.items())
        return [
            Finding(
                "quorum",
                CRITICAL,
                topology.summary() + (f" ({reasons})" if reasons else ""),
                "no majority of the members agrees: the cluster takes no writes",
                "look at the server pods; the operator reboots a group after a full outage",
            )
        ]
    found = [Finding("quorum", OK, topology.summary())]
    if topology.primary is None:
        found.append(
            Finding(
                "primary",
                CRITICAL,
                "the majority names no single ONLINE primary",
                "writes wait until one is elected",
                "run check-cluster again in 30 seconds; look at the server pods if it stays",
            )
        )
    else:
        found.append(Finding("primary", OK, topology.primary.pod or topology.primary.host))
    missing = topology.expected - topology.online
    if missing > 0:
        spare = (topology.online - 1) // 2
        found.append(
            Finding(
                "members",
                CRITICAL if spare == 0 else WARNING,
                topology.summary(),
                f"{missing} of {topology.expected} members missing: the group survives {spare} more failures",
                "look at the pods that are not ready, and at the operator's log",
            )
        )
    if topology.expected % 2 == 0 or topology.expected < 3:
        found.append(
            Finding(
                "member count",
                WARNING,
                f"{topology.expected} servers",
                f"the group survives {(topology.expected - 1) // 2} failures",
                f"scale-cluster with servers={max(3, topology.expected + 1)}",
            )
        )
    versions = sorted({member.version for member in topology.members})
    if len(versions) > 1:
        found.append(
            Finding(
                "versions",
                WARNING,
                ", ".join(versions),
                "members run different versions of MySQL: fine during an upgrade only",
                "finish the upgrade",
            )
        )
    return found


def _operator(facts: Facts) -> list[Finding]:
    truth = facts.topology
    seen = f"status {facts.operator_status or 'empty'}, {facts.operator_online} online"
    agrees = facts.operator_online == truth.online and (facts.operator_status == "ONLINE") == truth.is_whole
    if agrees:
        return [Finding("operator", OK, seen)]
    return [
        Finding(
            "operator",
            WARNING,
            f"{seen}; the members say: {truth.summary()}",
            "the operator's status is older than the last change, or the operator is not running",
            "look at the operator's pod if this stays for minutes; believe the members",
        )
    ]


def _routers(facts: Facts) -> list[Finding]:
    found = []
    if facts.routers_ready < facts.routers_wanted:
        none = facts.routers_ready == 0
        found.append(
            Finding(
                "routers",
                CRITICAL if none else WARNING,
                f"{facts.routers_ready} of {facts.routers_wanted} ready",
                "clients cannot connect" if none else "fewer ways for clients to connect than wanted",
                "look at the router pods' logs",
            )
        )
    elif facts.routers_wanted:
        found.append(Finding("routers", OK, f"{facts.routers_ready} of {facts.routers_wanted} ready"))
    primary = facts.topology.primary.id if facts.topology.primary else ""
    secondaries = {member.id for member in facts.topology.secondaries}
    if facts.writes is not None:
        wrong = facts.writes.server != primary or not primary
        found.append(_route("writes", facts, facts.writes, wrong, "the primary", CRITICAL))
    if facts.reads is not None:
        wrong = facts.reads.server not in (secondaries or {primary})
        found.append(_route("reads", facts, facts.reads, wrong, "a secondary", WARNING))
    return found


def _route(check: str, facts: Facts, route: Route, wrong: bool, aim: str, severity: str) -> Finding:
    pod = next((member.pod for member in facts.topology.members if member.id == route.server), route.server)
    if not wrong:
        return Finding(check, OK, f"lead to {pod}")
    return Finding(
        check,
        severity,
        f"lead to {pod}" if route.server else f"lead nowhere: {route.error}",
        f"the Routers' port for {check} does not lead to {aim}",
        "look at the router pods' logs; delete a Router pod that keeps an old view",
    )


def _replication(facts: Facts) -> list[Finding]:
    late = {pod: q for pod, q in facts.queues.items() if q.certifying + q.applying > QUEUE_LIMIT}
    found = [
        Finding(
            "lag",
            WARNING,
            f"{pod}: {q.certifying} transactions wait for certification, {q.applying} to be applied",
            "reads there are stale, and a failover to it would take longer",
            "find what writes so much; compare the members' disks",
        )
        for pod, q in sorted(late.items())
    ]
    if facts.queues and not late:
        found.append(Finding("lag", OK, f"fewer than {QUEUE_LIMIT} transactions wait at every member"))
    for pod, gtids in sorted((facts.errant or {}).items()):
        found.append(
            Finding(
                "errant transactions",
                CRITICAL,
                f"{pod} has {gtids[:200]}",
                "it holds transactions that the primary never had: its data differs, and it cannot rejoin as it is",
                "save them if they matter, then clone the member anew",
            )
        )
    if facts.errant == {}:
        found.append(Finding("errant transactions", OK, "none"))
    return found


def _tables(facts: Facts) -> list[Finding]:
    if facts.keyless is None:
        return []
    if not facts.keyless:
        return [Finding("primary keys", OK, "every table has one")]
    shown = ", ".join(facts.keyless[:5]) + (f" and {len(facts.keyless) - 5} more" if len(facts.keyless) > 5 else "")
    return [
        Finding(
            "primary keys",
            WARNING,
            f"{len(facts.keyless)} tables without: {shown}",
            "the group refuses writes to them (error 3098)",
            "give each a primary key: ALTER TABLE ... ADD PRIMARY KEY",
        )
    ]


def _restores(facts: Facts) -> list[Finding]:
    findings = []
    for one in facts.restores:
        seen = f"of {one.backup} by {one.workflow or 'hand'}, phase {one.phase}"
        if one.running:
            findings.append(Finding("restore", OK, f"going on: {seen}"))
            continue
        damaged = one.phase == "damaged"
        findings.append(
            Finding(
                "restore",
                CRITICAL if damaged else WARNING,
                f"not finished: {seen}",
                "its rows are wrong" if damaged else "some of its tables may be empty or hold part of their rows",
                "drop its schemas, and restore another backup"
                if damaged
                else "run the same restore again, which goes on where it stopped; or drop its schemas",
            )
        )
    return findings
