"""How a backup lies in its bucket: the names of its files, and what their JSON holds. Pure: no S3, no MySQL.

The files are those of MySQL Shell's dump 2.0.1, so that MySQL Shell and Oracle's operator load them and a dump of
theirs is read here. Beside them lies our own ``tiphys.json`` (:mod:`steps.backup.manifest`).

========================  =====================================================================
``@.json``                the dump: version, schemas, users, GTID set (:class:`Instance`)
``@.sql``, ``@.post.sql``  run before and after everything else
``@.users.sql``           accounts and grants
``S.json``, ``S.sql``     a schema, its events and routines (:class:`Schema`)
``S@T.json``, ``S@T.sql``  a table (:class:`Table`)
``S@T.triggers.sql``      its triggers, if it has any
``S@V.pre.sql``           a view's place-holder, a table of its columns' names
``S@V.sql``               the view
``S@T@N.tsv.zst``         chunk N of a table's rows; the last one is ``S@T@@N.tsv.zst``
``S@T@P@N.tsv.zst``       the same of one partition
``….tsv.zst.idx``         8 bytes, big-endian: the chunk's length before compression
``@.done.json``           written last by MySQL Shell: rows and bytes (:class:`Done`)
========================  =====================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steps.errors import StepError

VERSION = "2.0.1"
"""Version of the dump format that is written; dumps of the same major version are read."""

FOLDER = "backups"
"""Every backup is a folder of this folder of the bucket."""

INSTANCE, INSTANCE_SQL, POST_SQL, USERS_SQL, DONE = "@.json", "@.sql", "@.post.sql", "@.users.sql", "@.done.json"
EXTENSION = "tsv.zst"
LONGEST = 225
"""Bytes of a base name at most: file systems under an S3 server end at 255 with what is added."""

_PLAIN = re.compile(r"[A-Za-z0-9._~-]")
_CHUNK = re.compile(r"(?P<base>.+?)@(?P<last>@?)(?P<number>\d+)\.tsv\.zst")


class BadLayout(StepError):
    """A file of a backup is not what the format says."""


@dataclass(frozen=True)
class Chunk:
    """What a chunk's file name tells: whose rows, which number, and whether it is the last of its table."""

    base: str
    number: int
    last: bool

    @property
    def file(self) -> str:
        """Name of the file."""
        return f"{self.base}@{'@' if self.last else ''}{self.number}.{EXTENSION}"


def prefix(backup: str) -> str:
    """Return the key prefix of a backup's objects, with its slash."""
    return f"{FOLDER}/{backup}/"


def escape(name: str) -> str:
    """Return a schema's, table's or partition's name as a part of a file name.

    ASCII letters, digits, ``- . _ ~`` and every character beyond ASCII stay; the rest becomes ``%XX``.
    """
    return "".join(c if ord(c) > 127 or _PLAIN.match(c) else f"%{ord(c):02X}" for c in name)


class BaseNames:
    """Hands out base names: escaped, no longer than LONGEST bytes, none given twice, none that of our own file."""

    def __init__(self) -> None:
        # A schema of this name would have its description in tiphys.json.
        self._given: set[str] = {"tiphys"}
        self._cut = 0

    def of(self, *names: str) -> str:
        """Return the base name of a schema, a table (schema, table) or a partition (schema, table, partition)."""
        base = "@".join(escape(name) for name in names)
        # Two names that differ only in case are one file where a folder's names ignore case.
        while len(base.encode()) > LONGEST or base.lower() in self._given:
            number = str(self._cut)
            self._cut += 1
            base = base.encode()[: LONGEST - len(number)].decode(errors="ignore") + number
        self._given.add(base.lower())
        return base


def chunk_of(file: str) -> Chunk | None:
    """Return what a file name tells of a chunk, or None where it is no chunk."""
    found = _CHUNK.fullmatch(file)
    return Chunk(found["base"], int(found["number"]), bool(found["last"])) if found else None


def index_of(length: int) -> bytes:
    """Return the content of an ``.idx`` file: the chunk's length in bytes before compression."""
    return length.to_bytes(8, "big")


