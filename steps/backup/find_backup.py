"""Step `find-backup`: whether a backup can be restored at all, before a cluster is deployed for it."""

from __future__ import annotations

from dataclasses import dataclass

from steps.backup import wanted
from steps.backup.load_plan import Plan, read_plan
from steps.backup.load_rows import Target
from steps.backup.load_run import check_new, check_tables
from steps.backup.objects import Bucket
from steps.declare import parameter, step, target_options
from steps.kube import client
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.connection import root_credentials
from steps.mysql.topology import read_topology


@dataclass(frozen=True)
class Found:
    """What find-backup tells."""

    found: str = parameter("The backup that will be restored.")


@step("find-backup")
@target_options
@wanted.backup
@wanted.from_cluster
@wanted.schemas
@wanted.tables
@wanted.invisible_key
def find_backup(
    namespace: str,
    cluster: str,
    backup: str,
    from_cluster: str | None,
    schemas: str | None,
    tables: str | None,
    invisible_key: bool,
) -> Found:
    """Find the backup, and read its description as restore does; changes nothing.

    A backup that is not there, not whole, encrypted with another key, or that a group does not take, ends the run
    before a cluster is made for it. So does a cluster that is there already and not empty: to deploy it anew might add
    servers and Routers to it.
    """
    wanted.check(backup, from_cluster)
    kube = client.connect(namespace)
    bucket = Bucket.from_environment(connections=8)
    try:
        found = wanted.look_up(
            kube, bucket, cluster=cluster, backup=backup, from_cluster=from_cluster, schemas=schemas, tables=tables
        )
        plan = read_plan(found.source, found.schemas, found.tables)
        check_tables(plan.tables, invisible_key)
        if kube.find("innodbclusters", cluster) is not None:
            _look_at(kube, cluster, plan, invisible_key)
    finally:
        bucket.close()
    log("backup found", backup=found.name, place=plan.place, tables=len(plan.tables), chunks=len(plan.chunks))
    return Found(found.name)


def _look_at(kube: Kube, cluster: str, plan: Plan, invisible_key: bool) -> None:
    """Refuse a cluster that has something; one without a primary is being made, which deploy-cluster waits for."""
    credentials = root_credentials(kube, kube.cluster(cluster))
    primary = read_topology(kube, cluster, credentials=credentials).primary
    if primary is not None and primary.address:
        with Target(primary.address, credentials).session() as connection:
            check_new(connection, plan, invisible_key)
