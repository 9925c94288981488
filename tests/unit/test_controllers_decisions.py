"""The controllers' decisions as functions of values: placement, plans, roll-outs, budgets, endpoints."""

from __future__ import annotations

from typing import Any

import pytest

from tiphys.local.controllers import disruption, statefulset_plan
from tiphys.local.controllers.deployment_plan import Scale, limits, next_scales, recreate_scales
from tiphys.local.controllers.endpoints import subsets
from tiphys.local.controllers.placement import place
from tiphys.local.controllers.replicaset import removal_order
from tiphys.local.controllers.selecting import selects
from tiphys.local.kubelet.environment import expand
from tiphys.local.kubelet.lifecycle import BackOff, phase, should_restart

READY = {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"pods": "250"}}


def node(number: int, **spec: Any) -> dict[str, Any]:
    name = f"node-{number}"
    labels = {"kubernetes.io/hostname": name, "zone": "ab"[number % 2]}
    return {"metadata": {"name": name, "labels": labels}, "spec": spec, "status": READY}


def pod(name: str, on: str | None = None, owner: str = "", ready: bool = True, **more: Any) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": "tiphys", "uid": f"uid-{name}"}
    meta["labels"] = more.pop("labels", {"app": "db"})
    if owner:
        meta["ownerReferences"] = [{"uid": owner, "kind": "StatefulSet", "name": owner, "controller": True}]
    if more.pop("deleted", False):
        meta["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    status = {"phase": more.pop("phase", "Running")}
    status["podIP"] = more.pop("ip", "127.82.1.1")  # type: ignore[assignment]
    if ready:
        status["conditions"] = READY["conditions"]  # type: ignore[assignment]
    spec = {"containers": [{"name": "main"}], **more}
    if on:
        spec["nodeName"] = on
    return {"metadata": meta, "spec": spec, "status": status}


def apart(kind: str = "requiredDuringSchedulingIgnoredDuringExecution") -> dict[str, Any]:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}
    terms: list[Any] = [term] if kind.startswith("required") else [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {kind: terms}}


NODES = [node(1), node(2), node(3)]


def test_the_emptiest_node_is_taken_and_siblings_are_spread_first() -> None:
    others = [pod("x", "node-1"), pod("y", "node-1"), pod("z", "node-2")]
    assert place(pod("new"), NODES, others, {}).node == "node-3"
    siblings = [pod("db-0", "node-3", "db"), pod("q", "node-1"), pod("r", "node-1"), pod("s", "node-2")]
    assert place(pod("db-1", owner="db"), NODES, siblings, {}).node == "node-2"


def test_finished_pods_take_no_place() -> None:
    assert place(pod("new"), NODES, [pod("x", "node-1", phase="Succeeded")], {}).node == "node-1"


def test_a_cordon_is_respected_and_named() -> None:
    nodes = [node(1, unschedulable=True), node(2, unschedulable=True), node(3)]
    assert place(pod("new"), nodes, [pod(str(n), "node-3") for n in range(9)], {}).node == "node-3"
    decision = place(pod("new", affinity=apart()), nodes, [pod("db-0", "node-3")], {})
    assert decision.node is None
    assert decision.message == (
        "0/3 nodes are available: 1 node(s) didn't match pod anti-affinity rules, 2 node(s) were unschedulable."
    )
    tolerant = pod("daemon", tolerations=[{"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}])
    assert place(tolerant, nodes[:2], [], {}).node == "node-1"


def test_taints_selectors_and_node_affinity() -> None:
    tainted = [node(1, taints=[{"key": "drill", "value": "x", "effect": "NoSchedule"}]), node(2), node(3)]
    assert place(pod("new"), tainted, [], {}).node == "node-2"
    tolerant = pod("new", tolerations=[{"key": "drill", "operator": "Equal", "value": "x", "effect": "NoSchedule"}])
    assert place(tolerant, tainted, [], {}).node == "node-1"
    assert place(pod("new", nodeSelector={"kubernetes.io/hostname": "node-3"}), NODES, [], {}).node == "node-3"
    other = [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["node-1"]}]}]
    away = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": other}}}
    assert place(pod("new", affinity=away), NODES, [], {}).node == "node-2"
    wish = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": other[0]}]}
    assert place(pod("new", affinity={"nodeAffinity": wish}), NODES, [pod("x", "node-2")], {}).node == "node-3"