def dumps(document: Mapping[str, Any]) -> bytes:
    """Return a document as MySQL Shell writes it."""
    return json.dumps(document, indent=4, ensure_ascii=False).encode()


def loads(file: str, content: bytes) -> dict[str, Any]:
    """Parse one JSON file of a backup.

    Raises:
        BadLayout: it holds no JSON object.
    """
    try:
        document = json.loads(content)
    except ValueError as error:
        raise BadLayout(f"{file} is no JSON: {error}. The backup is damaged: take another one.") from error
    if not isinstance(document, dict):
        raise BadLayout(f"{file} holds {type(document).__name__}, an object was expected: the backup is damaged.")
    return document


def _need(document: Mapping[str, Any], key: str, kind: type | tuple[type, ...], file: str) -> Any:
    value = document.get(key)
    if not isinstance(value, kind):
        raise BadLayout(f"{file}: {key} is {value!r:.60}; the backup is damaged or of a version unknown here.")
    return value


@dataclass(frozen=True)
class Instance:
    """``@.json``: the dump as a whole.

    Attributes:
        schemas: names of the schemas.
        basenames: base name of each schema.
        users: accounts, as ``'user'@'host'``.
        server_version: of the source.
        gtid_executed: what the dump's moment holds.
        begin: start, ``YYYY-MM-DD hh:mm:ss`` in UTC.
        rest: the other fields, as they are in the file.
    """

    schemas: list[str]
    basenames: dict[str, str]
    users: list[str]
    server_version: str
    gtid_executed: str
    begin: str
    version: str = VERSION
    rest: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes) -> Instance:
        """Read ``@.json``.

        Raises:
            BadLayout: it is damaged, or written by a version of the format that is not known here.
        """
        document = loads(INSTANCE, content)
        version = str(_need(document, "version", str, INSTANCE))
        if version.split(".")[0] not in ("1", "2"):
            raise BadLayout(f"The dump has version {version}; this program reads versions 1 and 2: use a newer one.")
        schemas = _need(document, "schemas", list, INSTANCE)
        return cls(
            schemas=[str(name) for name in schemas],
            basenames=dict(document.get("basenames") or {name: escape(name) for name in schemas}),
            users=list(document.get("users") or []),
            server_version=str(document.get("serverVersion") or ""),
            gtid_executed=str(document.get("gtidExecuted") or ""),
            begin=str(document.get("begin") or ""),
            version=version,
            rest=document,
        )


@dataclass(frozen=True)
class Schema:
    """``S.json``: what one schema holds."""

    schema: str
    tables: list[str]
    views: list[str]
    events: list[str]
    functions: list[str]
    procedures: list[str]
    basenames: dict[str, str]
    """Base name of each table and view."""

    @classmethod
    def parse(cls, file: str, content: bytes) -> Schema:
        """Read ``S.json``.

        Raises:
            BadLayout: it is damaged.
        """
        document = loads(file, content)
        schema = str(_need(document, "schema", str, file))
        tables, views = _need(document, "tables", list, file), list(document.get("views") or [])
        names = document.get("basenames") or {name: f"{escape(schema)}@{escape(name)}" for name in [*tables, *views]}
        lists = {key: list(document.get(key) or []) for key in ("events", "functions", "procedures")}
        return cls(schema, list(tables), views, lists["events"], lists["functions"], lists["procedures"], dict(names))

    def dump(self) -> bytes:
        """Return the file's content."""
        document: dict[str, Any] = {
            "schema": self.schema,
            "includesDdl": True,
            "includesViewsDdl": True,
            "includesData": True,
            "tables": self.tables,
        }
        for key in ("views", "events", "functions", "procedures"):
            if values := getattr(self, key):
                document[key] = values
        return dumps({**document, "basenames": self.basenames})


