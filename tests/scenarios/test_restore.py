"""A backup of one cluster into another that the restore deploys itself, and a table of it back into the live one."""

from __future__ import annotations

import time

from platform_run import Platform

from steps.backup.load_gtids import MOST, intervals
from steps.backup.restore import wait_for_primary
from steps.mysql.connection import SERVER_PORT, query, root_credentials, session
from steps.mysql.sample_data import TABLES


def ask(platform: Platform, cluster: str, sql: str) -> list[tuple[object, ...]]:
    """Run one statement on a cluster's primary."""
    credentials = root_credentials(platform.kube, platform.kube.cluster(cluster))
    with session(wait_for_primary(platform.kube, cluster, credentials), SERVER_PORT, credentials) as connection:
        return query(connection, sql)


def sums(platform: Platform, cluster: str) -> dict[str, object]:
    """Return the checksum of every sample table."""
    names = ", ".join(f"employees.{table}" for table in TABLES)
    return {str(name): value for name, value in ask(platform, cluster, f"CHECKSUM TABLE {names}")}


def test_a_new_cluster_and_a_table_of_the_live_one_are_as_they_were(platform: Platform, demo: str) -> None:
    platform.succeeds("load-sample-data", cluster=demo, rows=5000, replace="true")
    before = sums(platform, demo)
    ask(platform, demo, "CREATE USER IF NOT EXISTS clerk IDENTIFIED BY 'only-for-tests'")
    ask(platform, demo, "GRANT SELECT ON employees.* TO clerk")
    backup = platform.succeeds("backup", cluster=demo).outputs["backup"]
    options = {"create": "true", "servers": 1, "routers": 0}
    new = f"again-{int(time.time()) % 100_000}"  # a second try of this test finds the first one's cluster

    ask(platform, demo, "DELETE FROM employees.titles LIMIT 100")
    refused = platform.run("restore", cluster=demo, backup=backup, tables="employees.titles")
    assert refused.phase == "Failed" and "has employees.titles already" in platform.logs(refused)
    done = platform.succeeds("restore", cluster=demo, backup="latest", tables="employees.titles", replace="true")
    assert sums(platform, demo) == before
    assert ask(platform, demo, f"SELECT COUNT(*) > 0 FROM {done.outputs['aside']}.titles") == [(1,)]
    ask(platform, demo, f"DROP SCHEMA {done.outputs['aside']}")

    nothing = platform.run("restore", cluster=new, backup="demo-20000101-000000", **options)
    assert nothing.phase == "Failed" and "demo-20000101-000000" in platform.logs(nothing)
    assert platform.kube.find("innodbclusters", new) is None, "no cluster is made for a backup that is not there"
    made = platform.succeeds("restore", cluster=new, backup="latest", **{"from-cluster": demo}, **options)
    assert (made.outputs["backup"], made.outputs["change"]) == (backup, "created")
    # Other scenarios write to this cluster, too: slow ones more than is taken over.
    few = sum(last - first + 1 for _, first, last in intervals(made.outputs["gtid"])) <= MOST
    assert made.outputs["gtids-taken"] == ("taken-over" if few else "too-many")
    assert sums(platform, new) == before
    subset = ask(platform, new, f"SELECT GTID_SUBSET('{made.outputs['gtid']}', @@global.gtid_executed)")
    assert subset == [(int(few),)]
    assert ("GRANT SELECT ON `employees`.* TO `clerk`@`%`",) in ask(platform, new, "SHOW GRANTS FOR clerk")
    refused = platform.run("restore", cluster=new, backup=backup, **options)
    assert refused.phase == "Failed" and "has employees" in platform.logs(refused)