def test_preferred_distance_gives_way_and_required_distance_does_not() -> None:
    everywhere = [pod(f"db-{n}", f"node-{n}") for n in (1, 2, 3)]
    soft = pod("db-4", affinity=apart("preferredDuringSchedulingIgnoredDuringExecution"))
    assert place(soft, NODES, everywhere, {}).node == "node-1"
    assert place(soft, NODES, everywhere[:2], {}).node == "node-3"
    assert place(pod("db-4", affinity=apart()), NODES, everywhere, {}).node is None
    # What runs already may refuse company, too.
    strict = [pod("db-0", "node-1", affinity=apart())]
    assert "existing pods anti-affinity" in place(pod("db-1"), NODES[:1], strict, {}).message


def test_affinity_brings_pods_together_and_lets_the_first_one_begin() -> None:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "db"}}}
    together = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    assert place(pod("first", affinity=together), NODES, [], {}).node == "node-1"
    near_two = place(pod("next", affinity=together), NODES, [pod("db-0", "node-2")], {})
    assert near_two.node == "node-2"
    stranger = pod("other", affinity=together, labels={"app": "web"})
    assert place(stranger, NODES, [], {}).message.endswith("3 node(s) didn't match pod affinity rules.")


def test_spread_constraints() -> None:
    spread = [{"topologyKey": "zone", "maxSkew": 1, "labelSelector": {"matchLabels": {"app": "db"}}}]
    new = pod("new", topologySpreadConstraints=spread)
    assert place(new, NODES, [pod("a", "node-1"), pod("b", "node-2"), pod("c", "node-3")], {}).node == "node-2"
    assert place(new, NODES[::2], [pod("a", "node-2")], {}).node == "node-1"


def test_claims_are_waited_for() -> None:
    wants = pod("new", volumes=[{"name": "d", "persistentVolumeClaim": {"claimName": "data-0"}}])
    assert 'persistentvolumeclaim "data-0" not found' in place(wants, NODES, [], {}).message
    claim: dict[str, Any] = {"metadata": {"name": "data-0"}}
    assert "unbound" in place(wants, NODES, [], {"data-0": claim}).message
    bound = claim | {"status": {"phase": "Bound"}}
    assert place(wants, NODES, [], {"data-0": bound}).node == "node-1"
    leaving = bound | {"metadata": {"name": "data-0", "deletionTimestamp": "2026-11-21T12:00:00Z"}}
    assert "being deleted" in place(wants, NODES, [], {"data-0": leaving}).message


def stateful(replicas: int, policy: str = "Parallel", **more: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "m", "image": "i"}]}}
    spec = {
        "replicas": replicas,
        "serviceName": "db",
        "podManagementPolicy": policy,
        "selector": {"matchLabels": {"app": "db"}},
        "template": template,
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        **more,
    }
    meta = {"name": "db", "namespace": "tiphys", "uid": "set", "generation": 3}
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta, "spec": spec}


CLAIMS = {f"data-db-{n}" for n in range(9)}


def names(found: statefulset_plan.Plan) -> tuple[list[str], list[str]]:
    created = [item["metadata"]["name"] for item in found.create]
    return created, [item["metadata"]["name"] for item, _ in found.delete]


def member(number: int, owner: dict[str, Any], **more: Any) -> dict[str, Any]:
    labels = {"app": "db", statefulset_plan.REVISION: more.pop("revision", statefulset_plan.revision(owner))}
    return pod(f"db-{number}", "node-1", labels=labels, **more)


