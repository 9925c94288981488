"""Connections to MySQL servers and Routers: short timeouts, TLS, autocommit, and no password in any message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from steps.errors import StepError, Temporary
from steps.kube.client import Kube, Object

EVERY_ROW = "sql_select_limit = 18446744073709551615"
"""For SET SESSION, where all rows must be read: a server's own limit would cut every result without a word."""

SERVER_PORT = 3306
ROUTER_RW_PORT, ROUTER_RO_PORT = 6446, 6447
"""Router's classic-protocol ports: to the primary, and to the secondaries in turn."""

_GONE = frozenset({2002, 2003, 2006, 2013, 2055, 1053, 1040, 1203, 3100, 3101, 1290, 1205, 1213, 1317, 3024, 3572})
"""Errors worth another try: connection refused, lost or too many, shutdown, read-only or fenced member, rollback by
the group, lock wait timeout, deadlock, interrupted query."""

_FULL = frozenset({1021, 1114, 3675})
"""A file cannot be made longer: the disk under the server is full."""

_DENIED = frozenset({1044, 1045, 1142, 1227, 1698, 3118})


@dataclass(frozen=True)
class Credentials:
    """A MySQL user; the password never shows in its repr."""

    user: str
    password: str = field(repr=False)


def root_credentials(kube: Kube, cluster: Object) -> Credentials:
    """Return the administrator of a cluster, from the Secret that its InnoDBCluster names."""
    name = str(cluster["spec"]["secretName"])
    values = kube.secret(name)
    if not values.get("rootPassword"):
        raise StepError(
            f"Secret {name} has no key rootPassword (it has {', '.join(sorted(values)) or 'none'}): "
            "the operator's InnoDBClusters need rootUser, rootHost and rootPassword"
        )
    return Credentials(values.get("rootUser", "root"), values["rootPassword"])


def connect(
    host: str,
    port: int,
    credentials: Credentials,
    *,
    database: str | None = None,
    timeout: float = 5.0,
    read_timeout: float | None = 30.0,
    tls: bool = True,
    local_infile: bool = False,
) -> Any:
    """Return a connection of mysql.connector (the pure driver), in autocommit mode.

    TLS is used whenever the server offers it, without checking its certificate: servers make their own at their
    first start, and the address comes from Kubernetes. caching_sha2_password needs TLS (or a socket) for its first
    full exchange.

    Args:
        host: address.
        port: TCP port.
        credentials: the user.
        database: default schema, or None.
        timeout: seconds for TCP, TLS and login together, at most.
        read_timeout: seconds to wait for any one packet; None waits for ever.
        tls: False never uses TLS.
        local_infile: allow ``LOAD DATA LOCAL``.

    Raises:
        mysql.connector.Error: as the driver raises it, with its errno; see `session` for the steps' own errors.
    """
    from steps.mysql.driver import Connection

    waits: dict[str, Any] = {}
    if read_timeout is not None:
        waits = {"read_timeout": max(1, round(read_timeout)), "write_timeout": max(1, round(read_timeout))}
    return Connection(
        host=host,
        port=port,
        user=credentials.user,
        password=credentials.password,
        database=database or "",
        autocommit=True,
        connection_timeout=max(1, round(timeout)),
        ssl_disabled=not tls,
        allow_local_infile=local_infile,
        charset="utf8mb4",
        **waits,
    )


@contextmanager
def session(host: str, port: int, credentials: Credentials, *, what: str = "", **options: Any) -> Iterator[Any]:
    """Connect, yield the connection, close it; errors of the driver become the steps' own.

    Args:
        host: address.
        port: TCP port.
        credentials: the user.
        what: for messages: what answers there ("member demo-0", "the Router").
        options: as for `connect`.

    Raises:
        Temporary: unreachable, lost, overloaded or read-only: worth another try.
        StepError: anything else, such as a refused password.
    """
    import mysql.connector

    place = f"{what} ({host}:{port})" if what else f"{host}:{port}"
    connection = None
    try:
        connection = connect(host, port, credentials, **options)
        yield connection
    except mysql.connector.Error as error:
        raise translated(error, place, credentials.user) from error
    finally:
        if connection is not None:
            close(connection)


def close(connection: Any) -> None:
    """Close a connection; one that is already broken is no error."""
    import mysql.connector

    try:
        connection.close()
    except (mysql.connector.Error, OSError):
        connection.disconnect()


def translated(error: Any, place: str, user: str) -> StepError:
    """Return the steps' own error for an error of the driver."""
    errno = int(getattr(error, "errno", 0) or 0)
    said = str(error)
    if errno in _GONE or errno <= 0:
        return Temporary(f"MySQL at {place} is not available now: {said}")
    if errno in _FULL:
        return StepError(
            f"The disk of MySQL at {place} is full: {said}. Free space there, or enlarge its volume; then run this "
            "again: a restore goes on where it stopped."
        )
    if errno in _DENIED:
        return StepError(
            f"MySQL at {place} does not let user {user!r} do this: {said}. "
            "Compare the cluster's Secret (rootUser, rootPassword) with the accounts on the server."
        )
    return StepError(f"MySQL at {place} failed: {said}")


def query(connection: Any, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows, empty where it has none.

    Args:
        connection: from `connect` or `session`.
        sql: the statement, with ``%s`` for each parameter.
        parameters: values; without any, ``%`` in `sql` stands for itself.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(sql, tuple(parameters)) if parameters else cursor.execute(sql)
        return list(cursor.fetchall()) if cursor.with_rows else []
    finally:
        cursor.close()


def quoted(name: str) -> str:
    """Return a schema's, table's or column's name as an identifier in SQL."""
    return "`" + name.replace("`", "``") + "`"
