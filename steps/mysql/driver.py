"""The pure driver's connection, with one TLS context for the whole process.

mysql.connector makes a new context for every connection and loads the system's certificates into it twice: 70 ms of
computing in which no other thread runs, for certificates that are not even checked (see `connection.connect`). A drill
whose clients all connect again at the moment of a failover would measure that.
"""

from __future__ import annotations

import functools
import ssl
from typing import Any, Protocol

from mysql.connector import DatabaseError
from mysql.connector import Error as MySQLError
from mysql.connector.connection import MySQLConnection
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

    def _cut(self) -> None:
        if self._socket is not None:
            self._socket.shutdown()

    def _get_connection(self) -> MySQLTCPSocket:
        made = _Socket(host=self.server_host, port=self.server_port, force_ipv6=self._force_ipv6)
        made.set_connection_timeout(self._connection_timeout)
        return made
