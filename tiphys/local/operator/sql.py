"""SQL sessions to servers, with short time limits: a server that hangs must never hold up the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mysql.connector
from mysql.connector.errors import Error as SqlError

__all__ = ["Session", "SqlError"]

Row = tuple[Any, ...]

CONNECT_SECONDS = 2
READ_SECONDS = 3


class Session:
    """One connection; use it from one thread at a time.

    The pure Python driver, since the C one does not load everywhere (facts: Debian 12).
    """

    def __init__(
        self,
        user: str,
        password: str,
        address: str | None = None,
        socket: str | None = None,
        read_seconds: int = READ_SECONDS,
    ):
        """Connect by TCP to `address`, port 3306, or through a local `socket`.

        Raises:
            SqlError: there is no connection to be had.
        """
        place: dict[str, Any] = {"unix_socket": socket} if socket else {"host": address, "port": 3306}
        self._connection = mysql.connector.connect(
            **place,
            user=user,
            password=password,
            use_pure=True,
            autocommit=True,
            connection_timeout=CONNECT_SECONDS,
            read_timeout=read_seconds,
            write_timeout=read_seconds,
        )

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Row]:
        """Run a statement and return its rows; none for one that returns none.

        Raises:
            SqlError: it failed, or took longer than the session's limit.
        """
        cursor: Any = self._connection.cursor()
        try:
            cursor.execute(statement, tuple(values))
            return [tuple(row) for row in cursor.fetchall()] if cursor.with_rows else []
        finally:
            cursor.close()

    def run(self, *statements: str) -> None:
        """Run statements without values, one after the other."""
        for statement in statements:
            self.rows(statement)

    def close(self) -> None:
        """End the connection, however it is."""
        try:
            self._connection.shutdown()
        except Exception:  # noqa: BLE001 - it is gone either way
            return

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()
