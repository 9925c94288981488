"""A node with every kind of pod, drained by the pack's own account on a real API server, kubelet and scheduler."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from real import NAMESPACE, Object, Real, Tell, eventually, uids
from workloads import budget, lone_pod, pod_spec, workload

from steps.drill.drain import DrainNode
from steps.drill.drain_survey import Survey, Wish, survey
from steps.drill.evidence import Target
from steps.drill.fault import Scene
from steps.drill.samples import PodSample
from steps.errors import StepError
from steps.kube import cordon
from steps.kube.client import CLUSTER_LABEL, Kube
from steps.kube.eviction import (
    FINISHED,
    LOOK_SECONDS,
    MIRROR_ANNOTATION,
    WORKFLOW_LABEL,
    Action,
    Decision,
    Policy,
    decide,
    drain,
    pods_on,
    stayed,
)
from steps.kube.pods import why_not_ready
from steps.mysql.connection import Credentials
from steps.mysql.topology import Member, Topology


def group(name: str) -> Topology:
    """Return what a whole group of three would be seen as: no MySQL runs here, the pods are real."""
    members = tuple(
        Member(f"uuid-{n}", f"{name}-{n}", 3306, "ONLINE", "PRIMARY" if n == 0 else "SECONDARY", "9.7.0", f"{name}-{n}")
        for n in range(3)
    )
    return Topology(name, 3, members, members[0], True)


def narrowed(found: Survey, namespaces: Sequence[str]) -> Survey:
    """Return what was found of a test's own pods: nobody else's are evicted."""
    return replace(found, decisions=[one for one in found.decisions if one.namespace in namespaces])


def aim(kube: Kube, cluster: str) -> tuple[Scene, Target]:
    pod = f"{cluster}-0"
    return Scene(kube, cluster, Credentials("root", "unused")), Target(pod, "uuid-0", PodSample(0.0, pod, "uid"))


@pytest.fixture
def servers(real: Real, home: str, nodes: list[str], cluster: str) -> Iterator[str]:
    """The pods of a cluster's servers: the first on the node that is drained, the others elsewhere."""
    term = {"labelSelector": {"matchLabels": {"app": cluster}}, "topologyKey": "kubernetes.io/hostname"}
    apart = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    spec = pod_spec(cluster, end=1, empty_dir=True, affinity={"podAntiAffinity": apart})
    labels = {CLUSTER_LABEL: cluster, "component": "mysqld"}
    real.apply(workload("StatefulSet", cluster, NAMESPACE, spec, labels=labels))
    real.running(NAMESPACE, cluster, 1)
    with real.refuge(nodes[1:], cluster):
        real.kubectl("scale", "statefulset", cluster, "-n", NAMESPACE, "--replicas=3")
        real.running(NAMESPACE, cluster, 3)
    yield cluster
    real.kubectl("delete", "statefulset", cluster, "-n", NAMESPACE)
    real.kubectl("delete", "pods", "-l", f"app={cluster}", "-n", NAMESPACE, "--force", "--grace-period=0")


