"""The way back from an upgrade on a real API server: whose doing it undoes, and which pods it may delete."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_drill_reap_worst import drilled, noted, run
from test_drill_reap_worst import kube as kube  # a fixture
from test_drill_reap_worst import server as server  # a fixture

from steps.drill import book, intent
from steps.errors import StepError
from steps.kube.client import Kube
from steps.mysql import upgrade_back, upgrade_cluster
from steps.mysql.topology import Member, Topology
from steps.mysql.upgrade_images import hold, is_held, release
from steps.mysql.upgrade_roll import Roll
from steps.mysql.waiting import Sight

BEFORE = {"version": "9.7.3", "target": "9.7.4", "back": "in place", "servers": {}}


def note(workflow: str) -> intent.Intent:
    return intent.Intent(workflow, upgrade_back.NAME, intent.now(), BEFORE)


def cluster(kube: Kube, name: str, version: str) -> None:
    spec = {"secretName": "root", "instances": 3, "version": version}
    made = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": {"name": name}, "spec": spec}
    kube.create("innodbclusters", made)


def test_a_run_that_was_killed_before_its_note_stood_on_the_cluster_undoes_nobodys_upgrade(kube: Kube) -> None:
    cluster(kube, "a", "9.7.4")  # a later run has asked for it
    book.enter(kube, "a", note("killed-early"))
    assert run() == 1 and noted(kube) == []
    assert kube.cluster("a")["spec"]["version"] == "9.7.4"


def test_going_back_takes_minutes_and_keeps_nothing_else_waiting(kube: Kube, monkeypatch: Any) -> None:
    cluster(kube, "a", "9.7.4")
    intent.write(kube, "a", note("terminated"))
    drilled(kube, "b")
    left: list[list[str]] = []

    def went_back(*given: Any) -> list[str]:
        left.append(noted(kube))
        return []

    monkeypatch.setattr(upgrade_back, "go_back", went_back)
    assert run() == 2 and noted(kube) == []
    assert left == [["terminated", "terminated"]], "the drill on b was undone before"


def test_a_run_that_was_cut_off_on_its_way_back_does_not_go_forward_again(kube: Kube, monkeypatch: Any) -> None:
    cluster(kube, "a", "9.7.4")
    own = note("upgrade-1")
    intent.write(kube, "a", replace(own, before={**BEFORE, "failed": "a-2 does not come back."}))
    monkeypatch.setattr(upgrade_cluster, "try_to_go_back", lambda *given: "It was taken back to 9.7.3.")
    monkeypatch.setattr(Roll, "all", lambda roll: None)
    given = {"backup_max_age": "0", "accept": None, "measure": False, "member_timeout_seconds": 0}
    with pytest.raises(StepError, match=r"a-2 does not come back\. It was taken back to 9\.7\.3\."):
        upgrade_cluster.upgrade_cluster.function(
            namespace="tiphys", cluster="a", workflow="upgrade-1", version="9.7.4", **given
        )
    assert noted(kube) == []


def test_a_strategy_that_somebody_set_back_is_held_again_before_the_version_changes(kube: Kube) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "mysql", "image": "x:1"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "serviceName": "a", "template": template}
    kube.create(
        "statefulsets", {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "a"}, "spec": spec}
    )
    hold(kube, "a")
    kube.patch("statefulsets", "a", {"spec": {"updateStrategy": {"type": "RollingUpdate"}}})
    hold(kube, "a")
    assert is_held(kube.get("statefulsets", "a"))
    release(kube, "a")
    assert kube.get("statefulsets", "a")["spec"]["updateStrategy"]["type"] == "RollingUpdate"


def pod(kube: Kube, name: str, version: str, *, ready: bool) -> dict[str, Any]:
    spec = {"containers": [{"name": "mysql", "image": f"registry/mysql/community-server:{version}"}]}
    labels = {"mysql.oracle.com/cluster": "a", "component": "mysqld"}
    made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": labels}, "spec": spec}
    kube.create("pods", made)
    status = {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return kube.patch("pods", name, {"status": status}, subresource="status")


def sight(pods: list[dict[str, Any]], online: list[str]) -> Sight:
    members = tuple(Member(one, one, 3306, "ONLINE", "SECONDARY", "9.7.4", one) for one in online)
    return Sight({}, pods, [], Topology("a", 3, members))


def test_a_member_that_votes_though_its_pod_is_not_ready_is_not_deleted_with_one_that_is_down(kube: Kube) -> None:
    pods = [pod(kube, "a-0", "9.7.3", ready=True), *(pod(kube, f"a-{n}", "9.7.4", ready=False) for n in (1, 2))]
    done = upgrade_back._delete_broken(kube, sight(pods, ["a-0", "a-1"]), "9.7.3")
    assert done == ["pod a-2 deleted, which did not come up"], "with a-1 deleted, too, a-0 would have no quorum"
    done = upgrade_back._delete_broken(kube, sight(pods[:2], ["a-0", "a-1", "a-2"]), "9.7.3")
    assert done == ["pod a-1 deleted, which did not come up"]
