"""Asks the servers how they are: one thread each, short limits, connections kept open between the questions."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from mysql.connector.errors import ReadTimeoutError

from tiphys.local.operator.accounts import Account
from tiphys.local.operator.gtid import GtidSet
from tiphys.local.operator.member import Peer, View
from tiphys.local.operator.metadata import SCHEMA, Contents, Instance, RouterInstance
from tiphys.local.operator.sql import Session, SqlError

ANSWER_SECONDS = 1.5
"""How long a look waits for answers. A server on a busy laptop needs some 5 ms; nobody waits for a frozen one."""

LONGEST_PAUSE = 10.0
"""Seconds between questions to a server that takes connections and does not answer."""

_SELF = """
SELECT @@server_uuid, SUBSTRING_INDEX(VERSION(), '-', 1), @@GLOBAL.gtid_executed,
  (SELECT received_transaction_set FROM performance_schema.replication_connection_status
   WHERE channel_name = 'group_replication_applier'),
  (SELECT MAX(view_id) FROM performance_schema.replication_group_member_stats WHERE member_id = @@server_uuid),
  (SELECT COUNT(*) FROM performance_schema.threads WHERE processlist_command = 'Query'
   AND processlist_info LIKE 'START GROUP\\_REPLICATION%%'),
  (SELECT COUNT(*) FROM performance_schema.threads WHERE name = 'thread/group_rpl/THD_autorejoin'),
  @@group_replication_group_seeds
"""
_PEERS = """
SELECT member_id, member_host, member_state, member_role FROM performance_schema.replication_group_members
WHERE member_id <> ''
"""
_METADATA = f"""
SELECT 'instance', mysql_server_uuid, SUBSTRING_INDEX(address, ':', 1), instance_name, 0 FROM {SCHEMA}.instances
UNION ALL SELECT 'router', router_id, address, router_name, COALESCE(UNIX_TIMESTAMP(last_check_in), 0)
FROM {SCHEMA}.routers
UNION ALL SELECT 'cluster', cluster_id, '', '', 0 FROM {SCHEMA}.clusters
"""


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)


def ask(session: Session) -> View:
    """Return what a server says.

    Raises:
        SqlError: it does not answer in time.
    """
    uuid, version, executed, received, view_id, starting, rejoining, seeds = session.rows(_SELF)[0]
    peers = tuple(Peer(*map(_text, row)) for row in session.rows(_PEERS))
    done = GtidSet.parse(_text(executed))
    metadata, check_ins = _metadata(session)
    return View(
        uuid=_text(uuid),
        version=_text(version),
        gtids=done.union(GtidSet.parse(_text(received))),
        empty=not done.parts,
        peers=peers,
        view_id=_text(view_id),
        starting=bool(starting),
        rejoining=bool(rejoining),
        seeds=_text(seeds),
        metadata=metadata,
        check_ins=check_ins,
    )


def _metadata(session: Session) -> tuple[Contents | None, dict[int, float]]:
    """Return what a server's copy of the metadata says, and when each Router last checked in."""
    try:
        rows = session.rows(_METADATA)
    except SqlError as error:
        if error.errno in (1049, 1146):  # no such schema, no such table
            return None, {}
        raise
    by_kind: dict[str, list[tuple[object, ...]]] = {"instance": [], "router": [], "cluster": []}
    for kind, *values in rows:
        by_kind[_text(kind)].append(tuple(values))
    contents = Contents(
        next((_text(row[0]) for row in by_kind["cluster"]), ""),
        frozenset(Instance(_text(a), _text(b), _text(c)) for a, b, c, _ in by_kind["instance"]),
        frozenset(RouterInstance(int(_text(a)), _text(c), _text(b)) for a, b, c, _ in by_kind["router"]),
    )
    return contents, {int(_text(row[0])): float(_text(row[3])) for row in by_kind["router"]}


class Prober:
    """Keeps one connection to each server of a cluster."""

    def __init__(self, threads: ThreadPoolExecutor):
        self._threads = threads
        self._sessions: dict[str, Session] = {}
        self._asked: dict[str, asyncio.Future[View | None]] = {}
        self._began: dict[str, float] = {}
        self._silent: dict[str, tuple[int, float]] = {}

    async def ask_all(self, addresses: Mapping[str, str], admin: Account) -> dict[str, View | None]:
        """Ask the servers of these pods (uid to address) at once; None for one that did not answer in time.

        A server that hangs keeps its thread busy until its session's limits are over, and is not asked again
        before; the others are not held up by it. After every such failure it is asked less often, since each
        question may leave a stuck connection in it.
        """
        for uid in [uid for uid in self._sessions if uid not in addresses and uid not in self._asked]:
            self._sessions.pop(uid).close()
        loop = asyncio.get_running_loop()
        asked: dict[str, asyncio.Future[View | None]] = {}
        for uid, address in addresses.items():
            if uid not in self._asked and self._silent.get(uid, (0, 0.0))[1] <= loop.time():
                asked[uid] = loop.run_in_executor(self._threads, self._ask, uid, address, admin)
                self._asked[uid] = asked[uid]
                self._began[uid] = loop.time()
                asked[uid].add_done_callback(partial(self._answered, uid))
        if asked:
            await asyncio.wait(asked.values(), timeout=ANSWER_SECONDS)
        return {uid: asked[uid].result() if uid in asked and asked[uid].done() else None for uid in addresses}

    def _answered(self, uid: str, answer: asyncio.Future[View | None]) -> None:
        del self._asked[uid]
        failures = self._silent.pop(uid, (0, 0.0))[0]
        if answer.cancelled() or answer.exception():
            return
        loop = asyncio.get_running_loop()
        if answer.result() is None and loop.time() - self._began.pop(uid, loop.time()) > ANSWER_SECONDS:
            self._silent[uid] = (failures + 1, loop.time() + min(2.0**failures, LONGEST_PAUSE))

    def _ask(self, uid: str, address: str, admin: Account) -> View | None:
        # A kept connection may belong to a process that is gone: then one fresh attempt is made. A server that
        # is frozen costs the read limit once, and the connect limit afterwards.
        for session in (self._sessions.pop(uid, None), None):
            try:
                session = session or Session(admin.user, admin.password, address=address)
                view = ask(session)
            except (SqlError, OSError) as error:
                if session is not None:
                    session.close()
                if isinstance(error, ReadTimeoutError):
                    break
            else:
                self._sessions[uid] = session
                return view
        return None

    def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            session.close()
        self._sessions.clear()
