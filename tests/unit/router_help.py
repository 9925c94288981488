"""A Router for tests: new connections go to whichever server takes writes now, as MySQL Router's do.

In a process of its own (``python router_help.py ADDRESS SERVER...``), so that it and the clients that it serves do not
wait for each other's turn.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import mysql.connector
from mysql_group import ROOT
from platform_help import eventually

from steps.mysql.connection import ROUTER_RW_PORT, SERVER_PORT, close, connect, query


@contextmanager
def router(address: str, servers: list[str]) -> Iterator[None]:
    """Listen on a Router's port for writes, in front of the servers at some addresses."""
    process = subprocess.Popen([sys.executable, __file__, address, *servers])
    try:
        eventually(lambda: _listens(address))
        yield
    finally:
        process.kill()
        process.wait(60)


def _listens(address: str) -> bool:
    with suppress(OSError), socket.create_connection((address, ROUTER_RW_PORT), 1):
        return True
    return False


def _serve(listener: socket.socket, servers: list[str]) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_lead, args=(client, servers), daemon=True).start()


def _lead(client: socket.socket, servers: list[str]) -> None:
    with client, suppress(OSError):
        target = next(filter(_takes_writes, servers), None)
        if target is None:
            return
        with socket.create_connection((target, SERVER_PORT), 5) as onward:
            back = threading.Thread(target=_copy, args=(onward, client), daemon=True)
            back.start()
            _copy(client, onward)
            back.join(5)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


def _takes_writes(server: str) -> bool:
    try:
        connection = connect(server, SERVER_PORT, ROOT, timeout=1.0, read_timeout=1.0, tls=False)
        try:
            return bool(query(connection, "SELECT @@global.super_read_only")[0][0] == 0)
        finally:
            close(connection)
    except mysql.connector.Error:
        return False


if __name__ == "__main__":
    with socket.create_server((sys.argv[1], ROUTER_RW_PORT)) as listening:
        _serve(listening, sys.argv[2:])
