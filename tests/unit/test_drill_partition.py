"""The fault `partition`: its policy on a real API server, a server that is cut off for real, and what proves it."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import drill_story as story
import pytest
from apiserver_help import ApiServer
from book_help import make_book

from steps.drill import intent, partition
from steps.drill.evidence import Evidence, Target
from steps.drill.fault import Scene
from steps.drill.partition import DRILL_LABEL, NOT_ENFORCED, POD_LABEL, Partition, policy_name
from steps.drill.reap import reap
from steps.drill.target import memory, require_possible
from steps.errors import Refused, StepError
from steps.kube import client
from steps.kube.client import Kube, Object
from steps.kube.errors import NotFound
from steps.mysql.connection import SERVER_PORT, Credentials
from tiphys.local.kubelet import policies, tcp_keys

NAMESPACE = "tiphys"
FAULT = Partition()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    running = ApiServer(tmp_path_factory.mktemp("api"))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def kube(server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kube]:
    monkeypatch.setenv("KUBECONFIG", str(server.settings.kubeconfig))
    made = client.connect(NAMESPACE)
    make_book(made)
    spec = {"secretName": "gone", "instances": 3}
    about = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": {"name": "demo"}, "spec": spec}
    made.create("innodbclusters", about)
    yield made
    for resource in ("innodbclusters", "networkpolicies", "workflows", "pods"):
        for found in made.all(resource):
            made.delete(resource, found["metadata"]["name"], grace_seconds=0)
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server of MySQL's port, at an address of its own."""
    address = f"127.{random.randint(100, 199)}.{random.randint(1, 250)}.{random.randint(1, 250)}"
    with socket.create_server((address, SERVER_PORT)) as made:
        yield made


@pytest.fixture
def target(kube: Kube, listener: socket.socket) -> Target:
    made = kube.create("pods", pod("demo-0"))
    before = story.measurement().target.before._replace(
        uid=made["metadata"]["uid"], address=listener.getsockname()[0], container="c1"
    )
    return replace(story.measurement().target, before=before)


def pod(name: str) -> Object:
    spec = {"containers": [{"name": "mysql", "image": "localhost/host:1"}]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {POD_LABEL: name}},
        "spec": spec,
    }


def scene(kube: Kube, run: str = "drill-1") -> Scene:
    return Scene(kube, "demo", Credentials("root", "secret"), run)