@dataclass(frozen=True)
class Table:
    """``S@T.json``: how one table's rows are written.

    Attributes:
        schema: its schema.
        table: its name.
        columns: in the order of the fields of a row; generated columns are not among them.
        decode: columns that are encoded, and the SQL function that decodes each: ``FROM_BASE64`` or ``UNHEX``.
        triggers: names.
        key: columns of the primary key, empty without one.
        partitions: names; empty where the table has none, and then its rows are in one sequence of chunks.
        basenames: base name of each partition.
        charset: character set of the rows.
        dialect: the LOAD DATA options of the fields and lines.
    """

    schema: str
    table: str
    columns: list[str]
    decode: dict[str, str] = field(default_factory=dict)
    triggers: list[str] = field(default_factory=list)
    key: list[str] = field(default_factory=list)
    partitions: list[str] = field(default_factory=list)
    basenames: dict[str, str] = field(default_factory=dict)
    charset: str = "utf8mb4"
    dialect: dict[str, Any] = field(
        default_factory=lambda: {
            "fieldsTerminatedBy": "\t",
            "fieldsEnclosedBy": "",
            "fieldsOptionallyEnclosed": False,
            "fieldsEscapedBy": "\\",
            "linesTerminatedBy": "\n",
        }
    )

    @classmethod
    def parse(cls, file: str, content: bytes) -> Table:
        """Read ``S@T.json``.

        Raises:
            BadLayout: it is damaged, or its rows are in a form that is not read here.
        """
        document = loads(file, content)
        options = _need(document, "options", dict, file)
        dialect = {key: options[key] for key in options if key.startswith(("fields", "lines"))}
        if document.get("includesData", True) and document.get("extension", EXTENSION) != EXTENSION:
            raise BadLayout(f"{file}: rows are .{document.get('extension')} files, only .{EXTENSION} is read here.")
        return cls(
            schema=str(_need(options, "schema", str, file)),
            table=str(_need(options, "table", str, file)),
            columns=list(_need(options, "columns", list, file)),
            decode=dict(options.get("decodeColumns") or {}),
            triggers=list(document.get("triggers") or []),
            key=list(document.get("primaryIndex") or []),
            partitions=list(document.get("partitions") or []),
            basenames=dict(document.get("basenames") or {}),
            charset=str(options.get("defaultCharacterSet") or "utf8mb4"),
            dialect=dialect,
        )

    def dump(self) -> bytes:
        """Return the file's content."""
        options: dict[str, Any] = {"schema": self.schema, "table": self.table, "columns": self.columns}
        if self.decode:
            options["decodeColumns"] = self.decode
        return dumps(
            {
                "options": {**options, "defaultCharacterSet": self.charset, **self.dialect},
                "triggers": self.triggers,
                "includesData": True,
                "includesDdl": True,
                "extension": EXTENSION,
                "chunking": True,
                "compression": "zstd",
                "primaryIndex": self.key,
                "partitions": self.partitions,
                "basenames": self.basenames,
            }
        )


@dataclass(frozen=True)
class Done:
    """``@.done.json``: MySQL Shell's own end mark.

    Attributes:
        end: as `Instance.begin`.
        table_bytes: schema to table to bytes of its chunks before compression.
        table_rows: schema to table to number of rows.
        chunk_bytes: chunk's file name to its bytes before compression.
    """

    end: str
    table_bytes: dict[str, dict[str, int]]
    table_rows: dict[str, dict[str, int]]
    chunk_bytes: dict[str, int]

    @classmethod
    def parse(cls, content: bytes) -> Done:
        """Read ``@.done.json``.

        Raises:
            BadLayout: it is damaged.
        """
        document = loads(DONE, content)
        return cls(
            end=str(_need(document, "end", str, DONE)),
            table_bytes=_need(document, "tableDataBytes", dict, DONE),
            table_rows=dict(document.get("tableRows") or {}),
            chunk_bytes=_need(document, "chunkFileBytes", dict, DONE),
        )

    def dump(self) -> bytes:
        """Return the file's content."""
        return dumps(
            {
                "end": self.end,
                "dataBytes": sum(sum(tables.values()) for tables in self.table_bytes.values()),
                "tableDataBytes": self.table_bytes,
                "tableRows": self.table_rows,
                "chunkFileBytes": self.chunk_bytes,
            }
        )
