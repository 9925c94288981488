"""Reading a dump of the operator back, object by object, and writing the ``tiphys.json`` that makes it a backup."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import IO, cast

import zstandard

from steps.backup import layout
from steps.backup.layout import BadLayout
from steps.backup.load_plan import Plan, read_plan
from steps.backup.manifest import FILE, File, Manifest
from steps.backup.objects import Bucket
from steps.backup.source import S3Source, Source, Stream, read_all
from steps.log import log, progress
from steps.mysql.connection import quoted

PIECE = 1024 * 1024
"""Bytes read at a time."""

_CLAUSES = {"ENABLED": "ENABLE", "DISABLED": "DISABLE"}
_ON_REPLICA = r" ON COMPLETION( NOT)? PRESERVE DISABLE ON (?:REPLICA|SLAVE)\b"


@dataclass(frozen=True)
class Origin:
    """Where a dump comes from: what its files do not say.

    Attributes:
        cluster: that was dumped.
        namespace: of the cluster.
        pod: that was read; may be empty.
        server: its UUID; may be empty.
        events: status on the primary of each event (schema, name), such as ENABLED.
        include: schemas that were wanted only; empty for everything.
        exclude: what was left out.
    """

    cluster: str
    namespace: str
    pod: str = ""
    server: str = ""
    events: Mapping[tuple[str, str], str] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


def seal(bucket: Bucket, name: str, origin: Origin, *, parallel: int = 4) -> Manifest:
    """Read a whole dump of MySQL Shell's and write its ``tiphys.json``; the backup exists after this.

    Args:
        bucket: where it lies.
        name: of the backup's folder.
        origin: of the dump.
        parallel: objects that are read at the same time.

    Raises:
        BadLayout: files are missing, damaged, or do not agree with each other.
        Temporary: S3 does not deliver them.
    """
    source = S3Source(bucket, layout.prefix(name))
    plan = read_plan(source)
    put_events_right(bucket, source, plan, origin.events)
    sizes = {file: size for file, size in source.files().items() if file != FILE}
    if plan.instance.rest.get("consistent") is False:
        raise BadLayout(f"{source.place} was dumped without consistency: its tables are of different moments.")
    done = layout.Done.parse(read_all(source, layout.DONE))
    with progress(f"reading {name} back", sum(sizes.values()), "bytes") as bar, ThreadPoolExecutor(parallel) as pool:
        # The largest first, so that no thread is left alone with a large one at the end.
        order = sorted(sizes, key=lambda file: sizes[file], reverse=True)
        files: dict[str, File] = {}
        lengths: dict[str, int] = {}
        all_read = pool.map(lambda each: read_back(source, each, sizes[each]), order)
        for file, (found, start) in zip(order, all_read, strict=True):
            files[file] = found
            if file.endswith(".idx"):
                lengths[file.removesuffix(".idx")] = int.from_bytes(start, "big")
            bar.advance(found.size)
    tables = check(source, plan, done, files, lengths)
    made = Manifest(
        name=name,
        cluster=origin.cluster,
        namespace=origin.namespace,
        server=origin.server,
        pod=origin.pod,
        server_version=plan.instance.server_version,
        gtid_executed=plan.instance.gtid_executed.replace("\n", ""),
        begin=_time(plan.instance.begin),
        end=_time(done.end),
        tables=tables,
        keyless=[table.name for table in plan.tables if not table.shape.has_key],
        files=files,
        method="operator",
        program=f"tiphys {version('tiphys')}",
        include=origin.include,
        exclude=origin.exclude,
    )
    bucket.put(layout.prefix(name) + FILE, made.dump())
    log("dump read back", backup=name, files=len(files), bytes=made.size, rows=made.rows)
    return made


def put_events_right(bucket: Bucket, source: S3Source, plan: Plan, events: Mapping[tuple[str, str], str]) -> None:
    """Write events as they are on the primary: a secondary shows, and MySQL Shell writes, all as switched off there.

    Otherwise they would come back switched off, whoever loads the dump.
    """
    for schema in plan.schemas:
        text = schema.ddl
        for (owner, name), status in events.items():
            if owner == schema.name and status in _CLAUSES:
                text = with_event(text, f"{quoted(owner)}.{quoted(name)}", _CLAUSES[status])
        if text != schema.ddl:
            base = plan.instance.basenames.get(schema.name, layout.escape(schema.name))
            bucket.put(f"{source.prefix}{base}.sql", text.encode())
            log("events put right in the dump", schema=schema.name, reason="it was made of a secondary")


def with_event(text: str, event: str, clause: str) -> str:
    """Return a schema's SQL with another clause in one event, if it is there as a secondary shows it.

    Args:
        text: ``S.sql``.
        event: its schema and name, both quoted.
        clause: ENABLE or DISABLE.
    """
    before, begin, rest = text.partition(f"-- begin event {event}\n")
    block, end, after = rest.partition(f"-- end event {event}\n")
    # The first of these words after the schedule is the clause: the comment and the body come after it.
    block = re.sub(_ON_REPLICA, rf" ON COMPLETION\1 PRESERVE {clause}", block, count=1)
    return before + begin + block + end + after


class _Counted:
    """Passes an object's bytes on, and remembers how many there were, their SHA-256 and the first 8."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self.sha256 = stream, hashlib.sha256()
        self.seen, self.start = 0, b""

    def read(self, size: int = PIECE, /) -> bytes:
        piece = self._stream.read(size)
        self.sha256.update(piece)
        self.seen += len(piece)
        self.start = self.start or piece[:8]
        return piece


