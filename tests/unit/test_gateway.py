"""The webhook gateway against the real API server: who may call, what is refused and why, and what comes of it."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from gateway_help import DRILL, TOKEN, call, create, in_kube, objects, running_gateway, secret, start_gateway, workflows
from platform_help import eventually, new_home, running

from tiphys.local.client import Kube
from tiphys.local.settings import Settings

PATH = "/test-drill"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = new_home(tmp_path_factory.mktemp("home"))
    with running("tiphys.local.apiserver", settings):
        create(settings.home, objects())
        with running_gateway(settings):
            yield settings


def test_an_accepted_post_becomes_a_workflow_with_the_templates_defaults(platform: Settings) -> None:
    answer = call(platform.webhook_port, PATH, {"cluster": "demo", "max-lost-writes": 3, "dry-run": True})
    assert (answer.status, answer.json["duplicate"], answer.json["namespace"]) == (200, False, "tiphys")
    name = answer.json["workflow"]
    assert name.startswith("test-drill-") and len(name) == len("test-drill-") + 5
    eventually(lambda: name in workflows(platform.home))
    made = workflows(platform.home)[name]
    assert made["spec"]["workflowTemplateRef"] == {"name": "test-drill"}
    assert [(p["name"], p["value"]) for p in made["spec"]["arguments"]["parameters"]] == [
        ("cluster", "demo"),
        ("fault", "crash"),
        ("max-lost-writes", "3"),
        ("budget", "30"),
        ("dry-run", "true"),
        ("note", ""),
    ]
    assert made["metadata"]["labels"]["tiphys.dev/trigger"] == "webhook"
    assert made["metadata"]["labels"]["events.argoproj.io/sensor"] == "runbooks"


def test_a_key_makes_one_run_however_often_it_comes(platform: Settings) -> None:
    body = {"cluster": "demo", "fault": "switchover"}
    with ThreadPoolExecutor(25) as pool:
        got = list(pool.map(lambda _: call(platform.webhook_port, PATH, body, key="same"), range(50)))
    assert {answer.status for answer in got} == {200}
    assert {answer.json["workflow"] for answer in got} == {"test-drill-same"}
    assert [answer.json["duplicate"] for answer in got].count(False) == 1
    eventually(lambda: "test-drill-same" in workflows(platform.home))
    other = call(platform.webhook_port, PATH, {**body, "fault": "crash"}, key="same")
    assert other.status == 409 and "exists with other parameters" in other.error
    assert workflows(platform.home)["test-drill-same"]["spec"]["arguments"]["parameters"][1]["value"] == "switchover"


def test_a_key_whose_run_somebody_else_made_is_a_duplicate(platform: Settings) -> None:
    parameters = [("cluster", "demo"), ("fault", "crash"), ("max-lost-writes", "0"), ("budget", "30")]
    parameters += [("dry-run", "false"), ("note", "")]
    arguments = {"parameters": [{"name": name, "value": value} for name, value in parameters]}
    spec = {"workflowTemplateRef": {"name": "test-drill"}, "arguments": arguments}
    meta = {"name": "test-drill-theirs"}
    made = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": meta, "spec": spec}
    create(platform.home, {"workflows": [made]})
    answer = call(platform.webhook_port, PATH, {"cluster": "demo"}, key="theirs")
    assert (answer.status, answer.json["duplicate"]) == (200, True)
    assert call(platform.webhook_port, PATH, {"cluster": "other"}, key="theirs").status == 409


def test_200_posts_at_once_make_200_runs(platform: Settings) -> None:
    before = set(workflows(platform.home))
    with ThreadPoolExecutor(50) as pool:
        got = list(pool.map(lambda n: call(platform.webhook_port, PATH, {"cluster": f"c{n}"}), range(200)))
    assert {answer.status for answer in got} == {200}
    names = {answer.json["workflow"] for answer in got}
    assert len(names) == 200
    eventually(lambda: len(set(workflows(platform.home)) - before) >= 200)
    assert set(workflows(platform.home)) - before == names


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "'cluster' is missing"),
        ({"cluster": None}, "'cluster' is missing"),
        ({"cluster": 5}, "'cluster': must be a text"),
        ({"cluster": {"a": "b"}}, "'cluster': must be one value"),
        ({"cluster": ["demo"]}, "'cluster': must be one value"),
        ({"cluster": "{{workflow.name}}"}, "'cluster': '{{workflow.name}}' does not match"),
        ({"cluster": "a; rm -rf /"}, "does not match"),
        ({"cluster": "a\ndemo"}, "does not match"),
        ({"cluster": "demo", "clutser": "x"}, "unknown parameter 'clutser'"),
        ({"cluster": "demo", "fault": "fire"}, "'fire' is not one of: crash, delete-pod, switchover"),
        ({"cluster": "demo", "max-lost-writes": 1.5}, "is no integer"),
        ({"cluster": "demo", "max-lost-writes": "many"}, "is no integer"),
        ({"cluster": "demo", "max-lost-writes": -1}, "less than 0"),
        ({"cluster": "demo", "max-lost-writes": 1001}, "more than 1000"),
        ({"cluster": "demo", "budget": True}, "is no number"),
        ({"cluster": "demo", "dry-run": "perhaps"}, "not one of: true, false"),
        ({"cluster": "demo", "note": "see {{workflow.uid}}"}, "which Argo would expand"),
        (["demo"], "is a list"),
        ("not json", "not JSON"),
        ("", "is empty"),
        ('{"cluster": NaN}', "NaN is not JSON"),
        ('{"cluster": "demo", "budget": 1e999}', "too large"),
        ('{"cluster": "demo", "cluster": "{{workflow.name}}"}', "named twice"),
        ('{"cluster": "\\ud800"}', "UTF-8"),
        (b'{"cluster": "\xff"}', "UTF-8"),
        ('{"cluster": ' + "[" * 20 + "]" * 20 + "}", "deeper than"),
        ("[" * 60_000, "deeper than"),
        ("9" * 5000, "cannot be taken"),
    ],
)
def test_a_bad_body_is_answered_with_its_fault(platform: Settings, body: object, reason: str) -> None:
    answer = call(platform.webhook_port, PATH, body)
    assert answer.status == 400
    assert reason in answer.error and "Traceback" not in answer.error


def test_nothing_runs_after_a_refusal(platform: Settings) -> None:
    assert call(platform.webhook_port, PATH, {"cluster": "demo", "fault": "fire"}, key="refused").status == 400
    good = call(platform.webhook_port, PATH, {"cluster": "demo"}, key="refused")
    assert (good.status, good.json["duplicate"]) == (200, False)


@pytest.mark.parametrize("key", ["", "-a", "a-", "A", "a_b", "a.b", "x" * 41, "{{workflow.name}}"])
def test_a_bad_key_is_refused(platform: Settings, key: str) -> None:
    answer = call(platform.webhook_port, PATH, {"cluster": "demo"}, key=key)
    assert answer.status == 400 and "Idempotency-Key" in answer.error


def test_two_keys_are_refused(platform: Settings) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", platform.webhook_port, timeout=60)
    connection.putrequest("POST", PATH)
    for name, value in (("Authorization", f"Bearer {TOKEN}"), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")):
        connection.putheader(name, value)
    connection.putheader("Content-Length", "19")
    connection.endheaders(b'{"cluster": "demo"}')
    with closing(connection), connection.getresponse() as answer:
        assert answer.status == 400 and b"must be sent once, not 2 times" in answer.read()


def test_a_template_that_is_not_there_is_refused(platform: Settings) -> None:
    answer = call(platform.webhook_port, "/no-template", {"cluster": "demo"})
    assert answer.status == 422 and "no WorkflowTemplate no-template" in answer.error


def test_without_the_right_token_nothing_is_told(platform: Settings) -> None:
    port = platform.webhook_port
    for answer in (
        call(port, PATH, {"cluster": "demo"}, token=None),
        call(port, PATH, {"cluster": "demo"}, token="wrong"),
        call(port, PATH, {"cluster": "demo"}, token=""),
        call(port, PATH, {"cluster": "demo"}, token=TOKEN + "x"),
        call(port, PATH, {"cluster": "demo"}, token=None, Authorization=TOKEN),
        call(port, PATH, {"cluster": "demo"}, token=None, Authorization=f"Basic {TOKEN}"),
        call(port, PATH, "not json", token="w\xf6rong"),
    ):
        assert answer.status == 401 and answer.headers["WWW-Authenticate"] == "Bearer"
        assert TOKEN not in answer.error


@pytest.mark.parametrize(
    "header",
    [
        f"Authorization : Bearer {TOKEN}",
        f"Authorization Bearer {TOKEN}",
        f"Authorization: Bearer {TOKEN}\x01",
        f"Authorization: Bearer\r\n {TOKEN}",
        f"Authorization: Bearer {TOKEN}{'x' * 20_000}",
    ],
)
def test_a_request_that_is_no_http_is_repeated_neither_to_the_caller_nor_in_the_log(
    platform: Settings, header: str
) -> None:
    before = (platform.home / "gateway.log").stat().st_size
    with socket.create_connection(("127.0.0.1", platform.webhook_port), timeout=60) as caller:
        caller.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Length: 0\r\n\r\n".encode())
        answer = http.client.HTTPResponse(caller)
        answer.begin()
        said = answer.read().decode()
    assert answer.status == 400 and "no valid HTTP" in json.loads(said)["error"]
    logged = (platform.home / "gateway.log").read_bytes()[before:].decode()
    assert "no valid HTTP" in logged
    assert TOKEN not in said + logged and "Traceback" not in logged


def test_paths_and_methods(platform: Settings) -> None:
    port = platform.webhook_port
    unknown = call(port, "/drop-everything", {})
    assert unknown.status == 404 and unknown.json["endpoints"] == ["/no-template", "/test-drill"]
    assert call(port, PATH + "/", {}).status == 404
    get = call(port, PATH, method="GET")
    assert get.status == 405 and get.headers["Allow"] == "POST"
    assert call(port, "/health", method="GET", token=None).status == 200


def test_a_body_beyond_the_limit_is_not_read(platform: Settings) -> None:
    port = platform.webhook_port
    assert call(port, PATH, {"cluster": "demo", "note": "x" * 70_000}).status == 413
    chunks = iter([b'{"note": "'] + [b"x" * 4000] * 20)
    assert call(port, PATH, chunks, **{"Transfer-Encoding": "chunked"}).status == 413
    exact = '{"cluster": "demo"}'
    assert call(port, PATH, exact + " " * (65536 - len(exact))).status == 200


def test_a_packed_body_is_not_taken(platform: Settings) -> None:
    packed = gzip.compress(b'{"cluster": "packed"}')
    before = (platform.home / "gateway.log").read_text()
    for body in (packed, b"not packed"):
        answer = call(platform.webhook_port, PATH, body, **{"Content-Encoding": "gzip"})
        assert answer.status == 415 and "plain JSON" in answer.error
    assert "Traceback" not in (platform.home / "gateway.log").read_text().removeprefix(before)
    assert (platform.home / "events.sqlite").stat().st_mode & 0o077 == 0


def test_a_new_token_counts_from_the_moment_it_is_there(platform: Settings) -> None:
    async def put(kube: Kube, token: str) -> None:
        await kube.patch("secrets", "tiphys-webhook", {"data": secret(token)["data"]}, "tiphys")

    in_kube(platform.home, lambda kube: put(kube, "another"))
    try:
        eventually(lambda: call(platform.webhook_port, PATH, "", token=TOKEN).status == 401)
        assert call(platform.webhook_port, PATH, "", token="another").status == 400
    finally:
        in_kube(platform.home, lambda kube: put(kube, TOKEN))
    eventually(lambda: call(platform.webhook_port, PATH, "", token=TOKEN).status == 400)


def test_an_accepted_event_survives_kill_9_while_the_api_server_is_away(tmp_path: Path) -> None:
    settings = new_home(tmp_path / "home")
    with running("tiphys.local.apiserver", settings):
        create(settings.home, objects())
        first = start_gateway(settings)
    try:
        with ThreadPoolExecutor(8) as pool:
            got = list(pool.map(lambda n: call(settings.webhook_port, PATH, {"cluster": f"c{n}"}), range(8)))
        keyed = call(settings.webhook_port, PATH, {"cluster": "demo"}, key="kept")
        names = {answer.json["workflow"] for answer in [*got, keyed]}
        assert {answer.status for answer in [*got, keyed]} == {200} and len(names) == 9
    finally:
        os.kill(first.pid, signal.SIGKILL)
        first.wait(60)
    with running("tiphys.local.apiserver", settings):
        assert not workflows(settings.home)
        with running_gateway(settings):
            again = call(settings.webhook_port, PATH, {"cluster": "demo"}, key="kept")
            assert (again.status, again.json["duplicate"]) == (200, True)
            eventually(lambda: set(workflows(settings.home)) == names)
        with running_gateway(settings):
            later = call(settings.webhook_port, PATH, {"cluster": "demo"}, key="kept")
            assert (later.status, later.json["duplicate"]) == (200, True)
        assert set(workflows(settings.home)) == names


def test_a_sensor_with_a_field_that_is_not_honoured_is_not_served(platform: Settings) -> None:
    async def set_policy(kube: Kube, value: object) -> None:
        sensor = await kube.get("sensors", "runbooks", "tiphys")
        triggers = sensor["spec"]["triggers"]
        triggers[0] = {**triggers[0], "policy": value}
        if value is None:
            del triggers[0]["policy"]
        await kube.patch("sensors", "runbooks", {"spec": {"triggers": triggers}}, "tiphys")

    async def events(kube: Kube) -> list[str]:
        return [event["message"] for event in await kube.list("events", "tiphys")]

    in_kube(platform.home, lambda kube: set_policy(kube, {"status": {"allow": [201]}}))
    try:
        eventually(lambda: call(platform.webhook_port, PATH, {"cluster": "demo"}).status == 503)
        assert "spec.triggers[0].policy" in call(platform.webhook_port, PATH, {"cluster": "demo"}).error
        eventually(lambda: any("spec.triggers[0].policy" in said for said in in_kube(platform.home, events)))
    finally:
        in_kube(platform.home, lambda kube: set_policy(kube, None))
    eventually(lambda: call(platform.webhook_port, PATH, {"cluster": "demo"}).status == 200)


def test_the_help_of_this_file_covers_every_kind_of_parameter() -> None:
    assert {p.kind for p in DRILL.parameters} == {"text", "enum", "integer", "number", "boolean"}
