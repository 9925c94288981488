"""The faults `quorum-loss` and `full-outage`: more members die at once than the group can do without.

Nobody writes until somebody repairs the group, so these need a person's `allow-outage`. The killed servers start again
by themselves; that the group comes back is for the operator: it forces a quorum from the member that is left, or starts
the group again at the one with the most transactions. What is measured is how long that takes, and what it costs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from steps.drill.evidence import Evidence, Proof, Target
from steps.drill.fault import Fault, Scene
from steps.drill.outage_evidence import outage_proof
from steps.drill.server_signal import KILL, pid_file, signal_server
from steps.errors import StepError
from steps.mysql.topology import Member, Topology


class Outage(Fault):
    """What both have in common."""

    outage = True
    meaning = ""
    """What this does to clients, for who is asked to allow it."""

    def guard(self, topology: Topology) -> list[str]:
        """Add nothing for every outage: no secondary is needed that could take over at once."""
        return []

    def victims(self, topology: Topology) -> Sequence[Member]:
        """Return the members that are killed."""
        raise NotImplementedError

    def removed(self, topology: Topology) -> int:
        """Return how many members are killed."""
        return len(self.victims(topology))

    def aim(self, topology: Topology) -> Member:
        """Return the first of them."""
        return self.victims(topology)[0]

    def others(self, topology: Topology) -> Sequence[Member]:
        """Return the rest of them."""
        return self.victims(topology)[1:]

    def describe(self, target: Target) -> str:
        """Return what will be done, and to which pods."""
        pods = ", ".join(one.pod for one in target.hit)
        return f"kill -9 of mysqld in container mysql of {pods} at once (SIGABRT where it is process 1); {self.meaning}"

    def landing_seconds(self, target: Target) -> float:
        """Return how long servers that are killed may take to be seen so, and the group to notice."""
        return 60.0

    def inject(self, scene: Scene, target: Target) -> str | None:
        """Kill all of them at the same moment, from within their containers; return how far apart that was.

        Raises:
            StepError: one could not be killed; the others are dead all the same.
        """
        files = {one.pod: pid_file(scene, one) for one in target.hit}
        together = threading.Barrier(len(target.hit))

        def kill(one: Target) -> float | str:
            together.wait(10.0)
            try:
                signal_server(scene, one, KILL, file=files[one.pod])
            except StepError as error:
                return str(error)
            return time.monotonic()

        with ThreadPoolExecutor(len(target.hit)) as pool:
            done = list(pool.map(kill, target.hit))
        if failed := [what for what in done if isinstance(what, str)]:
            raise StepError(f"{len(failed)} of {len(done)} servers could not be killed: {'; '.join(failed)}")
        moments = [what for what in done if isinstance(what, float)]
        return f"{len(done)} servers were killed within {max(moments) - min(moments):.2f} s"

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by every process that ended, and by the group that had no quorum any more."""
        return outage_proof(target, evidence)


class QuorumLoss(Outage):
    """So many servers are killed that the rest is no majority: what a group that blocks costs the clients.

    Args:
        survivor: who is kept: `primary`, which has every acknowledged write, or `secondary`, which may lack the latest.
    """

    name = "quorum-loss"
    event = "a majority of the servers was killed"
    meaning = "without a quorum nobody can write until the operator forces one from what is left"

    def __init__(self, survivor: str = "primary") -> None:
        self._survivor = survivor

    def guard(self, topology: Topology) -> list[str]:
        """Return that a group of one or two has no majority to lose beside all of it."""
        if topology.expected >= 3:
            return []
        return [f"of {topology.expected} servers none would be left: take fault=full-outage, or scale the cluster to 3"]

    def victims(self, topology: Topology) -> Sequence[Member]:
        """Return all but the largest minority; the survivors are the primary or a secondary, then by name."""
        assert topology.primary is not None
        secondaries = sorted(topology.secondaries, key=lambda member: member.pod)
        killed = topology.expected - topology.expected // 2
        if self._survivor == "primary":
            return secondaries[:killed]
        return [topology.primary, *secondaries[: killed - 1]]


class FullOutage(Outage):
    """Every server is killed: what the loss of a whole site, or of its power, costs the clients."""

    name = "full-outage"
    event = "all servers were killed"
    meaning = "nobody can read or write until the operator starts the group again, at the member with the most"

    def victims(self, topology: Topology) -> Sequence[Member]:
        """Return all, the primary first."""
        assert topology.primary is not None
        return [topology.primary, *sorted(topology.secondaries, key=lambda member: member.pod)]
