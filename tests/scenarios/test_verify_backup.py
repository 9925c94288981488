"""Verifying a backup on the whole local platform: it passes, fails by a file's name, and always cleans up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from platform_run import Finished, Platform

from steps.mysql.connection import SERVER_PORT, query, root_credentials, session
from steps.mysql.definition import SCRATCH_LABEL
from steps.mysql.topology import read_topology
from tiphys.local.s3.credentials import load_or_make
from tiphys.local.settings import Settings

CLUSTER = "little"
MADE = (
    "DROP SCHEMA IF EXISTS shop",  # of a first try
    "DROP USER IF EXISTS seller",
    "CREATE SCHEMA shop",
    "CREATE TABLE shop.item (id INT PRIMARY KEY, name VARCHAR(20), made DATETIME)",
    "INSERT INTO shop.item VALUES (1, 'one', UTC_TIMESTAMP()), (2, 'two', UTC_TIMESTAMP()), (3, 'drei', NULL)",
    "CREATE VIEW shop.known AS SELECT id FROM shop.item WHERE made IS NOT NULL",
    "CREATE TRIGGER shop.named BEFORE INSERT ON shop.item FOR EACH ROW SET NEW.name = LOWER(NEW.name)",
    # Were the scheduler not off on the scratch cluster, it would delete what is to be compared.
    "CREATE EVENT shop.sweep ON SCHEDULE EVERY 1 SECOND DO DELETE FROM shop.item WHERE id = 3",
    "CREATE USER seller IDENTIFIED BY 'only-for-tests'",
    "GRANT SELECT ON shop.* TO seller",
)
QUERIES = """
- {name: items, sql: SELECT COUNT(*) FROM shop.item, expect: ">= 3"}
- {name: fresh, sql: SELECT MAX(made) FROM shop.item, expect: newer than 1d}
- {name: known, sql: SELECT * FROM shop.known ORDER BY id, expect: [1, 2]}
"""


@dataclass(frozen=True)
class Backed:
    """A small cluster's backup, and S3."""

    name: str
    s3: Any
    bucket: str

    def chunk(self) -> str:
        keys = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=f"backups/{self.name}/")["Contents"]
        return next(item["Key"] for item in keys if item["Key"].endswith("shop@item@@0.tsv.zst"))

    def get(self, key: str) -> bytes:
        content: bytes = self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        return content


@pytest.fixture(scope="module")
def backed(platform: Platform) -> Iterator[Backed]:
    platform.succeeds("deploy-cluster", cluster=CLUSTER, servers=1, routers=0)
    credentials = root_credentials(platform.kube, platform.kube.cluster(CLUSTER))
    primary = read_topology(platform.kube, CLUSTER).primary
    assert primary is not None
    with session(primary.address, SERVER_PORT, credentials) as connection:
        query(connection, "SET GLOBAL event_scheduler = OFF")
        for statement in MADE:
            query(connection, statement)
    about = {"name": f"{CLUSTER}-verify-queries"}
    if platform.kube.find("configmaps", about["name"]):
        platform.kube.delete("configmaps", about["name"])
    platform.kube.create(
        "configmaps", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": about, "data": {"queries.yaml": QUERIES}}
    )
    name = platform.succeeds("backup", cluster=CLUSTER).outputs["backup"]
    keys = load_or_make(Settings.load(platform.home))
    client = keys.client()
    yield Backed(name, client, keys.bucket)
    client.close()


def left(platform: Platform) -> list[str]:
    """Everything that belongs to a scratch cluster, and its processes."""
    found = []
    for resource in ("innodbclusters", "statefulsets", "pods", "services", "secrets", "persistentvolumeclaims"):
        for each in platform.kube.all(resource):
            name = str(each["metadata"]["name"])
            if name.startswith(f"verify-{CLUSTER}"):
                found.append(f"{resource}/{name}")
    return found


def report(platform: Platform, done: Finished) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(platform.tiphys("report", done.name, "--json").stdout)
    return document


