"""Moving the primary on purpose, and making sure that it moved."""

from __future__ import annotations

import time

from steps.errors import StepError, Temporary
from steps.kube.client import Kube
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, query, session
from steps.mysql.topology import read_topology


def move_primary(
    kube: Kube,
    cluster: str,
    pod: str,
    credentials: Credentials,
    *,
    timeout: float = 60.0,
    running_seconds: int | None = None,
) -> None:
    """Make `pod` the primary, and return once the majority says so.

    Writes wait for about half a second meanwhile; running transactions are let finish.

    Args:
        kube: client for the cluster's namespace.
        cluster: name of the InnoDBCluster.
        pod: of the member.
        credentials: the cluster's administrator.
        timeout: seconds that the switch may take.
        running_seconds: how long running transactions may take on top of that, before their connections are ended;
            None lets them take as long as they need, and the switch fails where that is too long.

    Raises:
        Temporary: the group has no primary now, `pod` is no ONLINE member, or the change did not come in time.
    """
    topology = read_topology(kube, cluster, credentials=credentials)
    heir = topology.of_pod(pod)
    if topology.primary is None or heir is None or heir.state != "ONLINE":
        raise Temporary(f"Cannot make {pod} the primary of {cluster} now: {topology.summary()}")
    if topology.primary.id == heir.id:
        return
    timeout += running_seconds or 0
    started = time.monotonic()
    log("moving primary", cluster=cluster, old=topology.primary.pod, new=pod)
    with session(
        topology.primary.address, SERVER_PORT, credentials, what=f"primary {topology.primary.pod}", read_timeout=timeout
    ) as connection:
        limit = [] if running_seconds is None else [running_seconds]
        function = "group_replication_set_as_primary(%s, %s)" if limit else "group_replication_set_as_primary(%s)"
        query(connection, f"SELECT {function}", [heir.id, *limit])
    while time.monotonic() - started < timeout:
        topology = read_topology(kube, cluster, credentials=credentials)
        if topology.primary is not None and topology.primary.id == heir.id:
            log("primary moved", cluster=cluster, primary=pod, seconds=round(time.monotonic() - started, 3))
            return
        time.sleep(0.2)
    raise StepError(
        f"group_replication_set_as_primary returned, but after {timeout:.0f} s the majority does not name {pod} as "
        f"primary of {cluster}: {topology.summary()}. Run check-cluster."
    )
