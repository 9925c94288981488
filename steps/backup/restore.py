"""Step `restore`: a backup into a new or empty cluster, or chosen schemas and tables of it into a live one."""

from __future__ import annotations

import os
import time
from contextlib import nullcontext

import click

from steps.backup.catalogue import find
from steps.backup.layout import prefix
from steps.backup.load_rows import Target
from steps.backup.load_run import Restored, restore_from
from steps.backup.load_scope import parse_tables
from steps.backup.objects import Bucket
from steps.backup.operator_find import BACKUP, find_foreign, is_foreign, tell_sleeping_events
from steps.backup.readers import reading
from steps.declare import option, step, target_options
from steps.errors import BadParameters, Temporary
from steps.kube import client
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.connection import Credentials, root_credentials
from steps.mysql.topology import read_topology
from steps.parameters import CLUSTER_NAME, Text

__all__ = ["Restored", "restore", "restore_from", "wait_for_primary"]

SCHEMA_NAMES = Text("names of schemas, separated by commas", "A-Za-z0-9_,-", 2000)
TABLE_NAMES = Text("schema.table, several separated by commas", "A-Za-z0-9_,.$-", 2000)
ATTEMPTS = 4
"""How often the step itself goes on after the primary or S3 was lost."""

PRIMARY_SECONDS = 120.0
"""How long a group may take to elect a primary and let it take writes, at each attempt."""


@step("restore")
@target_options
@option(
    "--backup",
    required=True,
    type=BACKUP,
    help="Name of the backup; latest: the newest finished one of the cluster; or a dump that others made: "
    "mysqlbackup/NAME (the operator's object), s3://BUCKET/FOLDER/.",
)
@option(
    "--from-cluster",
    type=CLUSTER_NAME,
    default=None,
    help="Whose newest backup is meant by backup=latest. Empty means the cluster that is restored into.",
)
@option(
    "--create",
    type=click.BOOL,
    default=False,
    help="Deploy the cluster first, with the options of deploy-cluster. It must hold nothing else.",
)
@option(
    "--schemas",
    type=SCHEMA_NAMES,
    default=None,
    help="Schemas to restore, separated by commas. Empty (and no tables) restores all, with accounts and grants.",
)
@option(
    "--tables",
    type=TABLE_NAMES,
    default=None,
    help="Single tables to restore (schema.table), separated by commas, with their triggers and nothing else.",
)
@option(
    "--replace",
    type=click.BOOL,
    default=False,
    help="Replace what is there: it is moved aside first, into schemas named SCHEMA__before_ID, and stays there.",
)
@option(
    "--invisible-key",
    type=click.BOOL,
    default=False,
    help="Give tables without a key an invisible primary key. Without this, a backup that has such tables is refused.",
)
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
    on where it stopped; nothing is loaded twice, and nothing is overwritten: what is replaced is moved aside.
    """
    if from_cluster and backup != "latest":
        raise BadParameters(f"from-cluster={from_cluster} goes with backup=latest only, and backup is {backup}")
    chosen = parse_tables(_listed_in(tables))
    kube = client.connect(namespace)
    credentials = root_credentials(kube, kube.cluster(cluster))
    bucket = Bucket.from_environment(connections=parallel + 8)
    if is_foreign(backup):
        source = find_foreign(kube, bucket, backup)
    else:
        source = find(bucket, backup, from_cluster or cluster, namespace)
    folder = source.prefix.rstrip("/").rpartition("/")[2]
    ours = (source.bucket.name, source.prefix) == (bucket.name, prefix(folder))
    name = folder if ours else backup
    # Nothing of ours removes what lies elsewhere, and other folders get no marks.
    with reading(bucket, name, os.environ.get("TIPHYS_WORKFLOW", "")) if ours else nullcontext():
        for left in reversed(range(ATTEMPTS)):
            target = Target(wait_for_primary(kube, cluster, credentials), credentials)
            try:
                done = restore_from(
                    source,
                    target,
                    name=name,
                    only=_listed_in(schemas),
                    tables=chosen,
                    replace=replace,
                    must_be_empty=create,
                    take_gtids=True,
                    invisible_key=invisible_key,
                    parallel=parallel,
                    workflow=os.environ.get("TIPHYS_WORKFLOW", ""),
                )
                if not ours:
                    with target.session() as connection:
                        tell_sleeping_events(connection)
                return done
            except Temporary as error:
                if not left:
                    raise
                log("going on after an interruption", attempts_left=left, reason=str(error))
    raise AssertionError("the last attempt raises or returns")


def _listed_in(text: str | None) -> list[str]:
    return [each for each in (text or "").split(",") if each]


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
