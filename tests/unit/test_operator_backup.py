"""The operator's backups on a small platform: MySQLBackups, `backup -p method=operator`, and a cluster with initDB."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pods_help import Cluster, cluster

from steps.backup import layout, operator_object, operator_run, operator_seal
from steps.backup.backup import back_up as own_backup
from steps.backup.catalogue import find
from steps.backup.dump_catalog import Selection
from steps.backup.layout import prefix
from steps.backup.load_rows import Target
from steps.backup.manifest import FILE, Manifest
from steps.backup.objects import Bucket
from steps.backup.operator_find import find_foreign, is_foreign, tell_sleeping_events
from steps.backup.operator_run import Patience, Wanted
from steps.backup.restore import restore_from
from steps.backup.s3_settings import Settings
from steps.backup.source import FolderSource
from steps.errors import BadParameters, StepError, TimedOut
from steps.kube import client
from steps.kube.client import Kube
from steps.kube.errors import NotFound
from steps.mysql.connection import Credentials, query, session
from steps.mysql.topology import read_topology
from tiphys.local.platform.access import write_kubeconfig
from tiphys.local.s3.credentials import load_or_make
from tiphys.local.s3.state import wait_until_ready

pytestmark = pytest.mark.usefixtures("versitygw")

VECTOR = Path(__file__).parents[1] / "data" / "mysqlsh-dump"
SUMS = {"customer": 2820272405, "orders": 3656933838, "log_unique": 2899731556, "code": 3554093661, "vacant": 0}
ROOT = Credentials("root", "only for tests")
EVENT = "CREATE EVENT shop.nightly ON SCHEDULE EVERY 1 DAY DO SET @a = 1"


def until(look: Callable[[], Any], what: str, seconds: float = 200) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.1)
    return found


def new_cluster(kube: Kube, name: str, **spec: Any) -> None:
    values = {"rootUser": ROOT.user, "rootHost": "%", "rootPassword": ROOT.password}
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"{name}-root"}, "data": data}
    kube.create("secrets", secret)
    wanted = {"secretName": f"{name}-root", "tlsUseSelfSigned": True, "instances": 1, "router": {"instances": 0}}
    kube.create(
        "innodbclusters",
        {
            "apiVersion": "mysql.oracle.com/v2",
            "kind": "InnoDBCluster",
            "metadata": {"name": name},
            "spec": {**wanted, **spec},
        },
    )


def online(kube: Kube, name: str) -> str:
    """Wait until a cluster takes writes; return its server's address."""

    def look() -> str:
        status = (kube.get("innodbclusters", name).get("status") or {}).get("cluster") or {}
        return str(kube.servers(name)[0]["status"]["podIP"]) if status.get("status") == "ONLINE" else ""

    return str(until(look, f"{name} ONLINE"))


def sums(address: str) -> dict[str, int]:
    with session(address, 3306, ROOT) as connection:
        return {table: query(connection, f"CHECKSUM TABLE shop.{table}")[0][1] for table in SUMS}


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("home"), "controllers", "kubelet", "operator", "s3") as made:
        write_kubeconfig(made.settings)
        assert asyncio.run(wait_until_ready(made.home, 40)).phase == "ready"
        yield made


@pytest.fixture(scope="module")
def kube(platform: Cluster) -> Iterator[Kube]:
    os.environ["KUBECONFIG"] = str(platform.settings.kubeconfig)
    try:
        made = client.connect("tiphys")
    finally:
        del os.environ["KUBECONFIG"]
    yield made
    made.close()


@pytest.fixture(scope="module")
def settings(platform: Cluster) -> Settings:
    keys = load_or_make(platform.settings)
    return Settings(
        bucket=keys.bucket,
        endpoint=keys.endpoint,
        region=keys.region,
        access_key=keys.access_key,
        secret_key=keys.secret_key,
    )


@pytest.fixture(scope="module")
def bucket(settings: Settings) -> Iterator[Bucket]:
    made = Bucket(settings.client(16), settings.bucket)
    yield made
    made.close()


