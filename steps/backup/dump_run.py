"""Writing a whole backup: definitions by one connection, rows by the others, `tiphys.json` at the very end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from steps.backup import dump_ddl as ddl
from steps.backup import layout
from steps.backup.dump_catalog import SchemaInfo, Selection, TableInfo, check_found, read_accounts, read_catalog
from steps.backup.dump_columns import encoded
from steps.backup.dump_rows import Source
from steps.backup.dump_snapshot import Snapshot
from steps.backup.dump_work import Reader, Stopped, TableTask, Work
from steps.backup.dump_writer import Writer
from steps.backup.encryption import Cipher, Keyring
from steps.backup.layout import BaseNames
from steps.backup.manifest import Manifest
from steps.backup.objects import AlreadyThere, Bucket
from steps.backup.pace import Pace
from steps.errors import Temporary
from steps.log import log, progress

LOOK_SECONDS = 60.0
"""Between two words to the server over the connection that holds the instance lock."""

SMALL_CHUNK = 4_000_000
"""Bytes before compression below which no chunk is cut for the sake of work for all readers."""


@dataclass(frozen=True)
class Order:
    """What is to be written, and where.

    Attributes:
        name: of the backup.
        cluster: name of the cluster.
        namespace: of the cluster.
        pod: that is read.
        selection: what of it.
        enabled_events: events (schema, name) that are enabled on the primary.
        bytes_per_chunk: before compression, about.
        keyring: to encrypt it with; None leaves it plain.
        pace: told of the bytes of rows, waits where they come too fast.
    """

    name: str
    cluster: str
    namespace: str
    pod: str
    selection: Selection
    enabled_events: frozenset[tuple[str, str]]
    bytes_per_chunk: int
    dumper: str = f"tiphys {version('tiphys')}"
    keyring: Keyring | None = None
    pace: Callable[[int], None] = Pace(0).take


def write_backup(bucket: Bucket, moment: Snapshot, order: Order) -> Manifest:
    """Write a backup of a moment.

    What was written is deleted again where it cannot be finished; it would not exist without `tiphys.json` anyway.

    Raises:
        Temporary: the server or the bucket is away, or something changed under the backup.
        StepError: a row or a definition cannot be read.
    """
    prefix = layout.prefix(order.name)
    taken = f"There is a backup {order.name} already, begun in this very second: try again."
    if bucket.keys(prefix):
        raise Temporary(taken)
    try:
        return write_dump(bucket, prefix, moment, order, sealed=True)
    except AlreadyThere as error:
        raise Temporary(f"{taken} {error}") from error


def write_dump(bucket: Bucket, prefix: str, moment: Snapshot, order: Order, *, sealed: bool = False) -> Manifest:
    """Write a dump below a prefix; errors as `write_backup`, and BadParameters where what is wanted is not there.

    Args:
        bucket: where to.
        prefix: of its objects, with the slash; nothing is there yet.
        moment: of the server.
        order: what of it.
        sealed: end with a `tiphys.json`. Without, it is as MySQL Shell leaves one.
    """
    catalog = read_catalog(moment.control, order.selection)
    check_found(catalog, order.selection)
    names = _base_names(catalog)
    data = sum(table.rows * table.row_bytes for schema in catalog for table in schema.tables)
    # Small enough that every reader has some, where there is little data.
    bytes_per_chunk = min(order.bytes_per_chunk, max(SMALL_CHUNK, data // (3 * len(moment.readers))))
    total = sum(table.rows for schema in catalog for table in schema.tables)
    log("tables found", tables=sum(len(s.tables) for s in catalog), rows_about=total, bytes_about=data)
    with progress(f"backup {order.name}", total, "rows") as bar:
        cipher = Cipher.new(order.keyring, order.name) if sealed and order.keyring else None
        writer = Writer(bucket, prefix, bar.advance, cipher)
        try:
            if sealed:
                # A cluster of another namespace may have the same name, and its backup the same second.
                writer.claim(layout.INSTANCE_SQL)
            _write_all(writer, moment, order, catalog, names, bytes_per_chunk)
            moment.check()
            manifest = _manifest(writer, moment, order, catalog, names)
            _compare(bucket, prefix, manifest)
            if sealed:
                writer.end(manifest)
        except BaseException:
            log("backup given up", backup=order.name)
            writer.give_up()
            raise
    return manifest


Names = dict[tuple[str, ...], str]


def _base_names(catalog: list[SchemaInfo]) -> Names:
    """Return the base name of every schema, table, view and partition."""
    given, found = BaseNames(), Names()
    for schema in catalog:
        found[(schema.name,)] = given.of(schema.name)
        for name in [*(table.name for table in schema.tables), *schema.views]:
            found[(schema.name, name)] = given.of(schema.name, name)
        for table in schema.tables:
            for part in table.partitions:
                found[(schema.name, table.name, part)] = given.of(schema.name, table.name, part)
    return found


def _tasks(catalog: list[SchemaInfo], names: Names) -> list[TableTask]:
    """Return the readers' work: every table, or every partition of one."""
    return [
        TableTask(
            Source(schema.name, table.name, tuple(table.written), table.order, part),
            names[(schema.name, table.name, part) if part else (schema.name, table.name)],
            rows,
            table.row_bytes,
        )
        for schema in catalog
        for table in schema.tables
        for part, rows in (table.partitions or {"": table.rows}).items()
    ]


