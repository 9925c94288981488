"""Emptying a node: what goes is decided by rules; the rest on a real API server, with real pods and real budgets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from pods_help import Cluster, cluster, pod

from steps.kube import client
from steps.kube.client import Kube
from steps.kube.errors import NotFound
from steps.kube.eviction import MARGIN_SECONDS, Action, Evicted, Policy, decide, drain, patience, pods_on, stayed
from tiphys.local.platform.access import write_kubeconfig

POLICY = Policy("drill-1", "tiphys", "demo")
QUICK = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.02; done"]
OWNED: dict[str, Any] = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "u", "controller": True}


def made(name: str = "p", **changes: Any) -> dict[str, Any]:
    """A pod as the API server gives it; with an owner unless told otherwise."""
    meta: dict[str, Any] = {"name": name, "namespace": "tiphys", "uid": f"uid-{name}", "ownerReferences": [OWNED]}
    for key in ("namespace", "labels", "annotations", "ownerReferences"):
        if key in changes:
            meta[key] = changes.pop(key)
    phase = changes.pop("phase", "Running")
    return {"metadata": meta, "spec": {"containers": [], **changes}, "status": {"phase": phase}}


SCRATCH: dict[str, Any] = {"volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "data", "persistentVolumeClaim": {}}]}
ARGO: dict[str, Any] = {"volumes": [{"name": name, "emptyDir": {}} for name in ("var-run-argo", "tmp-dir-argo")]}
OURS: dict[str, Any] = {"volumes": [{"name": "tiphys-scratch", "emptyDir": {}}]}
BUS: dict[str, Any] = {"volumes": [{"name": name, "emptyDir": {}} for name in ("pid", "js-data")]}
DAEMON: Any = [{**OWNED, "kind": "DaemonSet", "name": "logs"}]
MEMBER: dict[str, Any] = {"labels": {"mysql.oracle.com/cluster": "demo"}}


@pytest.mark.parametrize(
    ("one", "action", "says"),
    [
        (made(), Action.EVICT, ""),
        (made(annotations={"kubernetes.io/config.mirror": "x"}, ownerReferences=[]), Action.SKIP, "mirror"),
        (made(ownerReferences=DAEMON), Action.SKIP, "DaemonSet logs"),
        (made(ownerReferences=DAEMON, **SCRATCH), Action.SKIP, "DaemonSet logs"),
        (made(ownerReferences=[], phase="Succeeded"), Action.SKIP, "finished"),
        (made(labels={"workflows.argoproj.io/workflow": "drill-1"}), Action.SKIP, "step of this drill"),
        (made(labels={"workflows.argoproj.io/workflow": "drill-2"}), Action.EVICT, ""),
        (made(**ARGO, labels={"workflows.argoproj.io/workflow": "game-day-1"}), Action.EVICT, ""),
        (made(**SCRATCH, labels={"workflows.argoproj.io/workflow": "build"}), Action.REFUSE, "emptyDir tmp"),
        (made(**ARGO), Action.REFUSE, "emptyDir var-run-argo"),
        (made(**OURS, labels={"workflows.argoproj.io/workflow": "game-day-1"}), Action.EVICT, ""),
        (made(**SCRATCH, labels={"sensor-name": "runbooks"}), Action.EVICT, ""),
        (made(**SCRATCH, labels={"eventsource-name": "runbooks"}), Action.EVICT, ""),
        (made(**BUS, labels={"eventbus-name": "default"}), Action.REFUSE, "emptyDir js-data:"),
        (made(ownerReferences=[]), Action.REFUSE, "unmanaged=evict"),
        (made(ownerReferences=[{**OWNED, "controller": False}]), Action.REFUSE, "no controller"),
        (made(**SCRATCH), Action.REFUSE, "emptyDir tmp"),
        (made(**SCRATCH, **MEMBER), Action.EVICT, ""),
        (made(**SCRATCH, **MEMBER, namespace="other"), Action.REFUSE, "emptyDir tmp"),
    ],
)
def test_each_pod_goes_or_stays_by_a_rule(one: dict[str, Any], action: Action, says: str) -> None:
    (decision,) = decide([one], POLICY)
    assert decision.action is action and says in decision.why, decision


def test_a_policy_allows_more_but_never_what_would_come_back() -> None:
    free = Policy("drill-1", "tiphys", "demo", empty_dir=True, unmanaged=True)
    found = decide([made("a", ownerReferences=[], **SCRATCH), made("b", ownerReferences=DAEMON, **SCRATCH)], free)
    assert [one.action for one in found] == [Action.EVICT, Action.SKIP]
    assert "loses its emptyDir tmp" in found[0].why


def test_the_deadline_follows_the_longest_grace_period_of_those_that_go() -> None:
    pods = [
        made("a", terminationGracePeriodSeconds=120),
        made("b", terminationGracePeriodSeconds=900, ownerReferences=DAEMON),
        made("c"),
        made("d", terminationGracePeriodSeconds=0),
    ]
    assert patience(decide(pods, POLICY)) == 240 + MARGIN_SECONDS
    assert [one.seconds for one in decide(pods, POLICY)] == [120, 900, 30, 0]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("eviction"), "controllers", "kubelet") as running:
        yield running


@pytest.fixture
def kube(platform: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", str(platform.settings.kubeconfig))
    until((platform.home / "admin.token").exists)
    write_kubeconfig(platform.settings)
    connected = client.connect("tiphys")
    until(lambda: nodes(connected))
    yield connected
    for resource in ("statefulsets", "poddisruptionbudgets", "pods"):
        for item in connected.all(resource):
            with suppress(NotFound):  # its owner may have taken it along
                connected.delete(resource, item["metadata"]["name"], grace_seconds=0 if resource == "pods" else None)
    for name in nodes(connected):
        connected.patch("nodes", name, {"spec": {"unschedulable": None}})
    until(lambda: not connected.all("pods"))
    connected.close()


def nodes(kube: Kube) -> list[str]:
    try:
        return [node["metadata"]["name"] for node in kube.all("nodes")]
    except Exception:
        return []


def until(look: Any, seconds: float = 30.0) -> Any:
    limit = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.05)
    return found


def stateful(name: str, replicas: int, node: str | None = None) -> dict[str, Any]:
    spec = pod("template", QUICK, node=None)["spec"]
    del spec["restartPolicy"]
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": spec},
        },
    }


def budget(name: str, unavailable: int) -> dict[str, Any]:
    spec = {"maxUnavailable": unavailable, "selector": {"matchLabels": {"app": name}}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}


def running(kube: Kube, name: str) -> list[dict[str, Any]]:
    found = kube.all("pods", f"app={name}")
    ready = [
        one
        for one in found
        if any(c["type"] == "Ready" and c["status"] == "True" for c in one["status"].get("conditions") or [])
    ]
    return ready if len(ready) == len(found) else []


def ready(kube: Kube, name: str, replicas: int) -> list[dict[str, Any]]:
    return list(until(lambda: len(running(kube, name)) == replicas and running(kube, name)))


def test_pages_add_up_to_the_whole_node(kube: Kube) -> None:
    kube.create("statefulsets", stateful("many", 5, "node-1"))
    ready(kube, "many", 5)
    whole = {one["metadata"]["uid"] for one in pods_on(kube, "node-1")}
    paged = kube.everywhere("pods", "spec.nodeName=node-1", page=2)
    assert (
        len(whole) == 5
        and [one["metadata"]["uid"] for one in paged]
        and whole == {one["metadata"]["uid"] for one in paged}
    )
    assert len(paged) == 5


def test_a_budget_is_waited_for_and_every_pod_s_time_is_known(kube: Kube) -> None:
    """One of three may be missing: each waits until the one before is ready elsewhere."""
    kube.create("statefulsets", stateful("shy", 3))
    kube.create("statefulsets", stateful("free", 2))
    kube.create("poddisruptionbudgets", budget("shy", 1))
    until(lambda: (kube.get("poddisruptionbudgets", "shy").get("status") or {}).get("disruptionsAllowed") == 1)
    ready(kube, "shy", 3), ready(kube, "free", 2)
    node = kube.all("pods", "app=shy")[0]["spec"]["nodeName"]
    kube.patch("nodes", node, {"spec": {"unschedulable": True}})
    decisions = decide(pods_on(kube, node), POLICY)
    assert decisions and all(one.action is Action.EVICT for one in decisions)
    ways = drain(kube, node, decisions, 60.0)
    assert stayed(ways) == "" and len(ways) == len(decisions)
    assert all(way.accepted is not None and way.gone is not None and way.accepted <= way.gone for way in ways)
    assert not [one for one in pods_on(kube, node) if one["metadata"]["uid"] in {way.uid for way in ways}]
    assert {one["spec"]["nodeName"] for one in ready(kube, "shy", 3)}.isdisjoint({node})


def test_a_budget_that_allows_nothing_is_named_at_the_deadline(kube: Kube) -> None:
    kube.create("statefulsets", stateful("stuck", 1, "node-1"))
    (one,) = ready(kube, "stuck", 1)
    kube.create("poddisruptionbudgets", budget("stuck", 0))
    until(lambda: (kube.get("poddisruptionbudgets", "stuck").get("status") or {}).get("expectedPods") == 1)
    ways = drain(kube, "node-1", decide([one], POLICY), 2.5)
    assert "disruption budget stuck" in stayed(ways) and "tiphys/stuck-0" in stayed(ways)
    assert ways[0].attempts >= 2 and ways[0].accepted is None and ways[0].gone is None
    assert kube.get("pods", "stuck-0")["metadata"]["uid"] == one["metadata"]["uid"]


def test_what_keeps_a_pod_whose_eviction_was_accepted_is_told(kube: Kube) -> None:
    """A slow one still runs; of one that has ended a finalizer is left."""
    slow = stateful("slow", 1, "node-1")
    slow["spec"]["template"]["spec"]["containers"][0]["command"] = ["sh", "-c", "trap '' TERM; sleep 60"]
    slow["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 45
    kube.create("statefulsets", slow)
    (one,) = ready(kube, "slow", 1)
    ways = drain(kube, "node-1", decide([one], POLICY), 2.0)
    assert "it has not gone since: main still runs, in a grace period of 45 s" in stayed(ways), stayed(ways)
    kube.delete("pods", "slow-0", grace_seconds=0)

    kube.create("statefulsets", stateful("stuck", 1, "node-1"))
    (one,) = ready(kube, "stuck", 1)
    kube.patch("pods", "stuck-0", {"metadata": {"finalizers": ["example.com/keep"]}})
    try:
        ways = drain(kube, "node-1", decide([one], POLICY), 5.0)
    finally:
        kube.patch("pods", "stuck-0", {"metadata": {"finalizers": None}})
    assert "its finalizers keep it: example.com/keep" in stayed(ways), stayed(ways)


def test_of_one_budget_s_pods_one_at_a_time_is_asked_for_and_none_waits_behind_a_held_one(kube: Kube) -> None:
    kube.create("statefulsets", stateful("held", 4, "node-1"))
    kube.create("statefulsets", stateful("loose", 2, "node-1"))
    pods = [*ready(kube, "held", 4), *ready(kube, "loose", 2)]
    kube.create("poddisruptionbudgets", budget("held", 0))
    until(lambda: (kube.get("poddisruptionbudgets", "held").get("status") or {}).get("expectedPods") == 4)
    held = {one["metadata"]["uid"]: "held" for one in pods if one["metadata"]["labels"]["app"] == "held"}
    ways: list[Evicted] = []

    def enough() -> bool:
        """The loose ones have gone, and those held were asked for more than once."""
        loose = [way for way in ways if way.uid not in held]
        return all(way.gone is not None for way in loose) and sum(way.attempts for way in ways) >= len(loose) + 6

    drain(kube, "node-1", decide(pods, POLICY), 90.0, budgets=held, stopped=enough, into=ways)
    assert {way.pod for way in ways if way.gone is not None} == {"loose-0", "loose-1"}
    asked = [way.attempts for way in ways if way.uid in held]
    assert len(asked) == 4 and max(asked) - min(asked) <= 1, f"in turns: {asked}"
    assert all("disruption budget held" in way.held for way in ways if way.uid in held)


def test_the_slowest_pods_are_asked_for_first() -> None:
    """With nothing behind it: every request fails, and the order of the ways is that of the asking."""
    pods = [made(name, terminationGracePeriodSeconds=grace) for name, grace in (("a", 5), ("b", 300), ("c", 30))]

    class Away:
        def within(self, namespace: str) -> Away:
            return self

        def evict(self, pod: str, *, uid: str) -> None:
            raise NotFound("gone")

        def everywhere(self, *_: object) -> list[dict[str, Any]]:
            return []

    ways = drain(Away(), "node", decide(pods, POLICY), 5.0)  # type: ignore[arg-type]
    assert [way.pod for way in ways] == ["b", "c", "a"]


def test_a_pod_of_the_same_name_on_the_same_node_is_another_one(kube: Kube) -> None:
    """Nothing keeps the new one away here: the drain must not wait for it, nor evict it in its turn."""
    kube.create("statefulsets", stateful("back", 1, "node-1"))
    (one,) = ready(kube, "back", 1)
    ways = drain(kube, "node-1", decide([one], POLICY), 30.0)
    assert stayed(ways) == ""
    new = until(lambda: running(kube, "back"))[0]
    assert new["metadata"]["uid"] != one["metadata"]["uid"]
    again = drain(kube, "node-1", decide([one], POLICY), 30.0)
    assert stayed(again) == "" and kube.get("pods", "back-0")["metadata"]["uid"] == new["metadata"]["uid"]


def test_a_drain_that_is_stopped_asks_for_no_more(kube: Kube) -> None:
    kube.create("statefulsets", stateful("kept", 1, "node-1"))
    (one,) = ready(kube, "kept", 1)
    ways = drain(kube, "node-1", decide([one], POLICY), 30.0, stopped=lambda: True)
    assert ways[0].attempts == 0 and "not asked for" in stayed(ways)
    assert not kube.get("pods", "kept-0")["metadata"].get("deletionTimestamp")