def test_a_parallel_set_makes_all_pods_at_once_with_their_claims() -> None:
    found = statefulset_plan.plan(stateful(3), [], {"data-db-1"})
    assert names(found) == (["db-0", "db-1", "db-2"], [])
    assert [claim["metadata"]["name"] for claim in found.claims] == ["data-db-0", "data-db-2"]
    first = found.create[0]
    assert first["metadata"]["labels"]["statefulset.kubernetes.io/pod-name"] == "db-0"
    assert first["metadata"]["labels"]["apps.kubernetes.io/pod-index"] == "0"
    assert first["spec"]["hostname"] == "db-0" and first["spec"]["subdomain"] == "db"
    assert first["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-0"}}]


def test_an_ordered_set_waits_for_each_pod_and_scales_down_from_the_highest() -> None:
    ordered = stateful(3, "OrderedReady")
    assert names(statefulset_plan.plan(ordered, [], CLAIMS)) == (["db-0"], [])
    assert names(statefulset_plan.plan(ordered, [member(0, ordered, ready=False)], CLAIMS)) == ([], [])
    assert names(statefulset_plan.plan(ordered, [member(0, ordered)], CLAIMS)) == (["db-1"], [])
    smaller = stateful(1, "OrderedReady")
    pods = [member(number, smaller) for number in range(3)]
    assert names(statefulset_plan.plan(smaller, pods, CLAIMS)) == ([], ["db-2"])
    pods[2]["metadata"]["deletionTimestamp"] = "2026-11-21T12:00:00Z"
    assert names(statefulset_plan.plan(smaller, pods, CLAIMS)) == ([], [])
    assert names(statefulset_plan.plan(stateful(1), pods[:2] + [member(10, smaller)], CLAIMS)) == (
        [],
        ["db-10", "db-1"],
    )


def test_failed_pods_are_replaced_and_terminating_ones_waited_for() -> None:
    owner = stateful(2)
    failed = [member(0, owner, phase="Failed", ready=False), member(1, owner, deleted=True)]
    assert names(statefulset_plan.plan(owner, failed, CLAIMS)) == ([], ["db-0"])


def test_a_new_template_rolls_from_the_highest_one_at_a_time() -> None:
    owner = stateful(3)
    old = [member(number, owner, revision="db-old") for number in range(3)]
    assert names(statefulset_plan.plan(owner, old, CLAIMS)) == ([], ["db-2"])
    half = [*old[:2], member(2, owner, ready=False)]
    assert names(statefulset_plan.plan(owner, half, CLAIMS)) == ([], [])
    half[2] = member(2, owner)
    assert names(statefulset_plan.plan(owner, half, CLAIMS)) == ([], ["db-1"])
    parted = stateful(3, updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}})
    assert names(statefulset_plan.plan(parted, half, CLAIMS)) == ([], [])
    assert names(statefulset_plan.plan(stateful(3, updateStrategy={"type": "OnDelete"}), old, CLAIMS)) == ([], [])


def test_a_sets_status_counts_what_is_there() -> None:
    owner = stateful(3)
    pods = [member(0, owner), member(1, owner, ready=False), member(2, owner, revision="db-old")]
    owner["status"] = {"currentRevision": "db-old"}
    status = statefulset_plan.status(owner, pods)
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"]) == (3, 2, 2)
    assert (status["currentRevision"], status["currentReplicas"], status["observedGeneration"]) == ("db-old", 1, 3)
    done = statefulset_plan.status(owner, [member(number, owner) for number in range(3)])
    assert done["currentRevision"] == done["updateRevision"]


