"""The controllers, kubelet and proxy together, on a real API server with real processes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from pods_help import Cluster, cluster, condition, gone, main_status, phase_is, pod, signal_main, until, wait_pod

from tiphys.local.client import Kube, NotFound, TooManyRequests

ECHO = """
import asyncio, os
async def serve(reader, writer):
    while data := await reader.read(65536):
        writer.write(os.environ["NAME"].encode() + b":" + data)
    writer.close()
async def main():
    server = await asyncio.start_server(serve, os.environ["IP"], 9000)
    await server.serve_forever()
asyncio.run(main())
"""
FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.02; done"]
APART = {
    "podAntiAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": [
            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}
        ]
    }
}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("controllers"), "controllers", "kubelet", "proxy") as made:
        yield made


@pytest.fixture
async def kube(platform: Cluster) -> AsyncIterator[Kube]:
    async with Kube.from_home(platform.home) as client:
        await client.wait_ready()
        yield client
        resources = (
            "statefulsets",
            "deployments",
            "services",
            "poddisruptionbudgets",
            "pods",
            "persistentvolumeclaims",
        )
        for resource in resources:
            for item in await client.list(resource, "tiphys"):
                grace = 0 if resource == "pods" else None
                with suppress(NotFound):  # the controllers delete as well
                    await client.delete(resource, item["metadata"]["name"], "tiphys", grace=grace)
        for node in await client.list("nodes"):
            await client.patch("nodes", node["metadata"]["name"], {"spec": {"unschedulable": None}})

        async def empty() -> bool:
            return not [item for resource in resources for item in await client.list(resource, "tiphys")]

        await until(empty, "the end of all objects")
        await until(lambda: not platform.processes(), "the end of all processes")


def workload(kind: str, replicas: int, command: list[str], **spec: Any) -> dict[str, Any]:
    """Return a StatefulSet or Deployment `db`; `spec` goes into its pods' spec where it is theirs."""
    made = pod("template", command, node=None)["spec"]
    del made["restartPolicy"]
    made["containers"][0]["env"] = [
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    for key in ("affinity",):
        if key in spec:
            made[key] = spec.pop(key)
    for key in ("ports", "readinessProbe", "volumeMounts"):
        if key in spec:
            made["containers"][0][key] = spec.pop(key)
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "db", "namespace": "tiphys"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": made},
            **spec,
        },
    }


async def settled(kube: Kube, resource: str, replicas: int) -> dict[str, Any]:
    """Wait until the workload `db` has so many ready pods of its newest template, and no others."""

    async def look() -> dict[str, Any] | None:
        found = await kube.get(resource, "db", "tiphys")
        status = found.get("status") or {}
        numbers = [status.get(key, 0) for key in ("replicas", "readyReplicas", "updatedReplicas")]
        fresh = status.get("observedGeneration") == found["metadata"]["generation"]
        pods = await kube.list("pods", "tiphys", labels="app=db")
        return found if fresh and numbers == [replicas] * 3 and len(pods) == replicas else None

    found: dict[str, Any] = await until(look, f"{replicas} pods of {resource}/db")
    return found


async def pods_by_name(kube: Kube) -> dict[str, dict[str, Any]]:
    return {item["metadata"]["name"]: item for item in await kube.list("pods", "tiphys", labels="app=db")}


async def test_a_set_scales_up_and_down_and_keeps_its_claims_data(platform: Cluster, kube: Kube) -> None:
    command = ["sh", "-c", 'echo "$NAME" >> data/who; trap "exit 0" TERM; while :; do sleep 0.02; done']
    storage = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    claims = [{"metadata": {"name": "data"}, "spec": storage}]
    mounts = [{"name": "data", "mountPath": "/data"}]
    made = workload("StatefulSet", 3, command, serviceName="db", volumeClaimTemplates=claims, volumeMounts=mounts)
    made["spec"]["template"]["spec"]["affinity"] = APART
    await kube.create("statefulsets", made)
    await settled(kube, "statefulsets", 3)
    first = await pods_by_name(kube)
    assert sorted(first) == ["db-0", "db-1", "db-2"]
    assert {item["spec"]["nodeName"] for item in first.values()} == {"node-1", "node-2", "node-3"}
    claim = await kube.get("persistentvolumeclaims", "data-db-2", "tiphys")
    assert claim["status"]["phase"] == "Bound"

    await kube.patch("statefulsets", "db", {"spec": {"replicas": 1}}, "tiphys")
    await settled(kube, "statefulsets", 1)
    assert list(await pods_by_name(kube)) == ["db-0"]
    folder = platform.settings.claim_folder("tiphys", "data-db-1")
    await kube.delete("persistentvolumeclaims", "data-db-1", "tiphys")
    await gone(kube, "persistentvolumeclaims", "data-db-1")
    assert not folder.exists()

    await kube.patch("statefulsets", "db", {"spec": {"replicas": 3}}, "tiphys")
    await settled(kube, "statefulsets", 3)
    who = [platform.settings.claim_folder("tiphys", f"data-db-{number}") / "who" for number in (1, 2)]
    await until(lambda: [path.exists() and path.read_text().split() for path in who] == [["db-1"], ["db-2", "db-2"]])


