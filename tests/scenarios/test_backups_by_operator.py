"""`backup -p method=operator` of a cluster, restored elsewhere; and a new cluster that the operator itself fills."""

from __future__ import annotations

import base64
import time
from typing import Any

from platform_run import Platform

from steps.mysql.connection import SERVER_PORT, query, root_credentials, session
from steps.mysql.topology import read_topology

SCHEMA = "by_operator"
TABLES = ("departments", "employees", "dept_manager", "dept_emp", "titles", "salaries")
SUMS = "CHECKSUM TABLE " + ", ".join(f"{SCHEMA}.{table}" for table in TABLES)


def members(platform: Platform, cluster: str, sql: str) -> list[list[Any]]:
    """Return what each member answers, the primary first."""
    seen = read_topology(platform.kube, cluster)
    assert seen.primary is not None
    credentials = root_credentials(platform.kube, platform.kube.cluster(cluster))
    found = []
    for member in (seen.primary, *seen.secondaries):
        with session(member.address, SERVER_PORT, credentials) as connection:
            found.append(query(connection, sql))
    return found


def on_primary(platform: Platform, cluster: str, *statements: str) -> None:
    seen = read_topology(platform.kube, cluster)
    assert seen.primary is not None
    credentials = root_credentials(platform.kube, platform.kube.cluster(cluster))
    with session(seen.primary.address, SERVER_PORT, credentials) as connection:
        for statement in statements:
            query(connection, statement)


def test_a_backup_by_the_operator_is_restored_elsewhere(platform: Platform, demo: str) -> None:
    # A second try of this test finds the first one's schema, and the claims of its clusters.
    on_primary(platform, demo, f"DROP SCHEMA IF EXISTS {SCHEMA}")
    elsewhere, filled = (f"{name}-{int(time.time()) % 100_000}" for name in ("elsewhere", "filled"))
    platform.succeeds("load-sample-data", cluster=demo, schema=SCHEMA, rows=20000)
    on_primary(
        platform,
        demo,
        f"CREATE EVENT {SCHEMA}.nightly ON SCHEDULE EVERY 1 DAY DO SET @a = 1",
        f"CREATE EVENT {SCHEMA}.weekly ON SCHEDULE EVERY 1 WEEK DISABLE DO SET @a = 1",
        f"CREATE TRIGGER {SCHEMA}.shout BEFORE INSERT ON {SCHEMA}.departments"
        " FOR EACH ROW SET NEW.dept_name = UPPER(NEW.dept_name)",
    )
    before = members(platform, demo, SUMS)[0]
    try:
        made = platform.succeeds("backup", cluster=demo, include=SCHEMA, method="operator")
        name = made.outputs["backup"]
        logged = platform.logs(made)
        assert "MySQLBackup created" in logged and "dump read back" in logged
        source = next(line for line in logged.splitlines() if "status=Completed" in line)
        primary = read_topology(platform.kube, demo).primary
        assert primary is not None and f"{primary.pod}." not in source, "it reads a secondary"
        assert base64.b64decode(platform.kube.get("secrets", "tiphys-s3")["data"]["secretKey"]).decode() not in logged
        assert platform.kube.all("mysqlbackups") == [] and platform.kube.find("secrets", f"{name}-s3") is None
        on_primary(platform, demo, f"DROP TABLE {SCHEMA}.titles", f"DELETE FROM {SCHEMA}.salaries LIMIT 100")

        deploy: dict[str, object] = {"create": "true", "servers": 1, "routers": 0}
        done = platform.succeeds("restore", cluster=elsewhere, backup=name, **deploy)
        assert (done.outputs["backup"], done.outputs["checked"]) == (name, "sha256")
        assert done.outputs["rows"] == made.outputs["rows"]
        assert members(platform, elsewhere, SUMS) == [before]
        events = f"SELECT event_name, status FROM information_schema.events WHERE event_schema = '{SCHEMA}' ORDER BY 1"
        assert members(platform, elsewhere, events) == [[("nightly", "ENABLED"), ("weekly", "DISABLED")]]

        # The same folder loads by the operator's own way, as any dump of MySQL Shell would.
        fill(platform, filled, name)
        assert members(platform, filled, SUMS) == [before, before]
    finally:
        on_primary(platform, demo, f"DROP SCHEMA {SCHEMA}")
        for cluster in (elsewhere, filled):
            if platform.kube.find("innodbclusters", cluster):
                platform.kube.delete("innodbclusters", cluster)


def fill(platform: Platform, cluster: str, backup: str) -> None:
    """Create a cluster of two servers with initDB, and wait until it is whole."""
    pack = platform.kube.secret("tiphys-s3")
    files = {
        "config": f"[default]\nregion = {pack['region']}\n",
        "credentials": (
            f"[default]\naws_access_key_id = {pack['accessKey']}\naws_secret_access_key = {pack['secretKey']}\n"
        ),
    }
    root = {"rootUser": "root", "rootHost": "%", "rootPassword": "only for tests"}
    for name, values in ((f"{cluster}-s3", files), (f"{cluster}-root", root)):
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        platform.kube.create(
            "secrets", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}
        )
    s3 = {
        "bucketName": pack["bucket"],
        "prefix": f"backups/{backup}",
        "config": f"{cluster}-s3",
        "endpoint": pack["endpoint"],
    }
    spec = {
        "secretName": f"{cluster}-root",
        "tlsUseSelfSigned": True,
        "instances": 2,
        "router": {"instances": 0},
        "initDB": {"dump": {"storage": {"s3": s3}}},
    }
    platform.kube.create(
        "innodbclusters",
        {
            "apiVersion": "mysql.oracle.com/v2",
            "kind": "InnoDBCluster",
            "metadata": {"name": cluster},
            "spec": spec,
        },
    )
    platform.succeeds("deploy-cluster", cluster=cluster, servers=2, routers=0)
