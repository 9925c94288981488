"""Does a drill tell the truth? Three experiments whose answer is known beforehand, on a cluster of a running platform.

1. Every Router of the cluster is frozen (SIGSTOP) for 3.000 s under a drill's ledger: the reported write downtime must
   be what the clock between SIGSTOP and SIGCONT says, within 0.1 s.
2. One acknowledged row is deleted from every member before the verification: exactly one lost write, and FAIL.
3. The fault does nothing: INVALID, although nothing was lost and nothing stopped.

Usage: ``python bench/truth.py [--home HOME] [--cluster demo]``, with a platform up (``tiphys up``) and a cluster
deployed (``tiphys submit deploy-cluster -p cluster=demo --wait``). Prints one JSON line for each experiment; exit code
1 if one of them is wrong.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from steps.drill.attempts import Outcome
from steps.drill.evidence import Evidence, Proof, Target
from steps.drill.fault import Fault, Scene
from steps.drill.faults import Crash, Switchover
from steps.drill.guards import look
from steps.drill.measurement import Measurement
from steps.drill.parameters import DrillParameters
from steps.drill.result import Result, evaluate
from steps.drill.run import Drill
from steps.drill.undo import drill_undo
from steps.drill.verification import verify
from steps.kube.client import Kube, connect
from steps.mysql.connection import SERVER_PORT, query, root_credentials, session
from steps.mysql.topology import read_topology
from tiphys.local.kubelet.launch import main_process
from tiphys.local.settings import NAMESPACE, Settings

FROZEN_SECONDS = 3.0
TOLERANCE_SECONDS = 0.1
PARAMETERS = DrillParameters(timeout_seconds=60.0)


class FrozenRouters(Fault):
    """Every Router process stands still for a while; afterwards `frozen_seconds` says for how long exactly."""

    name = "frozen-routers"
    event = "every Router stood still"
    removes_member = False

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._stopped = False
        self.frozen_seconds = 0.0

    def describe(self, target: Target) -> str:
        """Return what will be done."""
        return f"SIGSTOP to the Routers {self._pids} for {FROZEN_SECONDS:.3f} s"

    def inject(self, scene: Scene, target: Target) -> None:
        """Freeze, wait, thaw."""
        for pid in self._pids:
            os.kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        try:
            time.sleep(FROZEN_SECONDS)
            self._stopped = all(process_state(pid) == "T" for pid in self._pids)
        finally:
            self.frozen_seconds = time.monotonic() - started
            for pid in self._pids:
                os.kill(pid, signal.SIGCONT)

    def proof(self, target: Target, evidence: Evidence) -> Proof | None:
        """Prove it by the processes' state while they were frozen."""
        if not self._stopped or not self.frozen_seconds:
            return None
        at = evidence.injected_at
        return Proof(at, at + self.frozen_seconds, "every Router was in state T (stopped)")


class Nothing(Crash):
    """A crash that does nothing: what a drill looks like whose fault was lost on its way."""

    def inject(self, scene: Scene, target: Target) -> None:
        """Do nothing."""

    def landing_seconds(self, target: Target) -> float:
        """Return a short time: nothing will land."""
        return 3.0


def process_state(pid: int) -> str:
    """Return the state letter of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def router_pids(kube: Kube, cluster: str, home: Path) -> list[int]:
    """Return the main process of each Router of a cluster on the local platform."""
    found = []
    for pod in kube.routers(cluster):
        uid = str(pod["metadata"]["uid"])
        for container in pod["spec"]["containers"]:
            if pid := main_process(home, uid, str(container["name"])):
                found.append(pid)
    if not found:
        raise click.ClickException(f"cluster {cluster} has no Router process in {home}: is this its platform?")
    return found


def measured(kube: Kube, cluster: str, run: str, fault: Fault) -> Measurement:
    facts, scene = look(kube, cluster, run)
    return Drill(facts, scene, fault, PARAMETERS, by_hand=True).measure()


def frozen(kube: Kube, cluster: str, home: Path) -> tuple[dict[str, Any], Result]:
    fault = FrozenRouters(router_pids(kube, cluster, home))
    measurement = measured(kube, cluster, "truth-frozen", fault)
    result = evaluate(measurement, verify(kube, measurement))
    error = result.writes.longest - fault.frozen_seconds
    line = {
        "frozen_seconds": round(fault.frozen_seconds, 4),
        "reported_seconds": round(result.writes.longest, 4),
        "error_seconds": round(error, 4),
        "read_seconds": round(result.reads.longest, 4) if result.reads else None,
        "outages": len(result.writes.outages),
        "ok": abs(error) <= TOLERANCE_SECONDS and result.lost == 0 and result.verdict.outcome == "PASS",
    }
    return line, result


def lost(kube: Kube, cluster: str) -> tuple[dict[str, Any], Result]:
    measurement = measured(kube, cluster, "truth-lost", Switchover())
    client, sequence = sorted(measurement.writes(Outcome.ACKNOWLEDGED))[100]
    primary = read_topology(kube, cluster).primary
    assert primary is not None
    credentials = root_credentials(kube, kube.cluster(cluster))
    with session(primary.address, SERVER_PORT, credentials, what=primary.pod) as connection:
        # A delete on the primary is one on every member.
        sql = "DELETE FROM tiphys.ledger WHERE run = %s AND client = %s AND attempt = %s"
        query(connection, sql, (measurement.run, client, sequence))
    result = evaluate(measurement, verify(kube, measurement))
    found = [(one.client, one.sequence) for one in result.verification.lost] if result.verification else []
    line = {
        "deleted": [client, sequence],
        "reported_lost": len(found),
        "ok": found == [(client, sequence)] and result.verdict.outcome == "FAIL",
    }
    return line, result


def nothing(kube: Kube, cluster: str) -> tuple[dict[str, Any], Result]:
    measurement = measured(kube, cluster, "truth-nothing", Nothing())
    result = evaluate(measurement, verify(kube, measurement))
    return {"ok": result.verdict.outcome == "INVALID"}, result


@click.command()
@click.option("--home", type=click.Path(path_type=Path), default=None, help="The platform's folder.")
@click.option("--cluster", default="demo", show_default=True)
def main(home: Path | None, cluster: str) -> None:
    """Check that drills tell the truth."""
    settings = Settings.load(home)
    os.environ["KUBECONFIG"] = str(settings.kubeconfig)
    kube = connect(NAMESPACE)
    wrong = 0
    experiments = {
        "truth-frozen": lambda: frozen(kube, cluster, settings.home),
        "truth-lost": lambda: lost(kube, cluster),
        "truth-nothing": lambda: nothing(kube, cluster),
    }
    for name, experiment in experiments.items():
        try:
            line, result = experiment()
        finally:
            drill_undo.function(NAMESPACE, cluster, name, False)
        wrong += not line["ok"]
        verdict = {"verdict": result.verdict.outcome, "reasons": result.verdict.reasons}
        print(json.dumps({"bench": name, **line, **verdict}), flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
