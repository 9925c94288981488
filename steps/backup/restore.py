"""Step `restore`: a backup into a new or empty cluster, or chosen schemas and tables of it into a live one."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext
from dataclasses import replace as replaced

import click

from steps.backup import wanted
from steps.backup.load_rows import Target
from steps.backup.load_run import Restored, restore_from
from steps.backup.objects import Bucket
from steps.backup.operator_find import tell_sleeping_events
from steps.backup.readers import reading
from steps.declare import option, step, target_options
from steps.errors import Temporary
from steps.kube import client
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.applied import wait_for_all
from steps.mysql.connection import Credentials, query, root_credentials
from steps.mysql.topology import read_topology

__all__ = ["Restored", "restore", "restore_from", "wait_for_primary"]

ATTEMPTS = 4
"""How often the step itself goes on after the primary or S3 was lost."""

PRIMARY_SECONDS = 120.0
"""How long a group may take to elect a primary and let it take writes, at each attempt."""


@step("restore")
@target_options
@wanted.backup
@wanted.from_cluster
@option(
    "--create",
    type=click.BOOL,
    default=False,
    help="Deploy the cluster first, with the options of deploy-cluster. It must hold nothing else.",
)
@wanted.schemas
@wanted.tables
@option(
    "--replace",
    type=click.BOOL,
    default=False,
    help="Replace what is there: it is moved aside first, into schemas named SCHEMA__before_ID, and stays there.",
)
@wanted.invisible_key
@option("--parallel", type=click.IntRange(1, 32), default=4, help="Number of connections that load rows.")
def restore(
    namespace: str,
    cluster: str,
    backup: str,
    from_cluster: str | None,
    create: bool,
    schemas: str | None,
    tables: str | None,
    replace: bool,
    invisible_key: bool,
    parallel: int,
) -> Restored:
    """Restore a backup from S3 into a cluster: all of it, or chosen schemas and tables.

    Rows are streamed to the primary over several connections and checked on their way. A restore that broke off goes
    on where it stopped; nothing is loaded twice, and nothing is overwritten: what is replaced is moved aside. Ends
    when every ONLINE member has applied all of it.
    """
    wanted.check(backup, from_cluster)
    kube = client.connect(namespace)
    bucket = Bucket.from_environment(connections=parallel + 8)
    found = wanted.look_up(
        kube, bucket, cluster=cluster, backup=backup, from_cluster=from_cluster, schemas=schemas, tables=tables
    )
    credentials = root_credentials(kube, kube.cluster(cluster))
    # Nothing of ours removes what lies elsewhere, and other folders get no marks.
    with reading(bucket, found.name, os.environ.get("TIPHYS_WORKFLOW", "")) if found.ours else nullcontext():
        for left in reversed(range(ATTEMPTS)):
            target = Target(wait_for_primary(kube, cluster, credentials), credentials)
            try:
                done = restore_from(
                    found.source,
                    target,
                    name=found.name,
                    only=found.schemas,
                    tables=found.tables,
                    replace=replace,
                    must_be_empty=create,
                    take_gtids=True,
                    invisible_key=invisible_key,
                    parallel=parallel,
                    workflow=os.environ.get("TIPHYS_WORKFLOW", ""),
                )
                with target.session() as connection:
                    if not found.ours:
                        tell_sleeping_events(connection)
                    gtids = str(query(connection, "SELECT @@global.gtid_executed")[0][0])
                began = time.monotonic()
                wait_for_all(read_topology(kube, cluster, credentials=credentials), credentials, gtids)
                waited = time.monotonic() - began
                log("applied on every member", seconds=round(waited, 3))
                return replaced(done, seconds_applied=round(done.seconds + waited, 3))
            except Temporary as error:
                if not left:
                    raise
                log("going on after an interruption", attempts_left=left, reason=str(error))
    raise AssertionError("the last attempt raises or returns")


def wait_for_primary(kube: Kube, cluster: str, credentials: Credentials, seconds: float = PRIMARY_SECONDS) -> str:
    """Return the address of the primary, once the majority names one and it takes writes.

    Raises:
        Temporary: there is none after so many seconds.
    """
    until = time.monotonic() + seconds
    while True:
        topology = read_topology(kube, cluster, credentials=credentials)
        primary = topology.primary
        # The others name a primary that has just died for some seconds more: it must answer for itself.
        own = topology.views.get(primary.pod) if primary is not None else None
        if primary is not None and own is not None and own.writable:
            return primary.address
        if time.monotonic() > until:
            raise Temporary(f"{cluster} has no primary that takes writes: {topology.summary()}. Run check-cluster.")
        log("waiting for a primary", group=topology.summary())
        time.sleep(2)