@pytest.mark.parametrize(
    ("spec", "pods", "scale", "expected"),
    [
        ({"maxUnavailable": 1}, "rrr", 3, (3, 3, 2, 1)),
        ({"maxUnavailable": 1}, "rr-", 3, (3, 2, 2, 0)),
        ({"maxUnavailable": 1}, "rr", 3, (3, 2, 2, 0)),
        ({"maxUnavailable": "34%"}, "rrr", 3, (3, 3, 1, 2)),
        ({"minAvailable": 2}, "rrr", 3, (3, 3, 2, 1)),
        ({"minAvailable": "50%"}, "rrr", 3, (3, 3, 2, 1)),
        ({"maxUnavailable": 1}, "rrd", 3, (3, 2, 2, 0)),
        ({"maxUnavailable": 1}, "", 0, (0, 0, 0, 0)),
    ],
)
def test_a_budgets_numbers(spec: dict[str, Any], pods: str, scale: int, expected: tuple[int, ...]) -> None:
    found = [pod(f"db-{n}", ready=kind != "-", deleted=kind == "d") for n, kind in enumerate(pods)]
    status = disruption.status({"metadata": {"generation": 2}, "spec": spec}, found, scale, 0.0)
    fields = ("expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed")
    assert tuple(status[field] for field in fields) == expected
    assert status["observedGeneration"] == 2
    assert status["conditions"][0]["status"] == ("True" if expected[3] else "False")


def test_a_granted_eviction_counts_until_the_pod_goes_or_two_minutes_pass() -> None:
    budget = {
        "metadata": {"generation": 1},
        "spec": {"maxUnavailable": 1},
        "status": {"disruptedPods": {"db-0": "1970-01-01T00:00:10Z"}},
    }
    pods = [pod(f"db-{n}") for n in range(3)]
    soon = disruption.status(budget, pods, 3, 20.0)
    assert (soon["disruptionsAllowed"], list(soon["disruptedPods"])) == (0, ["db-0"])
    late = disruption.status(budget, pods, 3, 200.0)
    assert late["disruptionsAllowed"] == 1 and "disruptedPods" not in late


def test_a_rollout_never_goes_below_nor_above_its_limits() -> None:
    replicas, surge, missing = 4, 1, 1
    new, old = Scale("new", 0, 0), Scale("old", 4, 4)
    for _ in range(20):
        changes = next_scales(replicas, surge, missing, new, [old])
        if not changes:
            # Nothing to do until the pods follow: the new ones become ready.
            if new.available == new.replicas:
                break
            new = Scale("new", new.replicas, new.replicas)
            continue
        new = Scale("new", changes.get("new", new.replicas), new.available)
        left = changes.get("old", old.replicas)
        old = Scale("old", left, min(old.available, left))
        assert new.replicas + old.replicas <= replicas + surge
        assert new.available + old.available >= replicas - missing
    assert (new.replicas, old.replicas) == (4, 0)
    assert next_scales(2, 1, 0, Scale("new", 4, 4), []) == {"new": 2}
    assert next_scales(3, 1, 0, Scale("new", 1, 1), [Scale("old", 3, 1)]) == {"old": 2}, "broken ones go first"