def test_a_good_backup_passes_every_check_and_its_scratch_cluster_goes(platform: Platform, backed: Backed) -> None:
    done = platform.succeeds("verify-backup", cluster=CLUSTER, max_rto="30m", max_age="1d")
    assert (done.outputs["verdict"], done.outputs["backup"]) == ("PASS", backed.name)
    assert float(done.outputs["rto-seconds"]) > 0 and float(done.outputs["rpo-seconds"]) > 0
    found = report(platform, done)
    assert [phase["key"] for phase in found["phases"]] == ["ready", "loaded", "checked"]
    (table,) = found["checks"]["tables"]
    assert (table["name"], table["rows"], table["same"], table["check"]) == ("shop.item", 3, table["chunks"], "OK")
    kinds = {kind["kind"]: kind["found"] for kind in found["checks"]["kinds"] if kind["expected"]}
    assert kinds["views"] == kinds["triggers"] == kinds["events"] == 1 and kinds["accounts"] >= 1
    assert [answer["bad"] for answer in found["checks"]["answers"]] == ["", "", ""]
    assert backed.get(done.outputs["report"]).startswith(b"<!doctype html>")
    note = json.loads(backed.get(f"verifications/{backed.name}/{done.name}.json"))
    assert (note["verdict"], note["rtoSeconds"]) == ("PASS", found["rto_seconds"])
    assert left(platform) == []


def test_a_flipped_byte_fails_and_names_the_file_before_anything_is_restored(
    platform: Platform, backed: Backed
) -> None:
    key = backed.chunk()
    whole = backed.get(key)
    flipped = whole[:20] + bytes([whole[20] ^ 1]) + whole[21:]
    backed.s3.put_object(Bucket=backed.bucket, Key=key, Body=flipped)
    try:
        done = platform.run("verify-backup", cluster=CLUSTER, backup=backed.name)
    finally:
        backed.s3.put_object(Bucket=backed.bucket, Key=key, Body=whole)
    assert (done.phase, done.outputs["verdict"], done.outputs["rto-seconds"]) == ("Failed", "FAIL", "")
    nodes = [node for node in done.workflow["status"]["nodes"].values() if node["type"] == "Pod"]
    codes = {node["templateName"]: (node.get("outputs") or {}).get("exitCode") for node in nodes}
    assert codes["verify-report"] == "20" and "verify-scratch" not in codes
    found = report(platform, done)
    assert found["sentence"].startswith(f"{backed.name} fails: shop@item@@0.tsv.zst is not what was written")
    assert json.loads(backed.get(f"verifications/{backed.name}/{done.name}.json"))["verdict"] == "FAIL"


def test_a_terminated_run_leaves_its_scratch_cluster_to_reap(platform: Platform, backed: Backed) -> None:
    submitted = platform.tiphys("submit", "verify-backup", "-p", f"cluster={CLUSTER}", "-o", "json")
    name = json.loads(submitted.stdout)["metadata"]["name"]
    limit = time.monotonic() + 120
    while not (found := platform.kube.all("innodbclusters", f"{SCRATCH_LABEL}={name}")):
        assert time.monotonic() < limit, platform.tiphys("logs", name).stdout
        time.sleep(0.1)
    assert platform.tiphys("terminate", name).returncode == 0
    platform.tiphys("wait", name)
    assert found[0]["metadata"]["name"] in [item["metadata"]["name"] for item in platform.kube.all("innodbclusters")]
    spec = platform.kube.get("cronworkflows", "reap")["spec"]["workflowSpec"]
    # Its own schedule may have come first: then this one finds nothing to do.
    workflow = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "spec": spec}
    made = platform.kube.create("workflows", {**workflow, "metadata": {"generateName": "reap-now-"}})
    reaper = made["metadata"]["name"]
    platform.tiphys("wait", reaper)
    assert platform.kube.get("workflows", reaper)["status"]["phase"] == "Succeeded"
    while left(platform):
        assert time.monotonic() < limit, left(platform)
        time.sleep(0.2)
    assert platform.kube.find("innodbclusters", CLUSTER) is not None
