"""Taking over a backup's GTIDs: a new cluster then counts the backup's transactions among its own.

A replica of the old cluster, or a replay of the old binary logs, must not bring these transactions once more. A server
learns that by ``SET GLOBAL gtid_purged``, but refuses it while group replication runs (error 3911), and to stop a whole
group for it would be an outage that the operator also tries to mend. So each GTID is committed once as an empty
transaction: it goes to every member through the group, as it does by hand when a GTID is to be skipped.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from steps.errors import StepError
from steps.log import log
from steps.mysql.connection import query

MOST = 50_000
"""More GTIDs than this are not taken over: about a thousand empty transactions go through a group in a second."""

TOGETHER = 500
"""Transactions in one packet: otherwise each would wait for its own answer."""

_TAG = re.compile(r"[a-z_][a-z0-9_]{0,31}", re.IGNORECASE)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def intervals(gtid_set: str) -> list[tuple[str, int, int]]:
    """Return the intervals of a GTID set: ``uuid`` or ``uuid:tag``, first and last number.

    Raises:
        StepError: it is no GTID set.
    """
    found: list[tuple[str, int, int]] = []
    for part in "".join(gtid_set.split()).split(","):
        source, *pieces = part.split(":")
        if not part:
            continue
        try:
            if not _UUID.fullmatch(source):
                raise ValueError(source)
            origin = source
            for piece in pieces:
                if _TAG.fullmatch(piece):
                    origin = f"{source}:{piece}"
                    continue
                first, _, last = piece.partition("-")
                found.append((origin, int(first), int(last or first)))
        except ValueError as error:
            raise StepError(f"{gtid_set!r:.200} is no GTID set: {error}. The backup's @.json is damaged.") from None
    return found


def take_over(connection: Any, gtid_set: str, most: int = MOST) -> str:
    """Make the group count a backup's transactions as executed, and return what came of it.

    Returns:
        "taken-over", or "too-many" where it would take more than `most` transactions: then nothing was done.
    """
    left = str(query(connection, "SELECT GTID_SUBTRACT(%s, @@global.gtid_executed)", [gtid_set])[0][0])
    todo = intervals(left)
    members = "SELECT 1 FROM performance_schema.replication_group_members WHERE member_state <> 'OFFLINE'"
    if todo and not query(connection, members):
        # A server on its own, before its group is made: members that join take this over from it.
        query(connection, "SET GLOBAL gtid_purged = %s", [f"+{left}"])
        todo = []
    count = sum(last - first + 1 for _, first, last in todo)
    if count > most:
        log("GTIDs not taken over", transactions=count, most=most, gtid_executed_of_backup=gtid_set)
        return "too-many"
    numbered = (f"{origin}:{number}" for origin, first, last in todo for number in range(first, last + 1))
    for batch in _batches(numbered):
        _commit_empty(connection, batch)
    log("GTIDs taken over", transactions=count)
    return "taken-over"


def _batches(gtids: Iterator[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for gtid in gtids:
        batch.append(gtid)
        if len(batch) == TOGETHER:
            yield batch
            batch = []
    if batch:
        yield batch


def _commit_empty(connection: Any, gtids: list[str]) -> None:
    sql = ";".join(f"SET gtid_next='{gtid}';COMMIT" for gtid in gtids) + ";SET gtid_next='AUTOMATIC'"
    cursor = connection.cursor()
    try:
        cursor.execute(sql)
        while cursor.nextset():
            pass
    finally:
        cursor.close()
