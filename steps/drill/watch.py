"""When a drill must be stopped: the kill switch, a signal, or a limit that breaks."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from steps.drill.attempts import Attempt
from steps.drill.guards import drills_setting, switch_text, switched_off
from steps.drill.parameters import DrillParameters
from steps.drill.samples import Observed
from steps.errors import StepError
from steps.kube.client import Kube
from steps.log import log

BUDGETS, LEAST_WRITES_SECONDS = 4.0, 120.0
"""Writes may be down for so many times their budget, and at least for so long, where no limit was set."""
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
            except Exception as error:
                # Of any kind: a thread that dies here would leave a switch that nobody can throw.
                if not isinstance(error, StepError):
                    log("kill-switch-not-read", error=f"{type(error).__name__}: {error}")
                continue
            if switched_off(value):
                self.reason = switch_text(value)
                return

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopped.set()


@dataclass
class Limits:
    """Remembers for how long the group has had no quorum and no primary, and clients no acknowledged write.

    Attributes:
        quorum_seconds: how long the group may be without a quorum.
        primary_seconds: how long it may be without a primary.
        writes_seconds: how long clients may be without an acknowledged write.
        outage: whether the fault is an outage, which the first two limits then do not stop, nor the time's end.
        no_quorum_since: None while there is a majority view.
        no_primary_since: None while there is a primary.
        written_at: when a write was last acknowledged; None before the fault.
    """

    quorum_seconds: float = 30.0
    primary_seconds: float = 90.0
    writes_seconds: float = 120.0
    outage: bool = False
    no_quorum_since: float | None = None
    no_primary_since: float | None = None
    written_at: float | None = None

    @classmethod
    def of(cls, parameters: DrillParameters, *, outage: bool = False) -> Limits:
        """Return the limits of a drill: the budget of downtime as such never aborts, for breaking it is a result.

        Args:
            parameters: of the drill.
            outage: whether its fault is an outage; only a limit that was set then stops it before its time is up.
        """
        writes = parameters.abort_write_downtime_seconds
        if not writes:
            budget = parameters.max_write_downtime_seconds
            writes = math.inf if outage else max(BUDGETS * budget, LEAST_WRITES_SECONDS)
        return cls(parameters.abort_no_quorum_seconds, parameters.abort_no_primary_seconds, writes, outage)

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

    def wrote(self, last: float | None, injected: float) -> None:
        """Take when a write was last acknowledged; what was before the fault counts as of the fault."""
        self.written_at = max(last or 0.0, injected)

    def broken(self, now: float, timeout_at: float) -> str:
        """Return which limit is broken at `now`, empty for none.

        Args:
            now: on the drill's clock.
            timeout_at: until when recovery is waited for.
        """
        if self.written_at is not None and now - self.written_at > self.writes_seconds:
            down = now - self.written_at
            return f"no write was acknowledged for {down:.0f} s (limit {self.writes_seconds:.0f} s)"
        if self.outage:
            return ""
        if self.no_quorum_since is not None and now - self.no_quorum_since > self.quorum_seconds:
            lost = now - self.no_quorum_since
            return f"no majority of members had a common view for {lost:.0f} s (limit {self.quorum_seconds:.0f} s)"
        if self.no_primary_since is not None:
            lost = now - self.no_primary_since
            if lost > self.primary_seconds:
                return f"the group had no primary for {lost:.0f} s (limit {self.primary_seconds:.0f} s)"
            if now >= timeout_at:
                return f"the group was still without a primary when the time was up, for {lost:.0f} s"
        return ""


def last_acknowledged(clients: Iterable[Sequence[Attempt]]) -> float | None:
    """Return when a write of any client was last acknowledged; None where none was."""
    last = (next((a.end for a in reversed(attempts) if a.served), None) for attempts in clients)
    return max((end for end in last if end is not None), default=None)


StopReason = Callable[[], str]
"""Returns why a drill must stop, empty while it may go on."""
