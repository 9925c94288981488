"""SQL that changes a group: start it, join, leave, and the metadata. Blocking; run in threads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress

from tiphys.local.operator.accounts import Account, Statement
from tiphys.local.operator.decide import seeds
from tiphys.local.operator.metadata import SCHEMA, Contents, schema_statements
from tiphys.local.operator.names import SERVER_PORT
from tiphys.local.operator.sql import Session, SqlError

START_SECONDS = 120
"""START GROUP_REPLICATION waits for the group; MySQL itself gives up after a minute."""

LEAVE_SECONDS = 30
"""How long a server may take to leave a group that agrees."""

LONGEST_LEAVE = 240
"""Seconds for a server that leaves a group which agrees on nothing any more: MySQL itself waits for a minute, twice."""

CLONE_BYTES = 256 * 1024 * 1024
"""An empty member of a group with more data than this copies a peer's files instead of applying its log."""

SINGLE, CHECKS = "group_replication_single_primary_mode", "group_replication_enforce_update_everywhere_checks"
MODE = f"SELECT @@GLOBAL.{SINGLE}, @@GLOBAL.{CHECKS}"
NOBODY_FORCED = "SET GLOBAL group_replication_force_members=''"
"""A server whose quorum was once forced, and still has the value, does not start in a group again."""

_NEVER = 9223372036854775807


class GroupError(Exception):
    """A server is not in the state that the change needs; the message says which it is in."""


def _prepare(session: Session, recovery: Account, places: str) -> None:
    """Make a server ready to start: whatever an earlier attempt left is undone first."""
    # An operator that was killed between ON and OFF would turn the next join into a second bootstrap.
    session.run("SET GLOBAL group_replication_bootstrap_group=OFF", NOBODY_FORCED)
    # Stored, so that the member can come back by itself when it was expelled.
    session.rows(
        "CHANGE REPLICATION SOURCE TO SOURCE_USER=%s, SOURCE_PASSWORD=%s FOR CHANNEL 'group_replication_recovery'",
        (recovery.user, recovery.password),
    )
    session.rows("SET GLOBAL group_replication_group_seeds=%s", (places,))


def _state(session: Session) -> str:
    rows = session.rows(
        "SELECT member_state FROM performance_schema.replication_group_members WHERE member_id = @@server_uuid"
    )
    return str(rows[0][0]) if rows else "OFFLINE"


def bootstrap(address: str, admin: Account, recovery: Account, group_name: str) -> None:
    """Start the group on this server. Only `reboot.choose` may say so.

    Raises:
        GroupError: the server is not offline, or is configured for another group.
        SqlError: it refused.
    """
    with Session(admin.user, admin.password, address=address, read_seconds=START_SECONDS) as session:
        state = _state(session)
        if state != "OFFLINE":
            raise GroupError(f"{address} is {state}; a group is only started on a server that is OFFLINE")
        ((configured,),) = session.rows("SELECT @@group_replication_group_name")
        if configured != group_name:
            raise GroupError(f"{address} is configured for group {configured}, expected {group_name}")
        _prepare(session, recovery, seeds([address]))
        try:
            session.run("SET GLOBAL group_replication_bootstrap_group=ON", "START GROUP_REPLICATION")
        finally:
            with suppress(SqlError):
                session.run("SET GLOBAL group_replication_bootstrap_group=OFF")


def join(address: str, admin: Account, recovery: Account, peers: Sequence[str], clone: bool) -> None:
    """Have a server join the group of `peers`.

    Args:
        address: the server's.
        admin: the operator's account.
        recovery: the account for joining.
        peers: pod addresses of members that are in the group.
        clone: copy a peer's files, replacing what the server has; only for one that has nothing.

    Raises:
        SqlError: it refused, or the group did not answer.
    """
    with Session(admin.user, admin.password, address=address, read_seconds=START_SECONDS) as session:
        state = _state(session)
        if state in ("ONLINE", "RECOVERING"):
            return
        if state == "ERROR":
            ((copying,),) = session.rows(
                "SELECT COUNT(*) FROM performance_schema.clone_status WHERE state = 'In Progress'"
            )
            if copying:
                return  # it left the group for that, and restarts when it is done
            session.run("STOP GROUP_REPLICATION")
        _prepare(session, recovery, seeds(peers))
        _follow_mode(session, peers[0], admin)
        session.rows("SET GLOBAL group_replication_clone_threshold=%s", (1 if clone else _NEVER,))
        session.run("START GROUP_REPLICATION")


