"""check-cluster on a real group and a real API server: nothing on a healthy one, and every fault that is seeded.

Each fault is also judged with its own check taken out, and must then be missed: no other check covers for it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from apiserver_help import ApiServer
from book_help import make_book
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from mysql_group import ROOT, Server, mysql_group

from steps.check import judge, servers
from steps.check.finding import CRITICAL, OK, UNKNOWN, WARNING, health
from steps.check.look import see
from steps.drill import intent, multi_primary
from steps.kube import client, cordon
from steps.kube.client import Kube
from steps.mysql import inspection
from steps.mysql.connection import close, query
from steps.mysql.protection import read_backups

NET = f"127.89.{os.getpid() % 250 + 1}"
ADDRESSES = {f"demo-{number}": f"{NET}.{41 + number}" for number in range(3)}
LABELS = {"mysql.oracle.com/cluster": "demo", "component": "mysqld"}
MYCNF = "[mysqld]\nmax_connections=151\nlong-query-time = 10\n"
READY = [{"type": "Ready", "status": "True"}]
ONLINE = {"cluster": {"status": "ONLINE", "onlineInstances": 3}}

pytestmark = pytest.mark.timeout(900)


def object_of(kind: str, name: str, version: str = "v1", **fields: Any) -> dict[str, Any]:
    labels = fields.pop("labels", {})
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, **fields}


@dataclass
class World:
    """A healthy cluster: three real servers in a group, and what Kubernetes holds of them."""

    kube: Kube
    servers: dict[str, Server]

    def sql(self, pod: str, *statements: str) -> list[tuple[Any, ...]]:
        connection = self.servers[pod].connect()
        try:
            return [query(connection, statement) for statement in statements][-1]
        finally:
            close(connection)

    def pod(self, name: str, node: str, image: str = "x/community-server:9.7.4", **labels: str) -> None:
        router = "router" in image
        container = {"name": "router" if router else "mysql", "image": image}
        claim = {"name": "datadir", "persistentVolumeClaim": {"claimName": f"datadir-{name}"}}
        spec = {"containers": [container], "nodeName": node, "volumes": [] if router else [claim]}
        labels = {**LABELS, **({"component": "mysqlrouter"} if router else {}), **labels}
        self.kube.create("pods", object_of("Pod", name, labels=labels, spec=spec))
        status = {"phase": "Running", "podIP": ADDRESSES.get(name, f"{NET}.99"), "conditions": READY}
        self.kube.patch("pods", name, {"status": status}, subresource="status")

    def move(self, name: str, node: str) -> None:
        self.kube.delete("pods", name, grace_seconds=0)
        self.pod(name, node)

    def budget(self) -> None:
        spec = {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}}
        self.kube.create("poddisruptionbudgets", object_of("PodDisruptionBudget", "demo-pdb", "policy/v1", spec=spec))

    def build(self) -> None:
        kube = self.kube
        make_book(kube)
        login = {"rootUser": "root", "rootPassword": ROOT.password}
        kube.create("secrets", object_of("Secret", "demo-secret", stringData=login))
        kube.create("configmaps", object_of("ConfigMap", "demo-initconf", data={"99-extra.cnf": f"# made\n{MYCNF}"}))
        spec = {"secretName": "demo-secret", "instances": 3, "router": {"instances": 0}, "mycnf": MYCNF}
        kube.create("innodbclusters", object_of("InnoDBCluster", "demo", "mysql.oracle.com/v2", spec=spec))
        kube.patch("innodbclusters", "demo", {"status": ONLINE}, subresource="status")
        for number, name in enumerate(self.servers, 1):
            kube.create("nodes", object_of("Node", f"node-{number}"))
            resources = {"requests": {"storage": "5Gi"}}
            claim = {"accessModes": ["ReadWriteOnce"], "resources": resources}
            kube.create("persistentvolumeclaims", object_of("PersistentVolumeClaim", f"datadir-{name}", spec=claim))
            self.pod(name, f"node-{number}")
        self.budget()

    def seen(self) -> judge.Seen:
        return see(self.kube, "demo", read_backups([self.kube.cluster("demo")]), timeout=20)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(inspection, "ERRANT_PATIENCE", 0.5)
        patch.setattr(servers, "LAG_SECONDS", 0.5)
        patch.delenv("S3_BUCKET", raising=False)
        api = ApiServer(tmp_path_factory.mktemp("api"))
        api.start()
        stack.callback(api.stop)
        patch.setenv("KUBECONFIG", str(api.settings.kubeconfig))
        kube = client.connect("tiphys")
        stack.callback(kube.close)
        group = stack.enter_context(mysql_group(tmp_path_factory.mktemp("g"), list(ADDRESSES.values())))
        made = World(kube, dict(zip(ADDRESSES, group, strict=True)))
        made.build()
        yield made


def bad(seen: judge.Seen) -> dict[str, str]:
    """Return the worst severity of each check that found something."""
    found: dict[str, str] = {}
    for one in judge.judge_all(seen):
        if one.severity in (WARNING, CRITICAL):
            assert one.means and one.run, one
            found[one.check] = CRITICAL if CRITICAL in (one.severity, found.get(one.check)) else WARNING
    return found


def told(seen: judge.Seen, check: str) -> str:
    return "; ".join(one.seen for one in judge.judge_all(seen) if one.check == check and one.severity != OK)


@contextmanager
def out_of_the_group(world: World) -> Iterator[None]:
    world.sql("demo-2", "STOP GROUP_REPLICATION")
    yield
    world.servers["demo-2"].join()


@contextmanager
def errant(world: World) -> Iterator[None]:
    with out_of_the_group(world):
        before = world.sql("demo-2", "SELECT @@global.gtid_executed")[0][0]
        world.sql("demo-2", "SET GLOBAL super_read_only = 0", "CREATE SCHEMA mine", "SET GLOBAL super_read_only = 1")
        mine = world.sql("demo-2", f"SELECT GTID_SUBTRACT(@@global.gtid_executed, '{before}')")[0][0]
        yield
        world.sql("demo-2", "SET GLOBAL super_read_only = 0", "SET sql_log_bin = 0", "DROP SCHEMA mine")
        world.sql("demo-0", f"SET gtid_next = '{mine}'", "BEGIN", "COMMIT", "SET gtid_next = AUTOMATIC")


@contextmanager
def sql(world: World, pods: str, make: str, undo: str) -> Iterator[None]:
    names = [f"demo-{number}" for number in pods]
    for pod in names:
        world.sql(pod, make)
    yield
    for pod in names:
        world.sql(pod, undo)


@contextmanager
def keyless(world: World) -> Iterator[None]:
    world.sql("demo-0", "CREATE SCHEMA k", "CREATE TABLE k.heap (id INT)")
    yield
    world.sql("demo-0", "DROP SCHEMA k")


@contextmanager
def lagging(world: World) -> Iterator[None]:
    holder = world.servers["demo-1"].connect()
    world.sql("demo-0", "CREATE SCHEMA l", "CREATE TABLE l.l (id INT PRIMARY KEY)")
    deadline = time.monotonic() + 60
    while not world.sql("demo-1", "SHOW TABLES FROM l" if world.sql("demo-1", "SHOW SCHEMAS LIKE 'l'") else "DO 1"):
        assert time.monotonic() < deadline
    query(holder, "FLUSH TABLES WITH READ LOCK")
    world.sql("demo-0", "INSERT INTO l.l VALUES (1)")
    time.sleep(1)
    yield
    query(holder, "UNLOCK TABLES")
    close(holder)
    world.sql("demo-0", "DROP SCHEMA l")


@contextmanager
def short_certificate(world: World) -> Iterator[None]:
    folder = world.servers["demo-1"].folder / "data"
    kept = {name: (folder / name).read_bytes() for name in ("server-cert.pem", "server-key.pem", "ca.pem")}
    sign(folder, days=5)
    world.sql("demo-1", "ALTER INSTANCE RELOAD TLS")
    yield
    for name, data in kept.items():
        (folder / name).write_bytes(data)
    world.sql("demo-1", "ALTER INSTANCE RELOAD TLS")


def sign(folder: Path, days: int) -> None:
    """Write a certificate, its key, and itself as its own authority, that end in so many days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "demo-1")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(7).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=days))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain, pkcs8 = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    (folder / "server-key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    for file in ("server-cert.pem", "ca.pem"):
        (folder / file).write_bytes(pem)


@contextmanager
def many_connections(world: World) -> Iterator[None]:
    opened = [world.servers["demo-1"].connect() for _ in range(9)]
    world.sql("demo-1", "SET GLOBAL max_connections = 10")
    yield
    world.sql("demo-1", "SET GLOBAL max_connections = 151")
    for each in opened:
        close(each)


@contextmanager
def patched(world: World, resource: str, name: str, patch: Any, undo: Any, sub: str | None = None) -> Iterator[None]:
    world.kube.patch(resource, name, patch, subresource=sub)
    yield
    world.kube.patch(resource, name, undo, subresource=sub)


@contextmanager
def doubled(world: World) -> Iterator[None]:
    world.move("demo-1", "node-3")
    yield
    world.move("demo-1", "node-2")


@contextmanager
def no_budget(world: World) -> Iterator[None]:
    world.kube.delete("poddisruptionbudgets", "demo-pdb")
    yield
    world.budget()


@contextmanager
def note_left(world: World) -> Iterator[None]:
    intent.write(world.kube, "demo", intent.Intent("drill-gone", "crash", intent.now()))
    yield
    intent.remove(world.kube, "demo", "drill-gone")


@contextmanager
def cordon_left(world: World) -> Iterator[None]:
    world.kube.create("nodes", object_of("Node", "node-9"))
    cordon.cordon(world.kube, "node-9", cordon.Cordon("drain-gone", "tiphys", intent.now()))
    yield
    world.kube.delete("nodes", "node-9")


@contextmanager
def routers_differ(world: World) -> Iterator[None]:
    for name, tag in (("r-0", "9.6.0"), ("r-1", "9.7.4")):
        world.pod(name, "node-1", f"x/community-router:{tag}")
    yield
    for name in ("r-0", "r-1"):
        world.kube.delete("pods", name, grace_seconds=0)


def on_cluster(patch: Any, undo: Any, sub: str | None = None) -> Callable[[World], AbstractContextManager[None]]:
    return lambda world: patched(world, "innodbclusters", "demo", patch, undo, sub)


def capacity(size: str) -> dict[str, Any]:
    return {"status": {"capacity": {"storage": size}}}


@dataclass(frozen=True)
class Fault:
    """One fault: how it is made, which finding tells it, whose check that is, and what else it brings about."""

    name: str
    make: Callable[[World], AbstractContextManager[None]]
    check: str
    subject: str
    severity: str
    says: str
    also: frozenset[str] = frozenset()


FAULTS = [
    Fault("member gone", out_of_the_group, "members", "members", CRITICAL, "2/3 ONLINE", frozenset({"operator"})),
    Fault(
        "errant transaction",
        errant,
        "errant transactions",
        "replication",
        CRITICAL,
        "demo-2 has ",
        frozenset({"operator", "members"}),
    ),
    Fault(
        "secondary takes writes",
        lambda w: sql(w, "1", "SET GLOBAL super_read_only = 0", "SET GLOBAL super_read_only = 1"),
        "writers",
        "writers",
        CRITICAL,
        "demo-1: super_read_only is off",
    ),
    Fault("lag", lagging, "lag", "lag", WARNING, "demo-1 applies a transaction that is"),
    Fault("table without a key", keyless, "primary keys", "tables", WARNING, "k.heap"),
    Fault(
        "members differ",
        lambda w: sql(w, "1", "SET GLOBAL wait_timeout = 99", "SET GLOBAL wait_timeout = 28800"),
        "settings",
        "settings",
        WARNING,
        "wait_timeout: demo-1 has '99', the others '28800'",
    ),
    Fault(
        "not as written down",
        lambda w: sql(w, "012", "SET GLOBAL long_query_time = 2", "SET GLOBAL long_query_time = 10"),
        "configuration",
        "configuration",
        WARNING,
        "demo-2 runs with long_query_time=2.000000, not 10",
    ),
    Fault(
        "spec changed",
        on_cluster({"spec": {"mycnf": MYCNF.replace("151", "300")}}, {"spec": {"mycnf": MYCNF}}),
        "configuration",
        "configuration",
        WARNING,
        "max_connections: spec.mycnf has 300, the ConfigMap 151",
    ),
    Fault(
        "setting waits for a restart",
        lambda w: sql(w, "2", "SET PERSIST_ONLY back_log = 77", "RESET PERSIST back_log"),
        "pending settings",
        "pending settings",
        WARNING,
        "demo-2: back_log=77",
    ),
    Fault(
        "connections used up",
        many_connections,
        "connections",
        "connections",
        WARNING,
        "demo-1: 9 of max_connections=10",
        frozenset({"settings", "configuration"}),
    ),
    Fault("certificate ends", short_certificate, "certificates", "certificates", CRITICAL, "demo-1's ends on"),
    Fault(
        "claim too small",
        lambda w: patched(
            w, "persistentvolumeclaims", "datadir-demo-2", capacity("1Gi"), {"status": {"capacity": None}}, "status"
        ),
        "volume claims",
        "storage",
        CRITICAL,
        "claim datadir-demo-2: the server stores",
    ),
    Fault("two on one node", doubled, "spread", "spread", WARNING, "demo-1 and demo-2 are on one node, node-3"),
    Fault("no budget", no_budget, "disruption budget", "disruption budget", WARNING, "none holds the servers"),
    Fault("note left", note_left, "notes", "notes", WARNING, "crash of drill-gone on cluster demo"),
    Fault("cordon left", cordon_left, "notes", "notes", WARNING, "a cordon of drain-gone on node node-9"),
    Fault(
        "somebody's cordon",
        lambda w: patched(w, "nodes", "node-2", {"spec": {"unschedulable": True}}, {"spec": {"unschedulable": None}}),
        "cordoned nodes",
        "cordoned nodes",
        WARNING,
        "node-2",
    ),
    Fault(
        "operator is wrong",
        on_cluster({"status": {"cluster": {"status": "ONLINE_PARTIAL"}}}, {"status": ONLINE}, "status"),
        "operator",
        "operator",
        WARNING,
        "ONLINE_PARTIAL",
    ),
    Fault(
        "role label is wrong",
        lambda w: patched(
            w,
            "pods",
            "demo-1",
            {"metadata": {"labels": {"mysql.oracle.com/cluster-role": "PRIMARY"}}},
            {"metadata": {"labels": {"mysql.oracle.com/cluster-role": None}}},
        ),
        "role labels",
        "role labels",
        WARNING,
        "demo-1 is labelled PRIMARY and is SECONDARY",
    ),
    Fault(
        "Routers differ",
        routers_differ,
        "router versions",
        "router versions",
        WARNING,
        "r-0 9.6.0, r-1 9.7.4",
        frozenset({"routers"}),
    ),
    Fault(
        "no Router",
        on_cluster({"spec": {"router": {"instances": 1}}}, {"spec": {"router": {"instances": 0}}}),
        "routers",
        "routers",
        CRITICAL,
        "0 of 1 ready",
        frozenset({"writes", "reads"}),
    ),
    Fault(
        "no backup can be found",
        on_cluster(
            {"metadata": {"labels": {"tiphys.dev/backups": "on"}}},
            {"metadata": {"labels": {"tiphys.dev/backups": None}}},
        ),
        "backups",
        "protection",
        WARNING,
        "cannot be looked at",
    ),
]


def test_nothing_is_found_on_a_healthy_cluster(world: World) -> None:
    seen = world.seen()
    assert bad(seen) == {} and health(judge.judge_all(seen)) == OK
    unknown = {one.check for one in judge.judge_all(seen) if one.severity == UNKNOWN}
    assert unknown == {"disk"}, "a pod without a container has no df; that is said, and nothing else is unknown"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_a_seeded_fault_is_found_by_its_own_check(world: World, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    with fault.make(world):
        seen = world.seen()
    found = bad(seen)
    assert found.pop(fault.check, OK) == fault.severity and fault.says in told(seen, fault.check), judge.judge_all(seen)
    assert set(found) <= fault.also
    for checks in ("BASIC", "DEEP"):
        kept = {key: value for key, value in getattr(judge, checks).items() if key != fault.subject}
        monkeypatch.setattr(judge, checks, kept)
    assert fault.check not in bad(seen), "missed once its check is gone"


def test_nothing_is_found_in_multi_primary_mode(world: World) -> None:
    note = multi_primary.Note("set-topology-1", intent.now(), "demo-0", multi_primary.SETTLED)
    annotations = {multi_primary.ANNOTATION: json.dumps(asdict(note))}
    split = {"cluster": {"status": "SPLIT_BRAIN", "onlineInstances": 3}}
    ours = world.sql("demo-0", "SELECT @@server_uuid")[0][0]
    world.sql("demo-0", "SELECT group_replication_switch_to_multi_primary_mode()")
    try:
        world.kube.annotate("innodbclusters", "demo", annotations)
        world.kube.patch("innodbclusters", "demo", {"status": split}, subresource="status")
        assert bad(world.seen()) == {}
    finally:
        world.sql("demo-0", f"SELECT group_replication_switch_to_single_primary_mode('{ours}')")
        world.kube.annotate("innodbclusters", "demo", dict.fromkeys(annotations))
        world.kube.patch("innodbclusters", "demo", {"status": ONLINE}, subresource="status")


def test_nothing_is_left_of_the_faults(world: World) -> None:
    assert len(FAULTS) >= 12
    assert bad(world.seen()) == {}