@pytest.fixture(scope="module")
def source(kube: Kube, settings: Settings) -> str:
    """A cluster of one server with the dump that MySQL Shell wrote, and an event; returns its address."""
    files = {
        "config": "[default]\nregion = us-east-1\n[profile other]\nregion = us-east-1\n",
        "credentials": (
            "[default]\naws_access_key_id = x\naws_secret_access_key = y\n"
            f"[other]\naws_access_key_id = {settings.access_key}\naws_secret_access_key = {settings.secret_key}\n"
        ),
    }
    data = {key: base64.b64encode(value.encode()).decode() for key, value in files.items()}
    kube.create("secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "their-s3"}, "data": data})
    new_cluster(kube, "src", backupProfiles=[{"name": "theirs", "dumpInstance": {"storage": {"s3": s3(settings)}}}])
    address = online(kube, "src")
    restore_from(FolderSource(VECTOR), Target(address, ROOT), name="vector", only=[])
    with session(address, 3306, ROOT) as connection:
        query(connection, EVENT)
    assert sums(address) == SUMS
    return address


def s3(settings: Settings, **more: str) -> dict[str, str]:
    place = {"bucketName": settings.bucket, "prefix": "theirs/nightly", "config": "their-s3", "profile": "other"}
    return {**place, "endpoint": settings.endpoint or "", **more}


def mysql_backup(kube: Kube, name: str, **spec: Any) -> dict[str, Any]:
    """Make a MySQLBackup as another person would, and wait for its end."""
    kube.create(
        "mysqlbackups",
        {"apiVersion": "mysql.oracle.com/v2", "kind": "MySQLBackup", "metadata": {"name": name}, "spec": spec},
    )
    ended = ("Completed", "Error")
    until(lambda: (kube.get("mysqlbackups", name).get("status") or {}).get("status") in ended, f"the end of {name}")
    status: dict[str, Any] = kube.get("mysqlbackups", name)["status"]
    return status


def wanted(name: str, workflow: str = "", **options: Any) -> Wanted:
    return Wanted(name, "src", {**operator_object.dump_options([], [], 2), **options}, "root", workflow)


def by_operator(
    kube: Kube, bucket: Bucket, settings: Settings, asked: Wanted, patience: Patience | None = None
) -> Manifest:
    quick = patience or Patience(start=200, stall=200, look=0.1, progress=0.2)
    made, _ = operator_run.back_up(
        kube, bucket, settings, asked, uuid_of=lambda pod: f"uuid of {pod}", parallel=4, patience=quick
    )
    return made


def leftovers(kube: Kube, name: str) -> list[str]:
    found = [f"{kind}/{name}" for kind in ("mysqlbackups",) if kube.find(kind, name)]
    return found + (["secret"] if kube.find("secrets", f"{name}-s3") else [])


def test_a_mysqlbackup_is_what_oracles_operator_makes(
    kube: Kube, bucket: Bucket, settings: Settings, source: str
) -> None:
    status = mysql_backup(kube, "nightly", clusterName="src", backupProfileName="theirs")
    assert status["status"] == "Completed", status
    output = status["output"]
    assert output.startswith("nightly-20") and kube.get("pods", output)
    assert (status["bucket"], status["method"]) == (settings.bucket, "dump-instance/s3")
    assert status["source"] == "mysqladmin@src-0.src-instances.tiphys.svc.cluster.local:3306"
    assert {"startTime", "completionTime", "elapsedTime"} <= set(status)
    keys = {key.removeprefix(f"theirs/nightly/{output}/") for key in bucket.keys(f"theirs/nightly/{output}/")}
    assert layout.DONE in keys and FILE not in keys
    # As MySQL Shell does without being told otherwise: the group's metadata and the operator's accounts too.
    described = json.loads(bucket.get(f"theirs/nightly/{output}/{layout.INSTANCE}"))
    assert described["schemas"] == ["mysql_innodb_cluster_metadata", "shop", "tiphys"]
    assert "'mysqladmin'@'%'" in described["users"] and "'mysql.sys'@'localhost'" not in described["users"]
    assert b"nightly" in bucket.get(f"theirs/nightly/{output}/shop.sql"), "the job reads as the administrator"

    # Restored by the object's name, and by its place.
    for reference in ("mysqlbackup/nightly", f"s3://{settings.bucket}/theirs/nightly/{output}/"):
        with session(source, 3306, ROOT) as connection:
            query(connection, "DROP SCHEMA shop")
        found = find_foreign(kube, bucket, reference)
        done = restore_from(found, Target(source, ROOT), name=reference, only=[])
        assert (done.backup, done.rows, done.checked) == (reference, 9100, "lengths")
        assert sums(source) == SUMS
    with session(source, 3306, ROOT) as connection:
        assert tell_sleeping_events(connection) == ["shop.yearly"]
    bucket.put(f"theirs/nightly/{output}/{FILE}", b'{"schema": "tiphys", "tables": []}')
    assert FILE not in find_foreign(kube, bucket, reference).files(), "MySQL Shell's file about a schema tiphys"


def test_a_dump_of_others_that_cannot_be_restored_is_refused(
    kube: Kube, bucket: Bucket, settings: Settings, source: str
) -> None:
    assert [is_foreign(name) for name in ("latest", "src-20260101-000000")] == [False, False]
    with pytest.raises(BadParameters, match="expected a backup's name, latest, mysqlbackup/NAME"):
        is_foreign("backups/x")
    kube.create(
        "mysqlbackups",
        {
            "apiVersion": "mysql.oracle.com/v2",
            "kind": "MySQLBackup",
            "metadata": {"name": "elsewhere"},
            "spec": {"clusterName": "src", "backupProfile": {"name": "x", "dumpInstance": {"storage": {}}}},
        },
    )
    until(lambda: kube.get("mysqlbackups", "elsewhere").get("status"), "its end")
    bucket.put("halves/a/@.json", b"{}")
    for reference, says in (
        ("mysqlbackup/nobody", "has no MySQLBackup 'nobody'; it has: "),
        ("mysqlbackup/elsewhere", "is Error: .*Only a Completed one"),
        ("s3://", "whole folder"),
        (f"s3://{settings.bucket}/", "whole folder"),
        (f"s3://{settings.bucket}/theirs/nightly/", "no @.json"),
        (f"s3://{settings.bucket}/halves/a", "no @.done.json"),
    ):
        with pytest.raises(StepError, match=says):
            find_foreign(kube, bucket, reference)
    done = {"status": "Completed", "output": "elsewhere"}
    there = {"storage": {"s3": s3(settings, endpoint="https://s3.example.com")}}
    for profile, says in (
        ({"dumpInstance": {"storage": {"persistentVolumeClaim": {}}}}, "lies in persistentVolumeClaim; only s3"),
        ({"dumpInstance": there}, "lies at https://s3.example.com, this step reaches"),
    ):
        kube.patch("mysqlbackups", "elsewhere", {"status": done}, subresource="status")
        kube.patch("mysqlbackups", "elsewhere", {"spec": {"backupProfile": None}})
        kube.patch("mysqlbackups", "elsewhere", {"spec": {"backupProfile": {"name": "x", **profile}}})
        with pytest.raises(StepError, match=says):
            find_foreign(kube, bucket, "mysqlbackup/elsewhere")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"clusterName": "nobody", "backupProfileName": "theirs"}, "no InnoDBCluster 'nobody'"),
        ({"clusterName": "src", "backupProfileName": "ours"}, "the cluster's backupProfiles: theirs"),
        ({"clusterName": "src"}, "one of backupProfileName and backupProfile"),
        ({"clusterName": "src", "backupProfile": {"dumpInstance": {}}}, "spec.backupProfile.name: missing"),
        (
            {
                "clusterName": "src",
                "backupProfile": {
                    "name": "x",
                    "dumpInstance": {"storage": {"persistentVolumeClaim": {"claimName": "c"}}},
                },
            },
            "persistentVolumeClaim; only s3",
        ),
    ],
)
def test_a_mysqlbackup_that_cannot_be_says_why(kube: Kube, source: str, spec: dict[str, Any], says: str) -> None:
    name = f"bad-{hashlib.sha256(says.encode()).hexdigest()[:8]}"
    status = mysql_backup(kube, name, **spec)
    assert status["status"] == "Error" and says in status["message"], status


