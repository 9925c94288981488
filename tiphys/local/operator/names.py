"""Names, labels and ports that Oracle's operator uses, and the few that only this stand-in has."""

from __future__ import annotations

import ipaddress

COMPONENT = "mysql-operator"
"""Who says so, in Events."""

LABEL_CLUSTER = "mysql.oracle.com/cluster"
LABEL_ROLE = "mysql.oracle.com/cluster-role"
LABEL_TYPE = "mysql.oracle.com/instance-type"
LABEL_BACKUP = "tiphys.dev/mysqlbackup"
"""On the pod of a MySQLBackup: that object's name."""
ANNOTATION_MEMBERSHIP = "mysql.oracle.com/membership-info"
ANNOTATION_BOOTSTRAP = "tiphys.dev/bootstrap"
"""On the InnoDBCluster, before any bootstrap: which server is about to start the group. See `reboot`."""
ANNOTATION_REBOOT = "tiphys.dev/rebooted-at"
"""On the InnoDBCluster: when its group was last started, seconds since the epoch."""
ANNOTATION_SPEC = "tiphys.dev/created-with"
"""On the InnoDBCluster: the versions that its pod templates have."""
FINALIZER_MEMBER = "mysql.oracle.com/membership"
FINALIZER_CLUSTER = "mysql.oracle.com/cluster"
GATE_CONFIGURED = "mysql.oracle.com/configured"
GATE_READY = "mysql.oracle.com/ready"

ADMIN_USER = "mysqladmin"
ROUTER_USER = "mysqlrouter"
BACKUP_USER = "mysqlbackup"
RECOVERY_USER = "mysql_innodb_cluster_recovery"
LOCAL_ROOT = "localroot"
HEALTH_USER = "mysqlhealthchecker"

SERVER_IMAGE = "container-registry.oracle.com/mysql/community-server"
ROUTER_IMAGE = "container-registry.oracle.com/mysql/community-router"
OPERATOR_IMAGE = "container-registry.oracle.com/mysql/community-operator"

SIDECAR_ROLE = "mysql-local-sidecar"
"""ClusterRole of the server pods' account; on a real cluster manifests/mysql-local brings it."""

BASE_SERVER_ID = "TIPHYS_BASE_SERVER_ID"
"""Variable of the server's container: server_id of ordinal 0."""

SERVER_PORT = 3306
ROUTER_RW_PORT = 6446
ROUTER_RO_PORT = 6447
ROUTER_SPLIT_PORT = 6450

ROUTER_CONFIG = "tmp/mysqlrouter/mysqlrouter.conf"
"""Router's configuration, from the pod's file root; /tmp/mysqlrouter/mysqlrouter.conf as in Oracle's image."""


def group_address(address: str) -> str:
    """Return host and port where the member with this pod address speaks to its group.

    In a real cluster that is the server's own port, as MySQL's communication stack has it.

    Raises:
        ValueError: `address` is no IPv4 address.
    """
    if ipaddress.IPv4Address(address).is_loopback:
        return f"127.0.0.1:{group_port(address)}"
    return f"{address}:{SERVER_PORT}"


_GROUP_PORTS = range(13000, 32768)
"""Below Linux's ephemeral ports (32768 and up), above what people use for servers of their own."""


def group_port(address: str) -> int:
    """Return the port on 127.0.0.1 where the member with this pod address speaks to its group.

    Group replication accepts as its local address only one that an interface carries, and of the loopback
    range that is 127.0.0.1 alone (measured on MySQL 9.7: "There is no local IP address matching"). Adding
    addresses needs root. So a member listens for its group on mysqld's administrative port at 127.0.0.1; what
    clients, Routers and ``replication_group_members`` see stays the pod's own address.

    Raises:
        ValueError: `address` is no IPv4 address of the loopback range.
    """
    parsed = ipaddress.IPv4Address(address)
    if not parsed.is_loopback:
        raise ValueError(f"{address} is not in 127.0.0.0/8, where the local platform's pods live")
    _, network, node, host = parsed.packed
    return _GROUP_PORTS[(network * 1024 + (node - 1) * 254 + host) % len(_GROUP_PORTS)]