def test_each_pod_of_a_node_goes_or_stays_as_a_drain_has_it(
    real: Real, drains: Kube, servers: str, home: str, nodes: list[str], run: str, space: str, tell: Tell
) -> None:
    """First what would lose something is refused; then it is allowed, and the node is empty but for what stays."""
    real.apply(
        workload("Deployment", "web", space, pod_spec(run, end=1), replicas=3),
        workload("StatefulSet", "queue", space, pod_spec(run, end=2), replicas=2),
        workload("DaemonSet", "agent", space, pod_spec(run, empty_dir=True)),
        workload("Deployment", "scratch", space, pod_spec(run, empty_dir=True)),
        workload("Deployment", "slow", space, pod_spec(run, pre_stop=4, end=2, grace=40)),
        lone_pod("lone", space, pod_spec(run)),
        lone_pod("done", space, pod_spec(run, script="exit 0", restartPolicy="Never")),
        lone_pod(f"{run}-step", NAMESPACE, pod_spec(run), labels={WORKFLOW_LABEL: run, "app": run}),
        budget("web", space, "web", maxUnavailable=1),
    )
    for app, count in {"web": 3, "queue": 2, "agent": 1, "scratch": 1, "slow": 1}.items():
        real.running(space, app, count)
    real.kubectl("wait", "--for=condition=Ready", "pod/lone", "-n", space, "--timeout=120s")
    real.kubectl("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/done", "-n", space, "--timeout=120s")
    real.kubectl("wait", "--for=condition=Ready", f"pod/{run}-step", "-n", NAMESPACE, "--timeout=120s")
    eventually("the budget counts", lambda: real.get("pdb", "web", space).get("status", {}).get("disruptionsAllowed"))
    before = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in real.pods(space)}

    careful = survey(drains, servers, group(servers), Wish(run))
    assert (careful.node, careful.here, careful.lacking) == (home, [f"{servers}-0"], [])
    refused = {kind(one.pod): one.why for one in kinds(careful, space)[Action.REFUSE]}
    assert set(refused) == {"scratch", "lone"}
    assert "emptyDir scratch" in refused["scratch"] and "no controller" in refused["lone"]

    wish = Wish(run, empty_dir=True, unmanaged=True)
    whole = survey(drains, servers, group(servers), wish)
    sorted_out = kinds(whole, space)
    assert not sorted_out[Action.REFUSE]
    skipped = {kind(one.pod): one.why for one in sorted_out[Action.SKIP]}
    assert skipped == {"agent": "is of DaemonSet agent", "done": FINISHED}
    assert told(whole) == [(f"{space}/web", 1, 3)]
    (step,) = [one for one in whole.decisions if (one.namespace, one.pod) == (NAMESPACE, f"{run}-step")]
    assert step.action is Action.SKIP and "of this drill" in step.why

    fault = DrainNode(narrowed(whole, [space, NAMESPACE]), wish)
    assert fault.guard(group(servers)) == []
    assert fault.seconds >= 2 * 40, "the slow pod's grace period twice"
    with real.refuge(nodes[1:], run):
        witness = fault.inject(*aim(drains, servers))
    assert witness and "was empty" in witness
    there = real.get("nodes", home)
    note = cordon.read(there)
    assert cordon.is_cordoned(there) and note is not None and (note.workflow, note.before) == (run, False)
    left = {pod["metadata"]["name"] for pod in real.pods(space) if pod["spec"]["nodeName"] == home}
    assert left == {name for name in before if kind(name) in ("done", "agent")}
    ways = {way["pod"]: way for way in fault.record()}
    assert set(ways) == {*before, f"{servers}-0"} - left
    assert all(way["gone_seconds"] >= way["accepted_seconds"] for way in ways.values())
    web = sorted(way["attempts"] for name, way in ways.items() if kind(name) == "web")
    assert web[-1] > 1, "the budget let them go one at a time"
    tell("every kind of pod", fault.record())

    real.running(space, "web", 3)
    fault.stop(*aim(drains, servers))
    fault.stop(*aim(drains, servers))
    there = real.get("nodes", home)
    assert not cordon.is_cordoned(there) and cordon.read(there) is None
    real.kubectl("delete", "pod", f"{run}-step", "-n", NAMESPACE, "--wait=false")


def kinds(found: Survey, namespace: str) -> dict[Action, list[Decision]]:
    return {
        action: [one for one in found.decisions if one.namespace == namespace and one.action is action]
        for action in Action
    }


def told(found: Survey) -> list[tuple[str, int, int]]:
    """Return each budget, how many it lets go, and how many of its pods are to go."""
    return [(one.name, one.allows, len(one.pods)) for one in found.budgets]


def kind(pod: str) -> str:
    return pod.partition("-")[0]


