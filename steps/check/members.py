"""Judging the group: quorum, primary, members, who takes writes, and what the operator says of them."""

from __future__ import annotations

import re

from steps.check.facts import Facts
from steps.check.finding import CRITICAL, OK, WARNING, Finding

TOO_MANY = re.compile(r"\b1040\b")
"""MySQL's error for a login beyond max_connections, in the text of a driver's error."""


def judge_members(facts: Facts) -> list[Finding]:
    """Return the findings about quorum, primary, number and versions of the members."""
    topology = facts.topology
    if not topology.quorum:
        if full := [pod for pod, why in topology.unreachable.items() if TOO_MANY.search(why)]:
            return [_full(facts, full)]
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
    if several := facts.writers_by_mode:
        found.append(Finding("primary", OK, f"multi-primary mode: {', '.join(member.pod for member in several)}"))
    elif topology.primary is None:
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


def _full(facts: Facts, pods: list[str]) -> Finding:
    """Return that servers run and let nobody in: the group may be well, and a reboot would help nobody."""
    topology = facts.topology
    others = "; ".join(f"{pod}: {why}" for pod, why in topology.unreachable.items() if pod not in pods)
    return Finding(
        "quorum",
        CRITICAL,
        f"cannot be told: {', '.join(pods)} let nobody in, with error 1040, Too many connections"
        + (f" ({others})" if others else ""),
        "max_connections are used up, the one that is kept for administrators as well: no client gets a new connection",
        f"end connections: kubectl rollout restart deployment/{facts.name}-router ends those through Routers; or "
        "allow more at each of them, again until it gets in: "
        f"kubectl exec {pods[0]} -c mysql -- mysql -u localroot -e 'SET GLOBAL max_connections = 500'; "
        "then look who holds them (SHOW PROCESSLIST), and keep the number by set-config",
    )


def judge_operator(facts: Facts) -> list[Finding]:
    """Hold the operator's status against what the members say."""
    truth = facts.topology
    seen = f"status {facts.operator_status or 'empty'}, {facts.operator_online} online"
    if facts.writers_by_mode and facts.operator_status == "SPLIT_BRAIN":
        return [Finding("operator", OK, f"{seen}: so it calls multi-primary mode")]
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


def judge_writers(facts: Facts) -> list[Finding]:
    """Return the servers that take writes and should not."""
    topology = facts.topology
    if topology.primary is None:
        return []
    primaries = {member.id for member in topology.members if member.role == "PRIMARY"}
    wrong = [pod for pod, view in sorted(topology.views.items()) if view.writable and view.own_id not in primaries]
    if not wrong:
        return [Finding("writers", OK, "no server but the primary takes writes")]
    return [
        Finding(
            "writers",
            CRITICAL,
            f"{', '.join(wrong)}: super_read_only is off, and it is no primary",
            "who writes there makes data that differ, or errant transactions that keep it out of the group",
            "on that server: SET GLOBAL super_read_only = ON; then run check-cluster again",
        )
    ]


def judge_pods(facts: Facts) -> list[Finding]:
    """Return what holds each pod that is not ready."""
    means, run = "part of the cluster is not running", "kubectl describe that pod"
    return [Finding("pods", WARNING, seen, means, run) for seen in facts.pods]
