"""The configuration of a server, composed from our own settings, the cluster's, and the pod's identity."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from tiphys.local.operator.names import SERVER_PORT, group_address, group_port

# Sizes for a laptop: 548 MB resident become 280 MB (measured, MySQL 9.7.4, idle). What monitoring and drills
# read (replication_*, threads, data locks, statement digests) stays; performance_schema keeps short histories
# and does not count its own memory. The cluster's own settings come later and win.
_SIZES = """\
innodb_buffer_pool_size=128M
innodb_buffer_pool_chunk_size=32M
innodb_log_buffer_size=8M
innodb_redo_log_capacity=128M
key_buffer_size=1M
table_open_cache=400
table_definition_cache=400
temptable_max_ram=64M
performance_schema_digests_size=1000
performance_schema_max_digest_length=512
performance_schema_max_sql_text_length=512
performance_schema_events_statements_history_long_size=100
performance_schema_events_waits_history_long_size=10
performance_schema_events_stages_history_long_size=10
performance_schema_events_transactions_history_long_size=10
performance_schema_accounts_size=20
performance_schema_hosts_size=20
performance_schema_users_size=20
performance_schema_error_size=0
performance_schema_max_memory_classes=0
performance_schema_max_thread_instances=600
performance_schema_max_metadata_locks=2000
performance_schema_max_table_instances=800
performance_schema_max_table_handles=1000
loose_group_replication_message_cache_size=134217728
"""

_BEHAVIOUR = """\
mysqlx=OFF
skip_name_resolve=ON
local_infile=ON
plugin_load_add=group_replication.so;mysql_clone.so
# A restarted server takes no writes of its own until it is back in its group: they would be errant.
super_read_only=ON
loose_group_replication_start_on_boot=OFF
loose_group_replication_single_primary_mode=ON
loose_group_replication_exit_state_action=ABORT_SERVER
loose_group_replication_communication_stack=MYSQL
loose_group_replication_recovery_use_ssl=ON
loose_group_replication_recovery_get_public_key=ON
"""


@dataclass(frozen=True)
class Identity:
    """What makes one server different from its peers.

    Attributes:
        address: the pod's address.
        server_id: base plus ordinal.
        data: data folder.
        run: folder for what lives as long as the process.
        socket: the local socket's path; at most 107 characters, a limit of Linux.
        pid_file: written by the server itself.
    """

    address: str
    server_id: int
    data: Path
    run: Path
    socket: Path
    pid_file: Path


def compose(identity: Identity, include: Path | None) -> str:
    """Return the text of my.cnf.

    Args:
        identity: the server's own values; they come last, so nothing overrides them.
        include: folder whose ``*.cnf`` files are the cluster's own settings.
    """
    own = {
        "server_id": identity.server_id,
        "bind_address": identity.address,
        "port": SERVER_PORT,
        "report_host": identity.address,
        "report_port": SERVER_PORT,
        **_group(identity.address),
        "datadir": identity.data,
        "socket": identity.socket,
        "pid_file": identity.pid_file,
        "tmpdir": identity.run,
        "secure_file_priv": "",
    }
    lines = ["[mysqld]", _SIZES + _BEHAVIOUR]
    if include is not None:
        lines.append(f"!includedir {include}\n")
    lines += ["[mysqld]", *(f"{key}={value}" for key, value in own.items())]
    return "\n".join(lines) + "\n"


def _group(address: str) -> dict[str, object]:
    """Return where a member speaks to its group: locally at its administrative port, for which see `group_port`."""
    local_address = {"loose_group_replication_local_address": group_address(address)}
    if ipaddress.IPv4Address(address).is_loopback:
        own = {"admin_address": "127.0.0.1", "admin_port": group_port(address)}
        return {**own, **local_address, "loose_group_replication_ip_allowlist": "127.0.0.0/8"}
    # Pods may have any address; who may speak to the group is decided by the account that a member logs in with.
    return {**local_address, "loose_group_replication_ip_allowlist": "0.0.0.0/0"}