def test_the_operators_backup_becomes_one_of_ours(
    kube: Kube, bucket: Bucket, settings: Settings, source: str, capfd: pytest.CaptureFixture[str]
) -> None:
    name = "src-20260101-000000"
    made = by_operator(kube, bucket, settings, wanted(name))
    assert (made.method, made.cluster, made.pod, made.server) == ("operator", "src", "src-0", "uuid of src-0")
    assert leftovers(kube, name) == [], "the key is taken back, and the job goes"
    with session(source, 3306, ROOT) as connection:
        for table, rows in made.tables["shop"].items():
            assert query(connection, f"SELECT COUNT(*) FROM shop.{table}") == [(rows,)]
        assert made.gtid_executed == query(connection, "SELECT @@gtid_executed")[0][0].replace("\n", "")
        assert made.server_version == query(connection, "SELECT VERSION()")[0][0]
    there = bucket.keys(prefix(name))
    assert {key.removeprefix(prefix(name)) for key in there} == {*made.files, FILE}
    for file, said in made.files.items():
        assert hashlib.sha256(bucket.get(prefix(name) + file)).hexdigest() == said.sha256
    assert Manifest.parse(bucket.get(prefix(name) + FILE)) == made
    described = json.loads(bucket.get(prefix(name) + layout.INSTANCE))
    assert described["schemas"] == ["shop"] and "'root'@'%'" not in described["users"]
    assert settings.secret_key is not None and settings.secret_key not in "".join(capfd.readouterr())

    # Restored as any other one.
    with session(source, 3306, ROOT) as connection:
        query(connection, "DROP SCHEMA shop")
        query(connection, "DROP USER shopper")
    found = find(bucket, "latest", "src", "tiphys")
    assert found.prefix == prefix(name)
    done = restore_from(found, Target(source, ROOT), name=name, only=[])
    assert done.rows == sum(made.tables["shop"].values())
    assert sums(source) == SUMS
    with session(source, 3306, ROOT) as connection:
        states = dict(query(connection, "SELECT event_name, status FROM information_schema.events"))
        assert states == {"nightly": "ENABLED", "yearly": "REPLICA_SIDE_DISABLED"}
        assert query(connection, "SELECT user FROM mysql.user WHERE user = 'shopper'") == [("shopper",)]


