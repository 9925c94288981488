"""What one client saw of one write or read, and what can be known about its fate."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

NOT_COMMITTED = frozenset(
    {
        1040,  # too many connections
        1044,  # access denied to the schema
        1045,  # access denied
        1049,  # unknown schema
        1142,  # command denied
        1146,  # no such table
        1203,  # too many connections of this user
        1205,  # lock wait timeout
        1213,  # deadlock
        1290,  # super_read_only: the server is no primary
        1836,  # read-only mode
        3098,  # the table does not fit group replication
        3101,  # group replication rolled it back: certification
        4094,  # "All queries have been blocked while function 'group_replication_set_as_primary()' is executing"
    }
)
"""Server errors after which the statement is certainly not committed, anywhere.

Error 3100 (a replication hook failed) is left out on purpose: the primary rolls back, but the transaction may already
have been sent to the group, and the others may commit it.
"""


class Outcome(StrEnum):
    """What a client may believe about its attempt."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    IN_DOUBT = "in doubt"


class Attempt(NamedTuple):
    """One attempt of one client. Times are seconds on the measuring process's monotonic clock, from its start.

    Attributes:
        sequence: number of the attempt; with the run and the client it is the id that is written.
        start: when the client began, before connecting if it had to connect.
        end: when the answer or the error was there; None for an attempt that had none when the measuring ended.
        outcome: what the client may believe.
        code: MySQL's or the connector's error number; 0 for none.
        server: `server_uuid` of the server that the connection led to, empty where there was no connection.
        connected: when this attempt made a new connection, else None.
        late: the answer came when the client had given up: it tells the write's fate, and nobody was served by it.
    """

    sequence: int
    start: float
    end: float | None
    outcome: Outcome
    code: int = 0
    server: str = ""
    connected: float | None = None
    late: bool = False

    @property
    def served(self) -> bool:
        """Whether the client got its acknowledgement while it waited for it."""
        return self.outcome is Outcome.ACKNOWLEDGED and self.end is not None and not self.late

    @property
    def latency(self) -> float | None:
        """Seconds from start to end, None while open."""
        return None if self.end is None else self.end - self.start


def outcome_of_error(code: int, *, sent: bool, from_server: bool) -> Outcome:
    """Say what an error proves about a write.

    Args:
        code: the error's number.
        sent: whether the statement may have left this process.
        from_server: whether the error came as the server's answer, not from this side of the connection.
    """
    if not sent:
        return Outcome.REFUSED
    if from_server and code in NOT_COMMITTED:
        return Outcome.REFUSED
    return Outcome.IN_DOUBT