def read_back(source: Source, name: str, size: int) -> tuple[File, bytes]:
    """Return what one object is, of a chunk also what it holds; and its first 8 bytes, which are all of an index.

    Raises:
        BadLayout: it is not what a chunk must be, or of another size than was listed.
    """
    chunk = name.endswith(f".{layout.EXTENSION}")
    data = hashlib.sha256()
    length = rows = 0
    last = b"\n"
    stream = source.open(name)
    stored = _Counted(stream)
    try:
        if chunk:
            # Not a piece of the object at a time: few of its bytes may be gigabytes of rows.
            decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            reader = decompressor.stream_reader(cast(IO[bytes], stored), read_across_frames=True, closefd=False)
            while text := reader.read(PIECE):
                data.update(text)
                length += len(text)
                # In a value a line break is written as two other characters, so each one here ends a row.
                rows += text.count(b"\n")
                last = text[-1:]
        while stored.read(PIECE):
            pass
    except zstandard.ZstdError as error:
        raise BadLayout(f"{source.place}{name} does not decompress after {stored.seen} bytes: {error}.") from error
    finally:
        stream.close()
    seen, whole, start = stored.seen, stored.sha256, stored.start
    if seen != size:
        raise BadLayout(f"{source.place}{name} gave {seen} bytes, {size} were listed: it changes, or is damaged.")
    if not chunk:
        return File(seen, whole.hexdigest()), start
    if last != b"\n":
        raise BadLayout(f"{source.place}{name} ends in the middle of a row: the dump is damaged.")
    return File(seen, whole.hexdigest(), rows, length, data.hexdigest()), start


def check(
    source: Source, plan: Plan, done: layout.Done, files: Mapping[str, File], lengths: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Compare what was read with what the dump says of itself, and return the rows of each table.

    Args:
        source: the dump.
        plan: its metadata.
        done: its end mark.
        files: what was read.
        lengths: of chunks before compression, as their indexes say.

    Raises:
        BadLayout: they differ.
    """
    wrong = []
    for chunk in plan.chunks:
        found = files[chunk.file]
        for said in (chunk.data_bytes, done.chunk_bytes.get(chunk.file), lengths.get(chunk.file)):
            if said is not None and said != found.data_bytes:
                wrong.append(f"{chunk.file} holds {found.data_bytes} bytes of rows, the dump says {said}")
                break
    tables: dict[str, dict[str, int]] = {}
    for table in plan.tables:
        rows = sum(files[chunk.file].rows or 0 for chunk in table.chunks)
        tables.setdefault(table.meta.schema, {})[table.meta.table] = rows
        said = done.table_rows.get(table.meta.schema, {}).get(table.meta.table)
        if said is not None and said != rows:
            wrong.append(f"{table.name} has {rows} rows, the dump says {said}")
    if wrong:
        raise BadLayout(
            f"{source.place} is damaged: {'; '.join(wrong[:5])}{' ...' if len(wrong) > 5 else ''}. Make another backup."
        )
    return {**{schema.name: {} for schema in plan.schemas}, **tables}


def _time(text: str) -> str:
    """Return a time of the dump (UTC, as the operator's pods run) in the form of ours."""
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).isoformat(timespec="seconds")
    except ValueError:
        raise BadLayout(f"The dump names the time {text!r:.60}, YYYY-MM-DD hh:mm:ss was expected.") from None
