"""What is on the server to be backed up: schemas, tables, views, stored programs, accounts."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from steps.backup.dump_columns import COLUMNS_SQL, Column, columns_of, key_of
from steps.errors import BadParameters
from steps.mysql.connection import query

SYSTEM_SCHEMAS = (
    "information_schema",
    "mysql",
    "mysql_innodb_cluster_metadata",
    "mysql_innodb_cluster_metadata_bkp",
    "mysql_innodb_cluster_metadata_previous",
    "ndbinfo",
    "performance_schema",
    "sys",
    "tiphys",
)
"""Schemas of the server, the operator and this program: every cluster has its own, and a restore leaves them out."""
SYSTEM_USERS = (
    "mysql.*",
    "mysql_innodb_cluster_*",
    "mysqladmin",
    "mysqlbackup",
    "mysqlhealthchecker",
    "mysqlmetrics",
    "mysqlrouter",
    "localroot",
)
"""Accounts of the server and the operator: every cluster has its own."""


@dataclass(frozen=True)
class Selection:
    """What is wanted: shell patterns (``*``, ``?``) of schemas and of ``schema.table``.

    Attributes:
        include: empty for everything.
        exclude: wins over `include`.
        exclude_users: patterns of user names, beside those of the system.
        system_schemas: that are never wanted.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    exclude_users: tuple[str, ...] = ()
    system_schemas: tuple[str, ...] = SYSTEM_SCHEMAS

    def table(self, schema: str, table: str) -> bool:
        """Whether a table or view is wanted."""
        full = f"{schema}.{table}"
        wanted = not self.include or any(fnmatchcase(schema, p) or fnmatchcase(full, p) for p in self.include)
        return wanted and not any(fnmatchcase(schema, p) or fnmatchcase(full, p) for p in self.exclude)

    def schema(self, schema: str) -> bool:
        """Whether a schema is wanted, at least a part of it."""
        wanted = not self.include or any(fnmatchcase(schema, p.split(".")[0]) for p in self.include)
        return wanted and not any(fnmatchcase(schema, p) for p in self.exclude)

    def user(self, name: str) -> bool:
        """Whether an account is wanted."""
        return not any(fnmatchcase(name, p) for p in (*SYSTEM_USERS, *self.exclude_users))


@dataclass(frozen=True)
class TableInfo:
    """A table as the server describes it.

    Attributes:
        schema: its schema.
        name: its name.
        engine: its storage engine.
        rows: by the statistics.
        row_bytes: by the statistics.
        columns: all of them.
        key: columns of the primary key.
        order: the same, where rows can be read in its order; else empty.
        unique: whether it has a primary key, or a unique key whose columns are never NULL.
        triggers: names, in the order in which they were made.
        partitions: name to rows by the statistics; subpartitions where there are some.
    """

    schema: str
    name: str
    engine: str
    rows: int
    row_bytes: int
    columns: list[Column]
    key: list[str] = field(default_factory=list)
    order: tuple[Column, ...] = ()
    unique: bool = True
    triggers: list[str] = field(default_factory=list)
    partitions: dict[str, int] = field(default_factory=dict)

    @property
    def written(self) -> list[Column]:
        """The columns whose values are written: generated ones are made again."""
        return [column for column in self.columns if not column.generated]


@dataclass(frozen=True)
class SchemaInfo:
    """A schema and what is in it."""

    name: str
    tables: list[TableInfo]
    views: list[str]
    events: list[str]
    functions: list[str]
    procedures: list[str]


def read_catalog(connection: Any, selection: Selection) -> list[SchemaInfo]:
    """Read what is on the server and wanted, by name."""
    names = [str(row[0]) for row in query(connection, "SELECT schema_name FROM information_schema.schemata ORDER BY 1")]
    wanted = [name for name in names if name.lower() not in selection.system_schemas and selection.schema(name)]
    return [_schema(connection, name, selection) for name in wanted]


def check_found(catalog: list[SchemaInfo], selection: Selection) -> None:
    """Make sure that what was asked for by name is there; a pattern may find nothing, if another one finds something.

    Raises:
        BadParameters: it is not: such a backup would look whole, and hold nothing of what was wanted.
    """
    if not selection.include:
        return
    schemas = [schema.name for schema in catalog]
    full = [f"{schema.name}.{each}" for schema in catalog for each in (*(t.name for t in schema.tables), *schema.views)]
    lost = [p for p in selection.include if not any(fnmatchcase(name, p) for name in (*schemas, *full))]
    named = [p for p in lost if not set("*?[") & set(p)]
    if named or len(lost) == len(selection.include):
        raise BadParameters(
            f"include names {', '.join(named or lost)}, and the server has no such schema, table or view that is not "
            "excluded: correct include, or leave it empty for everything."
        )


