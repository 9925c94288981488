"""Judging the Routers: how many are ready, and where their ports lead."""

from __future__ import annotations

from steps.check.facts import Facts, Route
from steps.check.finding import CRITICAL, OK, WARNING, Finding


def judge_routers(facts: Facts) -> list[Finding]:
    """Return the findings about the Routers and their ports."""
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
    primaries = {member.id for member in facts.writers_by_mode}
    if facts.topology.primary:
        primaries = {facts.topology.primary.id}
    secondaries = {member.id for member in facts.topology.secondaries}
    if facts.writes is not None:
        wrong = facts.writes.server not in primaries
        found.append(_route("writes", facts, facts.writes, wrong, "the primary", CRITICAL))
    if facts.reads is not None:
        wrong = facts.reads.server not in (secondaries or primaries)
        found.append(_route("reads", facts, facts.reads, wrong, "a secondary", WARNING))
    found += [
        Finding(
            "routers",
            WARNING,
            f"{pod} sends writes " + (f"to {_pod_of(facts, one.server)}" if one.server else f"nowhere: {one.error}"),
            "clients that reach this Router cannot write",
            f"look at its log; where it keeps an old view: kubectl delete pod {pod}",
        )
        for pod, one in sorted(facts.each_router.items())
        if primaries and one.server not in primaries
    ]
    return found


def _route(check: str, facts: Facts, route: Route, wrong: bool, aim: str, severity: str) -> Finding:
    pod = _pod_of(facts, route.server)
    if not wrong:
        return Finding(check, OK, f"lead to {pod}")
    return Finding(
        check,
        severity,
        f"lead to {pod}" if route.server else f"lead nowhere: {route.error}",
        f"the Routers' port for {check} does not lead to {aim}",
        "look at the router pods' logs; delete a Router pod that keeps an old view",
    )


def _pod_of(facts: Facts, server: str) -> str:
    return next((member.pod for member in facts.topology.members if member.id == server), server)