def _write_all(
    writer: Writer,
    moment: Snapshot,
    order: Order,
    catalog: list[SchemaInfo],
    names: Names,
    bytes_per_chunk: int,
) -> None:
    work = Work(_tasks(catalog, names))
    readers = [
        Reader(connection, work, writer, bytes_per_chunk, order.pace, order.pod) for connection in moment.readers
    ]
    with ThreadPoolExecutor(max_workers=len(readers)) as pool:
        running = [pool.submit(reader.run) for reader in readers]
        try:
            _write_definitions(writer, moment, order, catalog, names)
            # A lock that is lost ends the backup now, not after hours.
            while wait(running, LOOK_SECONDS).not_done:
                moment.check()
        except BaseException:
            work.stop()
            raise
    errors = [error for each in running if (error := each.exception()) is not None]
    if errors:
        # Those that were stopped say nothing of why.
        raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])


def _write_definitions(writer: Writer, moment: Snapshot, order: Order, catalog: list[SchemaInfo], names: Names) -> None:
    connection = moment.control
    header = ddl.Header(moment.hostname, moment.version.split("-")[0])
    accounts = read_accounts(connection, order.selection)
    writer.put(layout.INSTANCE, _instance(moment, order, catalog, names, accounts))
    for name in (layout.INSTANCE_SQL, layout.POST_SQL):
        writer.put(name, header.of().encode())
    writer.put(layout.USERS_SQL, ddl.users(connection, header, accounts).encode())
    for schema in catalog:
        _write_schema(writer, connection, header, order, schema, names)


def _write_schema(
    writer: Writer, connection: Any, header: ddl.Header, order: Order, schema: SchemaInfo, names: Names
) -> None:
    base, name = names[(schema.name,)], schema.name
    described = layout.Schema(
        schema=name,
        tables=[table.name for table in schema.tables],
        views=schema.views,
        events=schema.events,
        functions=schema.functions,
        procedures=schema.procedures,
        basenames={each: names[(name, each)] for each in [*(t.name for t in schema.tables), *schema.views]},
    )
    writer.put(f"{base}.json", described.dump())
    text = ddl.schema(
        connection,
        header,
        name,
        events=schema.events,
        functions=schema.functions,
        procedures=schema.procedures,
        enabled=frozenset(event for owner, event in order.enabled_events if owner == name),
    )
    writer.put(f"{base}.sql", text.encode())
    for table in schema.tables:
        _write_table(writer, connection, header, table, names)
    for view in schema.views:
        base = names[(name, view)]
        writer.put(f"{base}.pre.sql", ddl.view_place_holder(connection, header, name, view).encode())
        writer.put(f"{base}.sql", ddl.view(connection, header, name, view).encode())


def _write_table(writer: Writer, connection: Any, header: ddl.Header, table: TableInfo, names: Names) -> None:
    schema, name = table.schema, table.name
    base = names[(schema, name)]
    if table.engine.upper() != "INNODB":
        log("table outside the snapshot", table=f"{schema}.{name}", engine=table.engine)
    described = layout.Table(
        schema=schema,
        table=name,
        columns=[column.name for column in table.written],
        decode=encoded(table.written),
        triggers=table.triggers,
        key=table.key,
        partitions=list(table.partitions),
        basenames={part: names[(schema, name, part)] for part in table.partitions},
    )
    writer.put(f"{base}.json", described.dump())
    writer.put(f"{base}.sql", ddl.table(connection, header, schema, name).encode())
    if table.triggers:
        text = ddl.triggers(connection, header, schema, name, table.triggers)
        writer.put(f"{base}.triggers.sql", text.encode())


