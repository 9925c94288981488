"""Watches: what is pushed, to whom, from when on; with the official client's watch and raw streams."""

from __future__ import annotations

import json
import signal
import threading
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer, config_map
from kubernetes import client, config, watch
from kubernetes.client.rest import ApiException

from tiphys.local.apiserver import watches
from tiphys.local.apiserver.store import Store
from tiphys.local.registry import by_plural

SPACE = "default"
MAPS = f"/api/v1/namespaces/{SPACE}/configmaps"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    made = ApiServer(tmp_path_factory.mktemp("home"))
    made.start()
    yield made
    made.stop()
    assert '"trace"' not in made.log()


@pytest.fixture
def core(server: ApiServer) -> Iterator[client.CoreV1Api]:
    with config.new_client_from_config(str(server.settings.kubeconfig)) as api:
        made = client.CoreV1Api(api)
        yield made
        made.delete_collection_namespaced_config_map(SPACE)


def stream(server: ApiServer, query: str) -> HTTPResponse:
    request = urllib.request.Request(
        f"{server.settings.api_url}{MAPS}?watch=1&{query}", headers={"Authorization": f"Bearer {server.token()}"}
    )
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=60)
    return answer


def told(answer: HTTPResponse, count: int | None = None) -> list[dict[str, Any]]:
    """The next `count` events, or all until the stream ends."""
    found = []
    while count is None or len(found) < count:
        line = answer.readline()
        if not line:
            break
        found.append(json.loads(line))
    return found


def short(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


def put(core: client.CoreV1Api, name: str, **labels: str) -> None:
    obj = config_map(name, SPACE)
    obj["metadata"]["labels"] = labels
    try:
        core.create_namespaced_config_map(SPACE, obj)
    except ApiException:
        core.replace_namespaced_config_map(name, SPACE, obj)


def test_the_official_watch_sees_every_change_in_order(core: client.CoreV1Api) -> None:
    version = core.list_namespaced_config_map(SPACE).metadata.resource_version

    def change() -> None:
        put(core, "a")
        put(core, "a", x="y")
        core.delete_namespaced_config_map("a", SPACE)
        put(core, "end")

    changing = threading.Thread(target=change)
    changing.start()
    seen = []
    watching = watch.Watch()
    for event in watching.stream(core.list_namespaced_config_map, SPACE, resource_version=version, timeout_seconds=20):
        seen.append((event["type"], event["object"].metadata.name))
        if event["object"].metadata.name == "end":
            watching.stop()
    changing.join(60)
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "end")]


def test_a_watch_goes_on_from_its_version_and_ends_in_time(server: ApiServer, core: client.CoreV1Api) -> None:
    put(core, "a")
    put(core, "b")
    version = core.read_namespaced_config_map("a", SPACE).metadata.resource_version
    core.delete_namespaced_config_map("b", SPACE)
    with stream(server, f"resourceVersion={version}&timeoutSeconds=1") as answer:
        assert short(told(answer)) == [("ADDED", "b"), ("DELETED", "b")]
    with stream(server, "timeoutSeconds=1") as answer:  # no version: the present first
        assert short(told(answer)) == [("ADDED", "a")]
    with stream(server, "timeoutSeconds=1&sendInitialEvents=true&allowWatchBookmarks=1") as answer:
        events = told(answer, 2)
    assert events[1]["type"] == "BOOKMARK"
    assert events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_an_object_that_begins_or_stops_to_match_is_added_or_deleted(server: ApiServer, core: client.CoreV1Api) -> None:
    put(core, "a", tier="x")
    with stream(server, "labelSelector=tier%3Dy&timeoutSeconds=30") as answer:
        put(core, "a", tier="y")
        put(core, "a", tier="y", more="1")
        put(core, "b", tier="x")
        put(core, "a", tier="z")
        core.delete_namespaced_config_map("a", SPACE)
        put(core, "end", tier="y")
        events = told(answer, 4)
    assert short(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "end")]
    assert events[2]["object"]["metadata"]["labels"] == {"tier": "z"}


def test_a_forgotten_or_future_version_is_gone(server: ApiServer, core: client.CoreV1Api) -> None:
    put(core, "a")
    old = core.read_namespaced_config_map("a", SPACE).metadata.resource_version
    put(core, "a", x="y")
    newest = core.read_namespaced_config_map("a", SPACE).metadata.resource_version
    server.stop(signal.SIGKILL)  # the changes of a former life are not remembered
    server.start()
    with stream(server, f"resourceVersion={newest}&timeoutSeconds=1") as answer:
        assert told(answer) == []
    for version in (old, "99999999"):
        code, body = server.request("GET", f"{MAPS}?watch=1&resourceVersion={version}")
        assert code == 410 and json.loads(body)["reason"] == "Expired"


def test_a_name_and_a_field_select_one_object(server: ApiServer, core: client.CoreV1Api) -> None:
    with stream(server, "fieldSelector=metadata.name%3Db&timeoutSeconds=30") as answer:
        put(core, "a")
        put(core, "b")
        put(core, "a", x="y")
        core.delete_namespaced_config_map("b", SPACE)
        assert short(told(answer, 2)) == [("ADDED", "b"), ("DELETED", "b")]


async def test_a_subscription_that_falls_too_far_behind_is_marked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(watches, "BACKLOG", 3)
    store, kind = Store(tmp_path / "db"), by_plural("configmaps")
    slow = watches.WatchHub(store).subscribe(kind, None)
    for number in range(4):
        store.put(kind, {"metadata": {"name": f"m{number}", "namespace": SPACE, "uid": f"{number}"}})
    assert len(await slow.take(1)) == 3 and slow.overrun
    store.close()


def test_a_reader_that_is_not_read_does_not_hold_up_the_others(server: ApiServer, core: client.CoreV1Api) -> None:
    with stream(server, "timeoutSeconds=30"), stream(server, "timeoutSeconds=30") as good:
        big = "x" * 100_000
        for number in range(60):  # 6 MB: more than a socket holds
            core.create_namespaced_config_map(SPACE, config_map(f"m{number}", SPACE, v=big))
        assert len(told(good, 60)) == 60
