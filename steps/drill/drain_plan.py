"""What a drain does, in words: a short sentence for the report, and for the dry run a list, one subject a line."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from steps.drill.drain_survey import Survey, Wish
from steps.drill.guards import ALLOWED_LABEL, SETTINGS, Facts
from steps.kube.eviction import FINISHED, MARGIN_SECONDS, OWN_STEP, Action, Decision
from steps.report.outcome import count

WIDTH = 80
"""Columns of a terminal that nobody has widened."""
LABEL = 11
"""Columns of the words at the left."""
FEW = 3
"""Pods that a sentence names; the others are counted."""


def sentence(found: Survey, wish: Wish, seconds: int, *, hands_over: bool) -> str:
    """Return what will be done, shortly."""
    first = f"hand the primary over from {found.member.pod}, then " if hands_over else ""
    cordoned = f"leave the cordon of {found.node} as it is" if found.cordoned else f"cordon {found.node}"
    names = [one.pod for one in found.going[:FEW]]
    if len(found.going) > FEW:
        names.append(f"{len(found.going) - FEW} more")
    pods = f"{count(len(found.going), 'pod')} ({', '.join(names)})" if names else "no pod"
    return f"{first}{cordoned}, evict {pods} within {seconds} s, and give the node back after hold-seconds"


def plan(
    facts: Facts, found: Survey, wish: Wish, seconds: int, *, hands_over: bool, dry_run: bool, backups: Sequence[str]
) -> str:
    """Return the list that a person reads before saying yes; no line is longer than a terminal is wide.

    Args:
        facts: that the guards looked at, and did not refuse.
        found: what is on the node.
        wish: what was asked for.
        seconds: how long the evictions may take.
        hands_over: whether there is a switchover first.
        dry_run: whether it is only told.
        backups: what is known of the newest good backup.
    """
    head = "Dry run, nothing was changed. This drill would do:" if dry_run else "This drill does:"
    lines = [head]
    for label, text in _subjects(facts, found, wish, seconds, hands_over, backups):
        # A name with hyphens is one word: who copies it wants it whole.
        wrapped = textwrap.wrap(text, WIDTH - LABEL, break_long_words=False, break_on_hyphens=False)
        lines += [f"{label if number == 0 else '':<{LABEL}}{line}" for number, line in enumerate(wrapped)]
    return "\n".join(lines)


def _subjects(
    facts: Facts, found: Survey, wish: Wish, seconds: int, hands_over: bool, backups: Sequence[str]
) -> Iterator[tuple[str, str]]:
    topology = facts.topology
    yield "node", _node(found)
    if hands_over:
        yield "first", f"the primary is handed over from {found.member.pod} to a member on another node"
    if found.cordoned:
        yield "cordon", "is there already and stays: it is somebody else's"
    else:
        yield "cordon", "comes first, and goes when the drill is over, however it ends"
    yield "evicts", f"{count(len(found.going), 'pod')} within {seconds} s ({_patience(wish)}):"
    for one in found.going:
        yield "", f"- {one.namespace}/{one.pod}: {_way(found, one)}"
    yield from _left_alone(found)
    for budget in found.budgets:
        told = f"{budget.name} lets {budget.allows} go now, {len(budget.pods)} of its pods are here"
        if budget.allows == 0:
            told += "; while that is so its pods stay, and the drill ends without having landed"
        yield "budget", told
    if not found.budgets:
        yield "budget", "none has a say about these pods"
    yield "elsewhere", _elsewhere(found)
    left = topology.expected - len(found.here)
    quorum = topology.expected // 2 + 1
    yield "quorum", f"{left} of {count(topology.expected, 'server')} stay, {quorum} are a quorum"
    yield "routers", f"{facts.routers_ready - len(found.routers)} of {facts.routers_wanted} stay, all are ready now"
    for text in backups:
        yield "backup", text
    if facts.production:
        yield "approval", "is asked for first: the cluster is labelled tiphys.dev/environment=production"
    yield "checked", f"the cluster is open to drills ({ALLOWED_LABEL}=allowed)"
    switch = "is not set" if facts.drills is None else "is on"
    yield "", f"the kill switch (ConfigMap {SETTINGS}, drills) {switch}"
    yield "", f"the group is whole ({topology.summary()})"
    yield "", "no other drill is noted on the cluster or on the node"
    yield "", "this drill's account may do all of it"


def _node(found: Survey) -> str:
    on_it = [f"the primary {found.member.pod}"] if found.is_primary else []
    on_it += [f"server {pod}" for pod in found.here if not (found.is_primary and pod == found.member.pod)]
    on_it += [f"Router {pod}" for pod in found.routers]
    aim = f"; aimed at Router {found.router}" if found.router else f"; aimed at {found.member.pod}"
    return f"{found.node}, on which are {', '.join(on_it)}{aim}"


def _patience(wish: Wish) -> str:
    return "as asked for" if wish.eviction_seconds else f"twice the longest grace period and {MARGIN_SECONDS} s"


def _way(found: Survey, one: Decision) -> str:
    """Say how a pod goes and where it can come back."""
    parts = [f"{one.seconds} s to end"]
    if one.why:
        parts.append(one.why)
    held = [budget for budget in found.budgets if one.uid in budget.pods]
    if held:
        parts.append("budget " + " and ".join(budget.name.partition("/")[2] for budget in held))
    if claims := found.pinned.get(one.uid):
        parts.append(f"its volume ({', '.join(claims)}) is bound to this node: it comes back only after the uncordon")
    elif not found.takers.get(one.uid, found.open_nodes):
        parts.append("no other node takes it: it comes back only after the uncordon")
    return ", ".join(parts)


def _left_alone(found: Survey) -> Iterator[tuple[str, str]]:
    skipped = [one for one in found.decisions if one.action is Action.SKIP]
    kept = [f"- {one.namespace}/{one.pod}: {one.why}" for one in skipped if one.why not in (FINISHED, OWN_STEP)]
    # There may be many, of runs before.
    if finished := sum(one.why == FINISHED for one in skipped):
        kept.append(f"- {count(finished, 'pod')} that finished")
    if kept:
        yield "leaves", "these, as every drain does:"
        yield from (("", text) for text in kept)


def _elsewhere(found: Survey) -> str:
    if not found.open_nodes:
        return "no other node takes pods: what goes waits for the uncordon"
    names = ", ".join(found.open_nodes[:6]) + (f" and {len(found.open_nodes) - 6} more" if found.open_nodes[6:] else "")
    return f"{names} {'takes' if len(found.open_nodes) == 1 else 'take'} pods (room on them was not counted)"
