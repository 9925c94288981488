"""The pure driver's connection, with one TLS context for the whole process.

mysql.connector makes a new context for every connection and loads the system's certificates into it twice: 70 ms of
computing in which no other thread runs, for certificates that are not even checked (see `connection.connect`). A drill
whose clients all connect again at the moment of a failover would measure that.
"""

from __future__ import annotations

import functools
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from mysql.connector import DatabaseError, OperationalError
from mysql.connector import Error as MySQLError
from mysql.connector.connection import MySQLConnection
from mysql.connector.errors import get_exception
from mysql.connector.network import MySQLTCPSocket


@functools.cache
def tls_context() -> ssl.SSLContext:
    """Return the context: encrypts, and does not check who answers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Socket(MySQLTCPSocket):
    def build_ssl_context(self, *_: Any, **__: Any) -> ssl.SSLContext:
        """Return the shared context instead of making one."""
        return tls_context()


class Readable(Protocol):
    """What ``LOAD DATA LOCAL`` reads from."""

    def read(self, size: int = -1, /) -> bytes:
        """Return up to `size` bytes, nothing at the end."""
        ...


class Connection(MySQLConnection):
    """A connection of mysql.connector over TCP.

    Attributes:
        local_data: what the next ``LOAD DATA LOCAL`` sends, whatever file name it gives. A server can ask for a file
            in answer to any statement: it never gets one.
    """

    local_data: Readable | None = None

    def _handle_load_data_infile(
        self, filename: str, read_timeout: int | None = None, write_timeout: int | None = None
    ) -> Any:
        """Send `local_data`; where reading it fails, cut the connection, so that nothing of it can be committed."""
        data, self.local_data = self.local_data, None
        if data is None or not self._allow_local_infile:
            self._cut()
            raise DatabaseError(f"The server asked for the file {filename!r}, which no statement of ours named")
        try:
            return self._handle_ok(self._send_data(data, True, read_timeout, write_timeout))
        except MySQLError:
            raise
        except BaseException:
            self._cut()
            raise

    def raw_rows(self, sql: str, room: Callable[[], memoryview]) -> Iterator[int]:
        """Run a statement and yield how many bytes of its rows' packets came into `room()`, without end.

        Whoever reads them knows the last packet, and hands it to `raw_rows_end`; nothing else may be sent before that.
        """
        self.cmd_query(sql)
        if not self.unread_result or self._socket is None or self._socket.sock is None:
            raise DatabaseError("The statement gives no rows")
        sock, place = self._socket.sock, self._socket.address
        sock.settimeout(float(self._read_timeout) if self._read_timeout else None)
        while True:
            try:
                count = sock.recv_into(room())
            except OSError as error:
                raise OperationalError(errno=2013, values=(place, str(error))) from error
            if not count:
                raise OperationalError(errno=2013, values=(place, "the server closed the connection"))
            yield count

    def raw_rows_end(self, packet: bytes) -> None:
        """Take the packet after the rows; the connection is free for other statements.

        Raises:
            mysql.connector.Error: the server gave up while it sent rows.
        """
        self.unread_result = False
        if packet[:1] == b"\xff":
            raise get_exception(b"\0\0\0\0" + packet)

    def _cut(self) -> None:
        if self._socket is not None:
            self._socket.shutdown()

    def _get_connection(self) -> MySQLTCPSocket:
        made = _Socket(host=self.server_host, port=self.server_port, force_ipv6=self._force_ipv6)
        made.set_connection_timeout(self._connection_timeout)
        return made
