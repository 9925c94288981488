"""The write ledger: clients that write unique ids (and read) through the Router, each on a connection of its own.

A client makes one attempt every interval. It connects again within an attempt where it has no connection, so that the
time a reconnect takes belongs to the attempt that needed it. A write that nobody answers is in doubt after
`ANSWER_SECONDS`, and the client goes on with a new connection, as an application with a sensible timeout would do. The
old connection is still listened to for `LATE_SECONDS`: an answer that comes late is recorded with its true time, so
that no write is in doubt without need. It ends no outage, though: writes that hang when a group loses its quorum are
answered in bursts while the group takes no other.
"""

from __future__ import annotations

import select
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import mysql.connector
from mysql.connector.errors import ReadTimeoutError

from steps.drill.attempts import Attempt, Outcome, outcome_of_error
from steps.drill.clock import Clock
from steps.mysql.connection import Credentials, connect

CONNECT_SECONDS = 1
"""Limit for each step of connecting."""
ANSWER_SECONDS = 2
"""Limit for the answer to one statement."""
LATE_SECONDS = 30
"""How long a late answer is listened for."""
LAST_CALL_SECONDS = 0.5
"""How long the end of the measuring waits for attempts that are under way; those still open then stay open."""

CREATE = (
    "CREATE SCHEMA IF NOT EXISTS tiphys",
    "CREATE TABLE IF NOT EXISTS tiphys.ledger (run VARCHAR(63) CHARACTER SET ascii NOT NULL, client SMALLINT NOT NULL,"
    " attempt INT NOT NULL, PRIMARY KEY (run, client, attempt)) COMMENT 'Writes of Tiphys drills; safe to drop'",
)
"""Statements that make the ledger's table."""


@dataclass(frozen=True)
class Endpoint:
    """Where clients connect to, and as whom."""

    host: str
    port: int
    credentials: Credentials


@dataclass
class ClientRecord:
    """What one client did.

    Attributes:
        client: its number; unique among the clients of its kind.
        kind: ``write`` or ``read``.
        attempts: in order; the last may be open.
        died: the error that ended the client's thread, empty for none. Such a measurement has a hole.
    """

    client: int
    kind: str
    attempts: list[Attempt] = field(default_factory=list)
    died: str = ""


class Recorded:
    """What the clients of one run did, and how to ask it.

    Attributes:
        run: names the run's rows.
        cluster: name of the InnoDBCluster.
        clients: what each client did.
    """

    run: str
    cluster: str
    clients: list[ClientRecord]

    def of_kind(self, kind: str) -> list[Sequence[Attempt]]:
        """Return the attempts of each client of a kind (write, read)."""
        return [client.attempts for client in self.clients if client.kind == kind]

    def acknowledged(self, kind: str) -> list[float]:
        """Return when clients got the acknowledgements of a kind: without those that came when they had given up."""
        return [
            attempt.end
            for attempts in self.of_kind(kind)
            for attempt in attempts
            if attempt.served and attempt.end is not None
        ]

    def writes(self, outcome: Outcome) -> set[tuple[int, int]]:
        """Return the ids (client, sequence) of the writes with an outcome."""
        return {
            (client.client, attempt.sequence)
            for client in self.clients
            if client.kind == "write"
            for attempt in client.attempts
            if attempt.outcome is outcome
        }