def _follow_mode(session: Session, peer: str, admin: Account) -> None:
    """Give a server its group's topology mode.

    A group tells its members, not who is away: that one keeps the other mode in its mysqld-auto.cnf, and is refused.
    """
    with Session(admin.user, admin.password, address=peer) as other:
        wanted = other.rows(MODE)
    if session.rows(MODE) != wanted:
        ((single, checks),) = wanted
        # Neither may be ON together with the other.
        session.run(f"SET PERSIST {CHECKS}=OFF", f"SET PERSIST {SINGLE}={'ON' if single else 'OFF'}")
        if checks:
            session.run(f"SET PERSIST {CHECKS}=ON")


def remember(address: str, admin: Account, places: str) -> None:
    """Set where a server looks for its group the next time; nothing changes until then.

    Raises:
        SqlError: it does not answer.
    """
    with Session(admin.user, admin.password, address=address) as session:
        session.rows("SET GLOBAL group_replication_group_seeds=%s", (places,))


def leave(address: str, admin: Account, seconds: int = LEAVE_SECONDS) -> None:
    """Have a server leave its group, so that the others need not find out.

    Args:
        address: the server's.
        admin: the operator's account.
        seconds: how long it may take; one whose group does not agree on anything any more needs over a minute.

    Raises:
        SqlError: it does not answer.
    """
    with Session(admin.user, admin.password, address=address, read_seconds=seconds) as session:
        session.run("STOP GROUP_REPLICATION")


def data_bytes(address: str, admin: Account) -> int:
    """Return how many bytes of user data a server holds."""
    with Session(admin.user, admin.password, address=address) as session:
        rows = session.rows(
            "SELECT COALESCE(SUM(file_size), 0) FROM information_schema.innodb_tablespaces"
            " WHERE space_type = 'Single' AND name NOT LIKE 'mysql/%%' AND name NOT LIKE 'sys/%%'"
        )
        return int(rows[0][0])


def create_metadata(
    address: str, admin: Account, cluster_name: str, group_name: str, accounts: Sequence[Statement]
) -> None:
    """Make the metadata schema and the accounts that the group carries; the cluster's own row comes last.

    Raises:
        SqlError: the server is not the primary any more, or did not answer.
    """
    attributes = json.dumps(
        {"group_replication_group_name": group_name, "group_replication_view_change_uuid": "AUTOMATIC", "adopted": 0}
    )
    with Session(admin.user, admin.password, address=address, read_seconds=30) as session:
        session.run(*schema_statements())
        for statement, values in accounts:
            session.rows(statement, values)
        session.rows(f"DELETE FROM {SCHEMA}.instances WHERE cluster_id <> %s", (group_name,))
        session.rows(f"DELETE FROM {SCHEMA}.routers WHERE cluster_id <> %s", (group_name,))
        session.rows(f"DELETE FROM {SCHEMA}.clusters WHERE cluster_id <> %s", (group_name,))
        session.rows(
            f"INSERT INTO {SCHEMA}.clusters (cluster_id, cluster_name, description, options, attributes,"
            " router_options) VALUES (%s, %s, 'Tiphys', '{{}}', %s, '{{}}')"
            " ON DUPLICATE KEY UPDATE attributes = VALUES(attributes)".replace("{{}}", "{}"),
            (group_name, cluster_name, attributes),
        )


def update_metadata(address: str, admin: Account, group_name: str, seen: Contents, wanted: Contents) -> None:
    """Change the rows of servers and Routers from what was seen to what is wanted, in one transaction.

    Raises:
        SqlError: the server is not the primary any more, or did not answer.
    """
    with Session(admin.user, admin.password, address=address) as session:
        session.run("START TRANSACTION")
        for gone in seen.instances - wanted.instances:
            session.rows(
                f"DELETE FROM {SCHEMA}.instances WHERE mysql_server_uuid = %s AND address = %s",
                (gone.uuid, f"{gone.address}:{SERVER_PORT}"),
            )
        for item in sorted(wanted.instances - seen.instances, key=lambda one: one.label):
            place = f"{item.address}:{SERVER_PORT}"
            session.rows(
                f"REPLACE INTO {SCHEMA}.instances (cluster_id, address, mysql_server_uuid, instance_name,"
                " addresses, attributes) VALUES (%s, %s, %s, %s, %s, '{}')",
                (group_name, place, item.uuid, item.label, json.dumps({"mysqlClassic": place})),
            )
        for router in seen.routers - wanted.routers:
            session.rows(f"DELETE FROM {SCHEMA}.routers WHERE router_id = %s", (router.number,))
        for router in wanted.routers - seen.routers:
            session.rows(
                f"REPLACE INTO {SCHEMA}.routers (router_id, router_name, product_name, address, cluster_id,"
                " attributes, options) VALUES (%s, %s, 'MySQL Router', %s, %s, '{}', '{}')",
                (router.number, router.name, router.address, group_name),
            )
        session.run("COMMIT")
