"""The metadata schema that MySQL Router reads: which servers form the cluster, and which Routers serve it.

Router 9.x asks for version 2.2.0 of MySQL Shell's schema through a handful of views. This is a schema of our
own that answers those questions; MySQL Shell's has much more in it. It is written on the primary, so the group
carries it to every member.
"""

from __future__ import annotations

from dataclasses import dataclass

SCHEMA = "mysql_innodb_cluster_metadata"


@dataclass(frozen=True)
class Instance:
    """One server as the metadata names it.

    Attributes:
        uuid: its server UUID.
        address: its pod's address.
        label: its pod's name.
    """

    uuid: str
    address: str
    label: str


@dataclass(frozen=True)
class RouterInstance:
    """One Router as the metadata names it.

    Attributes:
        number: the router_id of its configuration.
        name: its pod's name.
        address: its pod's address.
    """

    number: int
    name: str
    address: str


@dataclass(frozen=True)
class Contents:
    """What the metadata says.

    Attributes:
        cluster: the cluster's id, which is its group's name; empty until schema, accounts and cluster are all
            there, because it is written last.
        instances: the servers.
        routers: the Routers.
    """

    cluster: str = ""
    instances: frozenset[Instance] = frozenset()
    routers: frozenset[RouterInstance] = frozenset()


_TABLES = (
    """CREATE TABLE IF NOT EXISTS {s}.clusters (
        cluster_id CHAR(36) CHARACTER SET ascii NOT NULL PRIMARY KEY,
        cluster_name VARCHAR(63) NOT NULL,
        description TEXT,
        options JSON,
        attributes JSON,
        cluster_type ENUM('gr', 'ar') NOT NULL DEFAULT 'gr',
        primary_mode ENUM('pm', 'mm') NOT NULL DEFAULT 'pm',
        router_options JSON)""",
    """CREATE TABLE IF NOT EXISTS {s}.instances (
        instance_id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY,
        cluster_id CHAR(36) CHARACTER SET ascii NOT NULL,
        address VARCHAR(265) CHARACTER SET ascii NOT NULL,
        mysql_server_uuid CHAR(36) CHARACTER SET ascii NOT NULL UNIQUE,
        instance_name VARCHAR(265) NOT NULL,
        addresses JSON NOT NULL,
        attributes JSON,
        description TEXT)""",
    """CREATE TABLE IF NOT EXISTS {s}.routers (
        router_id INT UNSIGNED NOT NULL PRIMARY KEY,
        router_name VARCHAR(265) NOT NULL,
        product_name VARCHAR(128) NOT NULL,
        address VARCHAR(256) CHARACTER SET ascii NOT NULL,
        version VARCHAR(12) DEFAULT NULL,
        last_check_in TIMESTAMP NULL DEFAULT NULL,
        attributes JSON,
        cluster_id CHAR(36) CHARACTER SET ascii DEFAULT NULL,
        options JSON,
        clusterset_id CHAR(36) CHARACTER SET ascii DEFAULT NULL)""",
)

_VIEWS = (
    "schema_version (`major`, `minor`, `patch`) AS SELECT 2, 2, 0",
    """v2_gr_clusters AS SELECT 'gr' AS cluster_type, primary_mode, cluster_id, cluster_name,
        attributes->>'$.group_replication_group_name' AS group_name, attributes, options, router_options,
        description, NULL AS clusterset_id FROM {s}.clusters""",
    """v2_clusters AS SELECT cluster_type, primary_mode, cluster_id, cluster_name, router_options
        FROM {s}.clusters""",
    """v2_instances AS SELECT i.instance_id, i.cluster_id, i.instance_name AS label, i.mysql_server_uuid,
        i.address, i.addresses->>'$.mysqlClassic' AS endpoint, i.addresses->>'$.mysqlX' AS xendpoint,
        i.attributes, 'group-member' AS instance_type FROM {s}.instances i""",
    """v2_this_instance AS SELECT i.cluster_id, i.instance_id, c.cluster_name, c.cluster_type
        FROM {s}.instances i JOIN {s}.clusters c ON i.cluster_id = c.cluster_id
        WHERE i.mysql_server_uuid = (SELECT variable_value FROM performance_schema.global_variables
        WHERE variable_name = 'server_uuid')""",
    """v2_routers AS SELECT router_id, cluster_id, router_name, product_name, address, version, last_check_in,
        attributes, clusterset_id, options FROM {s}.routers""",
    """v2_router_options AS SELECT r.router_id, concat(r.address, '::', r.router_name) AS router_label,
        r.clusterset_id, JSON_MERGE_PATCH(COALESCE(c.router_options, '{{}}'), COALESCE(r.options, '{{}}'))
        AS router_options FROM {s}.routers r LEFT JOIN {s}.clusters c ON c.cluster_id = r.cluster_id""",
    """v2_cs_members (clusterset_id, cluster_id, cluster_name, member_role, invalidated) AS
        SELECT NULL, NULL, NULL, NULL, NULL FROM {s}.clusters WHERE FALSE""",
)


def schema_statements() -> list[str]:
    """Return the statements that make the schema where it is missing."""
    tables = [table.format(s=SCHEMA) for table in _TABLES]
    views = ["CREATE OR REPLACE SQL SECURITY INVOKER VIEW " + f"{SCHEMA}." + view.format(s=SCHEMA) for view in _VIEWS]
    return [f"CREATE DATABASE IF NOT EXISTS {SCHEMA} DEFAULT CHARACTER SET utf8mb4", *tables, *views]
