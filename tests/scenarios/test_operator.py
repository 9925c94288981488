"""The stand-in operator on a real platform: real servers, real Routers, and everything killed that can be."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest_asyncio
from platform_run import Platform, kill_server

from tiphys.local.client import Kube, NotFound
from tiphys.local.operator import names
from tiphys.local.operator.accounts import Account
from tiphys.local.operator.metadata import SCHEMA
from tiphys.local.operator.objects import decoded
from tiphys.local.operator.probe import ask
from tiphys.local.operator.sql import Session, SqlError
from tiphys.local.settings import NAMESPACE

PATIENCE = 120.0
PASSWORD = "only for tests"


@pytest_asyncio.fixture
async def kube(platform: Platform) -> AsyncIterator[Kube]:
    async with Kube.from_home(platform.home) as opened:
        yield opened


@pytest_asyncio.fixture
async def name(kube: Kube) -> AsyncIterator[str]:
    """Give a cluster's name that no first try of the test has used, and have what is left of the cluster go."""
    made = f"op-{int(time.time()) % 100_000}"
    yield made
    with suppress(NotFound):
        await kube.delete("innodbclusters", made, NAMESPACE)


def operators(platform: Platform) -> list[int]:
    """Return the operator's processes of this platform, and of no other."""
    mark = f"--home\0{platform.home}".encode()
    found = []
    for pid in platform.leftovers():
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
            if b"tiphys.local.operator\0" in words and mark in words:
                found.append(pid)
    return found


async def kill_operator(platform: Platform) -> None:
    """SIGKILL the operator and wait until the supervisor has started another."""
    old = operators(platform)
    assert len(old) == 1, "one operator, never two"
    os.kill(old[0], signal.SIGKILL)
    await until(lambda: [pid for pid in operators(platform) if pid not in old], "a new operator")


