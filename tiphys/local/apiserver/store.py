"""The objects: SQLite is the truth, a copy in memory answers reads, and every change is told to the watches.

All calls are made from the event loop's thread and none awaits, so a read followed by a write is one step that
nothing comes between. SQLite runs in WAL mode with synchronous=NORMAL: a committed write outlives the process
(kill -9), and the file stays sound when the machine loses power, at worst without its last moments.
"""

from __future__ import annotations

import json
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiphys.local.apiserver.errors import expired
from tiphys.local.registry import KINDS, Kind

HISTORY = 4096
"""Changes of one resource that are remembered for watches that come back; older ones get 410 Gone."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (resource, namespace, name));
CREATE TABLE IF NOT EXISTS counter (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL);
INSERT OR IGNORE INTO counter VALUES (1, 1);
"""


@dataclass(frozen=True, slots=True)
class Record:
    """One version of an object, both parsed (read-only for everyone) and as JSON text."""

    obj: dict[str, Any]
    raw: bytes
    version: int


@dataclass(frozen=True, slots=True)
class Change:
    """One change: `new` is the object after it, or the last state of one that was removed."""

    version: int
    removed: bool
    new: Record
    old: Record | None


Listener = Callable[[Kind, Change], None]
Key = tuple[str, str]


def dump(obj: dict[str, Any]) -> bytes:
    """Return an object as compact JSON."""
    return json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode()


def key_of(obj: dict[str, Any]) -> Key:
    """Return namespace (empty if none) and name."""
    return obj["metadata"].get("namespace", ""), obj["metadata"]["name"]