def test_rollout_limits_round_as_kubernetes_does() -> None:
    def rolling(**values: Any) -> dict[str, Any]:
        return {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": values}}}

    assert limits({"spec": {}}, 4) == (1, 1)
    assert limits({"spec": {}}, 2) == (1, 0)
    assert limits(rolling(maxSurge=0, maxUnavailable=0), 2) == (0, 1)
    assert limits(rolling(maxSurge="50%", maxUnavailable=2), 3) == (2, 2)
    assert recreate_scales(2, Scale("new", 0, 0), [Scale("old", 2, 2)], 2) == {"old": 0}
    assert recreate_scales(2, Scale("new", 0, 0), [Scale("old", 0, 0)], 1) == {}
    assert recreate_scales(2, Scale("new", 0, 0), [Scale("old", 0, 0)], 0) == {"new": 2}


def test_unready_and_new_pods_are_removed_first() -> None:
    def created(name: str, when: str, **more: Any) -> dict[str, Any]:
        found = pod(name, more.pop("on", "node-1"), **more)
        found["metadata"]["creationTimestamp"] = when
        return found

    pods = [
        created("old", "2026-11-21T10:00:00Z"),
        created("new", "2026-11-21T11:00:00Z"),
        created("sick", "2026-11-21T09:00:00Z", ready=False),
        created("unplaced", "2026-11-21T09:00:00Z", on=None, ready=False),
    ]
    order = [item["metadata"]["name"] for item in sorted(pods, key=removal_order)]
    assert order == ["unplaced", "sick", "new", "old"]


def test_endpoints_hold_ready_and_unready_addresses_by_port_name() -> None:
    ports = [{"name": "main", "ports": [{"name": "mysql", "containerPort": 3306}]}]
    pods = [
        pod("a", "node-1", ip="127.82.1.1", containers=ports),
        pod("b", "node-2", ip="127.82.2.1", containers=ports, ready=False),
        pod("c", "node-3", ip="127.82.3.1", containers=ports, deleted=True),
        pod("d", "node-3", ip="127.82.3.2", containers=ports, phase="Failed"),
    ]
    meta = {"name": "db", "namespace": "tiphys"}
    service: dict[str, Any] = {"metadata": meta, "spec": {"ports": [{"name": "sql", "port": 1, "targetPort": "mysql"}]}}
    (found,) = subsets(service, pods)
    assert [entry["ip"] for entry in found["addresses"]] == ["127.82.1.1"]
    assert [entry["ip"] for entry in found["notReadyAddresses"]] == ["127.82.2.1"]
    assert found["ports"] == [{"name": "sql", "port": 3306, "protocol": "TCP"}]
    service["spec"]["publishNotReadyAddresses"] = True
    (found,) = subsets(service, pods)
    assert [entry["ip"] for entry in found["addresses"]] == ["127.82.1.1", "127.82.2.1", "127.82.3.1"]


def test_selectors() -> None:
    assert selects({}, {"a": "1"}) and not selects(None, {"a": "1"})
    odd = {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}
    assert selects(odd, {}) and not selects(odd, {"a": "1"})
    with pytest.raises(ValueError, match="unknown"):
        selects({"matchExpressions": [{"key": "a", "operator": "Like"}]}, {})


def test_back_off_begins_at_once_then_doubles_and_is_forgotten_after_a_long_run() -> None:
    back_off = BackOff()
    assert [back_off.after(1.0) for _ in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert back_off.after(601.0) == 0
    assert [should_restart(*case) for case in (("Always", 0), ("OnFailure", 0), ("OnFailure", 1), ("Never", 1))] == [
        True,
        False,
        True,
        False,
    ]


def test_phases() -> None:
    def status(**state: Any) -> dict[str, Any]:
        return {"state": state}

    ok, bad = status(terminated={"exitCode": 0}), status(terminated={"exitCode": 1})
    up, waiting = status(running={}), status(waiting={})
    never, always, on_failure = ({"restartPolicy": policy} for policy in ("Never", "Always", "OnFailure"))
    assert phase(never, [], [ok, up]) == "Running"
    assert phase(never, [], [ok, ok]) == "Succeeded"
    assert phase(never, [], [ok, bad]) == "Failed"
    assert phase(never, [bad], [waiting]) == "Failed"
    assert phase(on_failure, [bad], [waiting]) == "Pending"
    assert phase(on_failure, [], [bad]) == phase(always, [], [ok]) == "Running"
    assert phase(on_failure, [], [ok]) == "Succeeded"
    assert phase(always, [], [waiting, up]) == "Pending"
    assert phase(always, [], [waiting | {"lastState": {"terminated": {}}}]) == "Running"
    assert phase(always, [], [ok], stopped=True) == "Succeeded"
    assert phase(always, [], [waiting], stopped=True) == "Failed"


def test_variables_in_commands() -> None:
    assert expand("$(A)/$$(A)/$(B)/$A/$$", {"A": "x"}) == "x/$(A)/$(B)/$A/$"
