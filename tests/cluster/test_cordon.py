"""Whose a cordon is, on real Nodes to which kubelets write all the time; and what `reap` and the undo take back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from real import NAMESPACE, Real

from steps.drill import intent
from steps.drill.drain import NAME, give_back
from steps.drill.reap import reap
from steps.drill.undo import drill_undo
from steps.errors import Refused
from steps.kube import cordon
from steps.kube.client import Kube
from steps.kube.errors import Forbidden


def note(workflow: str) -> cordon.Cordon:
    return cordon.Cordon(workflow, NAMESPACE, intent.now())


def state(real: Real, node: str) -> tuple[bool, str]:
    found = real.get("nodes", node)
    there = cordon.read(found)
    return cordon.is_cordoned(found), there.workflow if there else ""


def test_a_cordon_says_whose_it_is_and_is_taken_back_once(real: Real, drains: Kube, home: str, run: str) -> None:
    assert not cordon.cordon(drains, home, note(run)).before
    assert state(real, home) == (True, run)
    taints = [taint["key"] for taint in real.get("nodes", home)["spec"]["taints"]]
    assert "node.kubernetes.io/unschedulable" in taints, "the scheduler knows of it"
    assert give_back(drains, run) == [f"node {home}: uncordoned"]
    assert give_back(drains, run) == [] and cordon.release(drains, home, run) == ""
    assert state(real, home) == (False, "")


def test_a_node_that_somebody_cordoned_by_hand_stays_so(real: Real, drains: Kube, home: str, run: str) -> None:
    real.kubectl("cordon", home)
    try:
        assert cordon.cordon(drains, home, note(run)).before
        assert cordon.cordon(drains, home, note(run)).before, "a step that is tried again keeps what was before"
        assert give_back(drains, run) == [f"node {home}: stays cordoned, as it was before the drill"]
        assert state(real, home) == (True, "")
    finally:
        real.kubectl("uncordon", home)


def test_a_node_that_somebody_uncordoned_meanwhile_stays_open(real: Real, drains: Kube, home: str, run: str) -> None:
    real.kubectl("cordon", home)
    cordon.cordon(drains, home, note(run))
    real.kubectl("uncordon", home)
    assert give_back(drains, run) and state(real, home) == (False, "")


def test_of_two_drains_at_once_one_gets_the_node(real: Real, drains: Kube, home: str, run: str) -> None:
    """While somebody else keeps writing to it, as kubelets do."""
    mine, other = f"{run}-a", f"{run}-b"
    writing = "import subprocess, sys\nwhile True: subprocess.run(sys.argv[1:], check=True, capture_output=True)\n"
    command = ["kubectl", f"--kubeconfig={real.kubeconfig}", "annotate", "node", home, "--overwrite"]
    for _ in range(5):
        with subprocess.Popen([sys.executable, "-c", writing, *command, "tiphys.dev/e2e=written"]) as busy:
            try:
                with ThreadPoolExecutor(2) as pool:
                    asked = [pool.submit(cordon.cordon, drains, home, note(name)) for name in (mine, other)]
                    errors = [one.exception(60) for one in asked]
            finally:
                busy.terminate()
        (refused,) = [error for error in errors if error is not None]
        winner = mine if errors[0] is None else other
        assert isinstance(refused, Refused) and winner in str(refused)
        assert state(real, home) == (True, winner)
        assert give_back(drains, other if winner == mine else mine) == [], "the other's is not taken back"
        assert give_back(drains, winner) == [f"node {home}: uncordoned"]
    real.kubectl("annotate", "node", home, "tiphys.dev/e2e-")


def test_an_undo_and_reap_give_back_what_a_drill_that_is_gone_left(
    real: Real, acting: Callable[[str], Kube], home: str, nodes: list[str], cluster: str, run: str
) -> None:
    """One drill was killed after its cordon, a second one's cluster is gone; a third one still runs."""
    kube = acting("tiphys-drains")
    intent.write(kube, cluster, intent.Intent(run, NAME, intent.now(), {"node": home}))
    cordon.cordon(kube, home, note(run))
    alive = f"{run}-alive"
    meta = {"name": alive, "namespace": NAMESPACE}
    spec = {"entrypoint": "x", "templates": [{"name": "x", "suspend": {}}]}
    real.apply({"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": meta, "spec": spec})
    cordon.cordon(kube, nodes[1], note(alive))
    try:
        acting("tiphys-reap")
        assert reap.function(namespace=NAMESPACE).reaped >= 1
        assert state(real, home) == (False, "") and state(real, nodes[1]) == (True, alive)
        assert intent.read(real.get("innodbclusters", cluster)) is None
    finally:
        real.kubectl("delete", "workflow", alive, "-n", NAMESPACE)
        reap.function(namespace=NAMESPACE)
    assert state(real, nodes[1]) == (False, "")
    assert reap.function(namespace=NAMESPACE).reaped == 0


def test_the_exit_handler_undoes_its_own_and_can_run_again(
    real: Real, drains: Kube, home: str, cluster: str, run: str
) -> None:
    intent.write(drains, cluster, intent.Intent(run, NAME, intent.now(), {"node": home}))
    cordon.cordon(drains, home, note(run))
    drill_undo.function(namespace=NAMESPACE, cluster=cluster, workflow="another", keep_ledger=True)
    assert state(real, home) == (True, run)
    for _ in range(2):
        drill_undo.function(namespace=NAMESPACE, cluster=cluster, workflow=run, keep_ledger=True)
        assert state(real, home) == (False, "") and intent.read(real.get("innodbclusters", cluster)) is None


def test_who_may_not_drain_is_told_what_it_lacks(
    real: Real, acting: Callable[[str], Kube], home: str, cluster: str, run: str
) -> None:
    runbooks = acting("tiphys-runbooks")
    with pytest.raises(Forbidden, match="nodes"):
        cordon.cordon(runbooks, home, note(run))
    assert state(real, home) == (False, "")