class Store:
    """All objects of the platform."""

    def __init__(self, path: Path):
        """Open or create the store.

        Raises:
            sqlite3.OperationalError: if another API server holds it.
        """
        self._db = sqlite3.connect(path, isolation_level=None, timeout=2)
        # Exclusive: two servers on one file would each trust their own memory.
        self._db.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        path.chmod(0o600)
        self.version: int = self._db.execute("SELECT version FROM counter").fetchone()[0]
        self.started_at = self.version
        self._objects: dict[str, dict[Key, Record]] = {kind.qualified: {} for kind in KINDS}
        self._history: dict[str, deque[Change]] = {kind.qualified: deque(maxlen=HISTORY) for kind in KINDS}
        self._by_uid: dict[str, tuple[Kind, Key]] = {}
        self._dependants: dict[str, set[tuple[Kind, Key]]] = {}
        self._listeners: list[Listener] = []
        self._depth = 0
        self._pending: list[tuple[Kind, Change]] = []
        kinds = {kind.qualified: kind for kind in KINDS}
        for resource, body in self._db.execute("SELECT resource, body FROM objects"):
            if resource in kinds:
                obj = json.loads(body)
                version = int(obj["metadata"]["resourceVersion"])
                self._remember(kinds[resource], Record(obj, bytes(body), version))

    def close(self) -> None:
        """Close the file; its log is folded in."""
        self._db.close()

    def listen(self, listener: Listener) -> None:
        """Call `listener` after every committed change."""
        self._listeners.append(listener)

    def get(self, kind: Kind, namespace: str | None, name: str) -> Record | None:
        """Return an object, or None."""
        return self._objects[kind.qualified].get((namespace or "", name))

    def every(self, kind: Kind, namespace: str | None = None) -> list[Record]:
        """Return the objects of a namespace, or of all, by namespace and name."""
        found = self._objects[kind.qualified]
        return [found[key] for key in sorted(found) if namespace is None or key[0] == namespace]

    def by_uid(self, uid: str) -> tuple[Kind, Record] | None:
        """Return the object with this uid, or None."""
        place = self._by_uid.get(uid)
        return (place[0], self._objects[place[0].qualified][place[1]]) if place else None

    def dependants(self, uid: str) -> list[tuple[Kind, Record]]:
        """Return the objects that name this uid among their owners."""
        places = sorted(self._dependants.get(uid, ()), key=lambda place: (place[0].qualified, place[1]))
        return [(kind, self._objects[kind.qualified][key]) for kind, key in places]

    def put(self, kind: Kind, obj: dict[str, Any]) -> Record:
        """Store a new or changed object under a new resource version; the store owns the dict from now on."""
        key = key_of(obj)
        old = self._objects[kind.qualified].get(key)
        with self.transaction():
            version = self._next_version()
            obj["metadata"]["resourceVersion"] = str(version)
            record = Record(obj, dump(obj), version)
            self._db.execute(
                "INSERT INTO objects VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET body = excluded.body",
                (kind.qualified, *key, record.raw),
            )
            if old:
                self._forget(kind, old)
            self._remember(kind, record)
            self._pending.append((kind, Change(version, False, record, old)))
        return record

    def remove(self, kind: Kind, obj: dict[str, Any]) -> Record:
        """Remove an object; what is told is `obj`, its last state, under a new resource version."""
        key = key_of(obj)
        old = self._objects[kind.qualified][key]
        with self.transaction():
            version = self._next_version()
            obj["metadata"]["resourceVersion"] = str(version)
            record = Record(obj, dump(obj), version)
            self._db.execute(
                "DELETE FROM objects WHERE resource = ? AND namespace = ? AND name = ?", (kind.qualified, *key)
            )
            self._forget(kind, old)
            self._pending.append((kind, Change(version, True, record, old)))
        return record

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several changes as one: all are kept or none, and watches hear of them afterwards.

        A failure inside is a bug or a full disk; memory would then be ahead of the file, so the error goes up
        to where the process ends itself and starts again from the file.
        """
        if self._depth == 0:
            self._db.execute("BEGIN IMMEDIATE")
        self._depth += 1
        try:
            yield
        except BaseException:
            self._depth -= 1
            if self._depth == 0 and self._db.in_transaction:
                changed = bool(self._pending)
                self._db.execute("ROLLBACK")
                self._pending.clear()
                if changed:
                    raise StoreBroken("a write failed half way; memory and file no longer agree") from None
            raise
        self._depth -= 1
        if self._depth == 0:
            self._commit()

    def since(self, kind: Kind, version: int) -> list[Change]:
        """Return the remembered changes after a resource version.

        Raises:
            Gone: if changes after it may have been forgotten, or it is from the future (a wiped platform).
        """
        history = self._history[kind.qualified]
        full = len(history) == HISTORY
        oldest = history[0].version - 1 if full else self.started_at
        if version < oldest or version > self.version:
            raise expired(version, oldest)
        return [change for change in history if change.version > version]

    def _commit(self) -> None:
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StoreBroken(f"SQLite could not keep a write: {error}") from error
        told, self._pending = self._pending, []
        for kind, change in told:
            self._history[kind.qualified].append(change)
        for kind, change in told:
            for listener in self._listeners:
                listener(kind, change)

    def _next_version(self) -> int:
        self.version += 1
        self._db.execute("UPDATE counter SET version = ?", (self.version,))
        return self.version

    def _remember(self, kind: Kind, record: Record) -> None:
        key = key_of(record.obj)
        self._objects[kind.qualified][key] = record
        meta = record.obj["metadata"]
        self._by_uid[meta["uid"]] = (kind, key)
        for owner in meta.get("ownerReferences") or ():
            self._dependants.setdefault(owner["uid"], set()).add((kind, key))

    def _forget(self, kind: Kind, record: Record) -> None:
        key = key_of(record.obj)
        del self._objects[kind.qualified][key]
        meta = record.obj["metadata"]
        self._by_uid.pop(meta["uid"], None)
        for owner in meta.get("ownerReferences") or ():
            places = self._dependants.get(owner["uid"], set())
            places.discard((kind, key))
            if not places:
                self._dependants.pop(owner["uid"], None)


class StoreBroken(Exception):
    """The store can no longer be trusted; the process must end, and its next start reads the file again."""
