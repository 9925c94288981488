"""What is to be loaded: a dump's metadata, read and checked as a whole before anything is changed anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from steps.backup import layout
from steps.backup.ddl import TableShape, create_table, table_shape
from steps.backup.layout import BadLayout
from steps.backup.load_scope import Scope
from steps.backup.manifest import FILE as MANIFEST
from steps.backup.manifest import File, Manifest
from steps.backup.source import Source, missing, read_all
from steps.errors import BadParameters

READERS = 8
"""Small files read at the same time: a schema of thousands of tables has thousands of them."""

SKIPPED = ("tiphys", "mysql", "sys", "information_schema", "performance_schema", "mysql_innodb_cluster_metadata")
"""Schemas that are the server's, the operator's or this program's own on every cluster; never loaded."""


@dataclass(frozen=True)
class ChunkFile:
    """One file of rows.

    Attributes:
        file: its name.
        schema: of its table.
        table: whose rows they are.
        data_bytes: before compression.
        rows: None where the dump does not tell.
        sha256: of the file, None where the dump does not tell.
    """

    file: str
    schema: str
    table: str
    data_bytes: int
    rows: int | None
    sha256: str | None


@dataclass(frozen=True)
class TablePlan:
    """One table: its definition, its rows and what comes after them."""

    meta: layout.Table
    ddl: str
    triggers: str
    shape: TableShape
    chunks: tuple[ChunkFile, ...]
    rows: int | None

    @property
    def name(self) -> str:
        """Schema and table, for people."""
        return f"{self.meta.schema}.{self.meta.table}"


@dataclass(frozen=True)
class ViewPlan:
    """One view: its place-holder, and itself."""

    name: str
    before: str
    ddl: str


@dataclass(frozen=True)
class SchemaPlan:
    """One schema, or (`partial`) only chosen tables of it: then without its views, routines and events."""

    name: str
    ddl: str
    tables: tuple[TablePlan, ...]
    views: tuple[ViewPlan, ...]
    partial: bool = False


@dataclass(frozen=True)
class Plan:
    """A whole dump, or the schemas of it that were chosen.

    Attributes:
        place: where it lies.
        fingerprint: SHA-256 of ``@.json``: another dump under the same name has another one.
        instance: ``@.json``.
        whole: whether nothing was left out on demand.
        schemas: what is loaded.
        before: SQL to run first.
        after: SQL to run last.
        users: SQL of the accounts; empty where they are not loaded.
    """

    place: str
    fingerprint: str
    instance: layout.Instance
    whole: bool
    schemas: tuple[SchemaPlan, ...]
    before: str
    after: str
    users: str

    @property
    def scope(self) -> Scope:
        """What is made on the cluster."""
        return Scope(
            frozenset(schema.name for schema in self.schemas if not schema.partial),
            frozenset((s.name, table.meta.table) for s in self.schemas if s.partial for table in s.tables),
        )

    @property
    def tables(self) -> list[TablePlan]:
        """All tables."""
        return [table for schema in self.schemas for table in schema.tables]

    @property
    def chunks(self) -> list[ChunkFile]:
        """All chunks."""
        return [chunk for table in self.tables for chunk in table.chunks]


