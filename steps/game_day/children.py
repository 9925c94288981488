"""The runs of a game day's drills: made once each, found again by their names, stopped when it ends."""

from __future__ import annotations

from steps.errors import Refused
from steps.game_day.plan import Entry, child_name
from steps.game_day.state import State
from steps.kube.client import Kube, Object
from steps.kube.errors import Conflict, NotFound
from steps.kube.workflows import is_over, phase_of
from steps.log import log
from steps.mysql.definition import GAME_DAY_LABEL

LABEL = GAME_DAY_LABEL
"""On a drill's Workflow: the game day that it is of."""

OWNER_UID = "tiphys.dev/game-day-uid"
"""Annotation of a drill's Workflow: a later game day of the same name is another one."""

TTL = {"secondsAfterSuccess": 7 * 86400, "secondsAfterFailure": 30 * 86400}


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


def adopt(kube: Kube, parent: Object, child: Object) -> None:
    """Let a drill's run that is over be deleted with its game day's; one that goes on is left alone."""
    if not is_over(child):
        return
    meta = parent["metadata"]
    owner = {key: parent[key] for key in ("apiVersion", "kind")} | {"name": meta["name"], "uid": meta["uid"]}
    if not child["metadata"].get("ownerReferences"):
        try:
            kube.patch("workflows", str(child["metadata"]["name"]), {"metadata": {"ownerReferences": [owner]}})
        except NotFound:
            return
