"""Real MySQL servers for tests: a replication group of a few mysqld processes on loopback addresses."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platform_help import free_ports

from steps.mysql.connection import Credentials, close, connect, query
from tiphys.local import mysql_packages

ROOT = Credentials("root", "only-for-tests")
REPLICATION = Credentials("repl", "only-for-tests-too")
GROUP = "8a94f357-aab4-11df-86ab-c80aa9420000"

SETTINGS = """
[mysqld]
mysqlx=OFF
skip-name-resolve
gtid_mode=ON
enforce_gtid_consistency=ON
innodb_buffer_pool_size=256M
innodb_redo_log_capacity=1G
innodb_flush_log_at_trx_commit=1
local_infile=ON
plugin_load_add=group_replication.so
"""


class Server:
    """One mysqld; `start`, `stop` and `kill` are for its test to call."""

    def __init__(self, folder: Path, address: str, server_id: int, ports: list[int], port: int) -> None:
        self.folder, self.address, self.server_id = folder, address, server_id
        self.seeds = ",".join(f"127.0.0.1:{each}" for each in ports)
        self.group_port = port
        self.process: subprocess.Popen[bytes] | None = None
        mysql_packages.copy_data(folder / "data")
        (folder / "my.cnf").write_text(SETTINGS)

    def start(self) -> None:
        mysql = mysql_packages.find()
        options = [
            f"--defaults-file={self.folder / 'my.cnf'}",
            *mysql.server_options,
            f"--datadir={self.folder / 'data'}",
            f"--socket={self.folder / 's'}",
            f"--pid-file={self.folder / 'pid'}",
            f"--log-error={self.folder / 'error.log'}",
            f"--bind-address={self.address}",
            f"--server-id={self.server_id}",
            f"--report-host={self.address}",
            f"--loose-group_replication_group_name={GROUP}",
            # Its group communication takes only an address that an interface has, which 127.0.0.1 alone has.
            f"--loose-group_replication_local_address=127.0.0.1:{self.group_port}",
            f"--loose-group_replication_group_seeds={self.seeds}",
            "--loose-group_replication_start_on_boot=OFF",
            "--loose-group_replication_recovery_use_ssl=ON",
        ]
        environment = {**os.environ, **mysql.environment}
        self.process = subprocess.Popen(mysql.command("mysqld", *options), env=environment, cwd=self.folder)

    def wait(self) -> None:
        """Wait until the socket answers."""
        import mysql.connector

        for _ in range(1200):
            assert self.process is not None and self.process.poll() is None, self.errors()
            try:
                with mysql.connector.connect(unix_socket=str(self.folder / "s"), user="root", use_pure=True):
                    return
            except mysql.connector.Error:
                time.sleep(0.1)
        raise AssertionError(f"mysqld at {self.address} never answered: {self.errors()}")

    def prepare(self) -> None:
        """Give the accounts to a new server, in no binary log: every member makes its own."""
        import mysql.connector

        with mysql.connector.connect(unix_socket=str(self.folder / "s"), user="root", use_pure=True) as connection:
            query(connection, "SET sql_log_bin=0")
            for user in (ROOT, REPLICATION):
                query(connection, f"CREATE USER '{user.user}'@'%' IDENTIFIED BY '{user.password}'")
                query(connection, f"GRANT ALL ON *.* TO '{user.user}'@'%' WITH GRANT OPTION")
            query(connection, "SET sql_log_bin=1")

    def join(self, *, bootstrap: bool = False) -> None:
        connection = self.connect()
        if bootstrap:
            query(connection, "SET GLOBAL group_replication_bootstrap_group=ON")
        query(
            connection,
            f"CHANGE REPLICATION SOURCE TO SOURCE_USER='{REPLICATION.user}', SOURCE_PASSWORD='{REPLICATION.password}'"
            " FOR CHANNEL 'group_replication_recovery'",
        )
        query(connection, "START GROUP_REPLICATION")
        query(connection, "SET GLOBAL group_replication_bootstrap_group=OFF")
        for _ in range(1200):
            states = dict(
                query(connection, "SELECT member_id, member_state FROM performance_schema.replication_group_members")
            )
            if states.get(query(connection, "SELECT @@server_uuid")[0][0]) == "ONLINE":
                close(connection)
                return
            time.sleep(0.1)
        raise AssertionError(f"{self.address} never came ONLINE: {self.errors()}")

    def connect(self, **options: Any) -> Any:
        return connect(self.address, 3306, ROOT, **options)

    def errors(self) -> str:
        path = self.folder / "error.log"
        return "\n".join(path.read_text().splitlines()[-15:]) if path.exists() else "no log yet"

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(60)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@contextmanager
def mysql_group(folder: Path, addresses: list[str]) -> Iterator[list[Server]]:
    """Run one server at each address, joined into one group whose first member is the primary."""
    mysql_packages.ensure()
    servers: list[Server] = []
    ports = free_ports(len(addresses))
    try:
        for number, address in enumerate(addresses):
            place = folder / f"m{number}"
            place.mkdir(parents=True)
            servers.append(Server(place, address, 100 + number, ports, ports[number]))
            servers[-1].start()
        for number, server in enumerate(servers):
            server.wait()
            server.prepare()
            server.join(bootstrap=number == 0)
        yield servers
    finally:
        for server in servers:
            server.kill()  # nobody reads their data any more, and an orderly end takes six seconds
            shutil.rmtree(server.folder / "data", ignore_errors=True)