async def test_a_claim_in_use_is_kept_until_its_pod_is_gone(platform: Cluster, kube: Kube) -> None:
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "one", "namespace": "tiphys"}}
    access = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await kube.create("persistentvolumeclaims", claim | {"spec": access})
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "one"}}]
    mounts = [{"name": "v", "mountPath": "/v"}]
    await kube.create("pods", pod("user", FOREVER, node=None, volumes=volumes, volumeMounts=mounts))
    await wait_pod(kube, "user", phase_is("Running"))
    await kube.delete("persistentvolumeclaims", "one", "tiphys")
    await asyncio.sleep(0.3)
    assert platform.settings.claim_folder("tiphys", "one").exists()
    await kube.delete("pods", "user", "tiphys")
    await gone(kube, "persistentvolumeclaims", "one")


async def test_evictions_wait_for_the_budget_and_a_cordon_holds_the_replacement(kube: Kube) -> None:
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"}
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "db"}}}
    await kube.create(
        "poddisruptionbudgets", budget | {"metadata": {"name": "db-pdb", "namespace": "tiphys"}, "spec": spec}
    )
    made = workload("StatefulSet", 3, FOREVER, podManagementPolicy="Parallel", serviceName="db", affinity=APART)
    await kube.create("statefulsets", made)
    await settled(kube, "statefulsets", 3)
    before = await pods_by_name(kube)

    async def allowed() -> bool:
        status = (await kube.get("poddisruptionbudgets", "db-pdb", "tiphys")).get("status") or {}
        return bool(status.get("disruptionsAllowed") == 1)

    await until(allowed, "an allowed disruption")
    node = before["db-1"]["spec"]["nodeName"]
    await kube.patch("nodes", node, {"spec": {"unschedulable": True}})
    await kube.evict("db-1", "tiphys")
    with pytest.raises(TooManyRequests):
        await kube.evict("db-2", "tiphys")

    def waiting(item: dict[str, Any]) -> bool:
        scheduled = condition(item, "PodScheduled")
        return item["metadata"]["uid"] != before["db-1"]["metadata"]["uid"] and scheduled.get("status") == "False"

    seen = await wait_pod(kube, "db-1", waiting, "an unschedulable replacement")
    assert condition(seen, "PodScheduled")["reason"] == "Unschedulable"
    assert "1 node(s) were unschedulable" in condition(seen, "PodScheduled")["message"]
    with pytest.raises(TooManyRequests):
        await kube.evict("db-2", "tiphys")
    await kube.patch("nodes", node, {"spec": {"unschedulable": None}})
    await settled(kube, "statefulsets", 3)
    assert (await pods_by_name(kube))["db-1"]["spec"]["nodeName"] == node
    await until(allowed, "the budget's recovery")


async def test_pods_made_together_are_spread(kube: Kube) -> None:
    for number in range(6):
        await kube.create("pods", pod(f"p{number}", FOREVER, node=None))
    found = [await wait_pod(kube, f"p{number}", phase_is("Running")) for number in range(6)]
    nodes = [item["spec"]["nodeName"] for item in found]
    assert sorted(nodes) == sorted(["node-1", "node-2", "node-3"] * 2)