def _schema(connection: Any, schema: str, selection: Selection) -> SchemaInfo:
    rows = query(
        connection,
        "SELECT table_name, table_type, engine, table_rows, avg_row_length FROM information_schema.tables"
        " WHERE table_schema = %s ORDER BY 1",
        [schema],
    )
    rows = [row for row in rows if selection.table(schema, str(row[0]))]
    routines = _names(connection, schema, "routine_name, routine_type", "routines", "routine_schema", "1")
    return SchemaInfo(
        name=schema,
        tables=[_table(connection, schema, row) for row in rows if row[1] == "BASE TABLE"],
        views=[str(row[0]) for row in rows if row[1] == "VIEW"],
        events=[row[0] for row in _names(connection, schema, "event_name", "events", "event_schema", "1")],
        functions=[name for name, kind in routines if kind == "FUNCTION"],
        procedures=[name for name, kind in routines if kind == "PROCEDURE"],
    )


def _names(
    connection: Any, schema: str, columns: str, table: str, where: str, order: str, name: str | None = None
) -> list[tuple[str, ...]]:
    """Return columns of an information_schema table for a schema, or for the one table `name` of it."""
    values = [schema] if name is None else [schema, name]
    also = "" if name is None else " AND event_object_table = %s"
    sql = f"SELECT {columns} FROM information_schema.{table} WHERE {where} = %s{also} ORDER BY {order}"
    return [tuple(str(value) for value in row) for row in query(connection, sql, values)]


def _table(connection: Any, schema: str, row: tuple[Any, ...]) -> TableInfo:
    name = str(row[0])
    columns = columns_of(query(connection, COLUMNS_SQL, [schema, name]))
    indexes = query(
        connection,
        "SELECT index_name, column_name, nullable, sub_part, collation FROM information_schema.statistics"
        " WHERE table_schema = %s AND table_name = %s AND non_unique = 0 ORDER BY index_name, seq_in_index",
        [schema, name],
    )
    # A part of a unique key that is an expression has no column's name, and does not count.
    nullable = {str(index) for index, column, null, _, _ in indexes if null == "YES" or column is None}
    primary = [(column, part, direction) for index, column, _, part, direction in indexes if index == "PRIMARY"]
    partitions = query(
        connection,
        "SELECT COALESCE(subpartition_name, partition_name), table_rows FROM information_schema.partitions"
        " WHERE table_schema = %s AND table_name = %s AND partition_name IS NOT NULL"
        " ORDER BY partition_ordinal_position, subpartition_ordinal_position",
        [schema, name],
    )
    triggers = _names(
        connection,
        schema,
        "trigger_name",
        "triggers",
        "event_object_schema",
        "event_manipulation, action_timing, action_order",
        name,
    )
    return TableInfo(
        schema=schema,
        name=name,
        engine=str(row[2]),
        rows=int(row[3] or 0),
        row_bytes=int(row[4] or 0),
        columns=columns,
        key=[str(column) for column, _, _ in primary],
        order=key_of(primary, columns),
        unique=any(str(each[0]) not in nullable for each in indexes),
        triggers=[each[0] for each in triggers],
        partitions={str(part): int(count or 0) for part, count in partitions},
    )


def _str(value: Any) -> str:
    return value.decode() if isinstance(value, bytes | bytearray) else str(value)


def read_accounts(connection: Any, selection: Selection) -> list[tuple[str, str]]:
    """Return the accounts that are wanted, as user and host."""
    rows = query(connection, "SELECT user, host FROM mysql.user ORDER BY user, host")
    return [(_str(user), _str(host)) for user, host in rows if selection.user(_str(user))]


def enabled_events(connection: Any) -> frozenset[tuple[str, str]]:
    """Return the events that are enabled on a server, as schema and name."""
    rows = query(connection, "SELECT event_schema, event_name FROM information_schema.events WHERE status = 'ENABLED'")
    return frozenset((str(schema), str(name)) for schema, name in rows)
