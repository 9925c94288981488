"""Decisions about containers' lives: restart or not, after what pause, and what a pod's phase is.

Rules are those of Kubernetes (docs: Pod Lifecycle); pure functions of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FIRST_BACK_OFF = 10.0
LONGEST_BACK_OFF = 300.0
STABLE_SECONDS = 600.0
"""A container that ran this long has its back-off forgotten."""


@dataclass
class BackOff:
    """Pauses between restarts: none before the first, then 10 s, doubling up to 300 s.

    Attributes:
        next_pause: seconds before the next restart.
    """

    next_pause: float = 0.0

    def after(self, ran_seconds: float) -> float:
        """Return the pause before the restart of a container that ran for `ran_seconds`, and remember it."""
        if ran_seconds >= STABLE_SECONDS:
            self.next_pause = 0.0
        pause = self.next_pause
        self.next_pause = min(pause * 2, LONGEST_BACK_OFF) if pause else FIRST_BACK_OFF
        return pause


def should_restart(policy: str, exit_code: int) -> bool:
    """Whether a container that ended is to be started again under ``restartPolicy``."""
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def exit_reason(code: int) -> str:
    """Return the reason that Kubernetes shows for an exit code."""
    return "Completed" if code == 0 else "Error"


def phase(
    spec: Mapping[str, Any],
    init: Sequence[Mapping[str, Any]],
    main: Sequence[Mapping[str, Any]],
    stopped: bool = False,
) -> str:
    """Return a pod's phase from its container statuses.

    Args:
        spec: the pod's spec.
        init: statuses of the init containers.
        main: statuses of the containers.
        stopped: the pod was told to stop (deletion, deadline), so no container will be started again.
    """
    policy = spec.get("restartPolicy", "Always")
    for status in init:
        ended = status["state"].get("terminated")
        if ended and ended["exitCode"] != 0 and (policy == "Never" or stopped):
            return "Failed"
        if not ended:
            break
    ended_codes = [
        state["terminated"]["exitCode"] for state in (status["state"] for status in main) if "terminated" in state
    ]
    if len(ended_codes) == len(main):
        if stopped or policy == "Never":
            return "Failed" if any(ended_codes) else "Succeeded"
        if policy == "OnFailure" and not any(ended_codes):
            return "Succeeded"
        return "Running"
    if stopped and not any("running" in status["state"] for status in main):
        return "Failed"
    begun = [
        status
        for status in main
        if "running" in status["state"] or "terminated" in status["state"] or status.get("lastState")
    ]
    return "Running" if begun and len(begun) == len(main) else "Pending"
