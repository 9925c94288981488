"""The runs of a game day's drills: made once each, found again by their names, stopped when it ends."""

from __future__ import annotations

import time
from collections.abc import Sequence

from steps.errors import Refused
from steps.game_day.plan import Entry, child_name
from steps.game_day.state import State
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict, NotFound, Unreachable
from steps.kube.workflows import is_over, phase_of
from steps.log import log
from steps.mysql.definition import GAME_DAY_LABEL

LABEL = GAME_DAY_LABEL
"""On a drill's Workflow: the game day that it is of."""

OWNER_UID = "tiphys.dev/game-day-uid"
"""Annotation of a drill's Workflow: a later game day of the same name is another one."""

TTL = {"secondsAfterSuccess": 7 * 86400, "secondsAfterFailure": 30 * 86400}
PAUSE_SECONDS = 1.0


def manifest(state: State, uid: str, number: int, entry: Entry) -> Object:
    """Return the Workflow of a drill.

    It is not owned by the game day's while it runs: with that one deleted it would be gone in the middle of a fault,
    without its exit handler. It is stopped instead, and owned when it has ended (`adopt`).

    Args:
        state: of the game day.
        uid: of the game day's Workflow.
        number: of the drill.
        entry: the drill.
    """
    values = {**entry.given, "cluster": state.cluster}
    if entry.template == "failover-drill":
        values["fault"] = entry.fault
    labels = {
        "app.kubernetes.io/part-of": "tiphys",
        "tiphys.dev/trigger": "game-day",
        "tiphys.dev/cluster": state.cluster,
        "tiphys.dev/template": entry.template,
        LABEL: state.game_day,
    }
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {
            "name": child_name(state.game_day, number, entry.fault),
            "labels": labels,
            "annotations": {OWNER_UID: uid},
        },
        "spec": {
            "workflowTemplateRef": {"name": entry.template},
            "arguments": {"parameters": [{"name": key, "value": value} for key, value in sorted(values.items())]},
            "ttlStrategy": dict(TTL),
        },
    }


def start(kube: Kube, wanted: Object) -> Object:
    """Create a drill's run, or find the one that an earlier try has created.

    Raises:
        Refused: there is another run of this name.
    """
    name = str(wanted["metadata"]["name"])
    try:
        made = kube.create("workflows", wanted)
        log("drill-started", run=name)
        return made
    except Conflict:
        found = kube.get("workflows", name)
    meta = found["metadata"]
    if (meta.get("annotations") or {}).get(OWNER_UID) != wanted["metadata"]["annotations"][OWNER_UID]:
        raise Refused(
            f"There is a run {name} already, which is not of this game day; expected none. Delete it, or give the game "
            "day another name."
        )
    log("drill-found", run=name, phase=phase_of(found))
    return found


def of(kube: Kube, game_day: str) -> list[Object]:
    """Return the runs of a game day's drills."""
    return kube.all("workflows", f"{LABEL}={game_day}")


def stop(kube: Kube, run: str) -> None:
    """Ask a drill's run to stop: it ends its fault and undoes it. Can be asked again and again."""
    try:
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


def adopt(kube: Kube, parent: Object, child: Object) -> None:
    """Let a drill's run that is over be deleted with its game day's."""
    meta = parent["metadata"]
    owner = {key: parent[key] for key in ("apiVersion", "kind")} | {"name": meta["name"], "uid": meta["uid"]}
    if not child["metadata"].get("ownerReferences"):
        try:
            kube.patch("workflows", str(child["metadata"]["name"]), {"metadata": {"ownerReferences": [owner]}})
        except NotFound:
            return


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
