"""The pure driver's connection, with one TLS context for the whole process.

mysql.connector makes a new context for every connection and loads the system's certificates into it twice: 70 ms of
computing in which no other thread runs, for certificates that are not even checked (see `connection.connect`). A drill
whose clients all connect again at the moment of a failover would measure that.
"""

from __future__ import annotations

import functools
import ssl
from typing import Any

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


class Connection(MySQLConnection):
    """A connection of mysql.connector over TCP."""

    def _get_connection(self) -> MySQLTCPSocket:
        made = _Socket(host=self.server_host, port=self.server_port, force_ipv6=self._force_ipv6)
        made.set_connection_timeout(self._connection_timeout)
        return made
