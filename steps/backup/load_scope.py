"""What a restore touches on a cluster, as a value: whole schemas, or single tables of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from steps.errors import BadParameters
from steps.mysql.connection import query


@dataclass(frozen=True)
class Existing:
    """What a cluster has: its schemas, and the tables and views in them."""

    schemas: frozenset[str]
    tables: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Scope:
    """What one restore makes.

    Attributes:
        schemas: those that are restored as a whole.
        tables: single tables (schema, table) of other schemas.
    """

    schemas: frozenset[str]
    tables: frozenset[tuple[str, str]] = frozenset()

    def overlaps(self, other: Scope) -> bool:
        """Whether both make the same thing somewhere."""
        return bool(
            self.schemas & other.schemas
            or self.tables & other.tables
            or self.schemas & {schema for schema, _ in other.tables}
            or other.schemas & {schema for schema, _ in self.tables}
        )

    def in_the_way(self, there: Existing) -> list[str]:
        """Return what the cluster has already, by name."""
        tables = sorted(self.tables & there.tables)
        return [*sorted(self.schemas & there.schemas), *(f"{schema}.{table}" for schema, table in tables)]

    def __str__(self) -> str:
        """Return the names, for people."""
        return ", ".join([*sorted(self.schemas), *(f"{schema}.{table}" for schema, table in sorted(self.tables))])


def existing(connection: Any) -> Existing:
    """Return what a cluster has."""
    schemas = query(connection, "SELECT schema_name FROM information_schema.schemata")
    tables = query(connection, "SELECT table_schema, table_name FROM information_schema.tables")
    return Existing(
        frozenset(str(row[0]) for row in schemas), frozenset((str(schema), str(table)) for schema, table in tables)
    )


def parse_tables(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return schema and table of each ``schema.table``.

    Raises:
        BadParameters: one has no dot, or more than one.
    """
    found = []
    for name in names:
        schema, _, table = name.partition(".")
        if not schema or not table or "." in table:
            raise BadParameters(f"tables names {name!r}: schema.table was expected, several separated by commas")
        found.append((schema, table))
    return found