async def until(look: Callable[[], Any], what: str) -> Any:
    """Return what `look` finds as soon as it finds something."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        found = look()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come within {PATIENCE:.0f} s"
        await asyncio.sleep(0.2)


async def create(kube: Kube, name: str, servers: int) -> None:
    data = {"rootUser": "root", "rootHost": "%", "rootPassword": PASSWORD}
    secret = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    meta = {"name": f"{name}-root", "namespace": NAMESPACE}
    await kube.create("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": secret})
    spec = {
        "secretName": f"{name}-root",
        "tlsUseSelfSigned": True,
        "instances": servers,
        "router": {"instances": 1},
        "mycnf": "[mysqld]\nmax_connections=123\n",
    }
    meta = {"name": name, "namespace": NAMESPACE}
    obj = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": meta, "spec": spec}
    await kube.create("innodbclusters", obj)


def is_ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(item["type"] == "Ready" and item["status"] == "True" for item in conditions)


async def whole(kube: Kube, name: str, servers: int) -> list[dict[str, Any]] | None:
    """Return the server pods if they form one group of that size, as every one of them sees it itself."""
    with suppress(NotFound):
        status = (await kube.get("innodbclusters", name, NAMESPACE)).get("status") or {}
        cluster = status.get("cluster") or {}
        if (cluster.get("status"), cluster.get("onlineInstances")) != ("ONLINE", servers):
            return None
    pods = await kube.list("pods", NAMESPACE, labels=f"component=mysqld,{names.LABEL_CLUSTER}={name}")
    if len(pods) != servers or not all(is_ready(pod) for pod in pods):
        return None
    private = decoded(await kube.get("secrets", f"{name}-privsecrets", NAMESPACE))
    admin = Account(private["clusterAdminUsername"], private["clusterAdminPassword"])
    seen = set()
    for pod in pods:
        try:
            with Session(admin.user, admin.password, address=pod["status"]["podIP"]) as session:
                view = ask(session)
        except SqlError:
            return None
        if len(view.peers) != servers or any(peer.state != "ONLINE" for peer in view.peers):
            return None
        seen.add((view.view_id, frozenset(view.peers)))
    return pods if len(seen) == 1 else None


def rows(address: str, statement: str, port: int = names.SERVER_PORT) -> list[Any]:
    import mysql.connector

    with mysql.connector.connect(
        host=address, port=port, user="root", password=PASSWORD, use_pure=True, autocommit=True
    ) as connection:
        cursor: Any = connection.cursor()
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.with_rows else []


async def router_address(kube: Kube, name: str) -> str:
    async def look() -> str | None:
        pods = await kube.list("pods", NAMESPACE, labels=f"component=mysqlrouter,{names.LABEL_CLUSTER}={name}")
        ready = [pod for pod in pods if is_ready(pod)]
        return str(ready[0]["status"]["podIP"]) if len(pods) == len(ready) == 1 else None

    return str(await until(look, "one ready Router"))


async def routed(kube: Kube, name: str, statement: str) -> list[Any]:
    """Return what the primary answers by way of the Router: its port is closed whenever it knows of no primary."""
    import mysql.connector

    async def leads() -> str | None:
        address = await router_address(kube, name)
        with suppress(mysql.connector.Error):
            rows(address, "DO 1", names.ROUTER_RW_PORT)
            return address
        return None

    address = str(await until(leads, "a Router that leads to the primary"))
    return rows(address, statement, names.ROUTER_RW_PORT)


async def test_a_cluster_lives_through_everything(platform: Platform, kube: Kube, name: str) -> None:
    # Created while its operator is killed again and again: still one group, and whole.
    await create(kube, name, 3)
    for pause in (1.5, 2.5, 1.5):
        await asyncio.sleep(pause)
        await kill_operator(platform)
    pods = await until(lambda: whole(kube, name, 3), "3 servers in one group")
    roles = sorted(pod["metadata"]["labels"][names.LABEL_ROLE] for pod in pods)
    assert roles == ["PRIMARY", "SECONDARY", "SECONDARY"]
    assert all(names.FINALIZER_MEMBER in pod["metadata"]["finalizers"] for pod in pods)
    (server_id, most) = rows(pods[2]["status"]["podIP"], "SELECT @@server_id, @@max_connections")[0]
    assert (server_id, most) == (1002, 123)
    for statement in (
        "CREATE DATABASE kept",
        "CREATE TABLE kept.t (id INT PRIMARY KEY)",
        "INSERT INTO kept.t VALUES (7)",
    ):
        await routed(kube, name, statement)
    ((process_file,),) = rows(pods[0]["status"]["podIP"], "SELECT @@pid_file")
    assert Path(process_file).exists()

    # Every server killed at once, and the operator as well: the same group starts again, with its rows.
    for pod in pods:
        ((process_file,),) = rows(pod["status"]["podIP"], "SELECT @@pid_file")
        kill_server(process_file)
    await kill_operator(platform)
    pods = await until(lambda: whole(kube, name, 3), "the group after the outage")
    for pod in pods:
        assert rows(pod["status"]["podIP"], "SELECT id FROM kept.t") == [(7,)]
        restarts = {item["name"]: item["restartCount"] for item in pod["status"]["containerStatuses"]}
        assert restarts["mysql"] >= 1 and restarts["sidecar"] == 0

    # A primary's pod deleted: it leaves first, and comes back under another uid with the same data.
    primary = next(pod for pod in pods if pod["metadata"]["labels"].get(names.LABEL_ROLE) == "PRIMARY")
    await kube.delete("pods", primary["metadata"]["name"], NAMESPACE)

    async def replaced() -> bool:
        now = await whole(kube, name, 3)
        return bool(now) and primary["metadata"]["uid"] not in {pod["metadata"]["uid"] for pod in now or []}

    await until(replaced, "the new pod in the group")
    assert await routed(kube, name, "SELECT COUNT(*) FROM kept.t") == [(1,)]

    # One more server, and away again; its claim stays.
    for servers in (4, 3):
        await kube.patch("innodbclusters", name, {"spec": {"instances": servers}}, NAMESPACE)
        await until(lambda servers=servers: whole(kube, name, servers), f"{servers} servers")
    claims = [claim["metadata"]["name"] for claim in await kube.list("persistentvolumeclaims", NAMESPACE)]
    assert f"datadir-{name}-3" in claims

    async def noted() -> bool:
        return await routed(kube, name, f"SELECT COUNT(*) FROM {SCHEMA}.instances") == [(3,)]

    await until(noted, "3 servers in the metadata")

    # No Routers wanted: no Deployment.
    await kube.patch("innodbclusters", name, {"spec": {"router": {"instances": 0}}}, NAMESPACE)
    await until(lambda: gone(kube, "deployments", f"{name}-router"), "the end of the Routers")

    # Deleted: all that it owned goes, the claims stay.
    await kube.delete("innodbclusters", name, NAMESPACE)
    await until(lambda: gone(kube, "innodbclusters", name), "the end of the cluster")
    for resource in ("statefulsets", "services", "configmaps", "poddisruptionbudgets", "pods", "secrets"):
        await until(lambda resource=resource: nothing_left(kube, name, resource), f"the end of its {resource}")
    claims = [claim["metadata"]["name"] for claim in await kube.list("persistentvolumeclaims", NAMESPACE)]
    assert {f"datadir-{name}-{ordinal}" for ordinal in range(4)} <= set(claims)
    assert len(operators(platform)) == 1


async def gone(kube: Kube, resource: str, name: str) -> bool:
    try:
        await kube.get(resource, name, NAMESPACE)
    except NotFound:
        return True
    return False


async def nothing_left(kube: Kube, name: str, resource: str) -> bool:
    """Whether no object is left that the cluster owned."""
    return not any(
        owner["kind"] == "InnoDBCluster" and owner["name"] == name
        for item in await kube.list(resource, NAMESPACE)
        for owner in item["metadata"].get("ownerReferences") or []
    )


async def test_a_spec_that_cannot_be_is_said_to_be_invalid(platform: Platform, kube: Kube) -> None:
    meta = {"name": "a-name-of-more-than-28-letters", "namespace": NAMESPACE}
    spec = {"secretName": "none", "instances": 1}
    obj = {"apiVersion": "mysql.oracle.com/v2", "kind": "InnoDBCluster", "metadata": meta, "spec": spec}
    try:
        await kube.create("innodbclusters", obj)
    except Exception as error:  # the API server may know the rule as well
        assert "28" in str(error)
        return

    async def invalid() -> bool:
        found = await kube.get("innodbclusters", meta["name"], NAMESPACE)
        return bool((found.get("status") or {}).get("cluster", {}).get("status") == "INVALID")

    await until(invalid, "status INVALID")
    events = await kube.list("events", NAMESPACE)
    assert any("28" in event["message"] for event in events if event["involvedObject"]["name"] == meta["name"])
    await kube.delete("innodbclusters", meta["name"], NAMESPACE)
    await until(lambda: gone(kube, "innodbclusters", meta["name"]), "its end")
