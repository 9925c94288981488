"""Asking every server of itself, all at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from steps.check.servers import Server
from steps.errors import StepError
from steps.mysql.connection import SERVER_PORT, Credentials, query, session

SETTINGS_SQL = "SELECT LOWER(variable_name), variable_value FROM performance_schema.global_variables"
PERSISTED_SQL = "SELECT LOWER(variable_name), variable_value FROM performance_schema.persisted_variables"
APPLYING_SQL = (
    "SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, applying_transaction_original_commit_timestamp, NOW(6))), 0) / 1e6"
    " FROM performance_schema.replication_applier_status_by_worker"
    " WHERE channel_name = 'group_replication_applier' AND applying_transaction <> ''"
)
STORED_SQL = "SELECT COALESCE(SUM(file_size), 0) FROM information_schema.innodb_tablespaces"
NOT_AFTER = "%b %d %H:%M:%S %Y %Z"
CLOCK_TRIES = 3


def read_servers(addresses: Mapping[str, str], credentials: Credentials, timeout: float) -> list[Server]:
    """Ask all servers of themselves.

    Args:
        addresses: pod name to pod IP; the empty text where it has none yet.
        credentials: an administrator.
        timeout: seconds for each connection and answer.

    Returns:
        One for each pod, with the error where it does not answer.
    """

    def ask(pod: str) -> Server:
        if not addresses[pod]:
            return Server(pod, datetime.now(UTC), error="the pod has no address yet")
        try:
            with session(addresses[pod], SERVER_PORT, credentials, what=pod, timeout=timeout) as connection:
                return server_of(connection, pod)
        except StepError as error:
            return Server(pod, datetime.now(UTC), error=str(error))

    if not addresses:
        return []
    with ThreadPoolExecutor(max_workers=min(16, len(addresses))) as pool:
        return list(pool.map(ask, sorted(addresses)))


def server_of(connection: Any, pod: str) -> Server:
    """Ask the server at the other end of an open connection."""
    clock, error = min((_clock(connection) for _ in range(CLOCK_TRIES)), key=lambda pair: pair[1])
    status = dict(query(connection, "SHOW STATUS WHERE variable_name IN ('Ssl_server_not_after', 'Threads_connected')"))
    settings = {str(name): str(value) for name, value in query(connection, SETTINGS_SQL)}
    return Server(
        pod=pod,
        at=datetime.now(UTC),
        settings=settings,
        persisted={str(name): str(value) for name, value in query(connection, PERSISTED_SQL)},
        certificate_until=not_after(str(status.get("Ssl_server_not_after") or "")),
        # Our own connection is one of them.
        connections=max(0, int(status["Threads_connected"]) - 1),
        clock=clock,
        clock_error=error,
        apply_seconds=max(0.0, float(query(connection, APPLYING_SQL)[0][0])),
        stored_bytes=_stored(connection, settings),
    )


def not_after(text: str) -> datetime | None:
    """Return the end of a certificate from the server's words (``Nov 19 20:39:01 2036 GMT``); None for others."""
    try:
        return datetime.strptime(text, NOT_AFTER).replace(tzinfo=UTC)
    except ValueError:
        return None


def _clock(connection: Any) -> tuple[float, float]:
    """Return how far the server's clock is ahead of ours, and by how much that may be wrong, in seconds."""
    before = datetime.now(UTC)
    said = query(connection, "SELECT UTC_TIMESTAMP(6)")[0][0].replace(tzinfo=UTC)
    took = datetime.now(UTC) - before
    return (said - before - took / 2).total_seconds(), took.total_seconds() / 2


def _stored(connection: Any, settings: Mapping[str, str]) -> int:
    stored = int(query(connection, STORED_SQL)[0][0]) + int(settings.get("innodb_redo_log_capacity") or 0)
    if settings.get("log_bin") == "ON":
        stored += sum(int(row[1]) for row in query(connection, "SHOW BINARY LOGS"))
    return stored