def test_where_a_pod_can_come_back_is_known_before_it_goes(
    real: Real, drains: Kube, servers: str, home: str, nodes: list[str], run: str, space: str
) -> None:
    """A volume of one node holds its pod until that node is given back; the scheduler and the survey agree on it."""
    hostname = real.get("nodes", home)["metadata"]["labels"]["kubernetes.io/hostname"]
    here = [{"key": "kubernetes.io/hostname", "operator": "In", "values": [hostname]}]
    asked = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": run}
    size = {"storage": "1Mi"}
    bound = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    real.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": run},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": size,
                "local": {"path": "/tmp"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": space},
            "spec": {**asked, "resources": {"requests": size}},
        },
        workload("StatefulSet", "bound", space, pod_spec(run, volumes=bound)),
        workload("StatefulSet", "free", space, pod_spec(run)),
    )
    try:
        before = {name: real.running(space, name, 1)[0]["metadata"]["uid"] for name in ("bound", "free")}
        with real.refuge(nodes[1:], run):
            wish = Wish(run)
            found = survey(drains, servers, group(servers), wish)
            assert found.pinned == {before["bound"]: ["data"]}
            assert found.takers[before["bound"]] == [] and sorted(found.takers[before["free"]]) == sorted(nodes[1:])
            fault = DrainNode(narrowed(found, [space]), wish)
            fault.inject(*aim(drains, servers))
            (free,) = real.running(space, "free", 1)
            assert free["spec"]["nodeName"] in nodes[1:]
            (waits,) = eventually("the bound pod is made again", lambda: real.pods(space, "bound"))
            assert waits["metadata"]["uid"] != before["bound"]
            eventually("it finds no node", lambda: "has no node" in why_not_ready(real.pods(space, "bound")[0]))
            fault.stop(*aim(drains, servers))
            (back,) = real.running(space, "bound", 1)
            assert back["spec"]["nodeName"] == home
    finally:
        real.kubectl("delete", "pv", run, "--wait=false")


def test_a_pod_that_its_kubelet_runs_from_a_file_is_left_alone(real: Real, drains: Kube) -> None:
    mirrors = [pod for pod in real.all("pods", "-A") if MIRROR_ANNOTATION in (pod["metadata"].get("annotations") or {})]
    if not mirrors:
        pytest.skip("no node of this cluster has a static pod: put one into the staticPodPath of a kubelet")
    node = mirrors[0]["spec"]["nodeName"]
    here = uids([pod for pod in mirrors if pod["spec"]["nodeName"] == node])
    made = {one.uid: one for one in decide(pods_on(drains, node), Policy("run-1", NAMESPACE, "demo"))}
    assert here and {made[uid].action for uid in here} == {Action.SKIP}
    assert {made[uid].why for uid in here} == {"is a mirror pod: its kubelet runs it from a file"}


def test_a_budget_that_holds_to_the_end_is_named_and_the_node_given_back(
    real: Real, drains: Kube, servers: str, home: str, run: str
) -> None:
    real.apply(budget(f"{run}-holds", NAMESPACE, servers, maxUnavailable=0))
    try:
        eventually("the budget counts", lambda: real.get("pdb", f"{run}-holds").get("status", {}).get("expectedPods"))
        uid = real.get("pod", f"{servers}-0")["metadata"]["uid"]
        wish = Wish(run, eviction_seconds=4)
        found = survey(drains, servers, group(servers), wish)
        assert told(found) == [(f"{NAMESPACE}/{run}-holds", 0, 1)]
        fault = DrainNode(narrowed(found, [NAMESPACE]), wish)
        with pytest.raises(StepError, match=f"was not empty after 4 s: pod {NAMESPACE}/{servers}-0: .*{run}-holds"):
            fault.inject(*aim(drains, servers))
        fault.stop(*aim(drains, servers))
    finally:
        real.kubectl("delete", "pdb", f"{run}-holds", "-n", NAMESPACE)
    pod = real.get("pod", f"{servers}-0")
    assert pod["metadata"]["uid"] == uid and "deletionTimestamp" not in pod["metadata"]
    (way,) = fault.record()
    assert way["attempts"] > 1 and way["accepted_seconds"] is None


