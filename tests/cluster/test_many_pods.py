"""As many pods as the node takes, a tenth of them behind budgets that let one go at a time."""

from __future__ import annotations

import os

from real import HOME_LABEL, HOSTNAME, NAMESPACE, Real, Tell, eventually, uids
from workloads import budget, pod_spec, workload

from steps.kube import cordon
from steps.kube.client import Kube
from steps.kube.eviction import Policy, decide, drain, patience, pods_on, stayed

WANTED = int(os.environ.get("TIPHYS_E2E_PODS", "100"))
"""Pods on the node; fewer where it takes fewer."""
AT_ONCE = 12
"""Pods that a small node starts at a time; asked for hundreds at once, a busy kubelet times out on all of them."""
SLOWEST_SECONDS = 60
"""How long the slowest pod takes to end: as a member of Oracle's operator, whose preStop takes a minute."""


def test_a_full_node_is_emptied_in_about_the_time_of_its_slowest_pod(
    real: Real, drains: Kube, home: str, nodes: list[str], run: str, space: str, tell: Tell
) -> None:
    here = [pod for pod in real.all("pods", "-A", "--field-selector", f"spec.nodeName={home}")]
    room = int(real.get("nodes", home)["status"]["allocatable"]["pods"]) - len(here)
    count = min(WANTED, room)
    guarded = max(1, count // 10 // 2)
    many = count - 2 * guarded - 1
    # They have nowhere else to go: to start them again elsewhere is a load that is not the drain's.
    bound = {HOME_LABEL: run, HOSTNAME: real.get("nodes", home)["metadata"]["labels"][HOSTNAME]}
    real.apply(
        workload("Deployment", "many", space, pod_spec(run, end=1, nodeSelector=bound), replicas=0),
        workload("Deployment", "one", space, pod_spec(run, end=1), replicas=guarded),
        workload("StatefulSet", "other", space, pod_spec(run, end=1), replicas=guarded),
        workload("Deployment", "slowest", space, pod_spec(run, pre_stop=SLOWEST_SECONDS, grace=90)),
        budget("one", space, "one", maxUnavailable=1),
        budget("other", space, "other", minAvailable=max(0, guarded - 2)),
    )
    for reached in range(AT_ONCE, many, AT_ONCE):
        real.kubectl("scale", "deployment", "many", "-n", space, f"--replicas={reached}")
        real.running(space, "many", reached, seconds=1200)
    real.kubectl("scale", "deployment", "many", "-n", space, f"--replicas={many}")
    for app, replicas in {"many": many, "one": guarded, "other": guarded, "slowest": 1}.items():
        real.running(space, app, replicas, seconds=1200)
    eventually(
        "the budgets count", lambda: all(one["status"]["disruptionsAllowed"] for one in real.all("pdb", "-n", space))
    )
    pods = [pod for pod in pods_on(drains, home) if pod["metadata"]["namespace"] == space]
    assert len(pods) == count and all(pod["spec"]["nodeName"] == home for pod in pods)
    decisions = decide(pods, Policy(run, NAMESPACE, "none"))
    cordon.cordon(drains, home, cordon.Cordon(run, NAMESPACE, "now"))
    with real.refuge(nodes[1:], run):
        # What budgets hold has to come back elsewhere first, on a machine that may be slow at that.
        ways = drain(drains, home, decisions, patience(decisions) + guarded * 60)
    assert stayed(ways) == ""
    assert not uids(pods_on(drains, home)) & uids(pods)
    assert cordon.release(drains, home, run)
    recorded = [
        {
            "namespace": way.namespace,
            "pod": way.pod,
            "attempts": way.attempts,
            "gone_seconds": way.gone,
            "accepted_seconds": way.accepted,
        }
        for way in ways
    ]
    tell(f"a node with {count} pods, {2 * guarded} of them behind budgets", recorded)
