"""One moment of a server, held over several connections, as MySQL Shell does it.

Under a global read lock each connection begins a transaction with a snapshot, so all of them see the same moment, and
the GTID set read there is exactly theirs. Then the read lock goes; an instance lock stays until the end, which keeps
tables and accounts as they are and lets writes pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from steps.backup.dump_rows import SESSION_SQL
from steps.errors import Temporary
from steps.mysql.connection import Credentials, query, session

LOCK_SECONDS = 30
"""So long a running statement may hold up the read lock, and the read lock other clients."""
READ_SECONDS = 1800.0
SILENCE_SECONDS = 900
"""After so long without a word of its client the server ends the connection that holds the instance lock: where the
step's node is lost, definitions, and a secondary's applier with them, would wait for the two hours of TCP's own test.
Longer than an object takes that S3 fails to take."""


@dataclass(frozen=True)
class Snapshot:
    """A moment of a server.

    Attributes:
        control: a connection with the instance lock, outside of the moment: for definitions, which the lock keeps.
        readers: connections that see the moment.
        server: UUID.
        version: of the server.
        hostname: of the server.
        user: that is connected.
        gtid_executed: what the moment holds.
        binlog_file: of the server, at the moment.
        binlog_position: in that file.
        begin: the moment.
        partial_revokes: whether the server restricts grants by schema.
    """

    control: Any
    readers: list[Any]
    server: str
    version: str
    hostname: str
    user: str
    gtid_executed: str
    binlog_file: str
    binlog_position: int
    begin: datetime
    partial_revokes: bool

    def check(self) -> None:
        """Make sure that the instance lock was held until now.

        Raises:
            Temporary: the connection that held it is gone.
        """
        if not self.control.is_connected():
            raise Temporary("The connection that held the instance lock was lost: tables may have changed meanwhile.")


@contextmanager
def snapshot(address: str, port: int, credentials: Credentials, readers: int, *, what: str) -> Iterator[Snapshot]:
    """Hold a moment of a server until the block ends.

    Args:
        address: of the server.
        port: TCP port.
        credentials: a user with RELOAD and BACKUP_ADMIN.
        readers: number of connections that see the moment.
        what: the server, for messages.

    Raises:
        Temporary: the server is away, or a statement kept the lock from us for LOCK_SECONDS.
    """
    with ExitStack() as stack:

        def opened() -> Any:
            connection = stack.enter_context(
                session(address, port, credentials, what=what, read_timeout=READ_SECONDS, timeout=10)
            )
            query(connection, SESSION_SQL)
            return connection

        control = opened()
        workers = [opened() for _ in range(readers)]
        query(control, f"SET SESSION lock_wait_timeout = {LOCK_SECONDS}, information_schema_stats_expiry = 0")
        query(control, f"SET SESSION wait_timeout = {SILENCE_SECONDS}")
        query(control, "FLUSH NO_WRITE_TO_BINLOG TABLES")
        query(control, "FLUSH TABLES WITH READ LOCK")
        for worker in workers:
            query(worker, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            query(worker, "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY")
        begin = datetime.now(UTC)
        uuid, version, hostname, user, gtids = query(
            control, "SELECT @@server_uuid, @@version, @@hostname, SUBSTRING_INDEX(USER(), '@', 1), @@gtid_executed"
        )[0]
        status = query(control, "SHOW BINARY LOG STATUS") or [("", 0)]
        query(control, "LOCK INSTANCE FOR BACKUP")
        query(control, "UNLOCK TABLES")
        yield Snapshot(
            control=control,
            readers=workers,
            server=str(uuid),
            version=str(version),
            hostname=str(hostname),
            user=str(user),
            gtid_executed=str(gtids).replace("\n", ""),
            binlog_file=str(status[0][0]),
            binlog_position=int(status[0][1]),
            begin=begin,
            partial_revokes=bool(query(control, "SELECT @@partial_revokes")[0][0]),
        )