async def test_a_deployment_rolls_and_keeps_its_number(kube: Kube) -> None:
    await kube.create("deployments", workload("Deployment", 2, FOREVER))
    await settled(kube, "deployments", 2)
    before = await pods_by_name(kube)
    change = {"spec": {"template": {"metadata": {"annotations": {"round": "2"}}}}}
    await kube.patch("deployments", "db", change, "tiphys")
    found = await settled(kube, "deployments", 2)
    after = await pods_by_name(kube)
    assert not set(before) & set(after)
    assert condition(found, "Available")["status"] == "True"
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
    victim = next(iter(after))
    await kube.delete("pods", victim, "tiphys", grace=0)

    async def replaced() -> bool:
        names = set(await pods_by_name(kube))
        return len(names) == 2 and victim not in names

    await until(replaced, "a replacement")
    await kube.delete("deployments", "db", "tiphys")
    await gone(kube, "deployments", "db")

    async def none() -> bool:
        return not await pods_by_name(kube)

    await until(none, "the end of the deployment's pods")


async def test_a_restarted_controller_process_goes_on_where_it_was(platform: Cluster, kube: Kube) -> None:
    await kube.create("statefulsets", workload("StatefulSet", 2, FOREVER, serviceName="db"))
    await settled(kube, "statefulsets", 2)
    uids = {item["metadata"]["uid"] for item in (await pods_by_name(kube)).values()}
    platform.kill("controllers")
    await kube.patch("statefulsets", "db", {"spec": {"replicas": 3}}, "tiphys")
    platform.start("controllers")
    await settled(kube, "statefulsets", 3)
    assert uids < {item["metadata"]["uid"] for item in (await pods_by_name(kube)).values()}


async def test_a_service_leads_to_ready_pods_only(platform: Cluster, kube: Kube) -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "db", "namespace": "tiphys"}}
    spec = {"selector": {"app": "db"}, "ports": [{"name": "echo", "port": 80, "targetPort": "echo"}]}
    address = (await kube.create("services", service | {"spec": spec}))["spec"]["clusterIP"]
    assert address.startswith(f"127.{platform.settings.network}.200.")
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address, 80)
    probe = {"tcpSocket": {"port": "echo"}, "periodSeconds": 1, "failureThreshold": 1}
    ports = [{"name": "echo", "containerPort": 9000}]
    made = workload("StatefulSet", 2, ["python3", "-c", ECHO], serviceName="db", readinessProbe=probe, ports=ports)
    await kube.create("statefulsets", made)
    await settled(kube, "statefulsets", 2)

    async def ask() -> bytes:
        try:
            reader, writer = await asyncio.open_connection(address, 80)
        except (ConnectionRefusedError, ConnectionResetError):  # reset: it closed while this was at the door
            return b""
        try:
            writer.write(b"hello")
            return await reader.read(100)
        except ConnectionResetError:
            return b"reset"
        finally:
            writer.close()

    seen: set[bytes] = set()

    async def both() -> bool:
        seen.add(await ask())
        return {b"db-0:hello", b"db-1:hello"} <= seen

    await until(both, "answers of both pods")

    # A connection stays with its pod while another dies, and is reset when its own does.
    reader, writer = await asyncio.open_connection(address, 80)
    writer.write(b"x")
    mine = (await reader.read(100)).decode().partition(":")[0]
    other = {"db-0": "db-1", "db-1": "db-0"}[mine]
    uids = {name: item["metadata"]["uid"] for name, item in (await pods_by_name(kube)).items()}
    await kube.patch("statefulsets", "db", {"spec": {"updateStrategy": {"type": "OnDelete"}}}, "tiphys")
    signal_main(platform, uids[other], signal.SIGSTOP)

    async def alone() -> bool:
        found = await kube.get("endpoints", "db", "tiphys")
        ready = [entry["targetRef"]["name"] for part in found["subsets"] for entry in part.get("addresses") or []]
        return mine in ready

    await until(alone)
    writer.write(b"y")
    assert (await reader.read(100)).decode() == f"{mine}:y"
    signal_main(platform, uids[other], signal.SIGCONT)
    signal_main(platform, uids[mine], signal.SIGKILL)
    with suppress(ConnectionResetError):
        assert await reader.read(100) == b""
    writer.close()
    await wait_pod(kube, mine, lambda item: main_status(item)["restartCount"] == 1)
    seen.clear()
    await until(both, "answers of both pods after the restart")
    await kube.delete("services", "db", "tiphys")

    async def refused() -> bool:
        return await ask() == b""

    await until(refused, "the closed door")
    with pytest.raises(NotFound):
        await kube.get("services", "db", "tiphys")
    await until(lambda: _is_gone(kube, "endpoints"), "the end of the Endpoints")


async def _is_gone(kube: Kube, resource: str) -> bool:
    try:
        await kube.get(resource, "db", "tiphys")
    except NotFound:
        return True
    return False