class _Reader:
    """Reads a dump's small files and checks each as far as the dump tells what it must be."""

    def __init__(self, source: Source) -> None:
        self.source, self.sizes = source, source.files()
        if layout.INSTANCE not in self.sizes:
            what = "no backup at all" if not self.sizes else f"no {layout.INSTANCE}: it is not a dump, or not whole"
            raise BadLayout(f"{source.place} has {what}. Name a backup that exists.")
        self.manifest = Manifest.parse(read_all(source, MANIFEST)) if MANIFEST in self.sizes else None
        self.encrypted = bool(self.manifest and self.manifest.encryption)
        if self.manifest is None and layout.DONE not in self.sizes:
            raise BadLayout(
                f"{source.place} has neither {MANIFEST} nor {layout.DONE}: the backup was never finished. Take another."
            )
        self.done = layout.Done.parse(self.read(layout.DONE)) if layout.DONE in self.sizes else None
        for name, file in (self.manifest.files if self.manifest else {}).items():
            if name not in self.sizes:
                raise missing(source.place, name)
            if self.sizes[name] != file.size:
                raise BadLayout(
                    f"{source.place}{'' if source.place.endswith('/') else '/'}{name} has {self.sizes[name]} bytes, "
                    f"{MANIFEST} says {file.size}: the backup is damaged. Take another one."
                )

    def expected(self, name: str) -> File | None:
        """Return what ``tiphys.json`` says of a file."""
        return self.manifest.files.get(name) if self.manifest else None

    def read(self, name: str) -> bytes:
        """Return a file's content, checked."""
        if name not in self.sizes:
            raise missing(self.source.place, name)
        content = read_all(self.source, name)
        expected = self.expected(name)
        if self.manifest and not expected:
            raise BadLayout(
                f"{self.source.place} has a file {name} that {MANIFEST} does not name. Take another backup."
            )
        # Of an encrypted file, the hash is that of what is stored; its own tags were checked as it was read.
        if expected and not self.encrypted and hashlib.sha256(content).hexdigest() != expected.sha256:
            raise BadLayout(f"{name} is not what was written (its SHA-256 differs): the backup is damaged.")
        return content

    def text(self, name: str) -> str:
        """Return a file of SQL."""
        try:
            return self.read(name).decode()
        except UnicodeDecodeError as error:
            raise BadLayout(f"{name} is no UTF-8 ({error}): the backup is damaged. Take another one.") from error

    def text_if_there(self, name: str) -> str:
        """Return a file of SQL, or the empty text where the dump has none of that name."""
        return self.text(name) if name in self.sizes else ""


def read_plan(
    source: Source, only: Sequence[str] = (), tables: Sequence[tuple[str, str]] = (), *, users: bool = True
) -> Plan:
    """Read a dump's metadata, and check that all of its files are there and as long as they should be.

    Args:
        source: the dump.
        only: schemas to load; all where this and `tables` are empty.
        tables: single tables to load (schema, table), without the rest of their schemas.
        users: whether accounts and grants are loaded; never with chosen schemas or tables.

    Raises:
        BadLayout: the dump is damaged, incomplete, or of a newer version.
        BadParameters: a schema of `only` or a table of `tables` is not in it.
    """
    reader = _Reader(source)
    fingerprint = hashlib.sha256(read_all(source, layout.INSTANCE)).hexdigest()
    instance = layout.Instance.parse(reader.read(layout.INSTANCE))
    if _version(instance.version) > _version(layout.VERSION):
        raise BadLayout(
            f"{source.place} has version {instance.version} of the dump format, this program reads up to "
            f"{layout.VERSION}: use the program that wrote it, or a newer one of this."
        )
    loadable = [name for name in instance.schemas if name not in SKIPPED]
    if unknown := sorted({*only, *(schema for schema, _ in tables)} - set(loadable)):
        raise BadParameters(
            f"The backup has no schema {', '.join(unknown)} to restore; it has {', '.join(sorted(loadable)) or 'none'}"
        )
    chosen = {schema: frozenset(t for s, t in tables if s == schema) for schema, _ in tables if schema not in only}
    names = [name for name in loadable if name in only or name in chosen or not (only or chosen)]
    with ThreadPoolExecutor(READERS) as pool:
        schemas = tuple(_schema(reader, pool, name, instance.basenames, chosen.get(name)) for name in names)
    return Plan(
        place=source.place,
        fingerprint=fingerprint,
        instance=instance,
        whole=not only and not tables,
        schemas=schemas,
        before=reader.text_if_there(layout.INSTANCE_SQL),
        after=reader.text_if_there(layout.POST_SQL),
        users=reader.text_if_there(layout.USERS_SQL) if users and not only and not tables else "",
    )


def _version(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split("."))
    except ValueError:
        raise BadLayout(f"{layout.INSTANCE} names the version {text!r}, which is no version") from None


