"""Step backup: a consistent copy of a cluster's data in S3, in the form that MySQL Shell and the operator read."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from steps.backup import operator_run
from steps.backup.dump_catalog import Selection, enabled_events
from steps.backup.dump_run import Order, write_backup
from steps.backup.dump_snapshot import snapshot
from steps.backup.encryption import Keyring
from steps.backup.manifest import Manifest
from steps.backup.objects import Bucket
from steps.declare import option, parameter, step, target_options
from steps.errors import Temporary
from steps.kube import client
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, query, root_credentials, session
from steps.mysql.inspection import QUEUES_SQL
from steps.mysql.topology import Member, Topology, read_topology
from steps.parameters import Text

PATTERNS = Text("patterns of schemas and tables, separated by commas", "A-Za-z0-9_.,*?$-", 1000)
BYTES_PER_CHUNK = 64 * 1000 * 1000


@dataclass(frozen=True)
class BackedUp:
    """What backup tells."""

    backup: str = parameter("Name of the backup.", is_global=True)
    rows: int = parameter("Rows in it.", is_global=True)
    bytes: int = parameter("Bytes of it in the bucket.", is_global=True)
    seconds: float = parameter("Seconds that it took.", is_global=True)


@step("backup")
@target_options
@option(
    "--include",
    type=PATTERNS,
    default=None,
    help="Only these: patterns of schemas or schema.table with * and ?, separated by commas. Everything if empty.",
)
@option("--exclude", type=PATTERNS, default=None, help="Not these: patterns as for include.")
@option("--parallel", type=click.IntRange(1, 32), default=4, help="Number of connections that read rows.")
@option(
    "--method",
    type=click.Choice(["tiphys", "operator"]),
    default="tiphys",
    help="Who makes it: tiphys itself, or the operator by a MySQLBackup, of which every object is then read back.",
)
def backup(
    namespace: str, cluster: str, include: str | None, exclude: str | None, parallel: int, method: str
) -> BackedUp:
    """Copy a cluster's schemas, tables, views, stored programs and accounts to S3, as of one moment.

    Reads the ONLINE secondary with the least lag, or the primary where it is alone. The backup is a dump that MySQL
    Shell can load, with a tiphys.json written last that says what each file must be.
    """
    keyring = Keyring.read(os.environ)
    kube = client.connect(namespace)
    credentials = root_credentials(kube, kube.cluster(cluster))
    topology = read_topology(kube, cluster, credentials=credentials)
    bucket = Bucket.from_environment(connections=parallel + 4)
    try:
        if method == "operator":
            made, seconds = operator_run.ask(
                kube,
                topology,
                credentials,
                bucket,
                os.environ,
                include=_patterns(include),
                exclude=_patterns(exclude),
                parallel=parallel,
            )
            return BackedUp(made.name, made.rows, made.size, round(seconds, 3))
        selection = Selection(_patterns(include), _patterns(exclude), (credentials.user,))
        made, seconds = back_up(topology, credentials, bucket, namespace, selection, parallel=parallel, keyring=keyring)
    finally:
        bucket.close()
    return BackedUp(made.name, made.rows, made.size, round(seconds, 3))


def _patterns(text: str | None) -> tuple[str, ...]:
    return tuple(part for part in (text or "").split(",") if part)


def back_up(
    topology: Topology,
    credentials: Credentials,
    bucket: Bucket,
    namespace: str,
    selection: Selection,
    *,
    parallel: int,
    bytes_per_chunk: int = BYTES_PER_CHUNK,
    keyring: Keyring | None = None,
) -> tuple[Manifest, float]:
    """Back up a group whose topology is known; return the backup's manifest, and the seconds it took.

    Raises:
        Temporary: the group has no primary now, or the server or the bucket is away.
    """
    if topology.primary is None or not topology.primary.address:
        raise Temporary(f"{topology.cluster} has no primary: {topology.summary()}. Run check-cluster.")
    started = time.monotonic()
    with session(topology.primary.address, SERVER_PORT, credentials, what="the primary") as connection:
        queues = {str(row[0]): int(row[1] or 0) + int(row[2] or 0) for row in query(connection, QUEUES_SQL)}
        events = enabled_events(connection)
    source = choose(topology, queues)
    name = f"{topology.cluster}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    log("backup begun", backup=name, source=source.pod, role=source.role, behind=queues.get(source.id, 0))
    order = Order(name, topology.cluster, namespace, source.pod, selection, events, bytes_per_chunk, keyring=keyring)
    with snapshot(source.address, SERVER_PORT, credentials, parallel, what=source.pod) as moment:
        log("moment held", begin=moment.begin.isoformat(), gtid_executed=moment.gtid_executed)
        made = write_backup(bucket, moment, order)
    if made.keyless:
        log("tables without a key", tables=made.keyless, meaning="a group refuses their rows when they are restored")
    return made, time.monotonic() - started


def choose(topology: Topology, queues: dict[str, int]) -> Member:
    """Return the server to read: the ONLINE secondary with the fewest transactions to apply, else the primary.

    Args:
        topology: of the cluster; it has a primary.
        queues: member's id to transactions that wait there; one that nobody knows of comes last.
    """
    assert topology.primary is not None
    able = [member for member in topology.secondaries if member.address]
    return min(able, key=lambda each: (queues.get(each.id, 2**63), each.pod), default=topology.primary)
