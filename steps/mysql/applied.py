"""Waiting until every member has applied what the primary committed: until then, readers of a secondary see less."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from steps.errors import Temporary
from steps.log import log
from steps.mysql.connection import SERVER_PORT, Credentials, query, session
from steps.mysql.topology import Topology

APPLY_SECONDS = 900.0


def wait_for_all(topology: Topology, credentials: Credentials, gtids: str) -> None:
    """Wait until every ONLINE secondary has applied a set of transactions.

    Raises:
        Temporary: one has not after APPLY_SECONDS.
    """
    members = [member for member in topology.secondaries if member.address]
    if not members:
        return
    with ThreadPoolExecutor(max_workers=len(members)) as pool:
        waits = {
            member.pod: pool.submit(_wait, member.address, f"member {member.pod}", credentials, gtids)
            for member in members
        }
    late = [pod for pod, waited in waits.items() if not waited.result()]
    if late:
        raise Temporary(f"All rows are committed, but {', '.join(late)} has not applied them in {APPLY_SECONDS:.0f} s.")


def _wait(host: str, place: str, credentials: Credentials, gtids: str) -> bool:
    with session(host, SERVER_PORT, credentials, what=place, read_timeout=APPLY_SECONDS + 10) as connection:
        answer = query(connection, "SELECT WAIT_FOR_EXECUTED_GTID_SET(%s, %s)", [gtids, APPLY_SECONDS])
        log("applied" if answer[0][0] == 0 else "still applying", member=place)
        return bool(answer[0][0] == 0)
