"""A write through every Router of a cluster, which every member must see: a Router's port for writes works."""

from __future__ import annotations

import time

from steps.errors import StepError, TimedOut
from steps.kube.client import Kube
from steps.kube.pods import is_ready, name_of
from steps.log import log
from steps.mysql.connection import ROUTER_RW_PORT, SERVER_PORT, Credentials, query, session
from steps.mysql.topology import Member, Topology

LOOK_SECONDS = 0.2
ROUTER_SECONDS = 5.0
TABLE = "tiphys.router_writes"
CREATE = (
    "CREATE SCHEMA IF NOT EXISTS tiphys",
    f"CREATE TABLE IF NOT EXISTS {TABLE} (id VARCHAR(190) CHARACTER SET ascii NOT NULL PRIMARY KEY)"
    " COMMENT 'Writes of set-topology; safe to drop'",
)
LEFT_SQL = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'tiphys' LIMIT 1"


def write_through(
    kube: Kube, cluster: str, topology: Topology, credentials: Credentials, workflow: str, seconds: float
) -> dict[str, str]:
    """Write a row through each ready Router, and return by Router's pod the pod of the server that took it.

    The table is made and dropped on one member; nothing is left.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        topology: its group.
        credentials: its administrator.
        workflow: names the rows.
        seconds: how long a Router may take to follow the group, and a row to be seen.

    Raises:
        TimedOut: a Router takes no write, or a member does not see it.
    """
    routers = [pod for pod in kube.routers(cluster) if is_ready(pod)]
    takers = [one for one in topology.members if one.state == "ONLINE" and one.role == "PRIMARY" and one.address]
    if not routers or not takers:
        return {}
    limit, took = time.monotonic() + seconds, {}
    first = takers[0]
    with session(first.address, SERVER_PORT, credentials, what=first.pod) as connection:
        for statement in CREATE:
            query(connection, statement)
        try:
            pods = {member.id: member.pod for member in takers}
            for pod in routers:
                row = f"{workflow}/{name_of(pod)}"
                query(connection, f"DELETE FROM {TABLE} WHERE id = %s", (row,))
                server = _write(pod["status"]["podIP"], credentials, row, pods, name_of(pod), limit)
                took[name_of(pod)] = pods[server]
                log("written", router=name_of(pod), server=pods[server])
            # Dropped only once its rows are everywhere: no member then still has one to apply.
            for member in topology.members:
                if member.state == "ONLINE" and member.address:
                    _seen(member, credentials, len(routers), limit)
        finally:
            query(connection, f"DROP TABLE IF EXISTS {TABLE}")
            if not query(connection, LEFT_SQL):
                query(connection, "DROP SCHEMA IF EXISTS tiphys")
    return took


def _write(address: str, credentials: Credentials, row: str, pods: dict[str, str], router: str, limit: float) -> str:
    said = ""
    while True:
        try:
            with session(
                address, ROUTER_RW_PORT, credentials, what=router, timeout=ROUTER_SECONDS, read_timeout=ROUTER_SECONDS
            ) as connection:
                server = str(query(connection, "SELECT @@server_uuid")[0][0])
                if server in pods:
                    query(connection, f"INSERT IGNORE INTO {TABLE} VALUES (%s)", (row,))
                    return server
                said = f"it leads to server {server}, which takes no writes"
        except StepError as error:  # the table may not have come to that member yet, too
            said = str(error)
        if time.monotonic() >= limit:
            raise TimedOut(
                f"Router {router} takes no write: {said}. Look at its log (kubectl logs {router}), or delete its pod: "
                "the next one reads the group anew."
            )
        time.sleep(LOOK_SECONDS)


def _seen(member: Member, credentials: Credentials, rows: int, limit: float) -> None:
    with session(member.address, SERVER_PORT, credentials, what=member.pod) as connection:
        while (seen := int(query(connection, f"SELECT COUNT(*) FROM {TABLE}")[0][0])) < rows:
            if time.monotonic() >= limit:
                raise TimedOut(
                    f"{member.pod} sees {seen} of {rows} writes that went through the Routers: it is behind, or cut "
                    "off. Run check-cluster."
                )
            time.sleep(LOOK_SECONDS)
