"""When a drill must be stopped: the kill switch, a signal, or a limit that breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from steps.drill.guards import drills_setting, switch_text, switched_off
from steps.drill.samples import Observed
from steps.errors import StepError
from steps.kube.client import Kube

QUORUM_SECONDS = 30.0
"""A group without quorum does not come back by itself; no drill goes on for longer than this without one."""
SWITCH_SECONDS = 1.0
"""How often the kill switch is read."""


class KillSwitch(threading.Thread):
    """Reads the kill switch during a drill.

    Attributes:
        reason: why the drill must stop; empty while it may go on.
    """

    def __init__(self, kube: Kube) -> None:
        super().__init__(name="kill-switch", daemon=True)
        self._kube = kube
        self._stopped = threading.Event()
        self.reason = ""

    def run(self) -> None:
        """Look until stopped. An API server that does not answer is no reason: drills may well disturb it."""
        while not self._stopped.wait(SWITCH_SECONDS):
            try:
                value = drills_setting(self._kube)
            except StepError:
                continue
            if switched_off(value):
                self.reason = switch_text(value)
                return

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopped.set()


@dataclass
class Limits:
    """Remembers since when the group has had no quorum and no primary.

    Attributes:
        no_quorum_since: None while there is a majority view.
        no_primary_since: None while there is a primary.
    """

    no_quorum_since: float | None = None
    no_primary_since: float | None = None

    def see(self, seen: Observed) -> None:
        """Take the group at one more moment."""
        if seen.topology.members:
            self.no_quorum_since = None
        elif self.no_quorum_since is None:
            self.no_quorum_since = seen.at
        if seen.topology.primary is not None:
            self.no_primary_since = None
        elif self.no_primary_since is None:
            self.no_primary_since = seen.at

    def broken(self, now: float, timeout_at: float) -> str:
        """Return which limit is broken at `now`, empty for none.

        Args:
            now: on the drill's clock.
            timeout_at: until when recovery is waited for.
        """
        if self.no_quorum_since is not None and now - self.no_quorum_since > QUORUM_SECONDS:
            lost = now - self.no_quorum_since
            return f"no majority of members had a common view for {lost:.0f} s (limit {QUORUM_SECONDS:.0f} s)"
        if now >= timeout_at and self.no_primary_since is not None:
            lost = now - self.no_primary_since
            return f"the group was still without a primary when the time was up, for {lost:.0f} s"
        return ""


StopReason = Callable[[], str]
"""Returns why a drill must stop, empty while it may go on."""