def test_an_event_in_the_dump_of_a_secondary_is_written_as_on_the_primary() -> None:
    text = (VECTOR / "shop.sql").read_text()
    assert text.count(" DISABLE ON REPLICA ") == 1
    for clause in ("ENABLE", "DISABLE"):
        put_right = operator_seal.with_event(text, "`shop`.`yearly`", clause)
        assert put_right == text.replace(" DISABLE ON REPLICA ", f" {clause} ")
        assert operator_seal.with_event(put_right, "`shop`.`yearly`", "ENABLE") == put_right, "only a secondary's"
    assert operator_seal.with_event(text, "`shop`.`daily`", "ENABLE") == text


def test_a_step_that_was_killed_goes_on_with_its_own_mysqlbackup(
    kube: Kube, bucket: Bucket, settings: Settings, source: str
) -> None:
    first = wanted("src-20260102-000000", "run-1")
    operator_run._ask(kube, bucket, settings, first)
    made = by_operator(kube, bucket, settings, wanted("src-20260102-000001", "run-1"))
    assert made.name == first.name and not bucket.keys(prefix("src-20260102-000001"))


def test_an_error_is_the_objects_own_and_leaves_nothing(
    kube: Kube, bucket: Bucket, settings: Settings, source: str
) -> None:
    name = "src-20260103-000000"
    with pytest.raises(StepError, match=r"operator's backup failed: .*dumpOptions.maxRate: not served"):
        by_operator(kube, bucket, settings, wanted(name, maxRate="1M"))
    assert leftovers(kube, name) == [f"mysqlbackups/{name}"], "kept for its log and its events"
    kube.delete("mysqlbackups", name)

    wrong = Settings(**{**vars(settings), "secret_key": "wrong"})
    with pytest.raises(StepError, match="secretKey|SignatureDoesNotMatch"):
        by_operator(kube, bucket, wrong, wanted(name))
    assert not bucket.keys(prefix(name)) and leftovers(kube, name) == [f"mysqlbackups/{name}"]
    kube.delete("mysqlbackups", name)


