"""What an install decides by itself: who owns what, what stays people's own, what a diff shows, how bad things are."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from steps.backup.s3_settings import SECRET
from tiphys.install import (
    applyset,
    check_cluster,
    check_controllers,
    diff,
    findings,
    given,
    order,
    pack,
    plan,
    upstream,
)
from tiphys.runs.errors import ToolError

Object = dict[str, Any]


def config_map(owners: dict[str, list[str]], **data: str) -> Object:
    fields = [
        {"manager": manager, "fieldsV1": {"f:data": {f"f:{key}": {} for key in keys}}}
        for manager, keys in owners.items()
    ]
    meta = {"name": "tiphys-settings", "managedFields": fields}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def test_the_sets_id_is_as_kubectl_makes_it() -> None:
    # The parent in kubectl's own tests.
    assert applyset.set_id("test", "my-set", "Secret") == "applyset-0eFHV8ySqp7XoShsGvyWFQD3s96yqwHmzc4e0HR1dsY-v1"
    assert applyset.set_id("other") != applyset.set_id("tiphys")


def test_kinds_are_read_back_from_the_parent() -> None:
    kinds = {("", "Secret"), ("rbac.authorization.k8s.io", "Role"), ("argoproj.io", "Sensor")}
    assert applyset.kinds_of(applyset.parent("tiphys", kinds, {})) == kinds
    assert applyset.kinds_of(None) == set()


def test_what_argo_makes_with_our_labels_is_not_ours_to_prune() -> None:
    bus = applyset.member({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "eventbus-default"}}, "tiphys")
    assert applyset.is_member(bus, "tiphys")
    assert not applyset.is_member(bus, "other")
    bus["metadata"]["ownerReferences"] = [{"kind": "EventBus", "name": "default"}]
    assert not applyset.is_member(bus, "tiphys")


def test_a_value_that_people_have_set_stays_theirs() -> None:
    wanted = config_map({}, drills="on", limit="4")
    live = config_map({"tiphys": ["limit"], "kubectl-patch": ["drills"]}, drills="off", limit="3")
    kept, left = plan.yielding(wanted, live)
    assert kept["data"] == {"limit": "4"}, "one that was changed in the pack alone is brought up"
    assert left == ("drills: 'off'",)
    assert plan.yielding(wanted, None) == (wanted, ())
    assert plan.yielding(wanted, config_map({"tiphys": ["drills", "limit"]}, drills="off", limit="3"))[0] == wanted


def test_a_diff_shows_no_secret_and_nothing_that_stays() -> None:
    def secret(value: str) -> Object:
        return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"token": value}}

    kept = config_map({}, a="1")
    changes = [
        plan.Change(plan.CHANGE, secret("bmV3"), secret("b2xk"), {**secret("bmV3"), "type": "Opaque"}),
        plan.Change(plan.KEEP, kept, kept, kept),
        plan.Change(plan.CREATE, config_map({}, a="2"), None, config_map({}, a="2")),
        plan.Change(plan.DELETE, kept, kept, {}),
    ]
    text = "\n".join(diff.lines(changes))
    assert "bmV3" not in text and "b2xk" not in text
    assert "+type: Opaque" in text
    assert text.count("ConfigMap/tiphys-settings") == 2


def test_what_starts_work_comes_last() -> None:
    objects = pack.load(pack.Choice(("production",)), "tiphys").objects
    kinds = [one["kind"] for one in objects]
    assert kinds[0] == "Namespace" and kinds[-1] == "CronWorkflow"
    places = {kind: kinds.index(kind) for kind in kinds}
    for before, after in (("Role", "RoleBinding"), ("RoleBinding", "EventSource"), ("WorkflowTemplate", "Sensor")):
        assert places[before] < places[after]
    assert set(kinds) <= set(order._ORDER), "every kind of the pack has its place"


@pytest.mark.parametrize(
    ("source", "environment", "stdin"),
    [
        ("env", {"AWS_ACCESS_KEY_ID": "k"}, ""),
        ("env", {}, ""),
        ("stdin", {}, "one\n"),
        ("stdin", {}, "1\n2\n3\n4\n"),
    ],
)
def test_keys_that_are_not_there_are_an_error(source: str, environment: dict[str, str], stdin: str) -> None:
    with pytest.raises(ToolError):
        given.keys(source, environment, stdin)


def test_keys_are_read_from_where_the_machine_does_not_show_them() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}
    assert given.keys("env", environment, "") == {"access_key": "a", "secret_key": "b", "token": "c"}
    assert given.keys("stdin", {}, "a\nb\n") == {"access_key": "a", "secret_key": "b"}
    assert given.keys("none", environment, "") == {}


def test_s3_becomes_a_secret_and_argos_repository() -> None:
    s3 = given.S3("reports", "http://minio.s3:9000", "eu-1", "KEY", "HIDDEN")
    secret, config = given.s3_objects(s3)
    assert secret["metadata"]["name"] == SECRET
    data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
    assert data["secretKey"] == "HIDDEN" and data["endpoint"] == "http://minio.s3:9000" and "caBundle" not in data
    assert "HIDDEN" not in str(config) and "HIDDEN" not in repr(s3)
    text = config["data"]["default"]
    assert "endpoint: minio.s3:9000" in text.replace('"', "") and "insecure: true" in text
    assert s3.port == 9000 and given.S3("b").port == 443
    assert "useSDKCreds: true" in given.s3_objects(given.S3("reports"))[1]["data"]["default"]
    with pytest.raises(ToolError):
        given.S3("reports", "minio:9000").settings()


def test_two_tokens_are_not_alike() -> None:
    one, two = given.webhook_secret(), given.webhook_secret()
    assert one["data"]["token"] != two["data"]["token"]
    assert len(base64.b64decode(one["data"]["token"])) >= 32


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("quay.io/argoproj/workflow-controller:v4.1.2", (4, 1, 2)),
        ("localhost:5000/argo-events:v1.9", (1, 9)),
        ("container-registry.oracle.com/mysql/community-operator:9.1.0-2.2.2", (9, 1, 0)),
        ("quay.io/x:v4.1.2@sha256:0123456789", (4, 1, 2)),
        ("v1.36.3+local", (1, 36, 3)),
        ("quay.io/argoproj/workflow-controller:latest", None),
        ("localhost:5000/argo-events", None),
    ],
)
def test_versions_are_read_from_images(text: str, version: tuple[int, ...] | None) -> None:
    assert upstream.parsed(text) == version


def test_a_namespaced_controller_is_seen_as_one() -> None:
    assert check_controllers.keeps_to({"args": ["--namespaced"]}, "argo") == {"argo"}
    assert check_controllers.keeps_to({"args": ["--namespaced", "--managed-namespace", "dba"]}, "argo") == {"dba"}
    assert check_controllers.keeps_to({"args": ["controller", "--managed-namespace=a,b"]}, "argo") == {"a", "b"}
    assert check_controllers.keeps_to({"command": ["workflow-controller"]}, "argo") == set()


def test_only_a_controller_counts_as_one() -> None:
    def container(image: str, *args: str) -> Object:
        return {"image": image, "args": list(args)}

    assert check_controllers.is_controller(
        upstream.EVENTS, container("quay.io/argoproj/argo-events:v1.9.11", "controller")
    )
    assert not check_controllers.is_controller(
        upstream.EVENTS, container("quay.io/argoproj/argo-events:v1", "webhook-service")
    )
    assert not check_controllers.is_controller(upstream.MYSQL, container("quay.io/prometheus/prometheus-operator:v1"))
    assert check_controllers.is_controller(upstream.MYSQL, container("x/mysql/community-operator:9.1.0-2.2.2"))


def test_the_worst_finding_is_the_exit_code() -> None:
    fine, warn, bad = (findings.Finding("x", level, "") for level in ("ok", "warning", "error"))
    assert findings.worst([]) == "ok"
    assert [findings.EXIT_CODES[findings.worst(some)] for some in ([fine], [fine, warn], [bad, warn])] == [0, 30, 31]


def test_conditions_say_what_is_waited_for() -> None:
    ready = {"type": "Deployed", "status": "True"}
    waits = {"type": "Configured", "status": "False", "message": "no bus"}
    assert check_cluster.unready({"status": {"conditions": [ready]}}) == ""
    assert check_cluster.unready({"status": {"conditions": [ready, waits]}}) == "Configured: no bus"
    assert check_cluster.unready({}) != ""