def test_two_budgets_over_one_pod_are_told_for_what_they_are(
    real: Real, drains: Kube, home: str, run: str, space: str
) -> None:
    """Kubernetes evicts no such pod at all: it answers 500, which is no reason to believe that it is unwell."""
    real.apply(
        workload("Deployment", "web", space, pod_spec(run)),
        *(budget(f"b{n}", space, "web", maxUnavailable=1) for n in (1, 2)),
    )
    real.running(space, "web", 1)
    ways = drain(drains, home, going(drains, home, space), 3)
    assert "more than one PodDisruptionBudget" in stayed(ways), stayed(ways)


def test_a_pod_that_a_finalizer_keeps_is_told(real: Real, drains: Kube, home: str, run: str, space: str) -> None:
    real.apply(lone_pod("kept", space, pod_spec(run, grace=1), finalizers=["tiphys.dev/e2e"]))
    real.kubectl("wait", "--for=condition=Ready", "pod/kept", "-n", space, "--timeout=120s")
    ways = drain(drains, home, going(drains, home, space), 6)
    assert f"pod {space}/kept: its eviction was accepted after" in stayed(ways)
    assert "its finalizers keep it: tiphys.dev/e2e" in stayed(ways), stayed(ways)


def test_an_abort_ends_the_waiting_for_a_slow_pod(
    real: Real, drains: Kube, servers: str, home: str, run: str, space: str
) -> None:
    real.apply(workload("Deployment", "slow", space, pod_spec(run, end=60, grace=90)))
    real.running(space, "slow", 1)
    wish = Wish(run)
    fault = DrainNode(narrowed(survey(drains, servers, group(servers), wish), [space]), wish)
    with ThreadPoolExecutor(1) as pool:
        injecting = pool.submit(fault.inject, *aim(drains, servers))
        eventually("the pod is to go", lambda: [one for one in real.pods(space, "slow") if going_now(one)])
        time.sleep(2 * LOOK_SECONDS)
        fault.interrupt()
        still = "main still runs, in a grace period of 90 s"
        with pytest.raises(StepError, match=f"not empty when the drill was stopped.*{still}"):
            injecting.result(30)
    fault.stop(*aim(drains, servers))


def going_now(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def test_a_pod_that_took_the_name_of_another_is_not_touched(
    real: Real, drains: Kube, home: str, run: str, space: str
) -> None:
    """A StatefulSet's pod has the same name again, at once, and on this very node while it is not cordoned."""
    real.apply(workload("StatefulSet", "db", space, pod_spec(run)))
    real.running(space, "db", 1)
    stale = going(drains, home, space)
    real.kubectl("delete", "pod", "db-0", "-n", space)
    (again,) = real.running(space, "db", 1)
    ways = drain(drains, home, stale, 20)
    assert stayed(ways) == ""
    assert uids(real.pods(space)) == {again["metadata"]["uid"]}, "the new one is another pod"


def going(kube: Kube, node: str, namespace: str) -> list[Decision]:
    pods = [pod for pod in pods_on(kube, node) if pod["metadata"]["namespace"] == namespace]
    return decide(pods, Policy("run-1", NAMESPACE, "demo", empty_dir=True, unmanaged=True))


def test_lists_are_read_page_by_page(real: Real, drains: Kube, home: str, run: str, space: str) -> None:
    real.apply(workload("Deployment", "web", space, pod_spec(run), replicas=5))
    real.running(space, "web", 5)
    everything = pods_on(drains, home)
    assert len(everything) >= 5
    paged = drains.everywhere("pods", f"spec.nodeName={home}", page=2)
    assert uids(paged) == uids(everything) and len(paged) == len(everything)