def workflow(kube: Kube, name: str, phase: str) -> str:
    made = kube.create(
        "workflows",
        {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": {}},
    )
    kube.patch("workflows", name, {"status": {"phase": phase}})
    return str(made["metadata"]["uid"])


def test_its_policy_cuts_off_that_pod_alone_and_goes_with_its_run(
    kube: Kube, target: Target, listener: socket.socket
) -> None:
    uid = workflow(kube, "drill-1", "Running")
    tcp_keys.sign(listener, b"somebody enforces it")
    witness = FAULT.inject(scene(kube), target)
    assert witness == f"{target.before.address}:3306 of demo-0 takes no new connection"
    made = kube.get("networkpolicies", policy_name("drill-1"))
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Workflow", uid)
    assert policies.not_enforced(made) == "", "the local platform would do it"
    assert policies.cut_off([made], [placed(each) for each in ("demo-0", "demo-1")], {"n"}).keys() == {"demo-0"}
    assert FAULT.inject(scene(kube), target) == witness, "a second attempt of the step goes on with it"


def placed(name: str) -> Object:
    made = pod(name)
    return {**made, "metadata": {**made["metadata"], "uid": name, "namespace": NAMESPACE}, "spec": {"nodeName": "n"}}


def test_a_policy_that_nobody_enforces_is_an_error(kube: Kube, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partition, "CUT_SECONDS", 0.2)
    with pytest.raises(StepError, match="does this cluster's network plugin enforce policies"):
        FAULT.inject(scene(kube), target)
    assert kube.get("networkpolicies", policy_name("drill-1")), "it is there, for the drill to delete it"


def test_it_has_ended_when_the_policy_is_gone_and_the_server_is_there_again(
    kube: Kube, target: Target, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partition, "HEAL_SECONDS", 0.2)
    tcp_keys.sign(listener, b"somebody enforces it")
    FAULT.inject(scene(kube), target)
    with pytest.raises(StepError, match="is still there"):
        FAULT.ended(scene(kube), target)
    FAULT.stop(scene(kube), target)
    with pytest.raises(StepError, match="still not reachable"):
        FAULT.ended(scene(kube), target)
    tcp_keys.unsign(listener)
    assert FAULT.ended(scene(kube), target).endswith(f"demo-0 is reachable at {target.before.address}")
    FAULT.stop(scene(kube), target)
    listener.close()
    assert "is reachable" in FAULT.ended(scene(kube), target), "a refusal came through the network, too"
    assert "so is the pod" in FAULT.ended(scene(kube), replace(target, before=target.before._replace(uid="older")))


def test_undoing_takes_this_runs_policy_and_no_other(kube: Kube, target: Target, listener: socket.socket) -> None:
    tcp_keys.sign(listener, b"somebody enforces it")
    for run in ("drill-1", "drill-2"):
        FAULT.inject(scene(kube, run), target)
    noted = memory(target)
    assert FAULT.undo(scene(kube), noted) == ["NetworkPolicy tiphys-partition-drill-1 deleted"]
    assert FAULT.undo(scene(kube), noted) == []
    assert FAULT.undo(scene(kube, ""), noted) == [], "without a run it is nobody's"
    assert [each["metadata"]["name"] for each in kube.all("networkpolicies")] == ["tiphys-partition-drill-2"]


def test_reap_takes_what_a_gone_drill_left_and_leaves_a_living_ones(
    kube: Kube, target: Target, listener: socket.socket
) -> None:
    tcp_keys.sign(listener, b"somebody enforces it")
    for run, phase in (("living", "Running"), ("over", "Failed"), ("gone", "")):
        if phase:
            workflow(kube, run, phase)
        FAULT.inject(scene(kube, run), target)
    note = intent.Intent("by-hand", FAULT.name, intent.now(), memory(target), "2999-01-01T00:00:00+00:00")
    intent.write(kube, "demo", note)
    FAULT.inject(scene(kube, "by-hand"), target)
    assert reap.function(namespace=NAMESPACE).reaped == 2
    left = {each["metadata"]["labels"][DRILL_LABEL] for each in kube.all("networkpolicies")}
    assert left == {"living", "by-hand"}, "a drill outside any workflow has its time in the policy"


def test_it_is_refused_where_it_could_not_be_done(kube: Kube, target: Target) -> None:
    require_possible(scene(kube), FAULT, target)
    kube.annotate("pods", "demo-0", {NOT_ENFORCED: "not enforced: no ptrace; sysctl -w x=0"})
    with pytest.raises(Refused, match="would be not enforced: no ptrace; sysctl -w x=0"):
        require_possible(scene(kube), FAULT, target)
    assert NOT_ENFORCED == policies.ANNOTATION
    kube.annotate("pods", "demo-0", {NOT_ENFORCED: None})
    kube.label("pods", "demo-0", {POD_LABEL: None})
    (reason,) = FAULT.hindrances(scene(kube), target)
    assert POD_LABEL in reason

    class Narrow(Kube):
        def may(self, verb: str, resource: str, **_: Any) -> bool:
            return verb != "delete"

        def get(self, resource: str, name: str) -> Object:
            return pod(name)

    narrow = Scene(Narrow(None, NAMESPACE), "demo", Credentials("root", "secret"), "drill-1")
    (reason,) = FAULT.hindrances(narrow, target)
    assert "may not delete networkpolicies" in reason


def test_it_is_refused_where_another_policy_lets_something_through(kube: Kube, target: Target) -> None:
    """They add up: the primary would be half cut off, and the network plugin would be blamed."""
    kube.label("pods", "demo-0", {"app": "db"})
    all_of_them: list[Object] = [{}]
    for name, app, rules in (("deny", "db", []), ("others", "web", all_of_them), ("lets-in", "db", all_of_them)):
        spec = {"podSelector": {"matchLabels": {"app": app}}, "policyTypes": ["Ingress"], "ingress": rules}
        about = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}}
        kube.create("networkpolicies", {**about, "spec": spec})
    (reason,) = FAULT.hindrances(scene(kube), target)
    assert "by NetworkPolicy lets-in, and policies add up" in reason


def test_without_a_run_nothing_is_asked_for(kube: Kube) -> None:
    with pytest.raises(NotFound):
        kube.get("networkpolicies", policy_name("drill-1"))
    assert partition.remove(kube, "drill-1") == [] and partition.noted(kube) == []


def test_the_proof_needs_the_group_the_silence_and_the_same_process() -> None:
    m = story.measurement(witness="10.0.0.1:3306 of demo-0 takes no new connection", injected_until=story.FAULT_AT + 1)
    whole = m.evidence()
    same = [sample for sample in m.members if sample.end < story.JOINING_AT]
    evidence = Evidence(
        story.FAULT_AT, [], same, [o for o in m.observed() if o.at < story.JOINING_AT], whole.witness, 5.0
    )
    found = FAULT.proof(m.target, evidence)
    assert found is not None and found.text.endswith("and the majority has it as UNREACHABLE")
    assert story.FAULT_AT < found.at < found.seen_at and found.seen_at >= story.UNREACHABLE_AT
    assert FAULT.proof(m.target, replace(evidence, witness="")) is None
    early = [seen for seen in evidence.observed if seen.at < story.UNREACHABLE_AT]
    assert FAULT.proof(m.target, replace(evidence, observed=early)) is None, "the group still has its member"
    talking = [sample for sample in same if sample.view is not None]
    assert FAULT.proof(m.target, replace(evidence, members=talking)) is None, "it still answers"
    assert FAULT.proof(m.target, replace(evidence, members=m.members)) is None, "it was started anew"
    assert FAULT.proof(m.target, replace(evidence, pods=m.pods)) is None, "its container was"
