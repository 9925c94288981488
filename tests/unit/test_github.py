"""GitHub's deliveries: signed or refused, once each, and held to what the webhook is held to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from gateway_help import DRILL, GHOST, Answer, call, create, objects, running_gateway, workflows
from platform_help import eventually, new_home, running

from eventsources import github as source
from eventsources.triggerable import WITHHELD, Runbook, triggerable
from sensors import github, runbooks
from steps.parameters import Parameter
from tiphys.install import kustomize, pack
from tiphys.local.events import github as deliveries
from tiphys.local.events.check import check
from tiphys.local.events.triggers import Ignored, Refusal, fire
from tiphys.local.settings import Settings
from tiphys.runs.errors import ToolError

SECRET = "shared-with-github"
OURS = "dba/runbooks"
DELIVERY = "72d3162e-cc78-11e3-81ab-4c9367dc0958"


def in_namespace(sensor: dict[str, Any]) -> dict[str, Any]:
    sensor["metadata"]["namespace"] = "tiphys"
    return sensor


WANTED = in_namespace(github.sensor([*triggerable(), DRILL], OURS))


def dispatch(event_type: Any, payload: Any, repository: str = OURS) -> dict[str, Any]:
    """Return what GitHub sends for a repository_dispatch, less what nobody reads."""
    about = {"full_name": repository, "private": True, "topics": [], "license": None}
    return {"action": event_type, "branch": "main", "client_payload": payload, "repository": about, "sender": {"id": 1}}


def told(body: Any, kind: str = "repository_dispatch", delivery: str = DELIVERY) -> dict[str, Any]:
    headers = {"X-Github-Event": [kind], **({"X-Github-Delivery": [delivery]} if delivery else {})}
    return deliveries.event(json.dumps(body).encode(), "application/json", headers)


def started(event: dict[str, Any]) -> dict[str, Any]:
    (fired,) = fire([WANTED], "github", "dispatch", event)
    return fired.workflow


def good(parameter: Parameter) -> Any:
    assert parameter.enum or parameter.text
    return parameter.text.first[0] + parameter.text.last[-1] if parameter.text else parameter.enum[0]


def outcome(sensor: dict[str, Any], source: str, name: str, event: dict[str, Any]) -> Any:
    """Return the spec that an event starts, or why it starts none."""
    try:
        return [fired.workflow["spec"] for fired in fire([sensor], source, name, event)]
    except Refusal as refusal:
        return refusal.reason


@pytest.mark.parametrize("runbook", [*triggerable(), DRILL], ids=lambda runbook: runbook.name)
def test_a_payload_means_what_the_webhooks_body_means(runbook: Runbook) -> None:
    webhook, by_github = (in_namespace(one) for one in (runbooks.sensor([runbook]), github.sensor([runbook], OURS)))
    needed = {p.name: good(p) for p in runbook.parameters if p.default is None}
    tried: list[Any] = [needed, {}, None, [], ["a"], "text", 5, {**needed, "clutser": "demo"}]
    tried += [{**needed, name: "x"} for name in WITHHELD.get(runbook.name, ())]
    for parameter in runbook.parameters:
        for value in (None, "", "{{workflow.name}}", "a; rm -rf /", {"a": 1}, ["a"], True, 7, -1, 1e300, "é" * 80):
            tried.append({**needed, parameter.name: value})
    for body in tried:
        expected = outcome(webhook, "runbooks", runbook.name, {"header": {}, "body": body})
        assert outcome(by_github, "github", "dispatch", told(dispatch(runbook.name, body))) == expected, body
    assert isinstance(outcome(by_github, "github", "dispatch", told(dispatch(runbook.name, needed))), list)


def test_the_delivery_names_the_run() -> None:
    for delivery in (DELIVERY, DELIVERY.upper()):
        workflow = started(told(dispatch("test-drill", {"cluster": "demo"}), delivery=delivery))
        assert workflow["metadata"]["name"] == f"test-drill-{DELIVERY}"
        assert workflow["metadata"]["labels"]["tiphys.dev/trigger"] == "github"
    assert all(len(f"{runbook.name}-{DELIVERY}") <= 63 for runbook in triggerable())


@pytest.mark.parametrize("delivery", ["", "a b", "{{workflow.name}}", "x" * 41])
def test_no_run_without_the_id_of_the_delivery(delivery: str) -> None:
    with pytest.raises(Refusal, match="must be 1 to 40 characters"):
        started(told(dispatch("test-drill", {"cluster": "demo"}), delivery=delivery))


@pytest.mark.parametrize(
    "event",
    [
        told({"zen": "Keep it logically awesome.", "hook_id": 1, "repository": {"full_name": OURS}}, "ping"),
        told(dispatch("test-drill", {"cluster": "demo"}), "push"),
        told(dispatch("test-drill", {"cluster": "demo"}), ""),
        told(dispatch("no-runbook", {"cluster": "demo"})),
        told(dispatch("reap", {})),
        told(dispatch(None, {"cluster": "demo"})),
        told(dispatch({"a": 1}, {"cluster": "demo"})),
        told(dispatch("test-drill", {"cluster": "demo"}, "dba/other")),
        told(dispatch("test-drill", {"cluster": "demo"}, "somebody/runbooks")),
        told({"action": "test-drill", "client_payload": {"cluster": "demo"}}),
        told({"action": "test-drill", "client_payload": {"cluster": "demo"}, "repository": OURS}),
    ],
    ids=range(11),
)
def test_what_is_no_dispatch_of_ours_starts_nothing(event: dict[str, Any]) -> None:
    with pytest.raises(Ignored):
        started(event)


def test_a_body_cannot_say_what_the_headers_say() -> None:
    body = dispatch("test-drill", {"cluster": "demo"}) | {"X-GitHub-Event": "repository_dispatch"}
    with pytest.raises(Ignored):
        started(told(body, "push"))


def test_as_installed_it_serves_one_repository() -> None:
    choice = pack.Choice(("production", "github"), repository="DBA/Run.books_1")
    everything = pack.load(choice, "tiphys").objects
    named = {(one["kind"], one["metadata"]["name"]): one for one in everything}
    spec = named["EventSource", "github"]["spec"]["github"]["dispatch"]
    assert spec["repositories"] == [{"owner": "DBA", "names": ["Run.books_1"]}]
    assert spec["webhookSecret"] == {"name": "tiphys-github", "key": "secret"}
    wanted = named["Sensor", "github"]
    (fired,) = fire(
        [wanted], "github", "dispatch", told(dispatch("check-cluster", {"cluster": "a"}, "dba/run.books_1"))
    )
    assert fired.workflow["metadata"]["name"] == f"check-cluster-{DELIVERY}"
    assert "your-" not in json.dumps([spec, wanted["spec"]])
    assert pack.Choice.recall(choice.remembered()) == choice
    for label in ("eventsource-name", "sensor-name"):
        policies = [one for one in everything if one["kind"] == "NetworkPolicy"]
        (policy,) = [one for one in policies if one["spec"]["podSelector"].get("matchLabels") == {label: "github"}]
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        assert bool(policy["spec"]["ingress"]) is (label == "eventsource-name")


@pytest.mark.parametrize("repository", ["", "runbooks", "a/b/c", "a b/c", 'a/"b', "/b", "a/"])
def test_an_install_without_a_repository_is_refused(repository: str) -> None:
    with pytest.raises(ToolError, match="--github OWNER/NAME"):
        pack.load(pack.Choice(("single-node", "github"), repository=repository), "tiphys")


def test_without_the_overlay_there_is_no_endpoint() -> None:
    for size in pack.SIZES:
        assert "github" not in {one["metadata"]["name"] for one in pack.load(pack.Choice((size,)), "tiphys").objects}


def test_the_overlay_is_honoured_and_fits_into_the_sensors_variable() -> None:
    manifests = Path(__file__).parents[2] / "manifests"
    built = {one["kind"]: one for one in kustomize.build(manifests / "overlays/github/component")}
    assert check(built["EventSource"]) == [] and check(built["Sensor"]) == []
    variable = base64.b64encode(json.dumps(built["Sensor"], separators=(",", ":")).encode())
    assert len(variable) < 100 * 1024, "Argo Events hands it over in one variable, and Linux takes 128 KiB"
    for one in built["Sensor"]["spec"]["template"]["container"]["env"]:
        assert "$(" not in one["value"] and "$$" not in one["value"], "the kubelet would expand it"


def test_a_source_without_a_secret_is_not_served() -> None:
    for change in ({}, {"name": "tiphys-github"}):
        wanted = source.build()
        wanted["spec"]["github"]["dispatch"]["webhookSecret"] = change
        assert any(fault.startswith("spec.github.dispatch.webhookSecret:") for fault in check(wanted))
    wanted = source.build()
    wanted["spec"]["github"]["dispatch"]["apiToken"] = {"name": "a", "key": "b"}
    assert check(wanted) == ["spec.github.dispatch.apiToken: the local gateway does not honour this field"]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = new_home(tmp_path_factory.mktemp("home"))
    wanted = objects()
    wanted["eventsources"].append(source.build())
    wanted["sensors"].append(github.sensor([DRILL, GHOST], OURS))
    data = {"secret": base64.b64encode(SECRET.encode()).decode()}
    wanted["secrets"].append(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tiphys-github"}, "data": data}
    )
    with running("tiphys.local.apiserver", settings):
        create(settings.home, wanted)
        with running_gateway(settings):
            yield settings


def send(
    platform: Settings,
    body: Any,
    *,
    delivery: str = DELIVERY,
    kind: str = "repository_dispatch",
    secret: str = SECRET,
    is_form: bool = False,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send a delivery as GitHub does."""
    raw = json.dumps(body).encode()
    if is_form:
        raw = urlencode({"payload": raw}).encode()
    sent = {
        "Content-Type": "application/x-www-form-urlencoded" if is_form else "application/json",
        "X-GitHub-Event": kind,
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest(),
    } | (headers or {})
    return call(platform.webhook_port, "/github", raw, token=None, **sent)


