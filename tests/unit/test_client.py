"""The platform's own client, informer and work queue, against a real API server process."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from apiserver_help import ApiServer, config_map

from tiphys.local.client import (
    AlreadyExists,
    ApiError,
    Conflict,
    Informer,
    Invalid,
    Kube,
    NotFound,
    Unreachable,
    WorkQueue,
    reconcile_loop,
)
from tiphys.local.registry import KINDS, by_kind, by_path, by_plural

SPACE = "default"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    made = ApiServer(tmp_path_factory.mktemp("home"))
    made.start()
    yield made
    made.stop()


@pytest.fixture
async def kube(server: ApiServer) -> AsyncIterator[Kube]:
    async with Kube.from_home(server.home) as made:
        yield made
        for item in await made.list("configmaps", SPACE):
            await made.delete("configmaps", item["metadata"]["name"], SPACE)


async def eventually(check, seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not check():
        assert asyncio.get_running_loop().time() < deadline, "did not come true"
        await asyncio.sleep(0.02)


def test_every_kind_can_be_found_by_its_names() -> None:
    for kind in KINDS:
        assert by_plural(kind.plural) is kind
        assert by_kind(kind.api_version, kind.kind) is kind
        assert by_path(kind.group, kind.version, kind.plural) is kind
    assert by_plural("pods").path("a", "b", "log") == "/api/v1/namespaces/a/pods/b/log"
    assert by_plural("nodes").path("a", "n") == "/api/v1/nodes/n"
    with pytest.raises(KeyError, match="known plural names: .*pods"):
        by_plural("Pod")


async def test_objects_are_created_changed_and_deleted(kube: Kube) -> None:
    made = await kube.create("configmaps", config_map("a", SPACE, x="1"))
    assert made["kind"] == "ConfigMap" and made["metadata"]["uid"]
    made["data"] = {"x": "2"}
    again = await kube.replace("configmaps", made)
    with pytest.raises(Conflict, match="the object has been modified"):
        await kube.replace("configmaps", made)
    patched = await kube.patch("configmaps", "a", {"data": {"y": "3"}}, SPACE)
    assert patched["data"] == {"x": "2", "y": "3"}
    with pytest.raises(Conflict):
        stale = {"metadata": {"resourceVersion": again["metadata"]["resourceVersion"]}}
        await kube.patch("configmaps", "a", stale, SPACE)
    with pytest.raises(AlreadyExists):
        await kube.create("configmaps", config_map("a", SPACE))
    with pytest.raises(Invalid, match="lowercase RFC 1123"):
        await kube.create("configmaps", config_map("No_Name", SPACE))
    with pytest.raises(Conflict, match="UID in precondition"):
        await kube.delete("configmaps", "a", SPACE, uid="another")
    await kube.delete("configmaps", "a", SPACE)
    with pytest.raises(NotFound, match='configmaps "a" not found'):
        await kube.get("configmaps", "a", SPACE)
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        await kube.create("configmaps", config_map("a", "nowhere"))


async def test_listed_items_say_what_they_are_and_selectors_work(kube: Kube) -> None:
    for name, tier in (("a", "x"), ("b", "y")):
        obj = config_map(name, SPACE)
        obj["metadata"]["labels"] = {"tier": tier}
        await kube.create("configmaps", obj)
    found = await kube.list("configmaps", SPACE, labels="tier in (y,z)")
    assert [(item["kind"], item["metadata"]["name"]) for item in found] == [("ConfigMap", "b")]
    found = await kube.list("configmaps", fields="metadata.name!=b")
    assert [item["metadata"]["name"] for item in found] == ["a"]


async def test_the_same_event_again_counts_up(kube: Kube) -> None:
    about = await kube.create("configmaps", config_map("a", SPACE))
    for _ in range(3):
        await kube.event(about, "Tested", "all is well", component="test")
    await kube.event(about, "Tested", "something else", "Warning", "test")
    found = await kube.list("events", SPACE, fields=f"involvedObject.uid={about['metadata']['uid']}")
    assert sorted((item["message"], item["count"], item["type"]) for item in found) == [
        ("all is well", 3, "Normal"),
        ("something else", 1, "Warning"),
    ]


async def test_a_client_without_a_server_says_so(tmp_path: Path) -> None:
    async with Kube("http://127.0.0.1:9", "token") as kube:
        with pytest.raises(Unreachable, match="did not answer within"):
            await kube.wait_ready(0.2)
    async with Kube("http://127.0.0.1:9", tmp_path / "none") as kube:
        with pytest.raises(Unreachable, match="the API server has not started yet"):
            await kube.get("pods", "a", "b")


async def test_an_informer_follows_through_a_crash_of_the_server(tmp_path: Path) -> None:
    own = ApiServer(tmp_path)
    own.start()
    try:
        async with Kube.from_home(own.home) as kube:
            informer, told = Informer(kube, "configmaps", SPACE), []
            informer.on_change(lambda change, obj: told.append((change, obj["metadata"]["name"])))
            following = asyncio.create_task(informer.run())
            await kube.create("configmaps", config_map("a", SPACE, v="1"))
            await kube.create("configmaps", config_map("b", SPACE))
            await informer.synced()
            await eventually(lambda: len(informer.objects) == 2)
            own.stop(signal.SIGKILL)
            restarting = asyncio.create_task(asyncio.to_thread(own.start))
            # Made while the informer may still be without a watch: these calls wait for the server themselves.
            await restarting
            await kube.patch("configmaps", "a", {"data": {"v": "2"}}, SPACE)
            await kube.delete("configmaps", "b", SPACE)
            await kube.create("configmaps", config_map("c", SPACE))
            await eventually(lambda: set(informer.objects) == {(SPACE, "a"), (SPACE, "c")})
            await eventually(lambda: informer.objects[SPACE, "a"]["data"] == {"v": "2"})
            assert sorted(told) == [
                ("ADDED", "a"),
                ("ADDED", "b"),
                ("ADDED", "c"),
                ("DELETED", "b"),
                ("MODIFIED", "a"),
            ]
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
    finally:
        own.stop()


async def test_a_call_waits_while_the_server_is_started_again(tmp_path: Path) -> None:
    own = ApiServer(tmp_path)
    own.start()
    try:
        async with Kube.from_home(own.home) as kube:
            await kube.create("configmaps", config_map("a", SPACE))
            own.stop(signal.SIGKILL)
            asking = asyncio.create_task(kube.get("configmaps", "a", SPACE))
            await asyncio.to_thread(own.start)
            with suppress(Unreachable):  # the pooled connection may break once, which is told honestly
                assert (await asking)["metadata"]["name"] == "a"
            assert (await kube.get("configmaps", "a", SPACE))["metadata"]["name"] == "a"
    finally:
        own.stop()


async def test_a_key_is_worked_on_once_at_a_time_and_retried_after_failures() -> None:
    queue, running, most, calls = WorkQueue(), 0, 0, []

    async def handler(key: tuple[str, str]) -> float | None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        calls.append(key)
        await asyncio.sleep(0.01)
        running -= 1
        if len(calls) == 1:
            raise ApiError(500, "InternalError", "first time lucky? no")
        if len(calls) == 2:
            raise ZeroDivisionError
        return None

    working = asyncio.create_task(reconcile_loop(queue, handler, workers=4))
    for _ in range(10):
        queue.add(("ns", "a"))
    await asyncio.sleep(0.005)
    queue.add(("ns", "a"))  # while it is worked on: once more afterwards
    await eventually(lambda: len(calls) >= 3)
    await asyncio.sleep(0.1)
    assert most == 1 and len(calls) <= 4
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def test_a_handler_may_ask_to_be_called_again_later() -> None:
    queue, calls = WorkQueue(), []

    async def handler(key: tuple[str, str]) -> float | None:
        calls.append(key)
        return 0.01 if len(calls) < 3 else None

    working = asyncio.create_task(reconcile_loop(queue, handler))
    queue.add(("", "node"))
    await eventually(lambda: len(calls) == 3)
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
