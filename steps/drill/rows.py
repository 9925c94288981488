"""The ledger's table on the cluster: made, read and cleared on the primary or a member, never through the Router."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from steps.drill.ledger import CREATE
from steps.mysql.connection import query

_BATCH = 5000
_KEPT = -1
"""The number of no client: its row marks a run that is to be kept."""
_MISSING = (1049, 1146)
"""Errors of MySQL: no such schema, no such table."""


def exists(connection: Any) -> bool:
    """Tell whether there is a ledger on this server."""
    sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'tiphys' AND table_name = 'ledger'"
    return bool(query(connection, sql))


def prepare(connection: Any, run: str) -> None:
    """Make the table where it is missing, without rows of this run (an attempt before may have left some)."""
    for statement in CREATE:
        query(connection, statement)
    clear(connection, run)


def clear(connection: Any, run: str) -> int:
    """Delete the rows of a run, in batches that a group's transaction limit takes; return how many."""
    deleted = 0
    while True:
        cursor = connection.cursor()
        try:
            cursor.execute(f"DELETE FROM tiphys.ledger WHERE run = %s LIMIT {_BATCH}", (run,))
            deleted += int(cursor.rowcount)
            if cursor.rowcount < _BATCH:
                return deleted
        finally:
            cursor.close()


def clear_all(connection: Any, runs: Collection[str]) -> list[str]:
    """Delete the rows of `runs`, and the ledger once it is empty; return those that had some. Two may do so at once."""
    import mysql.connector

    try:
        if not exists(connection):
            return []
        cleared = [run for run in runs if clear(connection, run)]
        drop_if_empty(connection)
        return cleared
    except mysql.connector.Error as error:
        if error.errno in _MISSING:
            return []  # somebody else has dropped it just now
        raise


def keep(connection: Any, run: str) -> None:
    """Mark a run's rows as wanted, so that `runs` does not offer them for deletion."""
    query(connection, f"INSERT IGNORE INTO tiphys.ledger VALUES (%s, {_KEPT}, 0)", (run,))


def runs(connection: Any) -> list[str]:
    """Return the runs that have rows and are not marked to be kept."""
    sql = f"SELECT run FROM tiphys.ledger GROUP BY run HAVING MIN(client) <> {_KEPT}"
    return [str(row[0]) for row in query(connection, sql)]


def ids(connection: Any, run: str) -> set[tuple[int, int]]:
    """Return the ids (client, sequence) of a run on this server."""
    sql = f"SELECT client, attempt FROM tiphys.ledger WHERE run = %s AND client <> {_KEPT}"
    return {(int(client), int(sequence)) for client, sequence in query(connection, sql, (run,))}


def drop_if_empty(connection: Any) -> bool:
    """Drop the table, and the schema if nothing else is in it, once no run has rows; return whether it did."""
    if query(connection, "SELECT 1 FROM tiphys.ledger LIMIT 1"):
        return False
    query(connection, "DROP TABLE IF EXISTS tiphys.ledger")
    sql = "SELECT 1 FROM information_schema.tables WHERE table_schema = 'tiphys' LIMIT 1"
    if not query(connection, sql):
        query(connection, "DROP SCHEMA IF EXISTS tiphys")
    return True