def test_a_signed_delivery_runs_once_however_often_it_comes(platform: Settings) -> None:
    body = dispatch("test-drill", {"cluster": "demo", "max-lost-writes": 3})
    answers = [send(platform, body, is_form=is_form) for is_form in (False, False, True)]
    assert {answer.status for answer in answers} == {200}
    assert [answer.json["duplicate"] for answer in answers] == [False, True, True]
    name = f"test-drill-{DELIVERY}"
    eventually(lambda: name in workflows(platform.home))
    assert list(workflows(platform.home)) == [name]
    made = workflows(platform.home)[name]["spec"]["arguments"]["parameters"]
    assert [p["value"] for p in made] == ["demo", "crash", "3", "30", "false", ""]


def test_nothing_runs_that_is_not_signed_or_not_ours(platform: Settings) -> None:
    before = set(workflows(platform.home))
    body = dispatch("test-drill", {"cluster": "demo"})
    other = "d2b4a6f0-0000-11ee-8000-000000000001"
    for answer in (
        send(platform, body, delivery=other, secret="another"),
        send(platform, body, delivery=other, headers={"X-Hub-Signature-256": ""}),
        send(platform, body, delivery=other, headers={"X-Hub-Signature-256": "sha256=\xe9"}),
        send(platform, body, delivery=other, headers={"X-Hub-Signature-256": "0" * 64}),
        call(platform.webhook_port, "/github", body),
    ):
        assert answer.status == 401 and SECRET not in answer.error
    for answer in (
        send(platform, {"zen": "x", "hook_id": 1}, delivery=other, kind="ping"),
        send(platform, {"ref": "refs/heads/main"}, delivery=other, kind="push"),
        send(platform, dispatch("deploy-my-app", {}), delivery=other),
        send(platform, dispatch("test-drill", {"cluster": "demo"}, "dba/other"), delivery=other),
    ):
        assert answer.status == 200 and "ignored" in answer.json
    refused = send(platform, dispatch("test-drill", {"cluster": "{{workflow.name}}"}), delivery=other)
    assert refused.status == 400 and "does not match" in refused.error
    assert send(platform, dispatch("no-template", {"cluster": "demo"}), delivery=other).status == 422
    assert send(platform, body, delivery=other, headers={"Content-Type": "text/plain"}).status == 415
    large = dispatch("test-drill", {"cluster": "demo", "note": "x" * 140_000})
    assert send(platform, large, delivery=other).status == 413
    good = send(platform, body, delivery=other)
    assert (good.status, good.json["duplicate"]) == (200, False), "none of them had left anything behind"
    eventually(lambda: set(workflows(platform.home)) - before == {f"test-drill-{other}"})


def test_the_webhook_is_no_way_around_the_signature(platform: Settings) -> None:
    body = dispatch("test-drill", {"cluster": "demo"})
    assert "unknown parameter" in call(platform.webhook_port, "/test-drill", body).error
