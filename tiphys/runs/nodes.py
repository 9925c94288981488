"""A run as people read it: its steps in order, with their state, out of a Workflow's status."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from steps.kube.workflows import OVER as ENDED
from steps.kube.workflows import asked, nodes_of, outputs_of, waiting

__all__ = ["ENDED", "asked", "nodes_of", "outputs_of", "waiting"]

Object = dict[str, Any]
_CHILD_FAILED = re.compile(r"child '(.+)' failed")


@dataclass(frozen=True)
class Row:
    """One step of a run.

    Attributes:
        id: the node's.
        depth: 0 for the run's entrypoint and exit handler.
        name: what people call it.
        phase: as Argo names it; "Suspended" for one that waits for a person.
        message: what Argo says of it, in words for people, or what a person must do; or "".
        seconds: how long it took or has taken, or None if it has not started.
        pod: name of its pod (the newest, where it was tried more than once), or "".
        tries: how often it was started.
        at: when it ended, or started if it goes on, or None.
    """

    id: str
    depth: int
    name: str
    phase: str
    message: str
    seconds: float | None
    pod: str
    tries: int
    at: datetime | None = None


def phase_of(workflow: Object) -> str:
    """Return a run's phase; "Pending" before the controller has seen it."""
    return str((workflow.get("status") or {}).get("phase") or "Pending")


def rows(workflow: Object, now: datetime | None = None) -> list[Row]:
    """Return the steps of a run in the order in which they started, each under what it belongs to."""
    nodes = nodes_of(workflow)
    now = now or datetime.now(UTC)
    attempts = {child for node in nodes.values() if node.get("type") == "Retry" for child in node.get("children") or []}
    shown = [node for key, node in nodes.items() if node.get("type") != "StepGroup" and key not in attempts]
    order = positions(nodes)
    shown.sort(key=lambda node: (node.get("startedAt") or "9", order[node["id"]]))
    made: list[Row] = []

    def add(parent: str, depth: int) -> None:
        for node in shown:
            if (node.get("boundaryID") or "") == parent and node["id"] != parent:
                made.append(_row(workflow, nodes, node, depth, now))
                add(node["id"], depth + 1)

    add("", 0)
    return made


def pod_name(workflow: Object, node: Object) -> str:
    """Return the name of a node's pod, as Argo makes it (pod names version 2), or "" if it has none."""
    if node.get("type") != "Pod":
        return ""
    name, identity = workflow["metadata"]["name"], str(node["id"])
    if identity == name:
        return str(name)
    return f"{name}-{node.get('templateName', '')}-{identity.rpartition('-')[2]}"


def _row(workflow: Object, nodes: dict[str, Object], node: Object, depth: int, now: datetime) -> Row:
    phase, last, tries = str(node.get("phase") or "Pending"), node, 1
    if node.get("type") == "Retry":
        tries = len(node.get("children") or [])
        last = next((nodes[key] for key in reversed(node.get("children") or []) if key in nodes), node)
    if node.get("type") == "Suspend" and phase == "Running":
        phase = "Suspended"
    message = str(node.get("message") or (last.get("message") if phase not in ("Succeeded",) else "") or "")
    if last is not node and phase in ("Failed", "Error") and message.startswith("retryStrategy."):
        message = str(last.get("message") or message)
    if phase == "Suspended":
        message = waits_for(workflow)
    start, end = when(node.get("startedAt")), when(node.get("finishedAt"))
    return Row(
        id=node["id"],
        depth=depth,
        name=step_name(workflow, node),
        phase=phase,
        message=in_words(workflow, message),
        seconds=((end or now) - start).total_seconds() if start else None,
        pod=pod_name(workflow, last),
        tries=tries,
        at=end or start,
    )


def in_words(workflow: Object, message: str) -> str:
    """Return one of Argo's messages as people say it; the Workflow keeps Argo's own."""
    if message.startswith("when '") and message.endswith("evaluated false"):
        return "not needed"
    if match := _CHILD_FAILED.fullmatch(message):
        child = nodes_of(workflow).get(match[1])
        return f"{step_name(workflow, child)} failed" if child else message
    return message


def positions(nodes: dict[str, Object]) -> dict[str, int]:
    """Return where each node stands in the order of the steps' definition, from the first: Argo sorts nodes by id.

    Timestamps have whole seconds, so quick steps that follow each other start at the same one.
    """
    children = {child for node in nodes.values() for child in node.get("children") or []}
    # The exit handler is nobody's child, as the entrypoint is; it comes last.
    roots = [key for key in nodes if key not in children]
    roots.sort(key=lambda key: (str(nodes[key].get("displayName")).endswith(".onExit"), str(nodes[key].get("name"))))
    found: dict[str, int] = {}
    stack = list(reversed(roots))
    while stack:
        key = stack.pop()
        if key in nodes and key not in found:
            found[key] = len(found)
            stack.extend(reversed(nodes[key].get("children") or []))
    return found | {key: len(found) for key in nodes if key not in found}


def waits_for(workflow: Object) -> str:
    """Return what a person must do for a run to go on, or "" if it waits for nobody."""
    nodes = waiting(workflow)
    if phase_of(workflow) in ENDED or not nodes and not (workflow.get("spec") or {}).get("suspend"):
        return ""
    answers = {name: allowed for node in nodes.values() for name, allowed in asked(node).items()}
    given = "".join(f" -p {name}={'|'.join(allowed) or '...'}" for name, allowed in answers.items())
    return f"waits for a person: tiphys resume {workflow['metadata']['name']}{given}"


def step_name(workflow: Object, node: Object) -> str:
    """Return what people call a node: its display name; "onExit" for the exit handler; no number for a first try."""
    name = str(node.get("displayName") or node.get("name") or node["id"])
    return name.removeprefix(f"{workflow['metadata']['name']}.").removesuffix("(0)")


def seconds_of(workflow: Object, now: datetime | None = None) -> float | None:
    """Return how long a run took or has taken, or None if it has not started."""
    status = workflow.get("status") or {}
    start, end = when(status.get("startedAt")), when(status.get("finishedAt"))
    return ((end or now or datetime.now(UTC)) - start).total_seconds() if start else None


def when(text: str | None) -> datetime | None:
    """Return a Kubernetes timestamp as a time, or None."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def took(seconds: float | None) -> str:
    """Return a duration in a few characters: 12s, 3m05s, 1h02m, 4d."""
    if seconds is None:
        return ""
    whole = int(max(seconds, 0))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02}m" if whole < 172800 else f"{whole // 86400}d"
