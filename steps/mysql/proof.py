"""Proof that a cluster works: a row written where clients write, read back on every member."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping

from steps.errors import Temporary
from steps.mysql.connection import SERVER_PORT, Credentials, query, session

SCHEMA, TABLE = "tiphys", "tiphys.deploy_proof"


def prove_write(
    host: str, port: int, members: Mapping[str, str], credentials: Credentials, *, timeout: float = 30.0
) -> float:
    """Write a row through `host`:`port`, read it back on every member, remove it, and return the seconds it took.

    Args:
        host: address that clients write to: a Router's Service, or the primary.
        port: its port.
        members: pod name to address of every member.
        credentials: a user that may make a schema.
        timeout: seconds until every member must have the row.

    Raises:
        Temporary: the write was not taken, or a member does not have the row in time.
    """
    mark, started = str(uuid.uuid4()), time.monotonic()
    with session(host, port, credentials, what="the write port") as writer:
        query(writer, f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
        query(writer, f"CREATE TABLE IF NOT EXISTS {TABLE} (id CHAR(36) PRIMARY KEY, at TIMESTAMP(6) NOT NULL)")
        query(writer, f"INSERT INTO {TABLE} VALUES (%s, NOW(6))", [mark])
        try:
            for pod, address in members.items():
                _read_back(pod, address, credentials, mark, started + timeout)
            return time.monotonic() - started
        finally:
            query(writer, f"DROP TABLE IF EXISTS {TABLE}")
            tables = query(writer, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema=%s", [SCHEMA])
            if tables[0][0] == 0:
                query(writer, f"DROP SCHEMA IF EXISTS {SCHEMA}")


def _read_back(pod: str, address: str, credentials: Credentials, mark: str, deadline: float) -> None:
    with session(address, SERVER_PORT, credentials, what=f"member {pod}") as reader:
        while not _has(reader, mark):
            if time.monotonic() > deadline:
                raise Temporary(
                    f"A row written through the write port did not reach member {pod} in time: "
                    "its applier lags or is stopped. check-cluster tells more."
                )
            time.sleep(0.05)


def _has(reader: object, mark: str) -> bool:
    found = query(
        reader, "SELECT 1 FROM information_schema.tables WHERE table_schema=%s AND table_name='deploy_proof'", [SCHEMA]
    )
    return bool(found) and bool(query(reader, f"SELECT 1 FROM {TABLE} WHERE id=%s", [mark]))
