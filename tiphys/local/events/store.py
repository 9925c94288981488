"""Accepted events on disk: what was answered with 200 becomes a Workflow, whatever happens to this process.

One row is one Workflow to be made. Rows stay after that, for a week, so that a key that comes again is known. Beside
them stands how far each calendar has come, written together with what its occasion set off.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import secrets
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

KEEP_SECONDS = 7 * 24 * 3600.0
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Of the five characters behind a generated name, as Kubernetes chooses them: no words come out."""

log = logging.getLogger(__name__)

_SCHEMA = """
CREATE TABLE IF NOT EXISTS accepted (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    workflow TEXT NOT NULL,
    accepted REAL NOT NULL,
    created REAL,
    letter TEXT,
    delivery TEXT,
    UNIQUE (namespace, name)
);
CREATE INDEX IF NOT EXISTS waiting ON accepted (id) WHERE created IS NULL;
CREATE TABLE IF NOT EXISTS calendars (
    source TEXT NOT NULL,
    event TEXT NOT NULL,
    moments TEXT NOT NULL,
    last REAL NOT NULL,
    PRIMARY KEY (source, event)
);
"""


def fingerprint(workflow: dict[str, Any]) -> str:
    """Return what tells two requests under one name apart: the template and the arguments."""
    spec = workflow.get("spec") or {}
    arguments = (spec.get("arguments") or {}).get("parameters") or []
    # A server may add fields to what it stores, so only what a caller decides is compared.
    said = [spec.get("workflowTemplateRef", {}).get("name"), [[p["name"], p.get("value")] for p in arguments]]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


class StoreError(Exception):
    """An event is not on disk, so it must not be answered with 200."""


@dataclass(frozen=True)
class Accepted:
    """What became of a request to accept a Workflow.

    Attributes:
        name: of the Workflow.
        is_new: whether it was accepted just now.
        same: whether an earlier one of this name asks for the same.
    """

    name: str
    is_new: bool
    same: bool


@dataclass(frozen=True)
class Occasion:
    """A moment of a calendar.

    Attributes:
        source: uid of the EventSource.
        event: name of the calendar in it.
        time: the moment, seconds since the epoch.
        moments: what the calendar said its moments are.
    """

    source: str
    event: str
    time: float
    moments: str = ""


class Order(NamedTuple):
    """A Workflow to be made.

    Attributes:
        identity: of its row; 0 for one that is not stored.
        workflow: what is to be made.
        letter: what is made where the Workflow is refused, None for nothing.
        delivery: as in :class:`tiphys.local.events.triggers.Fired`.
    """

    identity: int
    workflow: dict[str, Any]
    letter: dict[str, Any] | None
    delivery: dict[str, Any]


@dataclass(frozen=True)
class _Request:
    orders: list[Order]
    occasion: Occasion | None
    future: asyncio.Future[list[Accepted]]


