"""Looking at a group before its topology is changed: its members' settings, its tables, what is under way."""

from __future__ import annotations

from typing import Any

from steps.errors import StepError
from steps.mysql.connection import SERVER_PORT, Credentials, query, session
from steps.mysql.topology import Topology
from steps.mysql.topology_plan import Server, Survey

OURS = "('mysql', 'sys', 'information_schema', 'performance_schema', 'mysql_innodb_cluster_metadata')"
SETTINGS_SQL = (
    "SELECT @@global.group_replication_single_primary_mode, @@global.transaction_isolation,"
    " @@global.auto_increment_increment, @@global.auto_increment_offset, @@global.server_id"
)
SERIALIZABLE_SQL = (
    "SELECT COUNT(*) FROM performance_schema.variables_by_thread v JOIN performance_schema.threads t USING (thread_id)"
    " WHERE v.variable_name = 'transaction_isolation' AND v.variable_value = 'SERIALIZABLE'"
    " AND t.type = 'FOREGROUND' AND t.processlist_id <> CONNECTION_ID()"
)
# Only those of clients: a Router or an applier may have one open, too, and they have no part in this.
OPEN_SQL = (
    "SELECT TIMESTAMPDIFF(SECOND, x.trx_started, NOW()) FROM information_schema.innodb_trx x"
    " JOIN performance_schema.threads t ON t.processlist_id = x.trx_mysql_thread_id"
    " WHERE t.type = 'FOREGROUND' AND t.processlist_id <> CONNECTION_ID() AND t.name = 'thread/sql/one_connection'"
)
# What a member does when it joins or is primary is a stage, too; these are the actions that a person starts.
STAGES_SQL = (
    "SELECT DISTINCT event_name FROM performance_schema.events_stages_current"
    " WHERE event_name LIKE 'stage/group_rpl/%' AND (event_name LIKE '%Primary Election%'"
    " OR event_name LIKE '%Primary Switch%' OR event_name LIKE '%Multi-primary Switch%'"
    " OR event_name LIKE '%Single-primary Switch%' OR event_name LIKE '%Communication Protocol%')"
)
KEYLESS_SQL = (
    "SELECT CONCAT(t.table_schema, '.', t.table_name) FROM information_schema.tables t"
    f" WHERE t.table_type = 'BASE TABLE' AND t.engine = 'InnoDB' AND t.table_schema NOT IN {OURS}"
    " AND NOT EXISTS (SELECT 1 FROM information_schema.statistics s WHERE s.table_schema = t.table_schema"
    " AND s.table_name = t.table_name AND s.non_unique = 0 GROUP BY s.index_name HAVING SUM(s.nullable = 'YES') = 0)"
    " ORDER BY 1 LIMIT 1000"
)
ENGINES_SQL = (
    "SELECT CONCAT(table_schema, '.', table_name, ' (', engine, ')') FROM information_schema.tables"
    f" WHERE table_type = 'BASE TABLE' AND engine <> 'InnoDB' AND table_schema NOT IN {OURS} ORDER BY 1 LIMIT 1000"
)
CASCADES_SQL = (
    "SELECT CONCAT(constraint_schema, '.', table_name, ' (', constraint_name, ')')"
    " FROM information_schema.referential_constraints"
    " WHERE delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')"
    " OR update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT') ORDER BY 1 LIMIT 1000"
)


def survey(topology: Topology, credentials: Credentials) -> Survey:
    """Ask every ONLINE member of itself, and one of them for its tables."""
    servers: dict[str, Server] = {}
    silent: dict[str, str] = {}
    tables: tuple[list[str], list[str], list[str]] | None = None
    online = [member for member in topology.members if member.state == "ONLINE"]
    for member in sorted(online, key=lambda one: one.role != "PRIMARY"):
        pod = member.pod or member.host
        if not member.address:
            silent[pod] = "no pod of the cluster fits it"
            continue
        try:
            with session(member.address, SERVER_PORT, credentials, what=pod) as connection:
                servers[pod] = server_of(connection)
                if tables is None:
                    tables = (
                        _column(connection, KEYLESS_SQL),
                        _column(connection, ENGINES_SQL),
                        _column(connection, CASCADES_SQL),
                    )
        except StepError as error:
            silent[pod] = str(error)
    keyless, engines, cascades = tables or ([], [], [])
    return Survey(topology, servers, silent, keyless, engines, cascades)


def server_of(connection: Any) -> Server:
    """Ask the server at the other end of itself."""
    single, isolation, increment, offset, server_id = query(connection, SETTINGS_SQL)[0]
    return Server(
        bool(single),
        str(isolation),
        int(query(connection, SERIALIZABLE_SQL)[0][0]),
        int(increment),
        int(offset),
        int(server_id),
        tuple(int(age[0] or 0) for age in query(connection, OPEN_SQL)),
        tuple(_column(connection, STAGES_SQL)),
    )


def _column(connection: Any, sql: str) -> list[str]:
    return [str(row[0]) for row in query(connection, sql)]
