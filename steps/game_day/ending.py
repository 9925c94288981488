"""How the runs of a game day's drills end before their time: each is told to stop, and undoes itself."""

from __future__ import annotations

import time
from collections.abc import Sequence

from steps.game_day.children import LABEL, OWNER_UID
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict, NotFound, Unreachable
from steps.kube.workflows import is_over, never_began
from steps.log import log

PAUSE_SECONDS = 1.0


def of(kube: Kube, game_day: str) -> list[Object]:
    """Return the runs of a game day's drills."""
    return kube.all("workflows", f"{LABEL}={game_day}")


def stop(kube: Kube, run: str) -> None:
    """Ask a drill's run to stop: it ends its fault and undoes it. Can be asked again and again.

    One that still waits for its cluster's lock has nothing to undo, and is terminated: Argo looks at Stop only once it
    has the lock, which may be long after the game day.
    """
    try:
        found = kube.find("workflows", run)
        if found is not None and never_began(found):
            try:
                version = str(found["metadata"]["resourceVersion"])
                kube.patch("workflows", run, {"spec": {"shutdown": "Terminate"}}, resource_version=version)
                log("drill-terminated", run=run, why="it had not begun")
                return
            except Conflict:
                pass  # it may have begun meanwhile
        kube.patch("workflows", run, {"spec": {"shutdown": "Stop"}})
        log("drill-told-to-stop", run=run)
    except NotFound:
        log("drill-gone", run=run)


def stop_all(kube: Kube, game_day: str, limit_seconds: float) -> list[str]:
    """Stop what still runs of a game day, wait until it has undone itself, and return what has not in time."""
    for child in of(kube, game_day):
        if not is_over(child) and not stopping(child):
            stop(kube, str(child["metadata"]["name"]))
    deadline, said = time.monotonic() + limit_seconds, list[str]()
    while True:
        try:
            left = [str(child["metadata"]["name"]) for child in of(kube, game_day) if not is_over(child)]
        except Unreachable as error:
            left = [f"(not known: {error})"]
        if left != said:
            log("drills-left", runs=left)
            said = left
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(PAUSE_SECONDS)


def stopping(workflow: Object) -> bool:
    """Tell whether a run was asked to end."""
    return bool((workflow.get("spec") or {}).get("shutdown"))


def orphans(workflows: Sequence[Object]) -> list[str]:
    """Return the runs of drills that go on though their game day is over or gone, and that nobody has stopped yet.

    Args:
        workflows: all of the namespace, as of one moment.
    """
    live = {str(one["metadata"].get("uid")) for one in workflows if not is_over(one)}
    return [
        str(one["metadata"]["name"])
        for one in workflows
        if (owner := (one["metadata"].get("annotations") or {}).get(OWNER_UID))
        and owner not in live
        and not is_over(one)
        and not stopping(one)
    ]
