"""Step `game-day-stop`: end what still runs of a game day; its exit handler, and safe to run at any time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from steps.declare import option, parameter, step
from steps.errors import Temporary
from steps.game_day import options
from steps.log import log
from steps.parameters import NAMESPACE_NAME

if TYPE_CHECKING:
    from steps.game_day.state import State
    from steps.kube.client import Kube

LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Stopped:
    """What was done."""

    left: str = parameter("Drills that have not ended in time; empty where all have.")


@step("game-day-stop")
@option("--namespace", required=True, type=NAMESPACE_NAME, help="Namespace of the game day.")
@options.workflow
def game_day_stop(namespace: str, workflow: str) -> Stopped:
    """Stop the drills of a game day that still run, and wait until each has undone itself."""
    from steps.game_day import ending
    from steps.kube.client import connect

    left = ending.stop_all(connect(namespace), workflow, LIMIT_SECONDS)
    if left:
        raise Temporary(
            f"Not ended {LIMIT_SECONDS:.0f} s after they were told to stop: {', '.join(left)}. reap undoes what they "
            "leave; see their logs.",
            outputs=Stopped(" ".join(left)),
        )
    return Stopped("")


def settle(kube: Kube, state: State) -> None:
    """Bring a state up to date whose step was ended in the middle: how each drill ended, and that it was stopped."""
    from steps.game_day.children import adopt
    from steps.game_day.state import now
    from steps.kube.workflows import artifact_key, phase_of

    parent = kube.find("workflows", state.game_day)
    for child in state.children.values():
        found = kube.find("workflows", child.run)
        if found is None:
            child.phase = child.phase or "Gone"
            continue
        child.phase = phase_of(found)
        child.message = child.message or str((found.get("status") or {}).get("message") or "")
        child.report = child.report or artifact_key(found, "report-json")
        child.page = child.page or artifact_key(found, "report-html")
        if parent:
            adopt(kube, parent, found)
    if not state.ended_at:
        state.stopped = state.stopped or "the game day was stopped"
        state.ended_at = now()
        log("settled", drills=len(state.children), of=len(state.entries))