def test_an_operator_that_does_nothing_is_not_waited_for_for_ever(
    platform: Cluster, kube: Kube, bucket: Bucket, settings: Settings, source: str
) -> None:
    name = "src-20260104-000000"
    platform.kill("operator", signal.SIGTERM)
    try:
        with pytest.raises(TimedOut, match="has not begun MySQLBackup"):
            by_operator(kube, bucket, settings, wanted(name), Patience(start=0.5, look=0.1, progress=0.2))
    finally:
        platform.start("operator")
    assert leftovers(kube, name) == []


def test_a_job_that_hangs_is_stopped_and_what_it_wrote_removed(
    platform: Cluster, kube: Kube, bucket: Bucket, settings: Settings, source: str
) -> None:
    name = "src-20260105-000000"
    with session(source, 3306, ROOT) as connection:
        query(connection, "LOCK TABLES shop.orders WRITE")  # the job's FLUSH TABLES waits for that
        with pytest.raises(TimedOut, match="has written nothing for 2 s"):
            by_operator(kube, bucket, settings, wanted(name), Patience(start=200, stall=2, look=0.1, progress=0.2))
    assert leftovers(kube, name) == [] and kube.all("pods", f"job-name={name}") == []
    assert not bucket.keys(prefix(name))


def test_a_new_cluster_begins_with_our_backup(kube: Kube, bucket: Bucket, settings: Settings, source: str) -> None:
    topology = read_topology(kube, "src", credentials=ROOT)
    made, _ = own_backup(topology, ROOT, bucket, "tiphys", Selection(exclude_users=("root",)), parallel=2)
    dump = {"storage": {"s3": s3(settings, prefix=prefix(made.name).rstrip("/"))}}
    new_cluster(kube, "copy", initDB={"dump": dump})
    address = online(kube, "copy")
    assert sums(address) == SUMS
    with session(address, 3306, ROOT) as connection:
        assert query(connection, "SELECT user FROM mysql.user WHERE user = 'shopper'") == [], "loadUsers is off"
        gtids = query(connection, "SELECT @@gtid_executed")[0][0]
        assert gtids, "the load is in the binary log: members that join get it from there"
        query(connection, "INSERT INTO shop.vacant SELECT * FROM shop.vacant")


def test_an_initdb_that_cannot_be_served_says_so(kube: Kube, settings: Settings, source: str) -> None:
    new_cluster(kube, "cloned", initDB={"clone": {"donorUrl": "root@src", "secretKeyRef": {"name": "src-root"}}})

    def status() -> str:
        found = kube.get("innodbclusters", "cloned").get("status") or {}
        return str((found.get("cluster") or {}).get("status"))

    until(lambda: status() == "INVALID", "INVALID")

    def said() -> bool:  # the status is written before the event
        return any(
            event["involvedObject"]["name"] == "cloned" and "spec.initDB: has clone" in event["message"]
            for event in kube.all("events")
        )

    until(said, "the event that says why")
    with pytest.raises(NotFound):
        kube.get("statefulsets", "cloned")
