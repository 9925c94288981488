"""The API server's rules for objects, over plain HTTP and with the official Python client."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from apiserver_help import ApiServer, pod, tls_context
from kubernetes import client, config
from kubernetes.client.rest import ApiException

SPACE = "default"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    made = ApiServer(tmp_path_factory.mktemp("home"))
    made.start()
    yield made
    made.stop()
    assert "Traceback" not in made.log() and '"trace"' not in made.log()


@pytest.fixture(scope="module")
def api(server: ApiServer) -> Iterator[client.ApiClient]:
    made = config.new_client_from_config(str(server.settings.kubeconfig))
    yield made
    made.close()


@pytest.fixture
def core(api: client.ApiClient) -> Iterator[client.CoreV1Api]:
    made = client.CoreV1Api(api)
    yield made
    for item in made.list_namespaced_pod(SPACE).items:
        if item.metadata.finalizers:
            made.patch_namespaced_pod(item.metadata.name, SPACE, {"metadata": {"finalizers": None}})
        made.delete_namespaced_pod(item.metadata.name, SPACE, grace_period_seconds=0)


def status_of(answer: tuple[int, bytes]) -> tuple[int, str, str]:
    told = json.loads(answer[1])
    assert told["kind"] == "Status" and told["code"] == answer[0]
    return answer[0], told["reason"], told["message"]


def running(core: client.CoreV1Api, name: str, **spec: Any) -> Any:
    core.create_namespaced_pod(SPACE, pod(name, SPACE, nodeName="node-1", **spec))
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    return core.patch_namespaced_pod_status(name, SPACE, {"status": ready})


# --- who may ask, and what they may send


@pytest.mark.parametrize("token", ["", "wrong", "ü"])
def test_no_request_is_served_without_the_token(server: ApiServer, token: str) -> None:
    for path in ("/readyz", "/api", "/api/v1/namespaces", "/nothing"):
        assert status_of(server.request("GET", path, token=token.encode().decode("latin-1")))[0] == 401


def test_no_header_and_other_schemes_are_no_token(server: ApiServer) -> None:
    for given in ({"Authorization": ""}, {"Authorization": server.token()}, {"Authorization": "Basic eDp5"}):
        assert status_of(server.request("GET", "/api/v1/namespaces", headers=given))[0] == 401
    with pytest.raises(urllib.error.HTTPError, match="401") as refused:
        urllib.request.urlopen(server.settings.api_url + "/api", timeout=60)
    refused.value.close()


def test_a_header_that_is_no_text_is_no_token(server: ApiServer) -> None:
    connection = http.client.HTTPConnection(server.settings.api_host, server.settings.api_port, timeout=60)
    connection.request("GET", "/api", headers={"Authorization": b"Bearer \xff\xfe"})  # type: ignore[dict-item]
    assert connection.getresponse().status == 401
    connection.close()


def test_the_token_and_the_store_are_readable_to_the_owner_only(server: ApiServer) -> None:
    made = ("admin.token", "apiserver.db", "apiserver.db-wal", "kubeconfig")
    for name in (*made, f"apiserver-{server.settings.api_host}.key"):
        assert (server.home / name).stat().st_mode & 0o077 == 0, name


def test_the_certificate_is_good_for_the_servers_address(server: ApiServer) -> None:
    request = urllib.request.Request(
        server.settings.api_tls_url + "/version", headers={"Authorization": f"Bearer {server.token()}"}
    )
    with urllib.request.urlopen(request, context=tls_context(server.settings), timeout=60) as answer:
        assert json.load(answer)["gitVersion"].startswith("v1.")


@pytest.mark.parametrize(
    ("body", "code", "told"),
    [
        (b"{", 400, "not valid JSON"),
        (b"", 400, "no body"),
        (b"[]", 400, "must be an object"),
        (b'{"metadata": {"name": "a"}, "data": {"x": NaN}}', 400, "NaN is not a JSON number"),
        (b'{"metadata": {"name": "a"}, "data": {"x": "\\ud800"}}', 400, "not valid JSON"),
        (b"[" * 100_000, 400, "nested too deeply"),
        (b'{"metadata": 3}', 400, "metadata must be an object"),
        (b'{"kind": "Pod", "metadata": {"name": "a"}}', 400, "kind in the data"),
        (b'{"metadata": {"name": "a", "namespace": "other"}}', 400, "does not match the namespace"),
        (b'{"metadata": {}}', 422, "name or generateName is required"),
        (b'{"metadata": {"name": "A_b"}}', 422, "lowercase RFC 1123 subdomain"),
        (b'{"metadata": {"name": 7}}', 422, "metadata.name"),
        (b'{"metadata": {"name": "' + b"a" * 254 + b'"}}', 422, "no more than 253"),
        (b'{"metadata": {"name": "a", "labels": {"x": "-"}}}', 422, "a valid label must be"),
        (b'{"metadata": {"name": "a", "labels": {"x": 1}}}', 422, "must be a string"),
        (b'{"metadata": {"name": "a", "labels": [1]}}', 422, "must be an object"),
        (b'{"metadata": {"name": "a", "annotations": {"a/b/c": "x"}}}', 422, "metadata.annotations"),
        (b'{"metadata": {"name": "a"}, "data": {"x": 1}}', 422, "quote it in YAML"),
        (b'{"metadata": {"name": "a"}, "data": {"x": "' + b"y" * 1_100_000 + b'"}}', 422, "Too long"),
        (b'{"metadata": {"name": "a"}, "data": {"x": "' + b"y" * 3_200_000 + b'"}}', 413, "too large"),
    ],
)
def test_bad_bodies_are_refused_with_what_is_wrong(server: ApiServer, body: bytes, code: int, told: str) -> None:
    seen = status_of(server.request("POST", f"/api/v1/namespaces/{SPACE}/configmaps", body))
    assert seen[0] == code and told in seen[2], seen


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/api/v1/namespaces/default/unknowns", 404),
        ("GET", "/apis/apps/v2/deployments", 404),
        ("GET", "/api/v1/pods/name-without-namespace", 404),
        ("GET", "/api/v1/namespaces/default/pods/none/portforward", 404),
        ("GET", "/api/v1/namespaces/default/workflows", 404),
        ("PUT", "/api/v1/namespaces/default/pods", 405),
        ("POST", "/api", 405),
        ("PATCH", "/api/v1/namespaces/default/configmaps/a", 415),
        ("GET", "/api/v1/pods?labelSelector=a+b+c", 400),
        ("GET", "/api/v1/pods?fieldSelector=spec.unknown%3D1", 400),
        ("GET", "/api/v1/pods?limit=many", 400),
        ("GET", "/api/v1/pods?limit=1&continue=garbage", 400),
        ("GET", "/api/v1/pods?watch=1&resourceVersion=garbage", 400),
        ("DELETE", "/api/v1/namespaces/default/pods/none?propagationPolicy=Sideways", 400),
    ],
)
def test_bad_requests_get_a_status_and_never_a_trace(server: ApiServer, method: str, path: str, code: int) -> None:
    body = b"{}" if method in ("PUT", "PATCH", "POST") else None
    assert status_of(server.request(method, path, body))[0] == code


# --- create, update, status


def test_metadata_is_the_servers_own(core: client.CoreV1Api) -> None:
    wanted = pod("a", SPACE)
    wanted["metadata"] |= {
        "uid": "mine",
        "resourceVersion": "7",
        "generation": 9,
        "creationTimestamp": "2001-01-01T00:00:00Z",
    }
    wanted["status"] = {"phase": "Running"}
    made = core.create_namespaced_pod(SPACE, wanted)
    assert made.metadata.uid != "mine" and made.metadata.resource_version != "7"
    assert made.metadata.generation == 1 and made.metadata.creation_timestamp.year > 2001
    assert made.status.phase == "Pending"
    assert made.spec.restart_policy == "Always" and made.spec.termination_grace_period_seconds == 30
    named = [
        core.create_namespaced_pod(SPACE, {**wanted, "metadata": {"generateName": "run-"}}).metadata.name
        for _ in range(5)
    ]
    assert len(set(named)) == 5 and all(name.startswith("run-") and len(name) == 9 for name in named)


def test_status_and_spec_are_written_apart(core: client.CoreV1Api) -> None:
    made = running(core, "a")
    assert made.status.phase == "Running" and made.metadata.generation == 1
    core.patch_namespaced_pod("a", SPACE, {"metadata": {"labels": {"x": "y"}}, "status": {"phase": "Failed"}})
    now = core.read_namespaced_pod("a", SPACE)
    assert now.status.phase == "Running" and now.metadata.labels["x"] == "y"
    core.patch_namespaced_pod_status("a", SPACE, {"metadata": {"labels": {"x": "z"}}, "status": {"podIP": "127.1.1.1"}})
    now = core.read_namespaced_pod("a", SPACE)
    assert now.status.pod_ip == "127.1.1.1" and now.metadata.labels["x"] == "y"
    with pytest.raises(ApiException, match="pod updates may not change fields other than"):
        core.patch_namespaced_pod("a", SPACE, {"spec": {"nodeName": "node-2"}})
    with pytest.raises(ApiException) as refused:
        core.patch_namespaced_pod("a", SPACE, {"metadata": {"uid": "other"}})
    assert refused.value.status == 422 and "field is immutable" in refused.value.body


def test_an_update_from_an_old_version_conflicts_and_one_of_nothing_is_not_written(core: client.CoreV1Api) -> None:
    made = core.create_namespaced_pod(SPACE, pod("a", SPACE))
    again = core.replace_namespaced_pod("a", SPACE, made)
    assert again.metadata.resource_version == made.metadata.resource_version
    core.patch_namespaced_pod("a", SPACE, {"metadata": {"labels": {"x": "y"}}})
    with pytest.raises(ApiException) as refused:
        core.replace_namespaced_pod("a", SPACE, made)
    assert refused.value.status == 409 and json.loads(refused.value.body)["reason"] == "Conflict"
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_pod(SPACE, pod("a", SPACE))
    assert refused.value.status == 409 and json.loads(refused.value.body)["reason"] == "AlreadyExists"


def test_a_workflow_has_no_status_subresource(api: client.ApiClient) -> None:
    custom = client.CustomObjectsApi(api)
    place = ("argoproj.io", "v1alpha1", SPACE, "workflows")
    custom.create_namespaced_custom_object(*place, {"metadata": {"name": "w"}, "spec": {"entrypoint": "x"}})
    changed = custom.patch_namespaced_custom_object(*place, "w", {"status": {"phase": "Running"}})
    assert changed["status"] == {"phase": "Running"}
    with pytest.raises(ApiException) as refused:
        custom.patch_namespaced_custom_object_status(*place, "w", {"status": {"phase": "Failed"}})
    assert refused.value.status == 404
    with pytest.raises(ApiException) as refused:  # a PUT of a custom resource must say which version it replaces
        custom.replace_namespaced_custom_object(*place, "w", {"metadata": {"name": "w"}, "spec": {}})
    assert refused.value.status == 422
    custom.delete_namespaced_custom_object(*place, "w")


@pytest.mark.parametrize(
    ("name", "spec", "told"),
    [
        ("demo", {}, "spec.secretName: Required value"),
        ("demo", {"secretName": "s", "instances": 0}, "greater than or equal to 1"),
        ("demo", {"secretName": "s", "instances": 10}, "less than or equal to 9"),
        ("demo", {"secretName": "s", "instances": "3"}, "must be of type integer"),
        ("demo", {"secretName": "s", "instances": True}, "must be of type integer"),
        ("demo", {"secretName": "s", "router": {"instances": -1}}, "spec.router.instances"),
        ("demo", {"secretName": "s", "version": "nine"}, "should match"),
        ("d" * 29, {"secretName": "s"}, "at most 28 characters"),
    ],
)
def test_a_wrong_cluster_is_refused(api: client.ApiClient, name: str, spec: dict[str, Any], told: str) -> None:
    place = ("mysql.oracle.com", "v2", SPACE, "innodbclusters")
    with pytest.raises(ApiException) as refused:
        client.CustomObjectsApi(api).create_namespaced_custom_object(*place, {"metadata": {"name": name}, "spec": spec})
    assert refused.value.status == 422 and told in json.loads(refused.value.body)["message"]


def test_a_cluster_gets_the_operators_defaults(api: client.ApiClient) -> None:
    custom, place = client.CustomObjectsApi(api), ("mysql.oracle.com", "v2", SPACE, "innodbclusters")
    body = {"metadata": {"name": "d" * 28}, "spec": {"secretName": "s", "router": {}}, "status": {"x": 1}}
    made = custom.create_namespaced_custom_object(*place, body)
    assert made["spec"] == {
        "secretName": "s",
        "router": {"instances": 1},
        "instances": 1,
        "baseServerId": 1000,
        "tlsUseSelfSigned": False,
    }
    assert "status" not in made
    with pytest.raises(ApiException, match=r'unknown field \\"spec.instnces\\"'):
        body = {"metadata": {"name": "x"}, "spec": {"secretName": "s", "instnces": 3}}
        custom.create_namespaced_custom_object(*place, body, field_validation="Strict")
    custom.delete_namespaced_custom_object(*place, "d" * 28)


def test_secrets_take_plain_text_and_refuse_what_is_no_base64(core: client.CoreV1Api) -> None:
    body = {"metadata": {"name": "s"}, "stringData": {"password": "hünter2"}, "data": {"user": "cm9vdA=="}}
    made = core.create_namespaced_secret(SPACE, body)
    assert base64.b64decode(made.data["password"]).decode() == "hünter2"
    assert made.data["user"] == "cm9vdA==" and made.string_data is None and made.type == "Opaque"
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_secret(SPACE, {"metadata": {"name": "t"}, "data": {"password": "hunter2!"}})
    assert refused.value.status == 422 and "hunter2" not in refused.value.body
    core.delete_namespaced_secret("s", SPACE)


def test_services_get_addresses_of_the_platforms_own(server: ApiServer, core: client.CoreV1Api) -> None:
    spec = {"ports": [{"port": 3306}]}
    made = [
        core.create_namespaced_service(SPACE, {"metadata": {"name": f"s{number}"}, "spec": spec}) for number in range(2)
    ]
    network = server.settings.network
    assert [item.spec.cluster_ip for item in made] == [f"127.{network}.200.1", f"127.{network}.200.2"]
    core.delete_namespaced_service("s0", SPACE)
    headless = {"metadata": {"name": "h"}, "spec": {**spec, "clusterIP": "None"}}
    assert core.create_namespaced_service(SPACE, headless).spec.cluster_ip == "None"
    again = core.create_namespaced_service(SPACE, {"metadata": {"name": "s3"}, "spec": spec})
    assert again.spec.cluster_ip == f"127.{network}.200.1"
    for name in ("s1", "h", "s3"):
        core.delete_namespaced_service(name, SPACE)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        ({"containers": [{"name": "../../x", "image": "i"}]}, "RFC 1123 label"),
        ({"containers": [{"name": "x"}]}, "spec.containers[0].image: Required value"),
        ({"containers": [{"name": "x", "image": "i"}] * 2}, "Duplicate value"),
        ({"containers": ["x"]}, 'spec.containers: Invalid value: "list": must be a list of objects'),
        ({"containers": {"x": 1}}, "must be a list of objects"),
        ({"restartPolicy": "Sometimes"}, "must be Always, OnFailure or Never"),
        ({"containers": [{"name": "x", "image": "i", "env": [{"name": "A", "value": 1}]}]}, "must be a string"),
        ({"containers": [{"name": "x", "image": "i", "volumeMounts": [{"name": "v"}]}]}, 'Not found: "v"'),
        ("x", 'spec: Invalid value: "string": must be an object'),
    ],
)
def test_a_wrong_pod_is_refused(server: ApiServer, spec: Any, told: str) -> None:
    body = pod("a", SPACE)
    body["spec"] = {**body["spec"], **spec} if isinstance(spec, dict) else spec
    seen = status_of(server.request("POST", f"/api/v1/namespaces/{SPACE}/pods", json.dumps(body).encode()))
    assert seen[0] == 422 and told in seen[2], seen


# --- deletion


def test_a_pod_is_given_its_grace_and_the_kubelet_confirms(core: client.CoreV1Api) -> None:
    running(core, "a", terminationGracePeriodSeconds=120)
    going = core.delete_namespaced_pod("a", SPACE)
    assert going.metadata.deletion_grace_period_seconds == 120
    assert (going.metadata.deletion_timestamp - datetime.now(UTC)).total_seconds() > 60
    hurried = core.delete_namespaced_pod("a", SPACE, grace_period_seconds=5)
    assert hurried.metadata.deletion_grace_period_seconds == 5
    slowed = core.delete_namespaced_pod("a", SPACE, grace_period_seconds=500)
    assert slowed.metadata.deletion_grace_period_seconds == 5
    core.delete_namespaced_pod("a", SPACE, grace_period_seconds=0)
    with pytest.raises(ApiException, match="Not Found"):
        core.read_namespaced_pod("a", SPACE)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", "unplaced"])
def test_what_is_finished_or_was_never_placed_goes_at_once(core: client.CoreV1Api, phase: str) -> None:
    node = {} if phase == "unplaced" else {"nodeName": "node-1"}
    core.create_namespaced_pod(SPACE, pod("a", SPACE, **node))
    if node:
        core.patch_namespaced_pod_status("a", SPACE, {"status": {"phase": phase}})
    core.delete_namespaced_pod("a", SPACE)
    assert core.list_namespaced_pod(SPACE).items == []


def test_finalizers_hold_an_object_until_the_last_one_is_gone(core: client.CoreV1Api) -> None:
    held = pod("a", SPACE, nodeName="node-1")
    held["metadata"]["finalizers"] = ["x.dev/one", "x.dev/two"]
    core.create_namespaced_pod(SPACE, held)
    core.delete_namespaced_pod("a", SPACE, grace_period_seconds=0)
    assert core.read_namespaced_pod("a", SPACE).metadata.deletion_timestamp
    with pytest.raises(ApiException, match="no new finalizers can be added"):
        core.patch_namespaced_pod("a", SPACE, {"metadata": {"finalizers": ["x.dev/three", "x.dev/two", "x.dev/one"]}})
    one_less = [{"op": "remove", "path": "/metadata/finalizers/0"}]
    core.patch_namespaced_pod("a", SPACE, one_less)
    assert core.read_namespaced_pod("a", SPACE).metadata.finalizers == ["x.dev/two"]
    core.patch_namespaced_pod("a", SPACE, one_less)
    assert core.list_namespaced_pod(SPACE).items == []


def test_a_finalizer_gone_does_not_cut_a_pods_grace_short(core: client.CoreV1Api) -> None:
    held = pod("a", SPACE, nodeName="node-1")
    held["metadata"]["finalizers"] = ["x.dev/one"]
    core.create_namespaced_pod(SPACE, held)
    core.delete_namespaced_pod("a", SPACE)
    core.patch_namespaced_pod("a", SPACE, {"metadata": {"finalizers": None}})
    assert core.read_namespaced_pod("a", SPACE).metadata.deletion_grace_period_seconds == 30
    core.delete_namespaced_pod("a", SPACE, grace_period_seconds=0)
    assert core.list_namespaced_pod(SPACE).items == []


def test_preconditions_guard_a_deletion(core: client.CoreV1Api) -> None:
    made = core.create_namespaced_pod(SPACE, pod("a", SPACE))
    for wrong in ({"uid": "other"}, {"resourceVersion": "1"}):
        with pytest.raises(ApiException, match="Precondition failed"):
            core.delete_namespaced_pod("a", SPACE, body={"preconditions": wrong})
    right = {"uid": made.metadata.uid, "resourceVersion": made.metadata.resource_version}
    core.delete_namespaced_pod("a", SPACE, body={"preconditions": right})
    assert core.list_namespaced_pod(SPACE).items == []


def test_a_dry_run_changes_nothing(core: client.CoreV1Api) -> None:
    assert core.create_namespaced_pod(SPACE, pod("a", SPACE), dry_run="All").metadata.uid
    assert core.list_namespaced_pod(SPACE).items == []
    core.create_namespaced_pod(SPACE, pod("a", SPACE))
    changed = core.patch_namespaced_pod("a", SPACE, {"metadata": {"labels": {"x": "y"}}}, dry_run="All")
    assert changed.metadata.labels["x"] == "y"
    core.delete_namespaced_pod("a", SPACE, dry_run="All")
    core.delete_namespaced_pod("a", SPACE, body={"dryRun": ["All"]})
    core.delete_collection_namespaced_pod(SPACE, dry_run="All")
    assert core.read_namespaced_pod("a", SPACE).metadata.labels == {"app": "x"}
    with pytest.raises(ApiException, match="the only value is All"):
        core.create_namespaced_pod(SPACE, pod("b", SPACE), dry_run="Some")


def test_a_collection_is_deleted_by_selector(core: client.CoreV1Api) -> None:
    for name, tier in (("a", "x"), ("b", "y"), ("c", "y")):
        core.create_namespaced_pod(SPACE, pod(name, SPACE, labels={"tier": tier}))
    core.delete_collection_namespaced_pod(SPACE, label_selector="tier=y")
    assert [item.metadata.name for item in core.list_namespaced_pod(SPACE).items] == ["a"]


# --- lists


@pytest.mark.parametrize(
    ("labels", "fields", "names"),
    [
        ("tier=x", "", "a"),
        ("tier==x,zone", "", "a"),
        ("tier!=x", "", "bcd"),
        ("tier in (x, y)", "", "ab"),
        ("tier notin (x,y)", "", "cd"),
        ("zone", "", "ac"),
        ("!zone", "", "bd"),
        ("tier=", "", "c"),
        ("example.com/role in (web),zone notin (n)", "", "c"),
        ("", "metadata.name=b", "b"),
        ("", "status.phase=Running", "d"),
        ("", "spec.nodeName=node-1,status.phase!=Pending", "d"),
        ("", "spec.nodeName=", "abc"),
        ("zone", "metadata.name!=a", "c"),
    ],
)
def test_selectors_choose(core: client.CoreV1Api, labels: str, fields: str, names: str) -> None:
    tiers = {
        "a": {"tier": "x", "zone": "n"},
        "b": {"tier": "y"},
        "c": {"tier": "", "zone": "s", "example.com/role": "web"},
    }
    for name, wanted in tiers.items():
        core.create_namespaced_pod(SPACE, pod(name, SPACE, labels=wanted))
    running(core, "d", labels={"other": "1"})
    found = core.list_namespaced_pod(SPACE, label_selector=labels, field_selector=fields).items
    assert "".join(item.metadata.name for item in found) == names


def test_a_long_list_comes_in_pages(core: client.CoreV1Api) -> None:
    for number in range(5):
        core.create_namespaced_pod(SPACE, pod(f"p{number}", SPACE))
    first = core.list_namespaced_pod(SPACE, limit=2)
    assert first.metadata.remaining_item_count == 3
    names, page = [item.metadata.name for item in first.items], first
    while page.metadata._continue:
        page = core.list_namespaced_pod(SPACE, limit=2, _continue=page.metadata._continue)
        assert page.metadata.resource_version == first.metadata.resource_version
        names += [item.metadata.name for item in page.items]
    assert names == [f"p{number}" for number in range(5)]