def _schema(
    reader: _Reader, pool: ThreadPoolExecutor, name: str, basenames: Mapping[str, str], chosen: frozenset[str] | None
) -> SchemaPlan:
    base = basenames.get(name, layout.escape(name))
    about = layout.Schema.parse(f"{base}.json", reader.read(f"{base}.json"))
    if chosen is not None and (unknown := sorted(chosen - set(about.tables))):
        of_views = [each for each in unknown if each in about.views]
        raise BadParameters(
            f"The backup has no table {', '.join(f'{name}.{each}' for each in unknown)}"
            + (f" ({', '.join(of_views)}: a view; views come with their whole schema)" if of_views else "")
            + f"; schema {name} has {', '.join(sorted(about.tables)[:50]) or 'none'}"
        )

    def base_of(item: str) -> str:
        return about.basenames.get(item, f"{base}@{layout.escape(item)}")

    wanted = [table for table in about.tables if chosen is None or table in chosen]
    tables = pool.map(lambda table: _table(reader, table, base_of(table)), wanted)
    if chosen is not None:
        return SchemaPlan(name, reader.text(f"{base}.sql"), tuple(tables), (), partial=True)
    views = pool.map(
        lambda view: ViewPlan(
            f"{name}.{view}", reader.text(f"{base_of(view)}.pre.sql"), reader.text(f"{base_of(view)}.sql")
        ),
        about.views,
    )
    return SchemaPlan(name, reader.text(f"{base}.sql"), tuple(tables), tuple(views))


def _table(reader: _Reader, name: str, base: str) -> TablePlan:
    content = reader.read(f"{base}.json")
    meta = layout.Table.parse(f"{base}.json", content)
    ddl = reader.text(f"{base}.sql")
    created = create_table(ddl)
    if meta.table != name or created is None:
        raise BadLayout(f"{base}.json and {base}.sql do not describe the table {name}: the backup is damaged.")
    bases = [meta.basenames.get(p, f"{base}@{layout.escape(p)}") for p in meta.partitions] or [base]
    has_rows = layout.loads(f"{base}.json", content).get("includesData", True)
    chunks = [_chunk(reader, meta, file) for each in bases for file in _files(reader, each)] if has_rows else []
    stated = reader.manifest.tables if reader.manifest else reader.done.table_rows if reader.done else {}
    rows = stated.get(meta.schema, {}).get(name) if has_rows else 0
    triggers = reader.text(f"{base}.triggers.sql") if meta.triggers else ""
    return TablePlan(meta, ddl, triggers, table_shape(created), tuple(chunks), rows)


def _files(reader: _Reader, base: str) -> list[str]:
    """Return the chunk files of a table or partition, none missing."""
    if (single := f"{base}.{layout.EXTENSION}") in reader.sizes:
        return [single]
    found = [(chunk, name) for name in reader.sizes if (chunk := layout.chunk_of(name)) and chunk.base == base]
    found.sort(key=lambda pair: pair[0].number)
    seen = [(chunk.number, chunk.last) for chunk, _ in found]
    if not found or seen != [(number, number == len(found) - 1) for number in range(len(found))]:
        there = ", ".join(name for _, name in found[:8]) or "none"
        raise BadLayout(f"{reader.source.place}: rows of {base} are missing; there are: {there}. Take another backup.")
    return [name for _, name in found]


def _chunk(reader: _Reader, meta: layout.Table, file: str) -> ChunkFile:
    expected = reader.expected(file)
    if reader.manifest is not None:
        if expected is None or expected.data_bytes is None:
            raise BadLayout(f"{MANIFEST} does not say what {file} holds: the backup is damaged. Take another one.")
        sha256 = None if reader.encrypted else expected.sha256
        return ChunkFile(file, meta.schema, meta.table, expected.data_bytes, expected.rows, sha256)
    length = reader.done.chunk_bytes.get(file) if reader.done else None
    if length is None:
        length = int.from_bytes(reader.read(f"{file}.idx"), "big")
    return ChunkFile(file, meta.schema, meta.table, length, None, None)
