"""Step backup: a consistent copy of a cluster's data in S3, in the form that MySQL Shell and the operator read."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import click

from steps.backup import operator_run
from steps.backup.budget import budget
from steps.backup.dump_catalog import Selection, enabled_events
from steps.backup.dump_rows import SESSION_SQL
from steps.backup.dump_run import Order, write_backup
from steps.backup.dump_snapshot import snapshot
from steps.backup.encryption import Keyring
from steps.backup.manifest import Manifest
from steps.backup.objects import Bucket
from steps.backup.pace import Pace
from steps.declare import option, parameter, step, target_options
from steps.errors import BadParameters, Temporary
from steps.kube import client
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, query, root_credentials, session
from steps.mysql.inspection import QUEUES_SQL
from steps.mysql.topology import Member, Topology, read_topology
from steps.parameters import OBJECT_NAME, Text

PATTERNS = Text("patterns of schemas and tables, separated by commas", "A-Za-z0-9_.,*?$-", 1000)
BYTES_PER_CHUNK = 64 * 1000 * 1000
MEMORY_MIB = 256


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
@option(
    "--server",
    type=OBJECT_NAME,
    default=None,
    help="Pod to read from, or 'primary' or 'secondary'. If empty: the secondary with the least lag, or else the"
    " primary.",
)
@option(
    "--rate-limit",
    type=click.FloatRange(min=0),
    default=0,
    help="Read at most so many MB of rows a second, over all connections; 0 for no limit.",
)
@option(
    "--memory",
    type=click.IntRange(min=144),
    default=MEMORY_MIB,
    help="MiB that the step may use: fewer connections and smaller parts of uploads, where it would need more.",
)
def backup(
    namespace: str,
    cluster: str,
    include: str | None,
    exclude: str | None,
    parallel: int,
    method: str,
    server: str | None,
    rate_limit: float,
    memory: int,
) -> BackedUp:
    """Copy a cluster's schemas, tables, views, stored programs and accounts to S3, as of one moment.

    Reads the ONLINE secondary with the least lag, or the primary where it is alone, unless told which. The backup
    is a dump that MySQL Shell can load, with a tiphys.json written last that says what each file must be.
    """
    if method == "operator" and (server or rate_limit):
        raise BadParameters(
            "method=operator takes no server and no rate-limit: the operator chooses. Leave them empty."
        )
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
        made, seconds = back_up(
            topology,
            credentials,
            bucket,
            namespace,
            selection,
            parallel=parallel,
            keyring=keyring,
            server=server or "",
            rate_limit=rate_limit,
            memory=memory,
        )
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
    server: str = "",
    rate_limit: float = 0,
    memory: int = MEMORY_MIB,
) -> tuple[Manifest, float]:
    """Back up a group whose topology is known; return the backup's manifest, and the seconds it took.

    Args:
        topology: of the cluster.
        credentials: of its administrator.
        bucket: where to.
        namespace: of the cluster.
        selection: what of it.
        parallel: connections that read rows, where `memory` is enough for them.
        bytes_per_chunk: before compression, about.
        keyring: to encrypt it with; None leaves it plain.
        server: as for `choose`.
        rate_limit: MB of rows a second; 0 for no limit.
        memory: MiB that the process may use.

    Raises:
        BadParameters: too little memory, or no such server.
        Temporary: the group has no primary now, or the server or the bucket is away.
    """
    allowed = budget(memory, parallel)
    if allowed.readers < parallel:
        log("fewer connections", wanted=parallel, used=allowed.readers, meaning=f"memory={memory} MiB holds no more")
    bucket.part_bytes = allowed.part_bytes
    if topology.primary is None or not topology.primary.address:
        raise Temporary(f"{topology.cluster} has no primary: {topology.summary()}. Run check-cluster.")
    started = time.monotonic()
    with session(topology.primary.address, SERVER_PORT, credentials, what="the primary") as connection:
        query(connection, SESSION_SQL)
        queues = {str(row[0]): int(row[1] or 0) + int(row[2] or 0) for row in query(connection, QUEUES_SQL)}
        events = enabled_events(connection)
    source = choose(topology, queues, server)
    name = f"{topology.cluster}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    log("backup begun", backup=name, source=source.pod, role=source.role, behind=queues.get(source.id, 0))
    order = Order(
        name,
        topology.cluster,
        namespace,
        source.pod,
        selection,
        events,
        bytes_per_chunk,
        keyring=keyring,
        pace=Pace(rate_limit * 1e6).take,
    )
    with snapshot(source.address, SERVER_PORT, credentials, allowed.readers, what=source.pod) as moment:
        log("moment held", begin=moment.begin.isoformat(), gtid_executed=moment.gtid_executed)
        made = write_backup(bucket, moment, order)
    if made.keyless:
        log("tables without a key", tables=made.keyless, meaning="a group refuses their rows when they are restored")
    return made, time.monotonic() - started


def choose(topology: Topology, queues: dict[str, int], wanted: str = "") -> Member:
    """Return the server to read.

    Args:
        topology: of the cluster; it has a primary.
        queues: member's id to transactions that wait there; one that nobody knows of comes last.
        wanted: a pod, "primary" or "secondary"; empty for the ONLINE secondary with the fewest transactions to apply,
            else the primary.

    Raises:
        BadParameters: the cluster has no such pod.
        Temporary: the pod is not ONLINE, or there is no secondary that is.
    """
    assert topology.primary is not None
    able = [member for member in topology.secondaries if member.address]
    least = min(able, key=lambda each: (queues.get(each.id, 2**63), each.pod), default=None)
    if wanted == "primary":
        return topology.primary
    if wanted in ("", "secondary"):
        if least is None and wanted:
            raise Temporary(f"{topology.cluster} has no ONLINE secondary: {topology.summary()}. Read the primary.")
        return least or topology.primary
    named = next((member for member in topology.members if member.pod == wanted), None)
    if named is None:
        known = ", ".join(sorted(member.pod for member in topology.members if member.pod)) or "none"
        raise BadParameters(f"{topology.cluster} has no member on a pod {wanted!r}: it has {known}.")
    if named is not topology.primary and named not in able:
        raise Temporary(
            f"{wanted} is {named.state}, so what it has may be old: wait until it is ONLINE, or read another."
        )
    return named