class Client(threading.Thread):
    """One client: a thread, a connection, an attempt every `interval` seconds."""

    def __init__(
        self, kind: str, number: int, run: str, endpoint: Endpoint, clock: Clock, interval: float, offset: float
    ) -> None:
        super().__init__(name=f"{kind}-{number}", daemon=True)
        self.record = ClientRecord(number, kind)
        self._run_id, self._endpoint, self._clock = run, endpoint, clock
        self._interval, self._offset = interval, offset
        self._stopped = threading.Event()
        self._connection: Any = None
        self._server = ""
        self._under_way: tuple[int, float] | None = None
        self._late: list[Any] = []

    def run(self) -> None:
        """Make attempts until stopped."""
        due = self._clock() + self._offset
        sequence = 0
        try:
            while not self._stopped.wait(max(0.0, due - self._clock())):
                self._attempt(sequence)
                sequence += 1
                # Late is late: attempts that fell behind are not made up for in a burst.
                due = max(due + self._interval, self._clock())
        except Exception as error:  # the record must say that it ends too early
            self.record.died = f"{type(error).__name__}: {error}"
        finally:
            self._drop()
            for connection in self._late:
                connection.shutdown()

    def stop(self) -> None:
        """Ask the client to end after the attempt that is under way."""
        self._stopped.set()

    def finish(self, timeout: float) -> ClientRecord:
        """Wait up to `timeout` seconds, then return the record; an attempt still under way is in it as open."""
        self.join(max(0.0, timeout))
        under_way = self._under_way
        if self.is_alive() and under_way is not None:
            sequence, start = under_way
            record = ClientRecord(self.record.client, self.record.kind, self.record.attempts[:sequence])
            record.attempts.append(Attempt(sequence, start, None, Outcome.IN_DOUBT, 0, self._server))
            return record
        return self.record

    def _statement(self, sequence: int) -> str:
        if self.record.kind == "write":
            return f"INSERT INTO tiphys.ledger VALUES ('{self._run_id}', {self.record.client}, {sequence})"
        return f"SELECT MAX(attempt) FROM tiphys.ledger WHERE run = '{self._run_id}' AND client = 0"

    def _attempt(self, sequence: int) -> None:
        start = self._clock()
        self._under_way = (sequence, start)
        connected, sent, unanswered = None, False, None
        outcome, code = Outcome.ACKNOWLEDGED, 0
        try:
            if self._connection is None or _was_closed(self._connection):
                self._drop()
                self._server = ""
                self._connect()
                connected = self._clock()
            sent = True
            self._connection.cmd_query(self._statement(sequence))
            if self.record.kind == "read":
                self._connection.get_rows()
        except (mysql.connector.Error, OSError) as error:
            code = getattr(error, "errno", None) or -1
            from_server = getattr(error, "sqlstate", None) is not None
            outcome = outcome_of_error(code, sent=sent, from_server=from_server)
            if self.record.kind == "read":
                outcome = Outcome.REFUSED  # a read changes nothing, so nothing is in doubt
            late = sent and isinstance(error, ReadTimeoutError)
            unanswered = self._connection if late else None
            if late:
                self._connection = None
            # A server that answers "read only" is not the one to write to: look for another.
            self._drop()
        end = self._clock()
        self.record.attempts.append(Attempt(sequence, start, end, outcome, code, self._server, connected))
        self._under_way = None
        if unanswered is not None:
            self._late.append(unanswered)
            threading.Thread(target=self._listen, args=(unanswered, sequence), daemon=True).start()
        if self._connection is None:
            self._server = ""

    def _listen(self, connection: Any, sequence: int) -> None:
        """Wait for the answer to a statement that has been given up, and correct its record when it comes."""
        outcome, code = Outcome.ACKNOWLEDGED, 0
        try:
            connection._handle_result(connection._socket.recv(LATE_SECONDS))
        except (mysql.connector.Error, OSError, AttributeError) as error:
            code = getattr(error, "errno", None) or -1
            outcome = outcome_of_error(code, sent=True, from_server=getattr(error, "sqlstate", None) is not None)
        finally:
            connection.shutdown()
        end = self._clock()
        if outcome is not Outcome.IN_DOUBT and not self._stopped.is_set():
            known = self.record.attempts[sequence]
            self.record.attempts[sequence] = known._replace(end=end, outcome=outcome, code=code, late=True)

    def _connect(self) -> None:
        endpoint = self._endpoint
        connection = connect(
            endpoint.host,
            endpoint.port,
            endpoint.credentials,
            timeout=CONNECT_SECONDS,
            read_timeout=ANSWER_SECONDS,
        )
        try:
            connection.cmd_query("SELECT @@server_uuid")
            self._server = str(connection.get_rows()[0][0][0])
        except BaseException:
            connection.shutdown()
            raise
        self._connection = connection

    def _drop(self) -> None:
        if self._connection is not None:
            # Not close(): that sends QUIT, and may wait for a server that is gone.
            self._connection.shutdown()
            self._connection = None


def _was_closed(connection: Any) -> bool:
    """Tell whether the other side closed the idle connection: a statement sent now would be in doubt for nothing."""
    readable, _, _ = select.select([connection._socket.sock], [], [], 0)
    return bool(readable)


class Ledger:
    """All clients of one drill.

    Args:
        run: names the rows of this drill; the workflow's name.
        write_to: the Router's read-write port.
        read_from: the Router's read-only port, or None for no readers.
        clock: the drill's clock.
        interval: seconds from attempt to attempt of one client.
        writers: number of writing clients.
        readers: number of reading clients.
    """

    def __init__(
        self,
        run: str,
        write_to: Endpoint,
        read_from: Endpoint | None,
        clock: Clock,
        *,
        interval: float,
        writers: int,
        readers: int,
    ) -> None:
        if not set(run) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-"):
            raise ValueError(f"a run's name is a Kubernetes name, not {run!r}")
        kinds = [("write", writers, write_to)]
        if read_from is not None:
            kinds.append(("read", readers, read_from))
        # Spread over the interval, so that the ledger as a whole looks at the cluster as often as it can.
        self.clients = [
            Client(kind, number, run, endpoint, clock, interval, interval * number / count)
            for kind, count, endpoint in kinds
            for number in range(count)
        ]

    def start(self) -> None:
        """Start every client."""
        for client in self.clients:
            client.start()

    def attempts(self, kind: str) -> Sequence[Sequence[Attempt]]:
        """Return the attempts so far of each client of a kind; the lists grow while clients run."""
        return [client.record.attempts for client in self.clients if client.record.kind == kind]

    def stop(self) -> list[ClientRecord]:
        """Stop every client and return what each did; takes at most `LAST_CALL_SECONDS` or so."""
        for client in self.clients:
            client.stop()
        share = LAST_CALL_SECONDS / max(1, len(self.clients))
        return [client.finish(share) for client in self.clients]
