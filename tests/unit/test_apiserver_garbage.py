"""What a deletion leads to: dependants of owners, and the contents of namespaces."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apiserver_help import ApiServer, config_map
from kubernetes import client, config
from kubernetes.client.rest import ApiException

from tiphys.local.apiserver.lifecycle import copy_of
from tiphys.local.apiserver.store import Store
from tiphys.local.registry import by_plural

SPACE = "default"


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


def make(core: client.CoreV1Api, name: str, *owners: Any, finalizers: tuple[str, ...] = (), block: bool = True) -> Any:
    obj = config_map(name, SPACE)
    obj["metadata"] |= {
        "finalizers": list(finalizers),
        "ownerReferences": [reference(owner, block) for owner in owners],
    }
    return core.create_namespaced_config_map(SPACE, obj)


def reference(owner: Any, block: bool = True) -> dict[str, Any]:
    meta = owner.metadata
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": meta.name,
        "uid": meta.uid,
        "blockOwnerDeletion": block,
    }


def names(core: client.CoreV1Api) -> set[str]:
    return {item.metadata.name for item in core.list_namespaced_config_map(SPACE).items}


def eventually(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(0.02)


def test_dependants_go_with_their_last_owner(core: client.CoreV1Api) -> None:
    one, two = make(core, "one"), make(core, "two")
    make(core, "both", one, two)
    grandchild_of = make(core, "child", one)
    make(core, "grandchild", grandchild_of)
    make(core, "stranger")
    core.delete_namespaced_config_map("one", SPACE)
    eventually(lambda: names(core) == {"two", "both", "stranger"})
    eventually(lambda: len(core.read_namespaced_config_map("both", SPACE).metadata.owner_references) == 1)
    core.delete_namespaced_config_map("two", SPACE)
    eventually(lambda: names(core) == {"stranger"})


def test_an_object_whose_owner_is_gone_already_is_collected(core: client.CoreV1Api) -> None:
    gone = make(core, "gone")
    core.delete_namespaced_config_map("gone", SPACE)
    make(core, "late", gone)
    eventually(lambda: "late" not in names(core))


def test_an_owner_of_an_unknown_kind_is_left_in_peace(core: client.CoreV1Api) -> None:
    obj = config_map("foreign", SPACE)
    owner = {"apiVersion": "example.com/v1", "kind": "Thing", "name": "t", "uid": "u"}
    obj["metadata"]["ownerReferences"] = [owner]
    core.create_namespaced_config_map(SPACE, obj)
    make(core, "probe", make(core, "p"))
    core.delete_namespaced_config_map("p", SPACE)
    eventually(lambda: "probe" not in names(core))
    assert "foreign" in names(core)


def test_orphans_stay_and_forget_their_owner(core: client.CoreV1Api) -> None:
    make(core, "child", make(core, "owner"))
    core.delete_namespaced_config_map("owner", SPACE, propagation_policy="Orphan")
    eventually(lambda: names(core) == {"child"})
    assert core.read_namespaced_config_map("child", SPACE).metadata.owner_references is None


def test_a_foreground_deletion_waits_for_those_that_block_it(core: client.CoreV1Api) -> None:
    owner = make(core, "owner")
    make(core, "held", owner, finalizers=("x.dev/hold",))
    make(core, "plain", owner)
    core.delete_namespaced_config_map("owner", SPACE, propagation_policy="Foreground")
    eventually(lambda: names(core) == {"owner", "held"})
    assert core.read_namespaced_config_map("owner", SPACE).metadata.finalizers == ["foregroundDeletion"]
    core.patch_namespaced_config_map("held", SPACE, {"metadata": {"finalizers": None}})
    eventually(lambda: names(core) == set())


def test_a_namespace_takes_its_contents_along(core: client.CoreV1Api) -> None:
    core.create_namespace({"metadata": {"name": "room"}})
    core.create_namespaced_config_map("room", config_map("a", "room"))
    held = config_map("held", "room")
    held["metadata"]["finalizers"] = ["x.dev/hold"]
    core.create_namespaced_config_map("room", held)
    core.delete_namespace("room")
    assert core.read_namespace("room").status.phase == "Terminating"
    with pytest.raises(ApiException, match="because it is being terminated"):
        core.create_namespaced_config_map("room", config_map("late", "room"))
    eventually(lambda: len(core.list_namespaced_config_map("room").items) == 1)
    core.patch_namespaced_config_map("held", "room", {"metadata": {"finalizers": None}})

    def gone() -> bool:
        return "room" not in {item.metadata.name for item in core.list_namespace().items}

    eventually(gone)
    with pytest.raises(ApiException, match="may not be deleted"):
        core.delete_namespace("default")


def test_what_a_crash_left_is_collected_at_the_next_start(server: ApiServer, core: client.CoreV1Api) -> None:
    make(core, "child", make(core, "owner"))
    server.stop(signal.SIGKILL)
    store = Store(server.home / "apiserver.db")  # as if the crash had come between the two
    kind = by_plural("configmaps")
    record = store.get(kind, SPACE, "owner")
    assert record
    store.remove(kind, copy_of(record))
    store.close()
    server.start()
    eventually(lambda: names(core) == set())
