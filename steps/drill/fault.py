"""What a fault is: a small object with its guard, its act and its proof. The faults themselves are in `faults`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from steps.drill.evidence import Evidence, Process, Proof, Target
from steps.drill.samples import PodSample
from steps.errors import StepError
from steps.kube.client import Kube
from steps.mysql.connection import Credentials
from steps.mysql.topology import Member, Topology


@dataclass(frozen=True)
class Scene:
    """Where a fault acts: clients and the cluster. Carries no state of the drill.

    Attributes:
        kube: client.
        cluster: name.
        credentials: of its administrator.
        run: whose drill it is: its workflow.
    """

    kube: Kube
    cluster: str
    credentials: Credentials
    run: str = ""


class Fault:
    """One kind of fault, aimed at the primary.

    Attributes:
        name: the value of parameter `fault`.
        event: what it is, in the past tense, for people ("the primary was killed").
        removes_member: whether a member is lost until it is back, which quorum must survive.
        outage: whether it leaves no quorum, so that the cluster stands still until it is repaired; needs a person's
            leave, and the limits on quorum and primary do not stop it.
        lasts: whether it goes on until `stop` ends it, after `hold-seconds`.
    """

    name = ""
    event = ""
    removes_member = True
    lasts = False
    outage = False

    def guard(self, topology: Topology) -> list[str]:
        """Return why this fault must not be injected now, beyond what holds for every fault."""
        return [] if topology.secondaries else ["there is no ONLINE secondary that could become primary"]

    def obstacles(self, target: Target) -> list[str]:
        """Return why this fault cannot be injected into this target; asked before anything is changed."""
        return []

    def hindrances(self, scene: Scene, target: Target) -> list[str]:
        """Return what else is in the way, where only the API server can tell; asked before anything is changed."""
        return []

    def describe(self, target: Target) -> str:
        """Return what will be done, for the dry run and the report."""
        raise NotImplementedError

    def aim(self, topology: Topology) -> Member | None:
        """Return the member that is hit; None where there is no primary."""
        return topology.primary

    def others(self, topology: Topology) -> Sequence[Member]:
        """Return the members that are hit at the same time."""
        return ()

    def removed(self, topology: Topology) -> int:
        """Return how many members are lost until they are back."""
        return 1 if self.removes_member else 0

    def lasting_seconds(self, target: Target) -> float:
        """Return how long the injection itself may take, which the wait for recovery does not count."""
        return 0.0

    def landing_seconds(self, target: Target) -> float:
        """Return how long after the injection its proof may take."""
        return 30.0

    def heir(self, scene: Scene, topology: Topology) -> str:
        """Return the `server_uuid` of the member that this fault makes primary; empty where the group decides."""
        return ""

    def process(self, scene: Scene, topology: Topology) -> Process | None:
        """Return the primary's server process where the fault has to know it again; None where it does not."""
        return None

    def router(self, scene: Scene) -> PodSample | None:
        """Return the Router that this fault hits; None where it hits none."""
        return None

    def inject(self, scene: Scene, target: Target) -> str | None:
        """Do it. Returns when the request was carried out; with what it saw of it, where only it can see that."""
        raise NotImplementedError

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Return the proof that it landed, or None so far."""
        raise NotImplementedError

    def interrupt(self) -> None:
        """Let an injection that is under way come to its end soon; called before `stop`, from another thread."""

    def record(self) -> list[dict[str, Any]]:
        """Return the way of each pod that was evicted, for the report."""
        return []

    def recovered(self, target: Target, evidence: Evidence) -> bool:
        """Tell whether what was hit is back, beside the group's being whole and writes' succeeding."""
        return True

    def stop(self, scene: Scene, target: Target) -> None:
        """End a fault that lasts: when it has been held, and when the drill ends. May run twice."""

    def ended(self, scene: Scene, target: Target) -> str:
        """Look whether the fault has ended, and return what shows it, for the report. Called after `stop` and `undo`.

        Raises:
            StepError: it still acts, or nobody can tell.
        """
        if self.lasts:
            raise StepError(f"nothing can show that a fault of kind {self.name} has ended")
        return "its injection is over, and this fault does not last"

    def undo(self, scene: Scene, before: dict[str, Any]) -> list[str]:
        """Put back what the fault left changed, from the intent's `before`; return what was done. May run twice."""
        return []