class Store:
    """The accepted events of one platform. Writes that wait together are committed together, with one fsync."""

    def __init__(self, path: Path):
        """Open the store, making it if it is missing."""
        # Two connections, so that a reader in the event loop never sees what is not committed yet.
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + _SCHEMA)
        known = {row[1] for row in self._database.execute("PRAGMA table_info(accepted)")}
        for column in ("letter", "delivery"):
            if column not in known:  # a database of an older version
                self._database.execute(f"ALTER TABLE accepted ADD COLUMN {column} TEXT")
        self._database.execute(
            "DELETE FROM accepted WHERE created IS NOT NULL AND accepted < ?", (time.time() - KEEP_SECONDS,)
        )
        (self._last,) = self._database.execute("SELECT coalesce(max(id), 0) FROM accepted").fetchone()
        self._reader = sqlite3.connect(path, isolation_level=None)
        self._queue: list[_Request] = []
        self._made: list[int] = []
        self._forgotten: list[int] = []
        self._writing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Write what waits, and close the database."""
        if self._writing:
            await self._writing
        self._reader.close()
        self._database.close()

    async def accept(
        self, workflow: dict[str, Any], letter: dict[str, Any] | None = None, delivery: dict[str, Any] | None = None
    ) -> Accepted:
        """Put a Workflow on disk, under its own name or one made from its `generateName`.

        When this returns, the Workflow will be made, or its letter. A name that was accepted before is not accepted
        again.

        Raises:
            StoreError: if it cannot be stored.
        """
        return (await self._put([Order(0, workflow, letter, delivery or {})], None))[0]

    async def accept_occasion(self, occasion: Occasion, orders: list[Order]) -> list[Accepted]:
        """Put what an occasion sets off on disk, and with it that the occasion is over: both or neither.

        Raises:
            StoreError: if it cannot be stored.
        """
        return await self._put(orders, occasion)

    def last_occasion(self, source: str, event: str) -> Occasion | None:
        """Return how far a calendar has come; None if nothing is known of it."""
        row = self._reader.execute(
            "SELECT last, moments FROM calendars WHERE source = ? AND event = ?", (source, event)
        ).fetchone()
        return Occasion(source, event, float(row[0]), str(row[1])) if row else None

    async def _put(self, orders: list[Order], occasion: Occasion | None) -> list[Accepted]:
        future: asyncio.Future[list[Accepted]] = asyncio.get_running_loop().create_future()
        self._queue.append(_Request(orders, occasion, future))
        self._write()
        return await future

    def find(self, namespace: str, name: str) -> str | None:
        """Return the fingerprint of the Workflow accepted under a name, or None."""
        return _find(self._reader, namespace, name)

    def waiting(self) -> list[Order]:
        """Return the Workflows that are still to be made, oldest first."""
        rows = self._reader.execute(
            "SELECT id, workflow, letter, delivery FROM accepted WHERE created IS NULL ORDER BY id"
        )
        return [
            Order(identity, json.loads(workflow), json.loads(letter or "null"), json.loads(delivery or "{}"))
            for identity, workflow, letter, delivery in rows
        ]

    async def created(self, identity: int) -> None:
        """Note that a Workflow was made. Losing this note is harmless: making it again finds that it exists."""
        self._made.append(identity)
        await asyncio.shield(self._write())

    async def refused(self, identity: int) -> None:
        """Forget a Workflow that could not be made: its name is free for another try."""
        self._forgotten.append(identity)
        await asyncio.shield(self._write())

    def _write(self) -> asyncio.Task[None]:
        """Have what waits written, by a task of its own: no caller that goes away can hold up the others."""
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_all())
        return self._writing

    async def _write_all(self) -> None:
        while self._queue or self._made or self._forgotten:
            batch, self._queue = self._queue, []
            made, self._made = self._made, []
            forgotten, self._forgotten = self._forgotten, []
            try:
                results = await asyncio.to_thread(self._commit, batch, made, forgotten)
            except sqlite3.Error as error:
                log.error("accepted events could not be stored", extra={"error": str(error), "events": len(batch)})
                for request in batch:
                    if not request.future.done():
                        request.future.set_exception(StoreError(f"the event could not be stored: {error}"))
                continue
            for request, result in zip(batch, results, strict=True):
                if not request.future.done():
                    request.future.set_result(result)

    def _commit(self, batch: list[_Request], made: list[int], forgotten: list[int]) -> list[list[Accepted]]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.executemany("DELETE FROM accepted WHERE id = ?", [(identity,) for identity in forgotten])
            results = [[self._insert_one(order) for order in request.orders] for request in batch]
            self._database.executemany(
                "INSERT INTO calendars (source, event, moments, last) VALUES (?, ?, ?, ?) ON CONFLICT (source, event) "
                "DO UPDATE SET last = max(last, excluded.last), moments = excluded.moments",
                [
                    (one.source, one.event, one.moments, one.time)
                    for one in (request.occasion for request in batch)
                    if one
                ],
            )
            marks = ",".join("?" * len(made))
            self._database.execute(f"UPDATE accepted SET created = ? WHERE id IN ({marks})", [time.time(), *made])
            self._database.execute("COMMIT")
        except BaseException:
            # A full disk has SQLite roll back by itself.
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise
        return results

    def _insert_one(self, order: Order) -> Accepted:
        workflow = order.workflow
        meta = dict(workflow["metadata"])
        prefix = meta.pop("generateName", None) if not meta.get("name") else None
        namespace, mark = meta["namespace"], fingerprint(workflow)
        while True:
            if prefix is not None:
                meta["name"] = prefix + "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(5))
            text = json.dumps({**workflow, "metadata": meta})
            # SQLite gives the number of the newest row again once that is forgotten; here it names tasks and letters.
            self._last = max(self._last + 1, time.time_ns())
            letter, delivery = json.dumps(order.letter), json.dumps(order.delivery)
            row = self._database.execute(
                "INSERT OR IGNORE INTO accepted (id, namespace, name, fingerprint, workflow, accepted, letter, "
                "delivery) VALUES (?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
                (
                    self._last,
                    namespace,
                    meta["name"],
                    mark,
                    text,
                    time.time(),
                    letter,
                    delivery,
                ),
            ).fetchone()
            if row:
                return Accepted(meta["name"], True, True)
            if prefix is None:
                return Accepted(meta["name"], False, _find(self._database, namespace, meta["name"]) == mark)


def _find(database: sqlite3.Connection, namespace: str, name: str) -> str | None:
    row = database.execute(
        "SELECT fingerprint FROM accepted WHERE namespace = ? AND name = ?", (namespace, name)
    ).fetchone()
    return str(row[0]) if row else None
