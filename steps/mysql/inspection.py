"""Collecting what check-cluster judges: the group, the Routers' ports, queues, tables and transactions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from steps.check.facts import Facts, OpenRestore, Queues, Route, several_primaries
from steps.errors import StepError
from steps.kube.client import Kube
from steps.kube.errors import NotFound
from steps.kube.pods import is_ready, name_of
from steps.mysql.connection import (
    ROUTER_RO_PORT,
    ROUTER_RW_PORT,
    SERVER_PORT,
    Credentials,
    query,
    root_credentials,
    session,
)
from steps.mysql.topology import Topology, server_addresses
from steps.mysql.waiting import Sight, look

QUEUES_SQL = (
    "SELECT member_id, count_transactions_in_queue, count_transactions_remote_in_applier_queue"
    " FROM performance_schema.replication_group_member_stats"
)

KEYLESS_SQL = (
    "SELECT CONCAT(t.table_schema, '.', t.table_name) FROM information_schema.tables t"
    " WHERE t.table_type = 'BASE TABLE'"
    " AND t.table_schema NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')"
    " AND NOT EXISTS (SELECT 1 FROM information_schema.table_constraints c"
    " WHERE c.table_schema = t.table_schema AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY')"
    " ORDER BY 1 LIMIT 1000"
)


ERRANT_PATIENCE = 15.0
"""Seconds that a transaction may be on a secondary and not on the primary before it is called errant."""


def inspect(kube: Kube, cluster: str, *, timeout: float = 5.0) -> Facts:
    """Look at everything that check-cluster judges; what cannot be read is left out of the facts.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        timeout: seconds for each connection and answer.

    Raises:
        BadParameters: there is no such cluster.
    """
    credentials = root_credentials(kube, kube.cluster(cluster))
    return facts_of(kube, look(kube, cluster, credentials), credentials, timeout=timeout)


def facts_of(kube: Kube, sight: Sight, credentials: Credentials, *, timeout: float = 5.0) -> Facts:
    """Look closer at a cluster that was just looked at; what cannot be read is left out of the facts."""
    cluster = name_of(sight.cluster)
    wanted = int((sight.cluster["spec"].get("router") or {}).get("instances", 0))
    status = (sight.cluster.get("status") or {}).get("cluster") or {}
    writes = reads = None
    if wanted:
        try:
            address = kube.service_address(cluster)
        except NotFound as error:
            writes = reads = Route(error=str(error))
        else:
            writes = route(address, ROUTER_RW_PORT, credentials, timeout)
            reads = route(address, ROUTER_RO_PORT, credentials, timeout)
    addresses = server_addresses(sight.servers)
    queues, keyless, errant = _inside(sight.topology, addresses, credentials, timeout)
    ready = {name_of(pod): str(pod["status"].get("podIP") or "") for pod in sight.routers if is_ready(pod)}
    restores = _restores(sight.topology, credentials, timeout)
    return Facts(
        name=cluster,
        operator_status=str(status.get("status") or ""),
        operator_online=int(status.get("onlineInstances") or 0),
        topology=sight.topology,
        routers_wanted=wanted,
        routers_ready=sight.ready_routers,
        writes=writes,
        reads=reads,
        queues=queues,
        keyless=keyless,
        errant=errant,
        pods=sight.obstacles(),
        restores=restores,
        each_router={pod: route(ip, ROUTER_RW_PORT, credentials, timeout) for pod, ip in sorted(ready.items()) if ip},
    )


def route(host: str, port: int, credentials: Credentials, timeout: float) -> Route:
    """Ask the server behind a Router's port who it is."""
    try:
        with session(host, port, credentials, what="Router", timeout=timeout, read_timeout=timeout) as connection:
            return Route(server=str(query(connection, "SELECT @@server_uuid")[0][0]))
    except StepError as error:
        return Route(error=str(error))


def _inside(
    topology: Topology, addresses: Mapping[str, str], credentials: Credentials, timeout: float
) -> tuple[dict[str, Queues], list[str] | None, dict[str, str] | None]:
    """Return queues, tables without a primary key, and errant transactions, all as the primary sees them."""
    primary = topology.primary or next(iter(several_primaries(topology)), None)
    if primary is None:
        return {}, None, None
    try:
        # Read from the others first: what the primary lacks after that, it never had. Also from those that are in no
        # group now: transactions of its own are what keeps a server out of it.
        others = {pod: addresses.get(pod, "") for pod in topology.views if pod != primary.pod}
        executed = {pod: gtid_set(ip, pod, credentials, timeout) for pod, ip in others.items() if ip}
        with session(primary.address, SERVER_PORT, credentials, what=primary.pod, timeout=timeout) as connection:
            pods = {member.id: member.pod for member in topology.members}
            rows = query(connection, QUEUES_SQL)
            queues = {pods.get(str(row[0]), str(row[0])): Queues(int(row[1] or 0), int(row[2] or 0)) for row in rows}
            keyless = [str(row[0]) for row in query(connection, KEYLESS_SQL)]
            extra = {pod: _beyond_primary(connection, gtids) for pod, gtids in executed.items()}
    except StepError:
        return {}, None, None
    return queues, keyless, {pod: gtids for pod, gtids in extra.items() if gtids}


def _restores(topology: Topology, credentials: Credentials, timeout: float) -> list[OpenRestore]:
    primary = topology.primary
    if primary is None:
        return []
    try:
        with session(primary.address, SERVER_PORT, credentials, what=primary.pod, timeout=timeout) as connection:
            return open_restores(connection)
    except StepError:
        return []


def open_restores(connection: Any) -> list[OpenRestore]:
    """Return the restores that a server knows of and that are not finished."""
    from steps.backup.load_run import LOCK
    from steps.backup.load_state import OVER, restores

    found = [one for one in restores(connection) if one.phase not in OVER]
    running = bool(found) and query(connection, "SELECT IS_USED_LOCK(%s)", [LOCK])[0][0] is not None
    return [OpenRestore(one.backup, one.phase, one.workflow, running) for one in found]


def gtid_set(address: str, pod: str, credentials: Credentials, timeout: float) -> str:
    """Return the transactions that a member has executed."""
    with session(address, SERVER_PORT, credentials, what=pod, timeout=timeout) as connection:
        return str(query(connection, "SELECT @@global.gtid_executed")[0][0])


def _beyond_primary(connection: Any, gtids: str) -> str:
    """Return the part of `gtids` that the server at the other end does not have, after some patience.

    A secondary may be done with a transaction a moment before the primary is, and for seconds after a fault sets
    differ without anything being wrong.
    """
    deadline = time.monotonic() + ERRANT_PATIENCE
    while True:
        rest = str(query(connection, "SELECT GTID_SUBTRACT(%s, @@global.gtid_executed)", [gtids])[0][0])
        if not rest or time.monotonic() > deadline:
            return rest.replace("\n", "")
        time.sleep(0.5)