def _instance(
    moment: Snapshot, order: Order, catalog: list[SchemaInfo], names: Names, accounts: list[tuple[str, str]]
) -> bytes:
    plain = moment.version.split("-")[0]
    return layout.dumps(
        {
            "dumper": f"{order.dumper} - for MySQL {plain}",
            "version": layout.VERSION,
            "origin": "dumpInstance",
            "options": {"bytesPerChunk": str(order.bytes_per_chunk), "threads": len(moment.readers)},
            "schemas": [schema.name for schema in catalog],
            "basenames": {schema.name: names[(schema.name,)] for schema in catalog},
            "users": [ddl.display(account) for account in accounts],
            "defaultCharacterSet": "utf8mb4",
            "tzUtc": True,
            "bytesPerChunk": order.bytes_per_chunk,
            "user": moment.user,
            "hostname": moment.hostname,
            "server": moment.hostname,
            "serverVersion": moment.version,
            "binlogFile": moment.binlog_file,
            "binlogPosition": moment.binlog_position,
            "gtidExecuted": moment.gtid_executed,
            "gtidExecutedInconsistent": False,
            "consistent": True,
            "targetVersion": plain,
            "partialRevokes": moment.partial_revokes,
            "compatibilityOptions": [],
            "capabilities": [
                {
                    "id": "partition_awareness",
                    "description": "Each partition is dumped as a table of its own.",
                    "versionRequired": "8.0.27",
                }
            ],
            "checksum": False,
            "begin": f"{moment.begin:%Y-%m-%d %H:%M:%S}",
        }
    )


def _manifest(writer: Writer, moment: Snapshot, order: Order, catalog: list[SchemaInfo], names: Names) -> Manifest:
    """Write MySQL Shell's own end mark and return ours."""
    owner = {}
    for schema in catalog:
        for table in schema.tables:
            for part in table.partitions or [""]:
                base = names[(schema.name, table.name, part) if part else (schema.name, table.name)]
                owner[base] = (schema.name, table.name)
    rows = {schema.name: {table.name: 0 for table in schema.tables} for schema in catalog}
    sizes = {schema.name: {table.name: 0 for table in schema.tables} for schema in catalog}
    lengths: dict[str, int] = {}
    for name, file in writer.files.items():
        if chunk := layout.chunk_of(name):
            schema_name, table_name = owner[chunk.base]
            rows[schema_name][table_name] += file.rows or 0
            sizes[schema_name][table_name] += file.data_bytes or 0
            lengths[name] = file.data_bytes or 0
    end = datetime.now(UTC)
    writer.put(layout.DONE, layout.Done(f"{end:%Y-%m-%d %H:%M:%S}", sizes, rows, lengths).dump())
    made = Manifest(
        name=order.name,
        cluster=order.cluster,
        namespace=order.namespace,
        server=moment.server,
        pod=order.pod,
        server_version=moment.version,
        gtid_executed=moment.gtid_executed,
        begin=moment.begin.isoformat(timespec="seconds"),
        end=end.isoformat(timespec="seconds"),
        tables=rows,
        keyless=[f"{s.name}.{t.name}" for s in catalog for t in s.tables if not t.unique],
        files=dict(writer.files),
        encryption=writer.cipher.description if writer.cipher else None,
        program=f"tiphys {version('tiphys')}",
        include=order.selection.include,
        exclude=order.selection.exclude,
    )
    for base in owner:
        made.chunks(base)
    return made


def _compare(bucket: Bucket, prefix: str, manifest: Manifest) -> None:
    """Make sure that the bucket holds what was written.

    Raises:
        Temporary: an object is missing or of another size.
    """
    there = bucket.keys(prefix)
    wrong = [name for name, file in manifest.files.items() if there.get(prefix + name) != file.size]
    if wrong:
        raise Temporary(f"The bucket lost or changed {len(wrong)} objects of {manifest.name}, such as {wrong[0]}.")
